"""What the actor acts in: flat float32 observations, actions in [-1, 1].

Here the interface and any Gymnasium environment in this process; the Franka is in `franka`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from sac_actor.parameters import RobotParameters
from sac_core.specification import Specification, box, scaled_to
from sac_ros.parameters import UserError

Float32 = NDArray[np.float32]


class Step(NamedTuple):
    """What an action led to."""

    observation: Float32
    reward: float
    terminated: bool
    truncated: bool
    success: bool | None  # None: this environment knows no success


class Clips(NamedTuple):
    """Commands that a safety filter changed: how many, and how often for which reason."""

    commands: int = 0
    reasons: Mapping[str, int] = MappingProxyType({})

    def __str__(self) -> str:
        """The reasons that there were, such as "workspace 12, joint_velocity 3"."""
        return ", ".join(f"{reason} {count}" for reason, count in self.reasons.items() if count)


class EpisodeCut(Exception):
    """The episode cannot go on, and why; `last` is the step that was cut, if it can be known.

    `for_person`: nothing goes on before a person has done what the reason says.
    """

    def __init__(self, reason: str, last: Step | None = None, for_person: bool = False) -> None:
        super().__init__(reason)
        self.last = last
        self.for_person = for_person


class NoStart(EpisodeCut):
    """No episode can begin, and why."""


class Health(NamedTuple):
    """How an environment is that may fail: what it is doing about it, and how often it had to."""

    recovering: bool = False
    recoveries: int = 0  # faults that were cleared
    strikes: int = 0  # recoveries without a whole episode since


class Interrupted(Exception):
    """The actor was told to stop or pause while the environment waited for something."""


class Environment(Protocol):
    """One environment; `reset` and `step` as in Gymnasium, without the info dictionaries.

    Both may raise Interrupted; `reset` NoStart, and `step` EpisodeCut.
    """

    name: str
    observation_size: int
    action_size: int
    specification: Specification  # what the numbers of both mean
    paces_itself: bool  # whether `step` takes as long as the world does

    @property
    def stamp(self) -> int | None:
        """Time of the newest state in ns, as the robot counts it; None: there is no such time."""
        ...

    def reset(self, seed: int | None = None) -> Float32:
        """Start an episode; its first observation."""
        ...

    def step(self, action: Float32) -> Step:
        """Act with `action` `(action_size,)` in [-1, 1]."""
        ...

    def hold(self) -> None:
        """Nothing more is asked for until the next reset: whatever moves comes to rest."""
        ...

    @property
    def clips(self) -> Clips:
        """What was changed of what actions asked for."""
        ...

    @property
    def health(self) -> Health:
        """How it is."""
        ...

    def announce(self, source: int) -> None:
        """Who chooses the actions that follow (SOURCE_*), for whoever watches."""
        ...

    def demonstrator(self, random: np.random.Generator) -> Callable[[], Float32]:
        """What chooses the actions of one scripted demonstration; UserError if there is none."""
        ...

    def diagnose(self) -> dict[str, object]:
        """Values for /diagnostics."""
        ...

    def close(self) -> None:
        """Give back what the environment holds."""
        ...


class GymEnvironment:
    """A Gymnasium environment in this process.

    Observations of any Box, Dict or Tuple space are flattened to `(observation_size,) float32`.
    Actions `(action_size,)` in [-1, 1] are scaled to the bounds of the environment's Box.
    Raises UserError for an unknown id or a space that SAC cannot handle.
    """

    paces_itself = False
    stamp = None

    def __init__(self, env_id: str) -> None:
        level = gymnasium.logger.min_level
        gymnasium.logger.min_level = gymnasium.logger.ERROR  # "v4 is out of date" helps nobody here
        try:
            self._environment = gymnasium.make(env_id)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"environment {env_id!r} cannot be made: {reason}") from error
        finally:
            gymnasium.logger.min_level = level
        self.name = env_id
        action_space = self._environment.action_space
        observation_space = self._environment.observation_space
        if not isinstance(action_space, gymnasium.spaces.Box) or not action_space.is_bounded():
            raise UserError(
                f"environment {env_id!r}: expected a bounded continuous action space (Box), "
                f"got {action_space}"
            )
        if not observation_space.is_np_flattenable:
            raise UserError(
                f"environment {env_id!r}: expected an observation space that can be flattened to "
                f"a vector, got {observation_space}"
            )
        self._observation_space = observation_space
        self._action_shape = action_space.shape
        self._action_center = (action_space.high.ravel() + action_space.low.ravel()) / 2
        self._action_half_range = (action_space.high.ravel() - action_space.low.ravel()) / 2
        self.observation_size = int(gymnasium.spaces.flatdim(observation_space))
        self.action_size = int(np.prod(action_space.shape))
        flat = gymnasium.spaces.flatten_space(observation_space)
        assert isinstance(flat, gymnasium.spaces.Box)
        self.specification = Specification(
            task=env_id,
            robot_type="",
            control_rate=0.0,
            observations=box("observation", flat.low, flat.high),
            actions=scaled_to("action", action_space.low.ravel(), action_space.high.ravel()),
        )

    def _flatten(self, observation: object) -> Float32:
        flat = gymnasium.spaces.flatten(self._observation_space, observation)
        return np.asarray(flat, np.float32)

    def reset(self, seed: int | None = None) -> Float32:
        """Start an episode; its first observation."""
        observation, _info = self._environment.reset(seed=seed)
        return self._flatten(observation)

    def step(self, action: Float32) -> Step:
        """Act; UserError when the environment returns values that are not finite."""
        scaled = self._action_center + self._action_half_range * action
        scaled = scaled.reshape(self._action_shape).astype(np.float32)
        observation, reward, terminated, truncated, info = self._environment.step(scaled)
        flat, reward = self._flatten(observation), float(reward)
        if not (np.isfinite(flat).all() and np.isfinite(reward)):
            raise UserError(
                f"environment {self.name!r} returned values that are not finite: "
                f"reward {reward}, observation {flat}"
            )
        success = bool(info["is_success"]) if "is_success" in info else None
        return Step(flat, reward, bool(terminated), bool(truncated), success)

    def hold(self) -> None:
        """Time stands still between steps."""

    @property
    def health(self) -> Health:
        """Nothing can happen to it."""
        return Health()

    @property
    def clips(self) -> Clips:
        """Nothing is: the environment's own bounds are those of the action."""
        return Clips()

    def announce(self, source: int) -> None:
        """Nobody watches."""

    def demonstrator(self, random: np.random.Generator) -> Callable[[], Float32]:
        """There is none; UserError."""
        raise UserError(
            f"environment {self.name!r} has no scripted demonstrator: give a task that has one"
        )

    def diagnose(self) -> dict[str, object]:
        """Nothing to say."""
        return {}

    def close(self) -> None:
        """Give back what the environment holds."""
        self._environment.close()


def make_environment(
    node: Node,
    parameters: RobotParameters,
    env_id: str,
    go_on: Callable[[], bool],
    judged_by_person: bool = False,
) -> Environment:
    """The task on the robot's topics that `parameters` name, else Gymnasium's `env_id`.

    `judged_by_person`: neither reward nor success are asked of the task. Raises UserError for what
    does not exist or cannot be loaded.
    """
    if not parameters.task:
        if judged_by_person:
            raise UserError(
                f"reward_from 'human' is for tasks on a robot: environment {env_id!r} has a reward"
            )
        return GymEnvironment(env_id)
    try:
        from sac_actor.franka import FrankaEnvironment  # needs the robot's interface packages
    except ImportError as error:
        raise UserError(
            f"task {parameters.task!r} needs franka_msgs of franka_ros2, which cannot be loaded: "
            f"{error}"
        ) from error
    return FrankaEnvironment(node, parameters, go_on, judged_by_person)
