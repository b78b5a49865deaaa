"""The replay buffer against a plain list of rows."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sac_core.replay import ReplayBuffer, RowLayout

OBSERVATION_SIZE, ACTION_SIZE = 3, 2


def batch(first: int, count: int) -> tuple[np.ndarray, ...]:
    """Transitions that can be told apart by every one of their numbers."""
    index = np.arange(first, first + count, dtype=np.float32)
    return (
        index[:, None] + np.array([0.1, 0.2, 0.3], np.float32),
        -index[:, None] + np.array([0.1, 0.2], np.float32),
        10 * index,
        index % 2,
        index[:, None] + np.array([0.5, 0.6, 0.7], np.float32),
    )


def as_rows(first: int, count: int) -> list[tuple[float, ...]]:
    parts = [part[:, None] if part.ndim == 1 else part for part in batch(first, count)]
    return [tuple(row) for row in np.concatenate(parts, axis=1).tolist()]


def filled(capacity: int, count: int, seed: int = 0) -> ReplayBuffer:
    replay = ReplayBuffer(capacity, OBSERVATION_SIZE, ACTION_SIZE, seed)
    replay.insert(*batch(0, count))
    return replay


@given(capacity=st.integers(1, 12), counts=st.lists(st.integers(0, 30), max_size=6))
def test_the_buffer_holds_the_newest_rows_like_a_list_would(capacity: int, counts: list[int]):
    replay = ReplayBuffer(capacity, OBSERVATION_SIZE, ACTION_SIZE)
    model: list[tuple[float, ...]] = []
    for count in counts:
        replay.insert(*batch(len(model), count))
        model += as_rows(len(model), count)
    kept = model[-capacity:]
    assert replay.inserted == len(model)
    assert len(replay) == len(kept)
    if kept:
        # 40 draws for each row miss one with a probability below 1e-15.
        sampled = {tuple(row) for row in replay.sample(40 * capacity).tolist()}
        assert sampled == set(kept)


def test_a_row_is_observation_action_reward_mask_next_observation():
    layout = RowLayout(OBSERVATION_SIZE, ACTION_SIZE)
    replay = filled(5, 1)
    row = replay.sample(1)[0]
    observations, actions, rewards, masks, next_observations = batch(0, 1)
    assert replay.row_size == layout.row_size == row.size == 10
    np.testing.assert_array_equal(row[layout.observation], observations[0])
    np.testing.assert_array_equal(row[layout.action], actions[0])
    assert row[layout.reward] == rewards[0]
    assert row[layout.mask] == masks[0]
    np.testing.assert_array_equal(row[layout.next_observation], next_observations[0])
    np.testing.assert_array_equal(
        row[layout.observation_action], np.concatenate([observations[0], actions[0]])
    )


def test_samples_are_uniform():
    counts = np.bincount((filled(10, 10).sample(100_000)[:, 5] / 10).astype(int), minlength=10)
    # Chi-squared with 9 degrees of freedom exceeds 40 with a probability of 1e-5.
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 40


def test_a_sample_is_a_float32_copy():
    replay = filled(1, 1)
    sample = replay.sample(3)
    assert sample.shape == (3, 10) and sample.dtype == np.float32
    kept = sample.copy()
    replay.insert(*batch(1, 1))
    np.testing.assert_array_equal(sample, kept)


def test_equal_seeds_sample_equal_rows_and_a_saved_generator_state_continues():
    one, same, other = filled(50, 50, seed=1), filled(50, 50, seed=1), filled(50, 50, seed=2)
    first = one.sample(64)
    np.testing.assert_array_equal(first, same.sample(64))
    assert not np.array_equal(first, other.sample(64))
    other.set_rng_state(json.loads(json.dumps(one.rng_state())))
    np.testing.assert_array_equal(one.sample(64), other.sample(64))


def test_a_foreign_generator_state_is_refused():
    replay = filled(5, 5)
    for state in ({}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": "x"}):
        with pytest.raises(ValueError, match="PCG64"):
            replay.set_rng_state(state)


def test_sampling_from_an_empty_buffer_is_refused():
    with pytest.raises(ValueError, match="empty replay buffer"):
        ReplayBuffer(5, OBSERVATION_SIZE, ACTION_SIZE).sample(1)


@pytest.mark.parametrize(
    ("position", "name"),
    list(enumerate(["observations", "actions", "rewards", "masks", "next_observations"])),
)
def test_arrays_of_other_shapes_are_refused_and_nothing_is_inserted(position: int, name: str):
    replay = ReplayBuffer(5, OBSERVATION_SIZE, ACTION_SIZE)
    arrays = list(batch(0, 3))
    arrays[position] = np.zeros((3, 7))
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        replay.insert(*arrays)
    arrays[position] = batch(0, 2)[position]
    with pytest.raises(ValueError, match="must have shape"):
        replay.insert(*arrays)
    assert replay.inserted == 0


@pytest.mark.parametrize("sizes", [(0, 3, 2), (5, 0, 2), (5, 3, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int, int]):
    with pytest.raises(ValueError, match="at least 1"):
        ReplayBuffer(*sizes)


def test_one_thread_inserts_while_another_samples_whole_rows():
    replay = filled(64, 64)
    done = threading.Event()

    def insert() -> None:
        for first in range(64, 30_064, 30):
            replay.insert(*batch(first, 30))
        done.set()

    writer = threading.Thread(target=insert)
    writer.start()
    samples = 0
    while not done.is_set() or samples == 0:
        rows = replay.sample(128)
        # A torn row would mix the numbers of two transitions.
        np.testing.assert_allclose(rows[:, 5] / 10, rows[:, 0] - 0.1, rtol=1e-6)
        np.testing.assert_allclose(rows[:, 7] - rows[:, 0], 0.4, atol=5e-3)
        samples += 1
    writer.join()
    assert replay.inserted == 64 + 1000 * 30
