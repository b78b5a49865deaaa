"""Each row is taken once, whatever is sent twice, late, or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sac_learner.intake import Intake


def test_rows_that_were_sent_again_are_taken_once() -> None:
    intake = Intake()
    cursor, new = intake.accept("a", 1, first=0, rows=31, dropped=0, now=0.0)
    assert (cursor.next_sequence, new) == (31, slice(0, 31))
    cursor, new = intake.accept("a", 1, first=0, rows=61, dropped=0, now=0.0)
    assert (cursor.next_sequence, new) == (61, slice(31, 61))
    cursor, new = intake.accept("a", 1, first=10, rows=20, dropped=0, now=0.0)
    assert (cursor.next_sequence, new) == (61, slice(20, 20))
    assert cursor.received == 61


def test_a_gap_is_asked_for_again_unless_the_actor_dropped_it() -> None:
    intake = Intake()
    intake.accept("a", 1, first=0, rows=10, dropped=0, now=0.0)
    cursor, new = intake.accept("a", 1, first=20, rows=10, dropped=0, now=0.0)
    assert (cursor.next_sequence, new) == (10, slice(0, 0))
    cursor, new = intake.accept("a", 1, first=20, rows=10, dropped=10, now=0.0)
    assert (cursor.next_sequence, new) == (30, slice(0, 10))
    assert intake.dropped == 10


def test_a_restarted_actor_counts_from_zero_in_a_session_of_its_own() -> None:
    intake = Intake()
    intake.accept("a", 1, first=0, rows=5000, dropped=0, now=0.0)
    cursor, new = intake.accept("a", 2, first=0, rows=31, dropped=0, now=1.0)
    assert (cursor.next_sequence, new) == (31, slice(0, 31))
    assert intake.heard_since(0.5) == 1


def test_a_new_learner_takes_an_actor_where_its_queue_begins() -> None:
    cursor, new = Intake().accept("a", 1, first=3000, rows=30, dropped=40, now=0.0)
    assert (cursor.next_sequence, new) == (3030, slice(0, 30))


def test_the_number_of_sessions_that_are_remembered_is_bounded() -> None:
    intake = Intake(capacity=3)
    for session in range(10):
        intake.accept("a", session, first=0, rows=1, dropped=0, now=float(session))
    assert sorted(session for _, session in intake.cursors) == [7, 8, 9]


@given(st.data())
def test_any_order_of_losses_and_repeats_delivers_every_row_exactly_once(
    data: st.DataObject,
) -> None:
    """A sender that goes back to what was acknowledged, over a link that loses messages."""
    intake = Intake()
    total, taken = data.draw(st.integers(1, 60)), []
    sent = acknowledged = 0
    # The first batch begins the session and must arrive, as a sender sees by its acknowledgement.
    for _ in range(200):
        if acknowledged == total:
            break
        rows = min(data.draw(st.integers(1, 9)), total - sent)
        is_lost = bool(taken) and data.draw(st.booleans())
        if rows and not is_lost:
            cursor, new = intake.accept("a", 1, sent, rows, dropped=0, now=0.0)
            taken += list(range(sent, sent + rows))[new]
            acknowledged = cursor.next_sequence
        sent += rows
        if sent >= total or data.draw(st.booleans()):
            sent = acknowledged
    assert taken == list(range(acknowledged))
