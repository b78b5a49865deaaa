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
    """Points over time, joined by the splines of ros2_controllers.

    Linear between positions, cubic where there are velocities, quintic with accelerations as well.
    `times` `(n,)` in s of simulated time; positions, velocities and accelerations `(n, 7)`, the
    latter two or None.
    """

    def __init__(
        self,
        times: Float64,
        positions: Float64,
        velocities: Float64 | None = None,
        accelerations: Float64 | None = None,
    ) -> None:
        self.end = float(times[-1])  # time of the last point
        self._times = times.tolist()
        self._first, self._last = positions[0].copy(), positions[-1].copy()
        durations = np.diff(times)[:, np.newaxis]
        coefficients = _coefficients(durations, positions, velocities, accelerations)
        slopes = [power * coefficients[power] / durations for power in range(1, 6)]
        bends = [power * slopes[power] / durations for power in range(1, 5)]
        zero = np.zeros_like(coefficients[0])
        # (n - 1, 6, 21): coefficients of positions, velocities and accelerations, over the share of
        # a segment that has passed. One product evaluates them, at every physics step.
        rows = zip(coefficients, [*slopes, zero], [*bends, zero, zero], strict=True)
        self._segments = np.stack([np.hstack(row) for row in rows], axis=1)
        self._powers = np.ones(6)

    def at(self, time: float) -> tuple[Float64, Float64, Float64]:
        """Reference position, velocity and acceleration `(7,)`; at rest outside the points."""
        if time >= self.end:
            return self._last, np.zeros(7), np.zeros(7)
        i = bisect_right(self._times, time) - 1
        if i < 0:
            return self._first, np.zeros(7), np.zeros(7)
        start = self._times[i]
        s = (time - start) / (self._times[i + 1] - start)
        powers = self._powers
        square = s * s
        powers[1] = s
        powers[2] = square
        powers[3] = square * s
        powers[4] = square * square
        powers[5] = square * square * s
        values = powers @ self._segments[i]
        return values[:7], values[7:14], values[14:]


def _coefficients(
    durations: Float64,
    positions: Float64,
    velocities: Float64 | None,
    accelerations: Float64 | None,
) -> list[Float64]:
    """Six of each segment, `(n - 1, 7)`: of the powers 0 to 5 of the share that has passed."""
    start, way = positions[:-1], np.diff(positions, axis=0)
    zero = np.zeros_like(way)
    if velocities is None:
        return [start, way, zero, zero, zero, zero]
    v0, v1 = velocities[:-1] * durations, velocities[1:] * durations
    if accelerations is None:
        return [start, v0, 3.0 * way - 2.0 * v0 - v1, v0 + v1 - 2.0 * way, zero, zero]
    a0, a1 = accelerations[:-1] * durations**2, accelerations[1:] * durations**2
    return [
        start,
        v0,
        a0 / 2.0,
        10.0 * way - 6.0 * v0 - 4.0 * v1 - 1.5 * a0 + 0.5 * a1,
        -15.0 * way + 8.0 * v0 + 7.0 * v1 + 1.5 * a0 - a1,
        6.0 * way - 3.0 * (v0 + v1) - 0.5 * (a0 - a1),
    ]


@dataclass(frozen=True)
class Reference:
    """Where the joints should be at an instant: a trajectory goes on from there."""

    time: float  # s of simulated time
    position: Float64  # (7,) rad
    velocity: Float64  # (7,) rad/s
    acceleration: Float64  # (7,) rad/s²


def make_trajectory(
    joint_names: Sequence[str],
    names: Sequence[str],
    times: Sequence[float],
    positions: Sequence[npt.ArrayLike],
    velocities: Sequence[npt.ArrayLike] | None,
    accelerations: Sequence[npt.ArrayLike] | None,
    start: float | None,
    here: Reference,
) -> Trajectory:
    """Check what was asked for, and order it by the robot's `joint_names`.

    `times` are s after `start`, which is now if None. Before the first point the way leads there
    from `here`. Accelerations count where there are velocities. Raises Rejected.
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
    a = None
    if accelerations is not None and v is not None:
        a = _matrix("accelerations", accelerations, len(t), len(names))[:, order]
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
        if a is not None:
            a = np.vstack((here.acceleration, a))
    return Trajectory(t, q, v, a)


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
