"""Record demonstrations, a bag each: a person's, or those of a script, in simulation or on a robot.

ros2 launch sac_bringup record_demos.launch.py task:=pick_cube num_episodes:=20
ros2 launch sac_bringup record_demos.launch.py demonstrator:=scripted save_path:=demos/scripted

It ends when there are enough. docs/demonstrations.md goes through a session step by step.
"""

import shlex
from pathlib import Path

from launch.actions import LogInfo, OpaqueFunction, SetLaunchConfiguration, Shutdown, TimerAction
from launch.events.process import ProcessExited
from launch_ros.actions import Node
from sac_bringup.actors import actor
from sac_bringup.arguments import declared, is_true, typed, value
from sac_bringup.restart import restarted
from sac_bringup.simulation import simulated_robot
from sac_bringup.teleoperation import teleoperation
from sac_bringup.viewers import configuration, rviz

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import actors, security
from sac_bringup import teleoperation as teleop

ARGUMENTS = {
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
    "sim": ("true", "Start the simulated robot; false = a robot's topics are there"),
    "speed_factor": (
        "",
        "Simulated time per time, 0 = as fast as it goes; empty = 1 for a person, 0 for a script",
    ),
    "seed": ("0", "Seed of the episodes and of the script"),
    "robot_type": ("fr3", "Arm: fr3 or fer"),
    "command": (
        "cartesian_impedance",
        "Controller: cartesian_impedance, joint_trajectory or joint_velocity",
    ),
    "rviz": ("false", "Open rviz (on a ROS host)"),
    "namespace": ("", "Namespace of the robot and all nodes"),
}
A_MINUTE = "600"  # actions at 10 Hz: people are slower than scripts
LAST_BAG = 10.0  # s after the actor's end by which the recorder has ended, too


def settled(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Arguments whose default depends on who shows it."""
    demonstrator = value(context, "demonstrator")
    if demonstrator not in ("teleop", "scripted"):
        raise RuntimeError(f"demonstrator: expected teleop or scripted, got {demonstrator!r}")
    person = demonstrator == "teleop"
    defaults = {
        "save_path": f"demos/{value(context, 'task')}",
        "speed_factor": "1.0" if person else "0.0",
        "max_episode_steps": A_MINUTE if person else "0",
    }
    chosen = {name: text for name, text in defaults.items() if not value(context, name)}
    if not person:
        chosen["teleop"] = "none"
    return [SetLaunchConfiguration(name, text) for name, text in chosen.items()]


def recording(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    namespace = value(context, "namespace").strip("/")
    wanted = {
        "robot": is_true(context, "sim"),
        "teleop": teleop.device(context) != "none",
        "rviz": is_true(context, "rviz"),
        "monitor": is_true(context, "rviz"),
    }
    enclaves = [name for name, is_wanted in wanted.items() if is_wanted]
    started = security.enforced(context, "actor", "recorder", *enclaves)
    if wanted["robot"]:
        started.append(simulated_robot(namespace, simulation(context), **restarted()))
    started += [recorder(namespace), demonstrating_actor(context, namespace)]
    started += teleoperation(context, "sac_actor", namespace, namespace)
    if wanted["rviz"]:
        started += rviz(namespace, simulated=wanted["robot"])
    return started


def simulation(context: LaunchContext) -> dict[str, object]:
    """A person's robot goes on in real time while nobody acts, as a real one does."""
    return {
        "seed": typed("seed", int),
        "motion_controller": f"{value(context, 'command')}_controller",
        "lockstep": value(context, "demonstrator") == "scripted",
    }


def demonstrating_actor(context: LaunchContext, namespace: str) -> Node:
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
    }
    return actor(context, "sac_actor", namespace, namespace, parameters, on_exit=on_exit)


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
