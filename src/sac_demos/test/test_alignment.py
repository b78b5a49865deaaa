"""Alignment of topics to a timeline, against trajectories that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sac_demos.alignment import (
    INTERPOLATIONS,
    NEVER,
    Values,
    fixed_rate,
    hold,
    linear,
    nearest,
    rotation_between,
    spherical,
    ticks_of,
)

MS = 1_000_000


def position(times: NDArray[np.int64]) -> Values:
    """A smooth path: (N, 2)."""
    seconds = times / 1e9
    return np.stack((np.sin(2.0 * seconds), np.cos(3.0 * seconds)), axis=1)


def turned(times: NDArray[np.int64], rate: float = 1.3) -> Values:
    """A turn about one axis at `rate` rad/s, as quaternions (x, y, z, w)."""
    half = rate * times / 1e9 / 2.0
    axis = np.array([1.0, 2.0, -2.0]) / 3.0
    return np.concatenate((np.sin(half)[:, None] * axis, np.cos(half)[:, None]), axis=1)


def irregular(seed: int, count: int = 400) -> NDArray[np.int64]:
    """Times some 10 ms apart, never the same distance."""
    return np.cumsum(np.random.default_rng(seed).integers(5 * MS, 15 * MS, count))


def test_lines_between_samples_follow_a_smooth_path() -> None:
    times = irregular(0)
    ticks = fixed_rate(int(times[0]), int(times[-1]), 20.0)
    found = linear(times, position(times), ticks)
    # The error of linear interpolation: at most h² / 8 times the largest second derivative.
    assert np.abs(found.values - position(ticks)).max() <= 0.015**2 / 8 * 9.0
    assert (found.ages <= 15 * MS).all()


def test_great_circles_follow_a_steady_turn_exactly() -> None:
    times = irregular(1)
    values = turned(times)
    values[::3] *= -1.0  # the same rotation, told with the other sign
    ticks = fixed_rate(int(times[0]), int(times[-1]), 33.0)
    found = spherical(times, values * 1.01, ticks)
    same = np.abs((found.values * turned(ticks)).sum(axis=1))
    np.testing.assert_allclose(same, 1.0, atol=1e-12)


def test_holding_gives_what_was_known_at_each_tick() -> None:
    times = irregular(2)
    ticks = fixed_rate(int(times[0]), int(times[-1]), 50.0)
    found = hold(times, position(times), ticks)
    for tick, values, age in zip(ticks, found.values, found.ages, strict=True):
        last = times[times <= tick][-1]
        assert age == tick - last
        np.testing.assert_array_equal(values, position(np.array([last]))[0])


@settings(max_examples=200, deadline=None)
@given(
    times=st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True).map(sorted),
    ticks=st.lists(st.integers(-(10**5), 11 * 10**5), min_size=1, max_size=20).map(sorted),
    name=st.sampled_from(sorted(INTERPOLATIONS)),
)
def test_every_interpolation_gives_the_sample_itself_at_its_time_and_nothing_from_nowhere(
    times: list[int], ticks: list[int], name: str
) -> None:
    samples = np.array(times)
    values = turned(samples * 1000)
    exact = INTERPOLATIONS[name](samples, values, samples)
    np.testing.assert_allclose(exact.values, values, atol=1e-9)
    assert (exact.ages == 0).all()
    found = INTERPOLATIONS[name](samples, values, np.array(ticks))
    for tick, row, age in zip(ticks, found.values, found.ages, strict=True):
        known = {
            "hold": tick >= times[0],
            "next": tick <= times[-1],
            "nearest": True,
        }.get(name, times[0] <= tick <= times[-1])
        assert (age != NEVER) == known == np.isfinite(row).all()
        assert age >= 0


def test_the_nearest_is_never_farther_than_any_other() -> None:
    times = irregular(3)
    ticks = np.sort(np.random.default_rng(3).integers(0, times[-1], 500))
    found = nearest(times, position(times), ticks)
    assert (found.ages == np.abs(times[None, :] - ticks[:, None]).min(axis=1)).all()


@pytest.mark.parametrize("name", ["hold", "next", "nearest"])
def test_without_samples_there_is_nothing(name: str) -> None:
    found = INTERPOLATIONS[name](np.zeros(0, np.int64), np.zeros((0, 2)), np.arange(3))
    assert np.isnan(found.values).all() and (found.ages == NEVER).all()


def test_a_fixed_rate_has_no_drift() -> None:
    ticks = fixed_rate(5, 5 + 3_600 * 10**9, 30.0)
    assert len(ticks) == 3_600 * 30 + 1
    assert ticks[-1] == 5 + 3_600 * 10**9


def test_ticks_of_a_topic_are_due_as_for_a_live_actor() -> None:
    times = np.arange(0, 1000, 10) * MS + 300  # 100 Hz
    assert (np.diff(ticks_of(times, 100 * MS, MS)) == 100 * MS).all()
    late = np.array([0, 99, 100, 350, 400, 449, 450]) * MS
    assert (ticks_of(late, 100 * MS, MS) == np.array([0, 99, 350, 449]) * MS).all()


def test_rotations_between_quaternions_are_vectors_the_short_way() -> None:
    times = np.arange(0, 50) * 20 * MS
    found = rotation_between(turned(times[:-1]), -turned(times[1:]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.3 * 0.02, atol=1e-12)
    np.testing.assert_allclose(found[0], 1.3 * 0.02 * np.array([1.0, 2.0, -2.0]) / 3.0, atol=1e-12)
