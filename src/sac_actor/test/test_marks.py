"""A person's mark ends the episode under way, or says why it does not."""

from __future__ import annotations

import threading

import pytest

from sac_actor.marks import Kind, Mark, Marks, Refused


def give(marks: Marks, kind: Kind) -> str:
    return marks.give(Mark(kind, "Ada"))


def under_way(waits_for_start: bool = False) -> Marks:
    marks = Marks(waits_for_start)
    if waits_for_start:
        give(marks, Kind.START)
    assert marks.begin() is not None
    return marks


@pytest.mark.parametrize("kind", [Kind.SUCCESS, Kind.FAILURE, Kind.DISCARD, Kind.STOP])
def test_a_mark_ends_the_episode_with_the_step_under_way(kind: Kind) -> None:
    marks = under_way()
    assert marks.settle(over=False) is None
    assert give(marks, kind) == f"{kind.name.lower()}: the episode ends with this step"
    assert marks.settle(over=False) == Mark(kind, "Ada")
    with pytest.raises(Refused, match="no episode is under way"):
        give(marks, Kind.SUCCESS)


def test_a_second_mark_in_the_same_step_is_told_of_the_first() -> None:
    marks = under_way()
    give(marks, Kind.FAILURE)
    with pytest.raises(Refused, match="the episode ends already, with FAILURE"):
        give(marks, Kind.SUCCESS)
    assert marks.settle(over=True) == Mark(Kind.FAILURE, "Ada")


def test_an_episode_that_ends_by_itself_takes_the_mark_of_its_last_step_and_no_later_one() -> None:
    marks = under_way()
    give(marks, Kind.SUCCESS)
    assert marks.settle(over=True) == Mark(Kind.SUCCESS, "Ada")
    with pytest.raises(Refused):
        give(marks, Kind.FAILURE)
    assert marks.begin() == ""
    assert marks.settle(over=False) is None  # nothing is left for the next episode


@pytest.mark.parametrize("kind", [Kind.SUCCESS, Kind.FAILURE, Kind.DISCARD])
def test_between_episodes_there_is_nothing_to_mark(kind: Kind) -> None:
    with pytest.raises(Refused, match=r"^no episode is under way$"):
        give(Marks(waits_for_start=False), kind)
    with pytest.raises(Refused, match="no episode is under way: the next one begins with START"):
        give(Marks(waits_for_start=True), kind)


def test_where_episodes_begin_by_themselves_start_is_refused() -> None:
    marks = Marks(waits_for_start=False)
    assert not marks.waiting
    with pytest.raises(Refused, match="the next episode begins without START"):
        give(marks, Kind.START)
    assert marks.begin() == ""
    with pytest.raises(Refused, match="an episode is under way"):
        give(marks, Kind.START)


def test_a_teleoperated_episode_begins_with_start_each_time() -> None:
    marks = Marks(waits_for_start=True)
    for _ in range(2):
        assert marks.waiting
        assert give(marks, Kind.START) == "the episode begins"
        assert not marks.waiting
        assert marks.begin() == "Ada"
        marks.end()


def test_stop_lets_no_other_episode_begin_before_start() -> None:
    marks = under_way()
    give(marks, Kind.STOP)
    assert marks.settle(over=False) is not None
    assert marks.waiting
    give(marks, Kind.START)
    assert marks.begin() == "Ada"
    marks.end()
    assert not marks.waiting  # the one after it begins by itself again


def test_stop_between_two_episodes_holds_the_next_one_back() -> None:
    marks = Marks(waits_for_start=False)
    assert give(marks, Kind.STOP) == "stopped: no episode begins before START"
    assert marks.begin() is None
    with pytest.raises(Refused):
        give(marks, Kind.STOP)


def test_start_is_remembered_until_an_episode_could_begin() -> None:
    marks = Marks(waits_for_start=True)
    give(marks, Kind.START)
    marks.end()  # its start was cut: nothing was under way yet
    assert not marks.waiting
    assert marks.begin() == "Ada"


def test_start_wakes_a_loop_that_waits_for_it() -> None:
    marks = Marks(waits_for_start=True)
    timer = threading.Timer(0.05, lambda: give(marks, Kind.START))
    timer.start()
    assert marks.wait(30.0)
    timer.join()
    assert not marks.waiting
    assert not marks.wait(30.0)  # nothing to wait for
