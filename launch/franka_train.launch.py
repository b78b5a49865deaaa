"""The robot's PC in a training: a Franka FR3 through franka_ros2, its actor and its watchdog.

ros2 launch sac_bringup franka_train.launch.py robot_ip:=172.16.0.2 task:=pick_cube

The learner is on another PC: learner.launch.py. docs/real_robot.md is the manual; read it first.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from sac_bringup.actors import actor, name_in
from sac_bringup.arguments import declared, value
from sac_bringup.robot import ARGUMENTS, GUARDED, named_arm, robot

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import actors, security


def training(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    task, command = value(context, "task"), value(context, "command")
    namespace = value(context, "namespace").strip("/")
    name = name_in(namespace)
    acting = actor(
        context,
        name,
        namespace,
        value(context, "learner_namespace").strip("/"),
        {"task": task, "seed": int(value(context, "seed")), **GUARDED, **named_arm(context)},
        variants=["real_time"],
    )
    return [
        *security.enforced(context, "actor", "watchdog", "robot_reset", "robot_setup"),
        *robot(context, task, command, name, [acting]),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("task", description="Task: reach, pick_cube …"),
            DeclareLaunchArgument("seed", default_value="0", description="Seed"),
            *declared(ARGUMENTS),
            *actors.arguments(),
            *security.arguments(),
            OpaqueFunction(function=training),
        ]
    )
