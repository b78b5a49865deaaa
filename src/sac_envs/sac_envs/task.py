"""What a task is: observation, action, reward, success and start; not where the robot comes from.

The same object serves the in-process Gymnasium environment and the ROS actor on a robot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sac_envs.demonstration import Demonstrator
from sac_envs.kinematics import TOOL_DOWN, inverse
from sac_envs.robots import HAND, HOME, ROBOTS, Float64

Float32 = NDArray[np.float32]
OPEN = HAND.width_max


@dataclass(frozen=True)
class Pose:
    """Position `(3,)` in m and unit quaternion `(x, y, z, w)`, in the robot's base frame."""

    position: Float64
    quaternion: Float64 = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))


@dataclass(frozen=True)
class Box:
    """A box that a task needs: size `(x, y, z)` in m, mass in kg, where it is without a start."""

    name: str
    size: tuple[float, float, float]
    mass: float
    position: tuple[float, float, float]
    color: tuple[float, float, float, float] = (0.85, 0.25, 0.2, 1.0)


@dataclass(frozen=True)
class RobotState:
    """What is known of robot and objects at one instant, from wherever it comes."""

    time: float  # s
    tool_position: Float64  # (3,) m
    tool_rotation: Float64  # (3, 3)
    tool_velocity: Float64  # (6,) m/s and rad/s
    gripper_width: float  # m
    gripper_closed: bool  # what was commanded last
    objects: Mapping[str, Pose]


@dataclass(frozen=True)
class Command:
    """What an action asks of the robot: a pose of the tool, and whether the gripper is closed."""

    position: Float64  # (3,) m
    rotation: Float64  # (3, 3)
    close_gripper: bool


@dataclass(frozen=True)
class Start:
    """How an episode begins: where the tool is, how far the gripper is open, where objects are."""

    tool_position: Float64
    tool_rotation: Float64
    gripper_width: float
    objects: Mapping[str, Pose]


@dataclass(frozen=True)
class Component:
    """One number of an observation or an action: (quantity − offset) / scale, within bounds."""

    name: str
    unit: str  # of the quantity, of scale and of offset
    low: float
    high: float
    scale: float = 1.0
    offset: float = 0.0


def vector(
    name: str,
    unit: str,
    bound: float = float("inf"),
    scale: float = 1.0,
    offset: Sequence[float] | Float64 = (0.0, 0.0, 0.0),
    axes: str = "xyz",
) -> tuple[Component, ...]:
    """The components of a vector, `name_x` …, each between −`bound` and `bound`."""
    return tuple(
        Component(f"{name}_{axis}", unit, -bound, bound, scale, float(middle))
        for axis, middle in zip(axes, offset, strict=False)
    )


class Task:
    """Base of all tasks: a Cartesian action, a workspace, an episode of fixed length.

    ### Action
    | index | name | unit | bounds |
    |---|---|---|---|
    | 0-2 | tool displacement x, y, z from the measured position | `action_scale` m | -1 .. 1 |
    | 3 | gripper: closes above 0.5, opens below -0.5, else stays | | -1 .. 1 |

    The tool keeps pointing down. The target is clipped to the workspace.
    """

    name: str
    objects: tuple[Box, ...] = ()
    goals: tuple[str, ...] = ()  # poses without a body that an episode's start fixes
    uses_gripper = True
    gripper_dwell = 0.3  # s between two changes of the gripper, at least
    open_width = HAND.width_max  # m
    control_rate = 10.0  # Hz, actions per second
    max_episode_steps = 40
    action_scale = 0.05  # m
    # Of the tool, m. All of it is within the conservative joint box with the tool pointing down.
    workspace_low: Float64 = np.array([0.40, -0.30, 0.01])
    workspace_high: Float64 = np.array([0.66, 0.30, 0.42])
    rotation: Float64 = TOOL_DOWN
    home: tuple[float, ...] = HOME

    @property
    def actions(self) -> tuple[Component, ...]:
        """The numbers of an action, in order."""
        motion = vector("displacement", "m", 1.0, scale=self.action_scale)
        return motion + ((Component("gripper", "", -1.0, 1.0),) if self.uses_gripper else ())

    @property
    def observations(self) -> tuple[Component, ...]:
        """The numbers of an observation, in order."""
        raise NotImplementedError

    @property
    def observation_size(self) -> int:
        return len(self.observations)

    @property
    def action_size(self) -> int:
        return len(self.actions)

    def start(self, random: np.random.Generator) -> Start:
        """Draw the beginning of an episode."""
        raise NotImplementedError

    def observe(self, state: RobotState) -> Float32:
        """Observation `(observation_size,)`."""
        raise NotImplementedError

    def reward(self, state: RobotState) -> float:
        """Reward for having reached `state`."""
        raise NotImplementedError

    def success(self, state: RobotState) -> bool:
        """Whether the task is done: the episode terminates."""
        raise NotImplementedError

    def demonstrator(self, random: np.random.Generator) -> Demonstrator:
        """Somebody who does the task once; `random` makes no two alike.

        Raises ValueError where nobody has written one.
        """
        raise ValueError(f"task {self.name} has no scripted demonstrator")

    def command(self, state: RobotState, action: Float32) -> Command:
        """What `action` `(action_size,)` in [-1, 1] asks for, seen from `state`."""
        target = state.tool_position + self.action_scale * np.asarray(action[:3], np.float64)
        close = state.gripper_closed
        if self.uses_gripper:
            close = bool(action[3] > 0.5) or (close and not action[3] < -0.5)
        return Command(
            np.clip(target, self.workspace_low, self.workspace_high), self.rotation, close
        )


def start_positions(task: Task, start: Start, robot_type: str) -> Float64:
    """Joint positions `(7,)` that bring the tool to a start pose; ValueError when out of reach."""
    robot = ROBOTS[robot_type]
    q, error = inverse(robot, start.tool_position, start.tool_rotation, np.array(HOME))
    if error > 0.01:
        raise ValueError(
            f"task {task.name}: its start at {start.tool_position} is out of the robot's reach"
        )
    return q


class Gripping:
    """Turns "closed or open" into motions of the hand, only when it changes and not too often.

    `dwell` is the least time between two changes, in s: a hand that reverses in the middle of a
    motion helps nobody, and on the robot every motion takes its time.
    """

    def __init__(self, dwell: float) -> None:
        self.dwell = dwell
        self.closed = False
        self._since = -float("inf")

    def reset(self, closed: bool, now: float) -> None:
        """Begin an episode with the gripper as it is."""
        self.closed, self._since = closed, now - self.dwell

    def decide(self, close: bool, now: float) -> bool:
        """Whether the hand has to move now; `closed` says which way."""
        if close == self.closed or now - self._since < self.dwell - 1e-9:
            return False
        self.closed, self._since = close, now
        return True
