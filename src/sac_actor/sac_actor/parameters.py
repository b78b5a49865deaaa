"""Parameters that every node of this package with an environment has."""

from __future__ import annotations

from dataclasses import dataclass

from sac_envs.robots import ROBOTS
from sac_ros.parameters import NodeParameters, parameter

RECOVERY_MODES = ("automatic", "acknowledge", "manual")


@dataclass(frozen=True)
class RobotParameters(NodeParameters):
    """What the environment is, and how the robot is spoken to when it is one."""

    env_id: str = parameter("HalfCheetah-v4", "Gymnasium environment, when no task is given")
    task: str = parameter("", "Task on the robot's topics; empty = env_id in this process")
    robot_type: str = parameter("fr3", "Arm behind the topics", choices=tuple(ROBOTS))
    command: str = parameter(
        "cartesian_impedance",
        "Motion controller that is spoken to",
        choices=("cartesian_impedance", "joint_trajectory", "joint_velocity"),
    )
    stream_rate: float = parameter(
        500.0,
        "Commands per second between two ticks, where the robot's time goes on by itself and its "
        "controller wants them (cartesian_impedance, joint_velocity)",
        minimum=20.0,
        maximum=1000.0,
    )
    arm_prefix: str = parameter("", "Before the names of the arm's joints, with an underscore")
    recovery: str = parameter(
        "acknowledge",
        "After a fault: recover at once, when a person agrees, or leave it to a person",
        choices=RECOVERY_MODES,
    )
    max_strikes: int = parameter(
        3,
        "Recoveries without a whole episode since after which a person is asked in any case",
        minimum=1,
    )
    watchdog_timeout: float = parameter(
        0.0, "s that the watchdog's status may be old, 0 = none is needed", minimum=0.0
    )
    reset_timeout: float = parameter(
        400.0,
        "s until an episode's start must be there, with all motions and what an operator does",
        minimum=1.0,
    )
    state_timeout: float = parameter(
        1.0, "s without a joint state after which the episode is stopped", minimum=0.05
    )
    object_max_age: float = parameter(
        0.3, "s that the pose of an object may be old when it is used", minimum=0.01
    )
    workspace_low: tuple[float, ...] = parameter(
        (-1.0, -1.0, -1.0),
        "m; lower corner of the box that the tool stays in, in the robot's base frame; the task's "
        "own box is made smaller by it, never larger",
    )
    workspace_high: tuple[float, ...] = parameter((1.0, 1.0, 1.0), "m; upper corner of that box")
    speed_share: float = parameter(
        1.0,
        "Share of the conservative joint velocities and of the accelerations that commands may use",
        minimum=0.05,
        maximum=1.0,
    )
    max_force: float = parameter(
        -1.0, "N of the external wrench above which the tool stays where it is, negative = no limit"
    )
    max_torque: float = parameter(
        -1.0, "N m of the external wrench above which the tool stays, negative = no limit"
    )
    max_episode_steps: int = parameter(
        0, "Actions after which an episode of a task is truncated, 0 = as the task says", minimum=0
    )
