"""Scripted demonstrations: what they share. How each task is done is in the task's own file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from sac_envs.robots import Float64

if TYPE_CHECKING:
    from sac_envs.task import Float32, RobotState


class Demonstrator(Protocol):
    """Does a task once: made anew for every episode, it acts from what is known of the robot."""

    def act(self, state: RobotState) -> Float32:
        """The action `(action_size,)` in [-1, 1] at `state`."""
        ...


class Hand:
    """Moves the tool as a hand does: at a speed of its own, and never quite straight.

    No two people show a task alike, and a policy learns from the difference what matters.
    """

    SLOWEST = 0.5  # of the largest action
    UNSTEADIEST = 0.08  # standard deviation of an action's noise

    def __init__(self, random: np.random.Generator, action_scale: float) -> None:
        self._random = random
        self._scale = action_scale
        self._speed = float(random.uniform(self.SLOWEST, 1.0))
        self._noise = float(random.uniform(0.0, self.UNSTEADIEST))

    def towards(self, target: Float64, position: Float64) -> Float64:
        """Displacement `(3,)` in [-1, 1] from `position` on the way to `target`, both in m."""
        way = (target - position) / self._scale
        fastest = float(np.abs(way).max())
        if fastest > self._speed:
            way *= self._speed / fastest
        return np.clip(way + self._random.normal(0.0, self._noise, 3), -1.0, 1.0)
