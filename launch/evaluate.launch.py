"""Run a policy from a checkpoint with its mean action: no learner, no critics, no PyTorch.

ros2 launch sac_bringup evaluate.launch.py task:=pick_cube checkpoint:=runs/<name>/checkpoints/best

With a task, in simulation; without one, in the Gymnasium environment that it was trained in.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import security


def parameter(name: str, kind: type) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def simulation(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The simulated robot, when there is a task and no other robot."""
    task = LaunchConfiguration("task").perform(context)
    if not task or LaunchConfiguration("sim").perform(context) != "true":
        return security.enforced(context, "evaluate")
    return [
        *security.enforced(context, "evaluate", "robot"),
        Node(
            package="franka_sim_bridge",
            executable="franka_sim_bridge",
            name="franka_sim_bridge",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            ros_arguments=security.enclave("robot"),
            parameters=[
                PathJoinSubstitution(
                    [FindPackageShare("sac_bringup"), "config", "franka_sim_bridge.yaml"]
                ),
                {
                    "task": parameter("task", str),
                    "robot_type": parameter("robot_type", str),
                    "lockstep": True,
                    "speed_factor": parameter("speed_factor", float),
                },
            ],
            on_exit=Shutdown(),
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("checkpoint", description="A checkpoint folder, or a run folder"),
            DeclareLaunchArgument(
                "task", default_value="", description="Task on the robot's topics; empty = env_id"
            ),
            DeclareLaunchArgument(
                "sim", default_value="true", description="Start the simulated robot for the task"
            ),
            DeclareLaunchArgument("robot_type", default_value="fr3", description="Arm: fr3 or fer"),
            DeclareLaunchArgument(
                "speed_factor", default_value="0.0", description="0 = as fast as it goes, 1 = real"
            ),
            DeclareLaunchArgument(
                "env_id", default_value="", description="Environment; empty = the one trained in"
            ),
            DeclareLaunchArgument("episodes", default_value="50", description="Episodes to run"),
            DeclareLaunchArgument("seed", default_value="1000000", description="Seed"),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace"),
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
                        "checkpoint": parameter("checkpoint", str),
                        "task": parameter("task", str),
                        "robot_type": parameter("robot_type", str),
                        "env_id": parameter("env_id", str),
                        "episodes": parameter("episodes", int),
                        "seed": parameter("seed", int),
                    }
                ],
                on_exit=Shutdown(),
            ),
        ]
    )
