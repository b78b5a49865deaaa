"""A real Franka on its PC: franka_ros2, our controllers, thresholds, watchdog, and the reset.

Load and collision thresholds can only be set while no motion controller is active, so that one
thing follows the other: controllers are loaded inactive, then the robot is set up, and only then
comes who makes it move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from launch.actions import IncludeLaunchDescription, LogInfo, Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescriptionEntity
from sac_bringup import optional, security
from sac_bringup.arguments import given, is_true, value
from sac_bringup.restart import restarted

OLDEST = (3, 4)  # of franka_bringup: earlier ones have other launch arguments
# On a robot an actor does nothing without a watchdog, whose status comes five times a second.
GUARDED = {"watchdog_timeout": 2.0}
DRIVER = "joint_trajectory"  # of robot_reset, with every command
# What a motion controller is a plugin of, and how one gets it.
PLUGINS = {
    "cartesian_impedance": ("crisp_controllers", "build it from source (docs/real_robot.md)"),
    "joint_trajectory": ("joint_trajectory_controller", ""),
    "joint_velocity": ("velocity_controllers", ""),
}
NOT_IN_FAKE_HARDWARE = (
    "Fake hardware: controllers, watchdog and actor start. It has no load and collision thresholds "
    "(service_server), no error_recovery (action_server), no "
    "franka_robot_state_broadcaster and so no tool pose, and a hand that only says how wide it is: "
    "no episode begins. For all of these: sim_train.launch.py"
)
# Those of franka_bringup's franka.launch.py (3.4.0), and our own.
FRANKA_ARGUMENTS = {
    "robot_type": ("fr3", "Arm: fr3; fer with fake hardware only"),
    "arm_prefix": ("", "Prefix of the arm's joints, for several arms in one description"),
    "namespace": ("", "Namespace of the robot, its actor and all that belongs to it"),
    "robot_ip": ("", "Address of the robot"),
    "load_gripper": ("true", "The arm has the Franka Hand"),
    "use_fake_hardware": ("false", "No robot: as far as ros2_control's mock goes"),
    "fake_sensor_commands": ("false", "With fake hardware: sensors can be commanded"),
    "joint_state_rate": ("30", "Hz of joint_states, for rviz; control uses franka/joint_states"),
    "load_franka_robot_state_broadcaster": ("true", "The robot's own state: tool pose, wrench"),
    "controllers_yaml": ("", "Controllers; empty = config/controllers.yaml"),
}
ARGUMENTS = {
    **FRANKA_ARGUMENTS,
    "command": (
        "cartesian_impedance",
        "Motion controller: cartesian_impedance, joint_trajectory or joint_velocity",
    ),
    "ask_operator": (
        "",
        "A person places the objects before each episode; empty = as the parameter file says",
    ),
    "learner_namespace": ("", "Namespace of the learner, which several robots may share"),
    "robot_setup_params_file": (
        "",
        "Load and collision thresholds; empty = config/robot_setup.yaml",
    ),
    "robot_reset_params_file": ("", "Motions to a start; empty = config/robot_reset.yaml"),
    "watchdog_params_file": ("", "The watchdog's limits; empty = config/watchdog.yaml"),
}


def robot(
    context: LaunchContext,
    task: str,
    command: str,
    actor_id: str,
    then: Sequence[LaunchDescriptionEntity],
) -> list[LaunchDescriptionEntity]:
    """The robot of the launch arguments, and `then` what makes it move once it is set up.

    RuntimeError, which ends the launch with one line, where something is missing or wrong.
    """
    is_fake = is_true(context, "use_fake_hardware")
    _check(context, command, is_fake)
    moving = [robot_reset(context, task), *then]
    ready = moving if is_fake else [robot_setup(context, moving)]
    return [
        *([LogInfo(msg=NOT_IN_FAKE_HARDWARE)] if is_fake else []),
        franka_bringup(context),
        watchdog(context, command, actor_id),
        spawner(context, command, ready),
    ]


def _check(context: LaunchContext, command: str, is_fake: bool) -> None:
    if not optional.installed("franka_bringup"):
        raise RuntimeError(
            "franka_bringup of franka_ros2 is not installed: this is for the robot's PC "
            "(docs/real_robot.md); in simulation: sim_train.launch.py"
        )
    package = Path(FindPackageShare("franka_bringup").perform(context), "package.xml")
    version = ElementTree.parse(package).getroot().findtext("version", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise RuntimeError(
            f"franka_bringup is {version}: expected {OLDEST[0]}.{OLDEST[1]}.0 or newer, whose "
            "launch arguments and recovery this needs; update franka_ros2"
        )
    if command not in PLUGINS:
        raise RuntimeError(f"command: expected one of {', '.join(PLUGINS)}, got {command!r}")
    plugin, remedy = PLUGINS[command]
    if not optional.installed(plugin):
        others = [name for name, (other, _) in PLUGINS.items() if optional.installed(other)]
        other = f", or give command:={others[0]}" if others else ""
        raise RuntimeError(
            f"command:={command} needs {plugin}, which is not installed: "
            f"{remedy or optional.debian(plugin)}{other}"
        )
    driver, _ = PLUGINS[DRIVER]
    if not optional.installed(driver):
        raise RuntimeError(
            f"robot_reset needs {driver} to drive the arm to its start, and it is not installed: "
            f"{optional.debian(driver)}"
        )
    if not is_fake and not value(context, "robot_ip"):
        raise RuntimeError(
            "robot_ip: which robot? Give its address, as in Desk: robot_ip:=172.16.0.2"
        )
    if not is_fake and value(context, "robot_type") == "fer":
        raise RuntimeError(
            "robot_type:=fer: franka_ros2 for Jazzy drives no Panda, only an FR3; fer is for fake "
            "hardware and simulation"
        )


def franka_bringup(context: LaunchContext) -> IncludeLaunchDescription:
    """franka_ros2's own launch file with our controllers."""
    arguments = {name: value(context, name) for name in FRANKA_ARGUMENTS}
    arguments["controllers_yaml"] = controllers(context)
    path = PathJoinSubstitution([FindPackageShare("franka_bringup"), "launch", "franka.launch.py"])
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path), launch_arguments=arguments.items()
    )


