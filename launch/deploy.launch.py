"""The policy alone, on the robot or in simulation: its mean action, no learner, no PyTorch.

ros2 launch sac_bringup deploy.launch.py checkpoint:=pick_cube.safetensors task:=pick_cube sim:=true
ros2 launch sac_bringup deploy.launch.py checkpoint:=… task:=pick_cube robot_ip:=172.16.0.2

It acts until it is stopped, or for so many episodes. On the robot a watchdog guards it.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node
from sac_bringup.actors import actor, name_in
from sac_bringup.arguments import declared, is_true, typed, value
from sac_bringup.restart import restarted
from sac_bringup.robot import ARGUMENTS as OF_THE_ROBOT
from sac_bringup.robot import GUARDED, named_arm, robot
from sac_bringup.simulation import simulated_robot

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import actors, security

ARGUMENTS = {
    "sim": ("false", "Act in simulation"),
    "episodes": ("0", "Episodes after which it ends, 0 = never"),
    "seed": ("0", "Seed of the episodes' starts"),
    "speed_factor": ("0.0", "Of the simulation: 0 = as fast as it goes, 1 = the robot's pace"),
}


def deployment(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    if is_true(context, "sim"):
        controller = {"motion_controller": f"{value(context, 'command')}_controller"}
        namespace = value(context, "namespace")
        return [
            *security.enforced(context, "deploy", "robot"),
            simulated_robot(namespace, controller, **restarted()),
            deployed(context),
        ]
    acting = [deployed(context)]
    return [
        *security.enforced(context, "deploy", "watchdog", "robot_reset", "robot_setup"),
        *robot(context, value(context, "task"), value(context, "command"), _name(context), acting),
    ]


def _name(context: LaunchContext) -> str:
    return name_in(value(context, "namespace"))


def deployed(context: LaunchContext) -> Node:
    """The actor with the policy."""
    return actor(
        context,
        _name(context),
        value(context, "namespace"),
        value(context, "learner_namespace").strip("/"),
        {
            "task": value(context, "task"),
            "checkpoint": typed("checkpoint", str),
            "max_episodes": typed("episodes", int),
            "seed": typed("seed", int),
            **({"recovery": "automatic"} if is_true(context, "sim") else GUARDED),
            **named_arm(context),
        },
        enclave="deploy",
    )


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "checkpoint",
                description="A checkpoint folder, a run folder, or a file of export_policy",
            ),
            DeclareLaunchArgument("task", description="Task: reach, pick_cube …"),
            *declared(ARGUMENTS),
            *declared(OF_THE_ROBOT),
            *actors.arguments(),
            *security.arguments(),
            OpaqueFunction(function=deployment),
        ]
    )
