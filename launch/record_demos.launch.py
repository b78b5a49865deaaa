"""Record demonstrations, a bag each: a person's, or those of a script, in simulation or on a robot.

ros2 launch sac_bringup record_demos.launch.py task:=pick_cube num_episodes:=20
ros2 launch sac_bringup record_demos.launch.py demonstrator:=scripted save_path:=demos/scripted
ros2 launch sac_bringup record_demos.launch.py task:=pick_cube robot_ip:=172.16.0.2

It ends when there are enough. docs/demonstrations.md goes through a session step by step; on the
robot everything is as in franka_train.launch.py: its set-up, its safety filter, its watchdog.
"""

import shlex
from pathlib import Path

from launch.actions import LogInfo, OpaqueFunction, SetLaunchConfiguration, Shutdown, TimerAction
from launch.events.process import ProcessExited
from launch_ros.actions import Node
from sac_bringup.actors import actor, name_in
from sac_bringup.arguments import declared, is_true, typed, value
from sac_bringup.restart import restarted
from sac_bringup.robot import ARGUMENTS as OF_THE_ROBOT
from sac_bringup.robot import GUARDED, named_arm, robot
from sac_bringup.simulation import simulated_robot
from sac_bringup.teleoperation import teleoperation
from sac_bringup.viewers import configuration, rviz

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import actors, security
from sac_bringup import teleoperation as teleop

ARGUMENTS = {
    **OF_THE_ROBOT,
    "task": ("pick_cube", "Task: reach, pick_cube, pick_cube_sparse …"),
    "num_episodes": ("20", "Episodes to keep, then it ends; 0 = until it is stopped"),
    "save_path": ("", "Folder of the bags; empty = demos/<task>"),
    "demonstrator": ("teleop", "Who shows it: teleop = a person, scripted = the task's own script"),
    "teleop": ("keyboard", "How a person acts: keyboard, joy, or none = started elsewhere"),
    **teleop.ARGUMENTS,
    "instruction": ("", "What is shown, in words; goes into bags and datasets"),
    "reward_from": ("task", "Who rewards: task, or human = a person's success and failure"),
    "max_episode_steps": (
        "",
        "Actions after which an episode is truncated; empty = 600 for a person, the task's for a "
        "script",
    ),
    "sim": ("", "In simulation; empty = unless robot_ip or use_fake_hardware is given"),
    "speed_factor": (
        "",
        "Simulated time per time, 0 = as fast as it goes; empty = 1 for a person, 0 for a script",
    ),
    "seed": ("0", "Seed of the episodes and of the script"),
    "rviz": ("false", "Open rviz (on a ROS host)"),
}
A_MINUTE = "600"  # actions at 10 Hz: people are slower than scripts
LAST_BAG = 10.0  # s after the actor's end by which the recorder has ended, too


def settled(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Arguments whose default depends on who shows it."""
    demonstrator = value(context, "demonstrator")
    if demonstrator not in ("teleop", "scripted"):
        raise RuntimeError(f"demonstrator: expected teleop or scripted, got {demonstrator!r}")
    person = demonstrator == "teleop"
    on_robot = value(context, "robot_ip") != "" or is_true(context, "use_fake_hardware")
    defaults = {
        "sim": str(not on_robot).lower(),
        "save_path": f"demos/{value(context, 'task')}",
        "speed_factor": "1.0" if person else "0.0",
        "max_episode_steps": A_MINUTE if person else "0",
    }
    chosen = {name: text for name, text in defaults.items() if not value(context, name)}
    if not person:
        chosen["teleop"] = "none"
    return [SetLaunchConfiguration(name, text) for name, text in chosen.items()]


def recording(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    namespace, in_simulation = value(context, "namespace").strip("/"), is_true(context, "sim")
    shared = namespace if in_simulation else value(context, "learner_namespace").strip("/")
    name = "sac_actor" if in_simulation else name_in(namespace)
    wanted = {
        "robot": in_simulation,
        **dict.fromkeys(("watchdog", "robot_reset", "robot_setup"), not in_simulation),
        "teleop": teleop.device(context) != "none",
        "rviz": is_true(context, "rviz"),
        "monitor": is_true(context, "rviz"),
    }
    enclaves = [one for one, is_wanted in wanted.items() if is_wanted]
    started = security.enforced(context, "actor", "recorder", *enclaves)
    acting = demonstrating_actor(context, name, namespace, shared)
    if in_simulation:
        started += [simulated_robot(namespace, simulation(context), **restarted()), acting]
    else:
        task, command = value(context, "task"), value(context, "command")
        started += robot(context, task, command, name, [acting])
    started.append(recorder(namespace))
    started += teleoperation(context, name, namespace, shared)
    if wanted["rviz"]:
        started += rviz(namespace, simulated=in_simulation)
    return started


def simulation(context: LaunchContext) -> dict[str, object]:
    """A person's robot goes on in real time while nobody acts, as a real one does."""
    return {
        "seed": typed("seed", int),
        "motion_controller": f"{value(context, 'command')}_controller",
        "lockstep": value(context, "demonstrator") == "scripted",
    }


def demonstrating_actor(context: LaunchContext, name: str, namespace: str, shared: str) -> Node:
    def on_exit(
        event: ProcessExited, context: LaunchContext
    ) -> list[LaunchDescriptionEntity] | None:
        if context.is_shutdown:
            return None
        # Once it has shown enough, the recorder makes the last bag and ends the launch.
        patience = LAST_BAG if event.returncode == 0 else 0.0
        return [TimerAction(period=patience, actions=[Shutdown(reason="the actor has ended")])]

    parameters = {
        "task": value(context, "task"),
        "behaviour": value(context, "demonstrator"),
        "reward_from": typed("reward_from", str),
        "max_episode_steps": typed("max_episode_steps", int),
        "max_episodes": typed("num_episodes", int),
        "seed": typed("seed", int),
        "wait_for_recorder": True,
        **({} if is_true(context, "sim") else GUARDED),
        **named_arm(context),
    }
    return actor(context, name, namespace, shared, parameters, on_exit=on_exit)


def recorder(namespace: str) -> Node:
    def on_exit(_event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        folder = value(context, "save_path")
        cut = any(Path(folder).glob("*.recording"))
        if not cut and not any(Path(folder).glob("*/metadata.yaml")):
            return [] if context.is_shutdown else [Shutdown()]
        then = f"ros2 run sac_demos bag_to_rlds {shlex.quote(folder)} --output datasets"
        text = f"The bags are in {folder}. A dataset to learn from: {then}"
        if cut:
            text += (
                f"; before that, as one was cut: ros2 run sac_demos recover {shlex.quote(folder)}"
            )
        said = LogInfo(msg=text)
        return [said] if context.is_shutdown else [said, Shutdown()]

    return Node(
        package="sac_demos",
        executable="recorder",
        name="sac_recorder",
        namespace=namespace,
        output="screen",
        ros_arguments=security.enclave("recorder"),
        parameters=[
            configuration("recorder.yaml"),
            {
                "save_path": typed("save_path", str),
                "num_episodes": typed("num_episodes", int),
                "instruction": typed("instruction", str),
            },
        ],
        on_exit=on_exit,
    )


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *declared(ARGUMENTS),
            *actors.arguments(),
            *security.arguments(),
            OpaqueFunction(function=settled),
            OpaqueFunction(function=recording),
        ]
    )
