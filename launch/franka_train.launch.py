"""The robot's PC in a training: a Franka FR3 through franka_ros2, its actor and its watchdog.

ros2 launch sac_bringup franka_train.launch.py robot_ip:=172.16.0.2 task:=pick_cube

The learner is on another PC: learner.launch.py. docs/real_robot.md is the manual; read it first.
With teleop:=keyboard a person takes over when needed, with demos:=true the learner has preloaded
demonstrations (docs/demonstrations.md).
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from sac_bringup.actors import actor, name_in
from sac_bringup.arguments import declared, is_true, value
from sac_bringup.robot import ARGUMENTS as OF_THE_ROBOT
from sac_bringup.robot import GUARDED, named_arm, robot
from sac_bringup.teleoperation import teleoperation

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import actors, security
from sac_bringup import teleoperation as teleop

ARGUMENTS = {
    **OF_THE_ROBOT,
    "seed": ("0", "Seed"),
    "demos": ("false", "The learner has preloaded demonstrations: settings for fewer steps"),
    "teleop": ("none", "How a person may take over: keyboard, joy, none"),
    **teleop.ARGUMENTS,
}


def training(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    task, command = value(context, "task"), value(context, "command")
    namespace = value(context, "namespace").strip("/")
    name, shared = name_in(namespace), value(context, "learner_namespace").strip("/")
    acting = actor(
        context,
        name,
        namespace,
        shared,
        {"task": task, "seed": int(value(context, "seed")), **GUARDED, **named_arm(context)},
        variants=["real_time", *(["demos"] if is_true(context, "demos") else [])],
    )
    helping = teleoperation(context, name, namespace, shared)
    enclaves = ["actor", "watchdog", "robot_reset", "robot_setup", *(["teleop"] if helping else [])]
    return [
        *security.enforced(context, *enclaves),
        *robot(context, task, command, name, [acting]),
        *helping,
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("task", description="Task: reach, pick_cube …"),
            *declared(ARGUMENTS),
            *actors.arguments(),
            *security.arguments(),
            OpaqueFunction(function=training),
        ]
    )
