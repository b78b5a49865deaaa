"""The policy alone, on the robot or in simulation: its mean action, no learner, no PyTorch.

ros2 launch sac_bringup deploy.launch.py checkpoint:=pick_cube.safetensors task:=pick_cube sim:=true

It acts until it is stopped, or for so many episodes.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from sac_bringup.actors import actor
from sac_bringup.arguments import declared, typed, value
from sac_bringup.restart import restarted
from sac_bringup.simulation import simulated_robot

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import actors, security

ARGUMENTS = {
    "sim": ("false", "Act in simulation"),
    "episodes": ("0", "Episodes after which it ends, 0 = never"),
    "seed": ("0", "Seed of the episodes' starts"),
    "speed_factor": ("0.0", "Of the simulation: 0 = as fast as it goes, 1 = the robot's pace"),
    "robot_type": ("fr3", "Arm: fr3 or fer"),
    "namespace": ("", "Namespace of the robot and all nodes"),
}


def deployment(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    namespace = value(context, "namespace").strip("/")
    return [
        *security.enforced(context, "deploy", "robot"),
        simulated_robot(namespace, **restarted()),
        actor(
            context,
            "sac_actor",
            namespace,
            namespace,
            {
                "task": value(context, "task"),
                "checkpoint": typed("checkpoint", str),
                "max_episodes": typed("episodes", int),
                "seed": typed("seed", int),
            },
            enclave="deploy",
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "checkpoint",
                description="A checkpoint folder, a run folder, or a file of export_policy",
            ),
            DeclareLaunchArgument("task", description="Task: reach, pick_cube …"),
            *declared(ARGUMENTS),
            *actors.arguments(),
            *security.arguments(),
            OpaqueFunction(function=deployment),
        ]
    )
