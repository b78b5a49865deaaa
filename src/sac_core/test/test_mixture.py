"""Each batch holds its share of demonstrations, drawn anew and repeatably."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_core.mixture import Mixture
from sac_core.replay import ReplayBuffer

OBSERVATIONS, ACTIONS = 3, 2
PRELOADED, INTERVENTION, EXPERIENCE = 1.0, 2.0, 3.0  # rewards that tell rows apart


def insert(buffer: ReplayBuffer, reward: float, count: int) -> None:
    observations = np.full((count, OBSERVATIONS), reward, np.float32)
    actions = np.zeros((count, ACTIONS), np.float32)
    rewards = np.full(count, reward, np.float32)
    buffer.insert(observations, actions, rewards, np.ones(count), observations)


def buffer(reward: float, count: int, capacity: int = 0, seed: int = 0) -> ReplayBuffer:
    made = ReplayBuffer(capacity or max(count, 1), OBSERVATIONS, ACTIONS, seed)
    insert(made, reward, count)
    return made


def mixture(preloaded: int, interventions: int, experience: int, seed: int = 0) -> Mixture:
    return Mixture(
        buffer(EXPERIENCE, experience, seed=seed),
        buffer(INTERVENTION, interventions),
        buffer(PRELOADED, preloaded) if preloaded else None,
        seed,
    )


def counts(rows: np.ndarray, batch_size: int) -> list[dict[float, int]]:
    """How many rows of each kind each consecutive batch holds."""
    rewards = rows[:, OBSERVATIONS + ACTIONS].reshape(-1, batch_size)
    kinds = (PRELOADED, INTERVENTION, EXPERIENCE)
    return [{kind: int((batch == kind).sum()) for kind in kinds} for batch in rewards]


def test_half_of_each_consecutive_batch_is_demonstrations() -> None:
    rows = mixture(400, 0, 1000).sample(256, 8, 0.5)
    assert rows.shape == (2048, 2 * OBSERVATIONS + ACTIONS + 2)
    assert rows.dtype == np.float32
    assert counts(rows, 256) == [{PRELOADED: 128, INTERVENTION: 0, EXPERIENCE: 128}] * 8


@settings(deadline=None)
@given(
    preloaded=st.integers(0, 50),
    interventions=st.integers(0, 50),
    batch_size=st.integers(1, 40),
    batches=st.integers(1, 4),
    ratio=st.floats(0.0, 1.0),
)
def test_every_batch_has_its_share_and_no_more_than_there_are(
    preloaded: int, interventions: int, batch_size: int, batches: int, ratio: float
) -> None:
    mixed = mixture(preloaded, interventions, 30)
    there = preloaded + interventions
    assert mixed.demonstrations == there
    expected = min(max(round(ratio * batch_size), 1), there) if ratio else 0
    assert mixed.demonstrations_in(batch_size, ratio) == expected
    rows = mixed.sample(batch_size, batches, ratio)
    assert len(rows) == batch_size * batches
    if ratio:
        for batch in counts(rows, batch_size):
            assert batch[PRELOADED] + batch[INTERVENTION] == expected


def test_a_few_interventions_take_a_few_places() -> None:
    mixed = mixture(0, 5, 1000)
    for batch in counts(mixed.sample(256, 4, 0.5), 256):
        assert batch[INTERVENTION] == 5


def test_demonstrations_are_drawn_from_all_there_are_alike() -> None:
    mixed = mixture(300, 100, 1000)
    found = counts(mixed.sample(20_000, 1, 0.5)[:], 20_000)[0]
    assert found[EXPERIENCE] == 19_600  # no more than there are
    drawn = counts(np.concatenate([mixed.sample(800, 1, 0.5) for _ in range(100)]), 80_000)[0]
    # Of 40,000 draws with probability 1/4 the standard deviation is 87.
    assert abs(drawn[INTERVENTION] - 10_000) < 6 * 87


def test_in_one_buffer_every_row_is_drawn_alike() -> None:
    mixed = mixture(500, 40, 1500)
    found = counts(mixed.sample(40_000, 1, 0.0), 40_000)[0]
    assert found[INTERVENTION] == 0  # they are in the experience already
    assert abs(found[PRELOADED] - 10_000) < 6 * 87
    assert counts(mixture(0, 0, 10).sample(8, 1, 0.0), 8)[0][EXPERIENCE] == 8


def test_without_demonstrations_rows_are_those_of_the_experience() -> None:
    alone = buffer(EXPERIENCE, 50, seed=4)
    np.testing.assert_array_equal(mixture(0, 0, 50, seed=4).sample(16, 2, 0.5), alone.sample(32))


def test_interventions_count_from_the_first_on() -> None:
    interventions = buffer(INTERVENTION, 0, capacity=100)
    mixed = Mixture(buffer(EXPERIENCE, 100), interventions)
    assert mixed.demonstrations_in(256, 0.5) == 0
    insert(interventions, INTERVENTION, 1)
    assert (
        counts(mixed.sample(256, 2, 0.5), 256)
        == [{PRELOADED: 0, INTERVENTION: 1, EXPERIENCE: 255}] * 2
    )


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_a_saved_generator_continues(ratio: float) -> None:
    one, other = mixture(30, 20, 100, seed=1), mixture(30, 20, 100, seed=2)
    first = one.sample(32, 4, ratio)
    np.testing.assert_array_equal(first, mixture(30, 20, 100, seed=1).sample(32, 4, ratio))
    one._experience.sample(7)
    other.set_rng_state(json.loads(json.dumps(one.rng_state())))
    other._experience.set_rng_state(json.loads(json.dumps(one._experience.rng_state())))
    np.testing.assert_array_equal(one.sample(32, 4, ratio), other.sample(32, 4, ratio))
    with pytest.raises(ValueError, match="PCG64"):
        one.set_rng_state({"bit_generator": "MT19937"})


def test_demonstrations_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="rows must be of"):
        Mixture(buffer(EXPERIENCE, 1), ReplayBuffer(1, OBSERVATIONS + 1, ACTIONS))


def test_rows_stay_whole_while_interventions_push_out_older_ones() -> None:
    interventions = ReplayBuffer(64, OBSERVATIONS, ACTIONS)
    insert(interventions, 1.0, 64)
    mixed = Mixture(buffer(EXPERIENCE, 100), interventions)
    done = threading.Event()

    def push() -> None:
        for number in range(2000):
            insert(interventions, float(number % 97), 20)
        done.set()

    writer = threading.Thread(target=push)
    writer.start()
    samples = 0
    while not done.is_set() or not samples:
        rows = mixed.sample(128, 1, 1.0)
        np.testing.assert_array_equal(rows[:, 0], rows[:, OBSERVATIONS + ACTIONS])
        samples += 1
    writer.join()
