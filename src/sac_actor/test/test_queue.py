"""The transition queue keeps, numbers, drops and frees exactly what it should."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sac_actor.queue import TransitionQueue, Unsent


def append(queue: TransitionQueue, number: int) -> None:
    observation = np.full(2, number, np.float32)
    queue.append(observation, np.zeros(1, np.float32), number, observation + 1, False, False, 1, 3)


def take(queue: TransitionQueue, limit: int = 1000) -> Unsent:
    unsent = queue.take_unsent(limit)
    assert unsent is not None
    return unsent


def test_rows_come_out_numbered_and_in_order() -> None:
    queue = TransitionQueue(10, 2, 1)
    for number in range(5):
        append(queue, number)
    first, oldest, dropped, rows = take(queue, 3)
    assert (first, oldest, dropped) == (0, 0, 0)
    assert rows.rewards.tolist() == [0, 1, 2]
    assert rows.next_observations[:, 0].tolist() == [1, 2, 3]
    assert take(queue).first == 3
    assert queue.take_unsent(30) is None


def test_a_full_queue_drops_the_oldest_and_counts_them() -> None:
    queue = TransitionQueue(4, 2, 1)
    for number in range(10):
        append(queue, number)
    first, oldest, dropped, rows = take(queue)
    assert (first, oldest, dropped) == (6, 6, 6)
    assert rows.rewards.tolist() == [6, 7, 8, 9]


def test_what_was_sent_in_vain_is_sent_again() -> None:
    queue = TransitionQueue(10, 2, 1)
    for number in range(6):
        append(queue, number)
    queue.take_unsent(6)
    assert queue.acknowledge(2)
    assert queue.rewind() == 4
    first, oldest, _, rows = take(queue)
    assert (first, oldest, len(rows)) == (2, 2, 4)


def test_the_newest_row_can_still_be_truncated_until_it_is_sent() -> None:
    queue = TransitionQueue(10, 2, 1)
    queue.truncate_newest()  # there is none
    append(queue, 0)
    append(queue, 1)
    queue.truncate_newest()
    assert take(queue).rows.truncated.tolist() == [0, 1]
    append(queue, 2)
    take(queue)
    queue.truncate_newest()
    queue.rewind()
    assert take(queue).rows.truncated.tolist() == [0, 1, 0]


def test_an_acknowledgement_of_rows_that_never_were_frees_nothing() -> None:
    queue = TransitionQueue(10, 2, 1)
    append(queue, 0)
    assert not queue.acknowledge(7)
    assert len(queue) == 1


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 9)),
        st.tuples(st.just("take"), st.integers(1, 9)),
        st.tuples(st.just("acknowledge"), st.integers(0, 60)),
        st.tuples(st.just("rewind"), st.just(0)),
    ),
    max_size=40,
)


@given(actions)
def test_every_row_is_kept_until_acknowledged_or_counted_as_dropped(
    steps: list[tuple[str, int]],
) -> None:
    queue = TransitionQueue(5, 2, 1)
    kept: list[int] = []  # the model: sequence numbers in the queue
    appended = dropped = 0
    for step, number in steps:
        if step == "append":
            for _ in range(number):
                append(queue, appended)
                kept.append(appended)
                appended += 1
                if len(kept) > 5:
                    kept.pop(0)
                    dropped += 1
        elif step == "take":
            taken = queue.take_unsent(number)
            if taken is not None:
                first, _, _, rows = taken
                assert taken.oldest == queue.oldest
                assert rows.rewards.tolist() == list(range(first, first + len(rows)))
                assert set(rows.rewards.tolist()) <= set(kept)
        elif step == "acknowledge" and number <= appended:
            queue.acknowledge(number)
            kept = [sequence for sequence in kept if sequence >= number]
        elif step == "rewind":
            queue.rewind()
            assert queue.sent == queue.oldest
        assert len(queue) == len(kept)
        assert queue.dropped == dropped
        assert queue.oldest <= queue.sent <= queue.next == appended
