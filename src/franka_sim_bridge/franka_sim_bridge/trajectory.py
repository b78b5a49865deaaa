"""Joint trajectories as joint_trajectory_controller follows them. No ROS in here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

STOPPED = 0.01  # rad/s, below which a joint stands (stopped_velocity_tolerance, its default)


class Rejected(Exception):
    """A trajectory that cannot be followed: the result code and the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Trajectory:
    """Points over time: linear between positions, cubic where velocities are given.

    `times` `(n,)` in s of simulated time, `positions` `(n, 7)`, `velocities` `(n, 7)` or None.
    """

    def __init__(self, times: Float64, positions: Float64, velocities: Float64 | None) -> None:
        self.end = float(times[-1])  # time of the last point
        self._times = times.tolist()
        self._first, self._last = positions[0].copy(), positions[-1].copy()
        durations = np.diff(times)[:, np.newaxis]
        start, way = positions[:-1], np.diff(positions, axis=0)
        zero = np.zeros_like(way)
        if velocities is None:
            cubic = [start, way, zero, zero]
        else:
            v0, v1 = velocities[:-1] * durations, velocities[1:] * durations
            cubic = [start, v0, 3.0 * way - 2.0 * v0 - v1, v0 + v1 - 2.0 * way]
        derivative = [
            cubic[1] / durations,
            2 * cubic[2] / durations,
            3 * cubic[3] / durations,
            zero,
        ]
        # (n - 1, 4, 14): coefficients of positions and of velocities, over the share of a segment
        # that has passed. One product evaluates them, at every physics step.
        segments = [np.hstack(pair) for pair in zip(cubic, derivative, strict=True)]
        self._segments = np.stack(segments, axis=1)
        self._powers = np.ones(4)

    def at(self, time: float) -> tuple[Float64, Float64]:
        """Reference position and velocity `(7,)`; at rest outside the time of the points."""
        if time >= self.end:
            return self._last, np.zeros(7)
        i = bisect_right(self._times, time) - 1
        if i < 0:
            return self._first, np.zeros(7)
        start = self._times[i]
        s = (time - start) / (self._times[i + 1] - start)
        powers = self._powers
        powers[1] = s
        powers[2] = s * s
        powers[3] = s * s * s
        both = powers @ self._segments[i]
        return both[:7], both[7:]


@dataclass(frozen=True)
class Reference:
    """Where the joints should be at an instant: a trajectory goes on from there."""

    time: float  # s of simulated time
    position: Float64  # (7,) rad
    velocity: Float64  # (7,) rad/s


def make_trajectory(
    joint_names: Sequence[str],
    names: Sequence[str],
    times: Sequence[float],
    positions: Sequence[npt.ArrayLike],
    velocities: Sequence[npt.ArrayLike] | None,
    start: float | None,
    here: Reference,
) -> Trajectory:
    """Check what was asked for, and order it by the robot's `joint_names`.

    `times` are s after `start`, which is now if None. Before the first point the way leads there
    from `here`. Raises Rejected.
    """
    order = _order(joint_names, names)
    t = np.array(times, np.float64)
    if t.ndim != 1 or len(t) == 0:
        raise Rejected(INVALID_GOAL, "the trajectory has no points")
    if not np.isfinite(t).all() or t[0] < 0.0 or (np.diff(t) <= 0.0).any():
        raise Rejected(INVALID_GOAL, "times must be finite, not negative and strictly increasing")
    if start is not None and not np.isfinite(start):
        raise Rejected(INVALID_GOAL, "the start time is not finite")
    q = _matrix("positions", positions, len(t), len(names))[:, order]
    v = None
    if velocities is not None:
        v = _matrix("velocities", velocities, len(t), len(names))[:, order]
        if np.abs(v[-1]).max() > 1e-9:
            raise Rejected(INVALID_GOAL, "the last point must have velocity 0")
    t += here.time if start is None else start
    if t[-1] < here.time:
        raise Rejected(
            OLD_HEADER_TIMESTAMP,
            f"it ends at {t[-1]:.3f} s, which is before now, {here.time:.3f} s",
        )
    if t[0] > here.time:
        t = np.concatenate(([here.time], t))
        q = np.vstack((here.position, q))
        if v is not None:
            v = np.vstack((here.velocity, v))
    return Trajectory(t, q, v)


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


class TrajectoryGoal:
    """A goal of follow_joint_trajectory; once `done`, `error_code` and `error_string` say how.

    A goal that was rejected is done from the beginning. Tolerances are `(7,)` in rad, inf for none;
    `goal_time_tolerance` is in s after the end, 0 for unlimited. `hold` stops the robot.
    """

    def __init__(
        self,
        path_tolerance: npt.ArrayLike,
        goal_tolerance: npt.ArrayLike,
        goal_time_tolerance: float,
        hold: Callable[[], None],
    ) -> None:
        self.path_tolerance = np.broadcast_to(np.asarray(path_tolerance, np.float64), 7)
        self.goal_tolerance = np.broadcast_to(np.asarray(goal_tolerance, np.float64), 7)
        self.goal_time_tolerance = goal_time_tolerance
        self.done = False
        self.canceled = False
        self.error_code = SUCCESSFUL
        self.error_string = ""
        self._hold = hold

    def end(self, code: int, reason: str) -> None:
        """Finish with this result, unless it is finished."""
        if not self.done:
            self.done, self.error_code, self.error_string = True, code, reason

    def cancel(self) -> None:
        """Give up; the robot holds where it is."""
        if not self.done:
            self.canceled = True
            self.end(INVALID_GOAL, "canceled")
            self._hold()

    def check(self, late: float, reference: Float64, q: Float64, dq: Float64) -> None:
        """Notice violated tolerances and the end, `late` s after the last point.

        Takes the joints' reference, positions and velocities, `(7,)`.
        """
        off = np.abs(q - reference)
        if late < 0.0:
            if (off > self.path_tolerance).any():
                joint = int(np.argmax(off - self.path_tolerance)) + 1
                self._violate(PATH_TOLERANCE_VIOLATED, f"joint {joint} is off the path")
        elif (off <= self.goal_tolerance).all() and (np.abs(dq) <= STOPPED).all():
            self.end(SUCCESSFUL, "")
        elif 0.0 < self.goal_time_tolerance < late:
            joint = int(np.argmax(off - self.goal_tolerance)) + 1
            reason = f"joint {joint} did not come to rest at the goal in time"
            self._violate(GOAL_TOLERANCE_VIOLATED, reason)

    def _violate(self, code: int, reason: str) -> None:
        self.end(code, reason)
        self._hold()
