"""Rows, cursors and what a person did change together, and come back together."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_core.experience import INTERVENTIONS
from sac_core.replay import ReplayBuffer
from sac_core.replay_file import read_replay_file
from sac_learner.storage import Storage
from sac_msgs.msg import TransitionBatch
from sac_ros.codecs import Transitions

LOGGER = logging.getLogger("learner")
ARM = ("arm", 1)
HUMAN, SCRIPTED = TransitionBatch.SOURCE_HUMAN, TransitionBatch.SOURCE_SCRIPTED


def rows(first: int, sources: list[int]) -> Transitions:
    """Transitions that can be told apart by their reward."""
    count = len(sources)
    number = np.arange(first, first + count, dtype=np.float32)
    return Transitions(
        observations=np.repeat(number[:, None], 3, axis=1),
        actions=np.zeros((count, 1), np.float32),
        rewards=number,
        next_observations=np.repeat(number[:, None], 3, axis=1) + 1,
        terminated=(number % 5 == 4).astype(np.uint8),
        truncated=np.zeros(count, np.uint8),
        source=np.array(sources, np.uint8),
        policy_version=np.zeros(count, np.uint64),
    )


def storage(folder: Path, preloaded: ReplayBuffer | None = None) -> Storage:
    opened = Storage(LOGGER, "reach", (3, 1))
    opened.open(folder, 1000, (3, 1), 0, "the test", preloaded)
    return opened


def send(to: Storage, first: int, sources: list[int]) -> None:
    """A batch as the receiver takes it."""
    cursor, new = to.intake.accept(ARM, first, 0, len(sources), 0, 0.0)
    assert to.store(ARM, cursor, rows(first, sources)[new])


def close(one: Storage) -> None:
    assert one.experience is not None
    one.experience.close()


def test_preloaded_rows_are_no_transitions_also_after_a_restart(tmp_path: Path) -> None:
    preloaded = ReplayBuffer(50, 3, 1)
    shown = rows(0, [SCRIPTED] * 50)
    preloaded.insert(
        shown.observations, shown.actions, shown.rewards, np.ones(50), shown.next_observations
    )
    for transitions in (0, 4):
        one = storage(tmp_path, preloaded)
        assert one.mixture is not None
        assert (one.transitions, one.mixture.demonstrations) == (transitions, 50)
        send(one, transitions, [1, 1, 1, 1])
        assert one.transitions == transitions + 4
        close(one)


def test_only_what_a_person_chose_is_a_demonstration(tmp_path: Path) -> None:
    one = storage(tmp_path)
    send(one, 0, [0, 1, HUMAN, HUMAN, SCRIPTED, 1])
    assert one.mixture is not None
    assert (one.transitions, one.human_steps, one.mixture.demonstrations) == (6, 2, 2)
    found = read_replay_file(tmp_path / INTERVENTIONS)
    assert found.rows[:, found.layout.reward].tolist() == [2.0, 3.0]
    close(one)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_row_of_a_person_is_there_once_over_restarts_and_repeats(
    data: st.DataObject, tmp_path_factory: object
) -> None:
    folder = tmp_path_factory.mktemp("run")  # type: ignore[attr-defined]
    sources = data.draw(st.lists(st.sampled_from([0, 1, HUMAN, SCRIPTED]), min_size=1, max_size=60))
    one, sent = storage(folder), 0
    while sent < len(sources):
        first = data.draw(st.integers(0, sent))  # what was sent before may come again
        end = data.draw(st.integers(first + 1, len(sources)))
        send(one, first, sources[first:end])
        sent = max(sent, end)
        if data.draw(st.booleans()):
            close(one)
            one = storage(folder)
    close(one)
    for name, wanted in (
        ("replay.bin", list(range(len(sources)))),
        (INTERVENTIONS, [number for number, source in enumerate(sources) if source == HUMAN]),
    ):
        found = read_replay_file(folder / name)
        assert found.rows[:, found.layout.reward].tolist() == wanted
        np.testing.assert_array_equal(
            found.rows[:, found.layout.mask], [number % 5 != 4 for number in wanted]
        )
