"""Each row is taken once, whatever is sent twice, late, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_learner.intake import Cursor, Intake


def take(
    intake: Intake,
    session: int,
    first: int,
    rows: int,
    oldest: int = 0,
    dropped: int = 0,
    now: float = 0.0,
) -> tuple[Cursor, slice]:
    """Accept a batch of actor "a", and keep its cursor."""
    cursor, new = intake.accept(("a", session), first, oldest, rows, dropped, now)
    with intake.keeping(("a", session), cursor):
        pass
    return cursor, new


def test_rows_that_were_sent_again_are_taken_once() -> None:
    intake = Intake()
    cursor, new = take(intake, 1, first=0, rows=31)
    assert (cursor.next_sequence, new) == (31, slice(0, 31))
    cursor, new = take(intake, 1, first=0, rows=61)
    assert (cursor.next_sequence, new) == (61, slice(31, 61))
    cursor, new = take(intake, 1, first=10, rows=20)
    assert (cursor.next_sequence, new) == (61, slice(20, 20))
    assert cursor.received == 61


def test_a_gap_is_asked_for_again_unless_the_actor_has_it_no_more() -> None:
    intake = Intake()
    take(intake, 1, first=0, rows=10)
    cursor, new = take(intake, 1, first=20, rows=10, oldest=10)
    assert (cursor.next_sequence, new) == (10, slice(0, 0))
    cursor, new = take(intake, 1, first=25, rows=5, oldest=15, dropped=5)
    assert (cursor.next_sequence, new) == (15, slice(0, 0))
    cursor, new = take(intake, 1, first=20, rows=10, oldest=20, dropped=10)
    assert (cursor.next_sequence, new) == (30, slice(0, 10))
    assert (intake.dropped, intake.missed) == (10, 10)


def test_the_first_batch_of_a_session_may_be_lost_too() -> None:
    intake = Intake()
    cursor, new = take(intake, 1, first=31, rows=30, oldest=0)
    assert (cursor.next_sequence, new) == (0, slice(0, 0))
    cursor, new = take(intake, 1, first=0, rows=61, oldest=0)
    assert (cursor.next_sequence, new) == (61, slice(0, 61))


def test_a_restarted_actor_counts_from_zero_in_a_session_of_its_own() -> None:
    intake = Intake()
    take(intake, 1, first=0, rows=5000)
    cursor, new = take(intake, 2, first=0, rows=31, now=1.0)
    assert (cursor.next_sequence, new) == (31, slice(0, 31))
    assert intake.heard_since(0.5) == 1


def test_a_new_learner_takes_an_actor_where_its_queue_begins() -> None:
    cursor, new = take(Intake(), 1, first=3000, rows=30, oldest=3000, dropped=40)
    assert (cursor.next_sequence, new, cursor.missed) == (3030, slice(0, 30), 0)


def test_rows_that_cannot_be_used_are_not_asked_for_again() -> None:
    intake = Intake()
    take(intake, 1, first=0, rows=10)
    cursor = intake.refuse(("a", 1), first=5, rows=10, now=0.0)
    assert (cursor.next_sequence, cursor.rejected, cursor.received) == (15, 5, 10)
    cursor = intake.refuse(("b", 1), first=700, rows=10, now=0.0)
    assert (cursor.next_sequence, cursor.rejected, cursor.received) == (710, 10, 0)
    cursor = intake.refuse(("a", 1), first=700, rows=10, now=0.0)
    assert (cursor.next_sequence, cursor.rejected, cursor.received) == (10, 0, 10)


def test_a_cursor_does_not_move_when_its_rows_could_not_be_stored() -> None:
    intake = Intake()
    before, _ = take(intake, 1, first=0, rows=10)
    cursor, _ = intake.accept(("a", 1), 10, 0, 10, 0, 0.0)
    with pytest.raises(OSError, match="full"), intake.keeping(("a", 1), cursor):
        assert intake.state()["sessions"][0]["next_sequence"] == 20
        raise OSError("full")
    assert intake.cursors == {("a", 1): before}


def test_cursors_come_back_from_what_was_stored() -> None:
    intake = Intake()
    take(intake, 1, first=3, rows=10, oldest=3, dropped=3)
    take(intake, 2, first=0, rows=4)
    again = Intake()
    again.restore(intake.state())
    assert again.state() == intake.state()
    assert again.heard_since(0.0) == 0
    cursor, new = take(again, 2, first=0, rows=6)
    assert (cursor.next_sequence, new) == (6, slice(4, 6))


def test_the_number_of_sessions_that_are_remembered_is_bounded() -> None:
    intake = Intake(capacity=3)
    for session in range(10):
        take(intake, session, first=0, rows=1, now=float(session))
    assert sorted(session for _, session in intake.cursors) == [7, 8, 9]
    for session in range(100, 110):  # whoever sends nothing useful pushes nobody out
        cursor = intake.refuse(("b", session), 0, 1, now=20.0)
        with intake.keeping(("b", session), cursor):
            pass
    assert sorted(session for _, session in intake.cursors) == [8, 9, 109]
    assert intake.rejected == 10  # of those that are forgotten too
    assert intake.knows(("a", 9)) and not intake.knows(("b", 109))
    again = Intake()
    again.restore(intake.state())
    assert again.rejected == 10


@settings(deadline=None)
@given(st.data())
def test_any_order_of_losses_and_repeats_delivers_every_row_exactly_once(
    data: st.DataObject,
) -> None:
    """A sender that goes back to what was acknowledged, over a link that loses messages."""
    intake = Intake()
    total, taken = data.draw(st.integers(1, 60)), []
    sent = acknowledged = 0
    for _ in range(200):
        if acknowledged == total:
            break
        rows = min(data.draw(st.integers(1, 9)), total - sent)
        if rows and not data.draw(st.booleans()):  # else: lost
            cursor, new = take(intake, 1, sent, rows, oldest=acknowledged)
            taken += list(range(sent, sent + rows))[new]
            acknowledged = cursor.next_sequence
        sent += rows
        if sent >= total or data.draw(st.booleans()):
            sent = acknowledged
    assert taken == list(range(acknowledged))
