"""References: no jump, no limit exceeded, nothing outside the box of the goals, rest at the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sac_actor.shaping import Limits, Reference
from sac_envs.robots import FR3, Float64

MILLISECOND = 1_000_000  # ns
SECOND = 1_000_000_000
LIMITS = Limits(FR3.conservative_velocity, 0.6 * FR3.acceleration_max, 0.1 * FR3.jerk_max)
BOX = 0.4  # rad

goals = st.one_of(
    arrays(np.float64, 7, elements=st.floats(-BOX, BOX)),
    arrays(np.float64, 7, elements=st.sampled_from([-BOX, 0.0, BOX])),
)
gaps = st.sampled_from([1, 5, 20, 50, 100, 333])  # ms between two goals


def sample(reference: Reference, begin: int, end: int) -> tuple[Float64, Float64, Float64]:
    """Positions, velocities and accelerations `(n, 7)`, a row each millisecond."""
    rows = [reference.at(stamp) for stamp in range(begin, end, MILLISECOND)]
    return tuple(np.array(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(goals, gaps), min_size=1, max_size=8))
def test_whatever_goals_come_when_the_limits_hold_and_the_box_is_not_left(
    sequence: list[tuple[Float64, int]],
) -> None:
    reference = Reference(LIMITS, np.zeros(7))
    now, parts = 0, []
    for goal, gap in sequence:
        assert reference.aim(goal, now)
        parts.append(sample(reference, now, now + gap * MILLISECOND))
        now += gap * MILLISECOND
    parts.append(sample(reference, now, max(reference.end, now) + 5 * MILLISECOND))
    position, velocity, acceleration = (np.vstack(column) for column in zip(*parts, strict=True))
    assert (np.abs(position) <= BOX + 1e-6).all()
    assert (np.abs(velocity) <= LIMITS.velocity + 1e-6).all()
    assert (np.abs(acceleration) <= LIMITS.acceleration + 1e-6).all()
    # Over a millisecond, from one goal to the next as well.
    assert (np.abs(np.diff(acceleration, axis=0)) * 1e3 <= LIMITS.jerk + 1e-3).all()
    assert (np.abs(np.diff(velocity, axis=0)) * 1e3 <= LIMITS.acceleration + 1e-3).all()
    assert (np.abs(np.diff(position, axis=0)) * 1e3 <= LIMITS.velocity + 1e-3).all()
    # No further goal: it stands at the last one.
    np.testing.assert_allclose(position[-1], sequence[-1][0], atol=1e-6)
    np.testing.assert_allclose(velocity[-1], np.zeros(7), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(goals, goals, st.integers(0, 400))
def test_a_stop_is_short_and_does_not_leave_the_box(
    first: Float64, second: Float64, after: int
) -> None:
    reference = Reference(LIMITS, np.zeros(7))
    reference.aim(first, 0)
    reference.aim(second, 100 * MILLISECOND)
    begin = (100 + after) * MILLISECOND
    end = reference.end
    assert reference.stop(begin)
    assert reference.end <= max(end, begin) + MILLISECOND
    position, _, acceleration = sample(reference, begin, reference.end + 2 * MILLISECOND)
    assert (np.abs(position) <= BOX + 1e-6).all()
    assert (np.abs(acceleration) <= LIMITS.acceleration + 1e-6).all()
    np.testing.assert_allclose(reference.at(reference.end + SECOND)[1], np.zeros(7), atol=1e-9)


def test_from_rest_all_coordinates_are_on_a_straight_line() -> None:
    goal = np.array([0.3, -0.2, 0.1, 0.05, -0.3, 0.2, 0.15])
    reference = Reference(LIMITS, np.zeros(7))
    reference.aim(goal, 0)
    position, _, _ = sample(reference, 0, reference.end)
    shares = position[1:] / goal
    np.testing.assert_allclose(shares, np.repeat(shares[:, :1], 7, axis=1), atol=1e-9)


def test_a_way_that_is_not_allowed_is_not_taken_and_the_last_one_goes_on() -> None:
    reference = Reference(LIMITS, np.zeros(7))
    reference.aim(np.full(7, 0.2), 0)
    assert not reference.aim(np.full(7, -0.2), 50 * MILLISECOND, allowed=lambda plan: False)
    assert not reference.stop(50 * MILLISECOND, allowed=lambda plan: False)
    np.testing.assert_allclose(reference.at(reference.end)[0], np.full(7, 0.2), atol=1e-9)


def test_before_a_plan_begins_the_one_before_it_still_holds() -> None:
    reference = Reference(LIMITS, np.zeros(7))
    reference.aim(np.full(7, 0.2), 0)
    before = [reference.at(stamp * MILLISECOND)[0] for stamp in range(100)]
    reference.aim(np.full(7, -0.2), 100 * MILLISECOND)
    after = [reference.at(stamp * MILLISECOND)[0] for stamp in range(100)]
    np.testing.assert_array_equal(before, after)


def test_a_position_that_is_corrected_moves_the_reference_and_not_its_velocity() -> None:
    reference = Reference(LIMITS, np.zeros(7))
    reference.aim(np.full(7, 0.3), 0)
    now = 80 * MILLISECOND
    _, velocity, acceleration = reference.at(now)
    reference.aim(np.full(7, 0.3), now, position=np.full(7, 0.1))
    position, *others = reference.at(now)
    np.testing.assert_allclose(position, np.full(7, 0.1))
    np.testing.assert_allclose(others, [velocity, acceleration], atol=1e-9)


@pytest.mark.parametrize("step", [7 * MILLISECOND, 20 * MILLISECOND])
def test_the_way_of_a_plan_is_given_in_small_steps_with_its_ends(step: int) -> None:
    reference = Reference(LIMITS, np.zeros(7))
    ways: list[Float64] = []
    reference.aim(
        np.full(7, 0.3), 0, allowed=lambda plan: bool(ways.append(plan.positions(step)) or True)
    )
    (way,) = ways
    np.testing.assert_allclose(way[0], np.zeros(7), atol=1e-9)
    np.testing.assert_allclose(way[-1], np.full(7, 0.3), atol=1e-9)
    assert np.abs(np.diff(way, axis=0)).max() <= LIMITS.velocity.max() * step / SECOND
