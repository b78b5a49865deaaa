"""Joint trajectories as joint_trajectory_controller follows them. No ROS in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sac_envs.robots import Float64

# Result codes of control_msgs/FollowJointTrajectory.
SUCCESSFUL = 0
INVALID_GOAL = -1
INVALID_JOINTS = -2
OLD_HEADER_TIMESTAMP = -3
PATH_TOLERANCE_VIOLATED = -4
GOAL_TOLERANCE_VIOLATED = -5


class Rejected(Exception):
    """A trajectory that cannot be followed: the result code and the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class Trajectory:
    """Points over time: linear between positions, cubic where velocities are given.

    `times` `(n,)` in s of simulated time, `positions` `(n, 7)`, `velocities` `(n, 7)` or None. The
    first point is where the reference was when the trajectory was accepted.
    """

    times: Float64
    positions: Float64
    velocities: Float64 | None

    @property
    def end(self) -> float:
        """Time of the last point."""
        return float(self.times[-1])

    def at(self, time: float) -> tuple[Float64, Float64]:
        """Reference position and velocity `(7,)`; at rest outside the time of the points."""
        if time >= self.times[-1]:
            return self.positions[-1], np.zeros(7)
        if time <= self.times[0]:
            return self.positions[0], np.zeros(7)
        i = int(np.searchsorted(self.times, time, side="right")) - 1
        start, duration = self.times[i], self.times[i + 1] - self.times[i]
        p0, p1 = self.positions[i], self.positions[i + 1]
        s = (time - start) / duration
        if self.velocities is None:
            slope = (p1 - p0) / duration
            return p0 + s * (p1 - p0), slope
        v0, v1 = self.velocities[i] * duration, self.velocities[i + 1] * duration
        # Hermite form of the cubic with these ends.
        a, b = 2.0 * (p0 - p1) + v0 + v1, 3.0 * (p1 - p0) - 2.0 * v0 - v1
        position = p0 + s * (v0 + s * (b + s * a))
        return position, (v0 + s * (2.0 * b + s * 3.0 * a)) / duration


def make_trajectory(
    joint_names: Sequence[str],
    names: Sequence[str],
    times: Sequence[float],
    positions: Sequence[npt.ArrayLike],
    velocities: Sequence[npt.ArrayLike] | None,
    begin: float,
    here: tuple[Float64, Float64],
) -> Trajectory:
    """Check what was asked for, and order it by the robot's `joint_names`.

    `times` are s after `begin`; `here` is the reference that it goes on from. Raises Rejected.
    """
    order = _order(joint_names, names)
    t = np.array(times, np.float64)
    if len(t) == 0:
        raise Rejected(INVALID_GOAL, "the trajectory has no points")
    if not np.isfinite(t).all() or t[0] < 0.0 or (np.diff(t) <= 0.0).any():
        raise Rejected(INVALID_GOAL, "times must be finite, not negative and strictly increasing")
    q = _matrix("positions", positions, len(t), len(names))[:, order]
    v = None
    if velocities is not None:
        v = _matrix("velocities", velocities, len(t), len(names))[:, order]
        if np.abs(v[-1]).max() > 1e-9:
            raise Rejected(INVALID_GOAL, "the last point must have velocity 0")
    if t[0] > 0.0:  # from where the reference is
        t = np.concatenate(([0.0], t))
        q = np.vstack((here[0], q))
        if v is not None:
            v = np.vstack((here[1], v))
    return Trajectory(begin + t, q, v)


def _order(joint_names: Sequence[str], names: Sequence[str]) -> list[int]:
    if len(set(names)) != len(names) or set(names) != set(joint_names):
        got = ", ".join(str(name)[:32] for name in list(names)[:9])
        raise Rejected(
            INVALID_JOINTS, f"expected each of {', '.join(joint_names)} once, got {got or 'none'}"
        )
    place = {name: index for index, name in enumerate(names)}
    return [place[name] for name in joint_names]


def _matrix(what: str, rows: Sequence[npt.ArrayLike], points: int, joints: int) -> Float64:
    if len(rows) != points or any(np.size(row) != joints for row in rows):
        raise Rejected(INVALID_GOAL, f"{what}: expected {joints} in each of {points} points")
    matrix = np.array([np.asarray(row, np.float64) for row in rows])
    if not np.isfinite(matrix).all():
        raise Rejected(INVALID_GOAL, f"{what} are not finite")
    return matrix


@dataclass
class TrajectoryGoal:
    """A goal of follow_joint_trajectory on its way; `done` once `error_code` says how it ended."""

    trajectory: Trajectory
    path_tolerance: Float64  # (7,) rad, inf = none
    goal_tolerance: Float64  # (7,) rad
    goal_time_tolerance: float  # s, 0 = unlimited
    done: bool = False
    error_code: int = SUCCESSFUL
    error_string: str = ""
    canceled: bool = field(default=False)

    def end(self, code: int, reason: str) -> None:
        """Finish with this result, unless it is finished."""
        if not self.done:
            self.done, self.error_code, self.error_string = True, code, reason

    def check(self, time: float, reference: Float64, measured: Float64) -> None:
        """Notice tolerances that are violated, and the end."""
        off = np.abs(measured - reference)
        if time < self.trajectory.end:
            if (off > self.path_tolerance).any():
                joint = int(np.argmax(off - self.path_tolerance)) + 1
                self.end(PATH_TOLERANCE_VIOLATED, f"joint {joint} is off the path")
        elif (off <= self.goal_tolerance).all():
            self.end(SUCCESSFUL, "")
        elif 0.0 < self.goal_time_tolerance < time - self.trajectory.end:
            joint = int(np.argmax(off - self.goal_tolerance)) + 1
            self.end(GOAL_TOLERANCE_VIOLATED, f"joint {joint} did not reach the goal in time")
