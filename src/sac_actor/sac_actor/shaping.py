"""Jerk-limited references: where a robot should be between two actions of a policy.

A policy asks for a step ten to fifty times a second; a robot's controller wants something new every
millisecond, without a jump. A `Reference` goes from wherever it is to the newest goal and comes to
rest there, within limits of velocity, acceleration and jerk (Berscheid and Kröger, Jerk-limited
Real-time Trajectory Generation with Arbitrary Target States, 2021: ruckig). No ROS in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ruckig

from sac_envs.robots import Float64

NS = 1e-9  # s
SOLVED = (ruckig.Result.Working, ruckig.Result.Finished)


@dataclass(frozen=True)
class Limits:
    """Bounds of a reference, `(n,)` each: per s, per s² and per s³ of its coordinates."""

    velocity: Float64
    acceleration: Float64
    jerk: Float64

    def share(self, speed: float) -> Limits:
        """A share (0, 1] of velocity and acceleration; the jerk makes it no faster."""
        return Limits(speed * self.velocity, speed * self.acceleration, self.jerk)


class Plan:
    """A trajectory from `start` (ns) on; before it and after its end it stands."""

    def __init__(self, start: int, trajectory: ruckig.Trajectory) -> None:
        self.start = start
        self._trajectory = trajectory
        self._duration = trajectory.duration
        self.end = start + int(np.ceil(self._duration / NS))

    def at(self, stamp: int) -> tuple[Float64, Float64, Float64]:
        """Position, velocity and acceleration `(n,)` at a stamp."""
        seconds = min(max((stamp - self.start) * NS, 0.0), self._duration)
        position, velocity, acceleration = self._trajectory.at_time(seconds)
        return np.array(position), np.array(velocity), np.array(acceleration)

    def positions(self, step: int) -> Float64:
        """Positions `(m, n)` on the way, at most `step` ns apart, its end included."""
        seconds = np.linspace(0.0, self._duration, 2 + int(self._duration / (step * NS)))
        return np.array([self._trajectory.at_time(t)[0] for t in seconds.tolist()])


def anything(plan: Plan) -> bool:
    """No way is forbidden."""
    return True


class Reference:
    """`n` coordinates over the robot's time, without jumps in position, velocity or acceleration.

    Stamps are the robot's, in ns. Whatever plan it follows ends at rest, so that nothing goes on
    moving when no further goal comes. Between two goals of a box it stays in that box: from where
    it is, a plan brakes no farther than the plan before it would have gone.
    """

    def __init__(self, limits: Limits, position: Float64) -> None:
        size = len(position)
        self._ruckig = ruckig.Ruckig(size)
        self._input = given = ruckig.InputParameter(size)
        given.max_velocity = limits.velocity.tolist()
        given.max_acceleration = limits.acceleration.tolist()
        given.max_jerk = limits.jerk.tolist()
        # All coordinates arrive together, and on a straight line where they set out at rest.
        given.synchronization = ruckig.Synchronization.Phase
        self._rest = [0.0] * size
        self._before: Plan | None = None
        self.rest(position)

    def rest(self, position: Float64) -> None:
        """Stand at `position` `(n,)`, whatever was before."""
        self._plan: Plan | None = None
        self._stands = np.array(position, np.float64)

    @property
    def end(self) -> int:
        """Stamp from which on the reference stands; 0 if it never moved."""
        return self._plan.end if self._plan is not None else 0

    def at(self, stamp: int) -> tuple[Float64, Float64, Float64]:
        """Position, velocity and acceleration `(n,)` at a stamp."""
        plan = self._plan
        if plan is None:
            return self._stands, np.zeros(len(self._stands)), np.zeros(len(self._stands))
        if stamp < plan.start and self._before is not None:
            plan = self._before
        return plan.at(stamp)

    def aim(
        self,
        goal: Float64,
        start: int,
        position: Float64 | None = None,
        allowed: Callable[[Plan], bool] = anything,
    ) -> bool:
        """From `start` on go to `goal` `(n,)` and stand there, if the way is `allowed`; whether so.

        If not, the reference goes on as before. `position` replaces its own at `start`, for those
        who only use velocities.
        """
        given = self._input
        given.control_interface = ruckig.ControlInterface.Position
        given.target_position = goal.tolist()
        return self._follow(start, position, allowed)

    def stop(self, start: int, allowed: Callable[[Plan], bool] = anything) -> bool:
        """From `start` on come to rest as soon as the limits let it, if the way is `allowed`."""
        self._input.control_interface = ruckig.ControlInterface.Velocity
        return self._follow(start, None, allowed)

    def _follow(
        self, start: int, position: Float64 | None, allowed: Callable[[Plan], bool]
    ) -> bool:
        here, velocity, acceleration = self.at(start)
        given, trajectory = self._input, ruckig.Trajectory(len(here))
        given.current_position = (here if position is None else position).tolist()
        given.current_velocity = velocity.tolist()
        given.current_acceleration = acceleration.tolist()
        given.target_velocity = given.target_acceleration = self._rest
        # In the rare case that there is no solution the last plan goes on: it ends at rest, too.
        if self._ruckig.calculate(given, trajectory) not in SOLVED:
            return False
        plan = Plan(start, trajectory)
        if not allowed(plan):
            return False
        self._before, self._plan = self._plan, plan
        return True
