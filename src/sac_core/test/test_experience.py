"""What a person did is in both files, once in each, whatever happened to the process."""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_replay_file import ACTIONS, OBSERVATIONS, numbers, opened, transitions

from sac_core import replay_file
from sac_core.experience import INTERVENTIONS, REPLAY, Experience
from sac_core.replay_file import ReplayFileError, read_replay_file


def of_a_person(first: int, count: int) -> np.ndarray:
    """Every third transition is."""
    return np.arange(first, first + count) % 3 == 0


def experience(folder: Path, capacity: int = 100) -> Experience:
    return Experience(folder, capacity, OBSERVATIONS, ACTIONS, "reach")


def insert(into: Experience, count: int) -> None:
    """The next `count` transitions of one that goes on where the last commit ended."""
    first = into.state.get("next", 0)
    state = {"next": first + count}
    into.insert(*transitions(first, count), of_a_person(first, count), state)


def check(folder: Path, capacity: int = 100) -> int:
    """Both files hold exactly what they should; how many transitions were committed."""
    contents = read_replay_file(folder / REPLAY)
    total = contents.inserted
    assert contents.state["next"] == total
    kept = numbers(folder / REPLAY)
    assert kept == list(range(kept[0], total))
    people = [number for number in range(total) if number % 3 == 0]
    assert contents.state["interventions"] == len(people)
    assert read_replay_file(folder / INTERVENTIONS).inserted == len(people)
    found = numbers(folder / INTERVENTIONS)
    assert found == people[len(people) - len(found) :]
    assert len(found) >= min(len(people), capacity) - 10  # an unfinished batch lies over these
    return total


def test_rows_of_a_person_are_in_both_files_and_others_in_one(tmp_path: Path) -> None:
    one = experience(tmp_path)
    for count in (1, 7, 20):
        insert(one, count)
    one.close()
    assert check(tmp_path) == 28
    again = experience(tmp_path)
    assert (len(again.replay), len(again.interventions)) == (28, 10)
    assert (again.unannounced, again.missing) == (0, 0)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_experience import experience, insert
one = experience(Path(sys.argv[1]), 50)
while True:
    insert(one, 7)
    print(flush=True)
"""


def test_a_killed_process_and_what_is_sent_again_leave_every_row_once(tmp_path: Path) -> None:
    rng, total = random.Random(1), 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 200)):
            assert process.stdout.readline()
            total += 7
        process.send_signal(signal.SIGKILL)
        process.wait()
        one = experience(tmp_path, 50)
        insert(one, 7)
        one.close()
        committed = check(tmp_path, 50)
        assert committed >= total + 7
        total = committed


class Interrupted(Exception):
    """The process would be gone."""


@pytest.mark.parametrize("before", [20, 400], ids=["new", "around the ring"])
@pytest.mark.parametrize("failure", [Interrupted(), OSError(errno.ENOSPC, "full")], ids=repr)
@pytest.mark.parametrize("writes", range(7))
def test_a_batch_is_stored_wholly_or_not_at_all_wherever_it_breaks_off(
    writes: int,
    failure: Exception,
    before: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = experience(tmp_path)
    for _ in range(before // 20):
        insert(one, 20)
    write_all, done = replay_file._write_all, 0

    def breaks(descriptor: int, data: bytes, offset: int) -> None:
        nonlocal done
        done += 1
        if done > writes:  # as a full disk does, or a process that is gone, for all later ones
            write_all(descriptor, data[: len(data) // 2] if done == writes + 1 else b"", offset)
            raise failure
        write_all(descriptor, data, offset)

    monkeypatch.setattr(replay_file, "_write_all", breaks)
    if writes < 6:  # of each file: rows, checksums, commit
        with pytest.raises(type(failure)):
            insert(one, 10)
        assert (one.replay.inserted, one.state["next"]) == (before, before)
        assert one.interventions.inserted == len(range(0, before, 3))
    else:
        insert(one, 10)
    monkeypatch.undo()
    if isinstance(failure, Interrupted):
        one.close()
        one = experience(tmp_path)
        written = writes in (3, 4, 5)
        assert one.unannounced == (of_a_person(before, 10).sum() if written else 0)
    insert(one, 13)
    assert check(tmp_path) == one.replay.inserted == before + 13 + (10 if writes == 6 else 0)
    one.close()
    experience(tmp_path).close()
    check(tmp_path)


def test_each_file_keeps_the_newest(tmp_path: Path) -> None:
    one = experience(tmp_path, 30)
    for _ in range(20):
        insert(one, 9)
    assert check(tmp_path, 30) == 180
    assert (len(one.replay), len(one.interventions)) == (30, 30)


def test_a_run_from_before_there_were_interventions_goes_on(tmp_path: Path) -> None:
    old = opened(tmp_path / REPLAY)
    old.state = {"next": 0}
    old.commit()
    old.close()
    insert(experience(tmp_path), 5)
    check(tmp_path)


def test_interventions_that_are_gone_are_missed(tmp_path: Path) -> None:
    one = experience(tmp_path)
    insert(one, 9)
    one.close()
    (tmp_path / INTERVENTIONS).unlink()
    again = experience(tmp_path)
    assert (again.missing, len(again.interventions)) == (3, 0)
    insert(again, 3)
    assert again.state["interventions"] == 1


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    experience(tmp_path).close()
    with pytest.raises(ReplayFileError, match=r"its capacity is 100 .*, this learner's is 200"):
        experience(tmp_path, 200)
    (tmp_path / REPLAY).unlink()
    with pytest.raises(ReplayFileError, match=rf"{INTERVENTIONS}: its capacity"):
        experience(tmp_path, 200)


def test_a_state_is_stored_without_rows(tmp_path: Path) -> None:
    one = experience(tmp_path)
    insert(one, 4)
    one.commit({"next": 4, "rejected": 2})
    one.close()
    assert experience(tmp_path).state["rejected"] == 2
    check(tmp_path)
