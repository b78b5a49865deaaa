"""Run a policy from a checkpoint with its mean action: no learner, no critics, no PyTorch.

ros2 launch sac_bringup evaluate.launch.py task:=pick_cube checkpoint:=runs/<name>/checkpoints/best

With a task, in simulation; without one, in the Gymnasium environment that it was trained in.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from sac_bringup.arguments import declared, is_true, typed, value
from sac_bringup.simulation import simulated_robot

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import security

ARGUMENTS = {
    "task": ("", "Task on the robot's topics; empty = env_id"),
    "sim": ("true", "Start the simulated robot for the task"),
    "robot_type": ("fr3", "Arm: fr3 or fer"),
    "speed_factor": ("0.0", "0 = as fast as it goes, 1 = real"),
    "env_id": ("", "Environment; empty = the one trained in"),
    "episodes": ("50", "Episodes to run"),
    "seed": ("1000000", "Seed"),
    "namespace": ("", "Namespace"),
}


def simulation(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The simulated robot, when there is a task and no other robot."""
    if not value(context, "task") or not is_true(context, "sim"):
        return security.enforced(context, "evaluate")
    return [
        *security.enforced(context, "evaluate", "robot"),
        simulated_robot(value(context, "namespace"), on_exit=Shutdown()),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "checkpoint",
                description="A checkpoint folder, a run folder, or a file of export_policy",
            ),
            *declared(ARGUMENTS),
            *security.arguments(),
            OpaqueFunction(function=simulation),
            Node(
                package="sac_actor",
                executable="evaluate",
                name="sac_evaluate",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                ros_arguments=security.enclave("evaluate"),
                parameters=[
                    {
                        "checkpoint": typed("checkpoint", str),
                        "task": typed("task", str),
                        "robot_type": typed("robot_type", str),
                        "env_id": typed("env_id", str),
                        "episodes": typed("episodes", int),
                        "seed": typed("seed", int),
                    }
                ],
                on_exit=Shutdown(),
            ),
        ]
    )
