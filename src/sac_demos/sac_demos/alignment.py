"""Values of a topic at the ticks of a timeline: the last, the nearest, the next, or in between.

Times are integer nanoseconds, ascending; values are `(N, size)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Values = NDArray[np.float64]

MOST_TICKS = 10_000_000  # of one bag: eleven days at 10 Hz
NEVER = np.iinfo(np.int64).max  # the age of what is not there


class Aligned(NamedTuple):
    """Values at ticks, and how far from each tick what they were made of was."""

    values: Values  # (T, size); NaN where there is nothing
    ages: Times  # (T,) ns, never negative; NEVER where there is nothing


def fixed_rate(first: int, last: int, rate: float) -> Times:
    """Ticks at `rate` Hz from `first`, none after `last` (ns).

    Raises:
        ValueError: there would be more than `MOST_TICKS`.
    """
    if last < first:
        return np.zeros(0, np.int64)
    count = int((last - first) * rate / 1e9) + 2
    if count > MOST_TICKS:
        raise ValueError(
            f"{(last - first) / 1e9:.6g} s at {rate:g} Hz: expected at most {MOST_TICKS} ticks; is "
            "there a wrong stamp? time: receive does without stamps"
        )
    ticks = first + np.round(np.arange(count) * (1e9 / rate)).astype(np.int64)
    return ticks[ticks <= last]


def ticks_of(times: Times, period: int, tolerance: int) -> Times:
    """Of these times those that are due: each at least `period` ns after the one before.

    `tolerance` (ns) is how much earlier than due still counts, as it does for a live actor.
    """
    chosen: list[int] = []
    due = -(2**62)
    for time in times.tolist():
        if time >= due - tolerance:
            chosen.append(time)
            due = time + period
    return np.array(chosen, np.int64)


def hold(times: Times, values: Values, ticks: Times) -> Aligned:
    """The last value at or before each tick: what a program would have known."""
    before = np.searchsorted(times, ticks, "right") - 1
    return _pick(times, values, ticks, before)


def following(times: Times, values: Values, ticks: Times) -> Aligned:
    """The first value at or after each tick: what was answered to it."""
    after = np.searchsorted(times, ticks, "left")
    return _pick(times, values, ticks, np.where(after < len(times), after, -1))


def nearest(times: Times, values: Values, ticks: Times) -> Aligned:
    """The value nearest to each tick; of two equally near the earlier."""
    if not len(times):
        return _pick(times, values, ticks, np.full(len(ticks), -1))
    after = np.clip(np.searchsorted(times, ticks, "left"), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    is_before = np.abs(ticks - times[before]) <= np.abs(times[after] - ticks)
    return _pick(times, values, ticks, np.where(is_before, before, after))


def linear(times: Times, values: Values, ticks: Times) -> Aligned:
    """Straight lines between values; its age is the distance to the farther of the two."""
    before, after, share, ages = _around(times, ticks)
    mixed = values[before] + share[:, None] * (values[after] - values[before])
    return _where_known(mixed, ages)


def spherical(times: Times, values: Values, ticks: Times) -> Aligned:
    """Great circles between unit quaternions `(x, y, z, w)` (Shoemake 1985), the short way."""
    before, after, share, ages = _around(times, ticks)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(norms > 0.0, norms, np.nan)
    a, b = unit[before], unit[after]
    cosine = (a * b).sum(axis=1)
    b = np.where(cosine[:, None] < 0.0, -b, b)
    angle = np.arccos(np.clip(np.abs(cosine), 0.0, 1.0))
    sine = np.sin(angle)
    is_small = sine < 1e-6
    with np.errstate(invalid="ignore", divide="ignore"):
        weight_a = np.where(is_small, 1.0 - share, np.sin((1.0 - share) * angle) / sine)
        weight_b = np.where(is_small, share, np.sin(share * angle) / sine)
    mixed = weight_a[:, None] * a + weight_b[:, None] * b
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return _where_known(mixed, ages)


INTERPOLATIONS: dict[str, Callable[[Times, Values, Times], Aligned]] = {
    "hold": hold,
    "nearest": nearest,
    "next": following,
    "linear": linear,
    "spherical": spherical,
}


def rotation_between(a: Values, b: Values) -> Values:
    """The rotations that lead from `a` to `b`, unit quaternions `(N, 4)`, as vectors `(N, 3)`, rad.

    In the frame in which both are given, the short way.
    """
    vector, scalar = -a[:, :3], a[:, 3:]
    w = b[:, 3:] * scalar - (b[:, :3] * vector).sum(axis=1, keepdims=True)
    xyz = b[:, 3:] * vector + scalar * b[:, :3] + np.cross(b[:, :3], vector)
    xyz = np.where(w < 0.0, -xyz, xyz)
    sine = np.linalg.norm(xyz, axis=1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, np.abs(w))
    return xyz * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)


def _pick(times: Times, values: Values, ticks: Times, index: NDArray[np.int64]) -> Aligned:
    """The values with these numbers; nothing where the number is negative."""
    if not len(times):
        return Aligned(
            np.full((len(ticks), values.shape[1]), np.nan), np.full(len(ticks), NEVER, np.int64)
        )
    there = index >= 0
    ages = np.where(there, np.abs(ticks - times[index]), NEVER)
    return _where_known(values[index], ages)


def _around(
    times: Times, ticks: Times
) -> tuple[NDArray[np.int64], NDArray[np.int64], Values, Times]:
    """Values before and after each tick, the share of the latter, and the age of both."""
    if not len(times):
        raise ValueError("nothing to interpolate between")
    right = np.searchsorted(times, ticks, "left")
    after = np.clip(right, 0, len(times) - 1)
    exact = times[after] == ticks
    before = np.where(exact, after, np.maximum(right - 1, 0))
    span = times[after] - times[before]
    share = np.where(span > 0, (ticks - times[before]) / np.maximum(span, 1), 0.0)
    outside = (ticks < times[0]) | (ticks > times[-1])
    ages = np.maximum(np.abs(ticks - times[before]), np.abs(times[after] - ticks))
    return before, after, np.clip(share, 0.0, 1.0), np.where(outside, NEVER, ages)


def _where_known(values: Values, ages: Times) -> Aligned:
    return Aligned(np.where((ages != NEVER)[:, None], values, np.nan), ages)