_kept: list[ParameterFile] = []  # the real one removes its copy when it goes


def controllers(context: LaunchContext) -> str:
    """The path of controllers.yaml, with the arm's name in it where it says $(var arm)."""
    prefix = value(context, "arm_prefix")
    arm = f"{prefix}_" if prefix else ""
    context.launch_configurations["arm"] = arm + value(context, "robot_type")
    path = value(context, "controllers_yaml") or PathJoinSubstitution(
        [FindPackageShare("sac_bringup"), "config", "controllers.yaml"]
    )
    _kept.append(ParameterFile(path, allow_substs=True))
    return str(_kept[-1].evaluate(context))


def spawner(context: LaunchContext, command: str, then: Sequence[LaunchDescriptionEntity]) -> Node:
    """Loads the motion controller and that of `robot_reset`, and leaves them inactive."""
    return Node(
        package="controller_manager",
        executable="spawner",
        namespace=value(context, "namespace"),
        arguments=[
            *(f"{name}_controller" for name in dict.fromkeys((command, DRIVER))),
            "--inactive", "--controller-manager-timeout", "30",
        ],
        output="screen",
        on_exit=when_successful(then),
    )  # fmt: skip


def robot_setup(context: LaunchContext, then: Sequence[LaunchDescriptionEntity]) -> Node:
    """Sets load and collision thresholds, and ends."""
    return Node(
        package="sac_actor",
        executable="robot_setup",
        name="robot_setup",
        namespace=value(context, "namespace"),
        output="screen",
        ros_arguments=security.enclave("robot_setup"),
        parameters=[
            _settings(context, "robot_setup"),
            *filter(None, [named_arm(context)]),  # an empty one is no parameter file
        ],
        on_exit=when_successful(then),
    )


def watchdog(context: LaunchContext, command: str, actor_id: str) -> Node:
    """Stops what nobody controls; it listens to this robot's actor."""
    learner = value(context, "learner_namespace").strip("/")
    status = f"/{learner}/sac/actor/status" if learner else "/sac/actor/status"
    return Node(
        package="sac_actor",
        executable="watchdog",
        name="sac_watchdog",
        namespace=value(context, "namespace"),
        output="screen",
        ros_arguments=security.enclave("watchdog"),
        parameters=[
            _settings(context, "watchdog"),
            {
                "robot_type": value(context, "robot_type"),
                "command": command,
                "actor_id": actor_id,
                **named_arm(context),
            },
        ],
        remappings=[("sac/actor/status", status)],
        **restarted(),
    )


def named_arm(context: LaunchContext) -> dict[str, str]:
    """The parameter for joints whose names have a prefix."""
    prefix = value(context, "arm_prefix")
    return {"arm_prefix": prefix} if prefix else {}


def robot_reset(context: LaunchContext, task: str) -> Node:
    """Begins the episodes: arm to its start, hand open, objects placed."""
    return Node(
        package="sac_actor",
        executable="robot_reset",
        name="robot_reset",
        namespace=value(context, "namespace"),
        output="screen",
        ros_arguments=security.enclave("robot_reset"),
        parameters=[
            _settings(context, "robot_reset"),
            {
                "task": task,
                "robot_type": value(context, "robot_type"),
                **given(context, {"ask_operator": (bool, "")}),
                **named_arm(context),
            },
        ],
        **restarted(),
    )


def when_successful(
    then: Sequence[LaunchDescriptionEntity],
) -> Callable[[ProcessExited, LaunchContext], list[LaunchDescriptionEntity]]:
    """What a Node's on_exit does: `then` if it ended well, else the end of the launch."""

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        if context.is_shutdown:
            return []
        if event.returncode == 0:
            return list(then)
        return [Shutdown(reason=f"{event.process_name} failed")]

    return on_exit


def _settings(context: LaunchContext, node: str) -> str:
    """The path of a node's parameter file: the one that was given, or ours."""
    share = FindPackageShare("sac_bringup").perform(context)
    return value(context, f"{node}_params_file") or f"{share}/config/{node}.yaml"
