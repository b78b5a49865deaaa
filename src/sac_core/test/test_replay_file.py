"""The replay file: what was committed is there again, whatever happened to the process."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_core import replay_file
from sac_core.replay import ReplayBuffer
from sac_core.replay_file import ReplayFile, ReplayFileError, read_replay_file

OBSERVATIONS, ACTIONS = 3, 2


def transitions(first: int, count: int) -> tuple[Any, ...]:
    """`count` transitions that can be told apart, numbered from `first`."""
    number = np.arange(first, first + count, dtype=np.float32)[:, None]
    observations = number + np.linspace(0.0, 0.5, OBSERVATIONS, dtype=np.float32)
    actions = np.sin(number * np.ones((1, ACTIONS), np.float32))
    return observations, actions, number[:, 0], (number[:, 0] % 7 != 0), observations + 1.0


def opened(path: Path, capacity: int = 100, **others: Any) -> ReplayFile:
    given_ = {"task": "reach", "observation_size": OBSERVATIONS, "action_size": ACTIONS} | others
    return ReplayFile(path, capacity, **given_)


def numbers(path: Path) -> list[int]:
    """The numbers of the transitions in a file, oldest first, after checking each as a whole."""
    contents = read_replay_file(path)
    layout = contents.layout
    found = contents.rows[:, layout.reward].astype(int).tolist()
    for row, number in zip(contents.rows, found, strict=True):
        expected = ReplayBuffer(1, OBSERVATIONS, ACTIONS)
        expected.insert(*transitions(number, 1))
        np.testing.assert_array_equal(row, expected.sample(1)[0])
    return found


@settings(max_examples=50, deadline=None)
@given(
    capacity=st.integers(1, 40),
    batches=st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12),
)
def test_it_is_the_buffer_in_memory_also_when_it_is_opened_again(
    capacity: int, batches: list[tuple[int, bool]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.bin"
        memory = ReplayBuffer(capacity, OBSERVATIONS, ACTIONS, seed=5)
        file = opened(path, capacity, seed=5)
        total = 0
        for count, again in batches:
            if again:
                file.close()
                file = opened(path, capacity, seed=5)
                file.set_rng_state(memory.rng_state())
            memory.insert(*transitions(total, count))
            file.state = {"total": total + count}
            file.insert(*transitions(total, count))
            total += count
            assert (len(file), file.inserted, file.left_out) == (len(memory), total, 0)
            if total:
                np.testing.assert_array_equal(file.sample(16), memory.sample(16))
        file.close()
        assert numbers(path) == list(range(max(0, total - capacity), total))
        assert read_replay_file(path).state == ({"total": total} if batches else {})


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_replay_file import opened, transitions
file = opened(Path(sys.argv[1]), 50)
while True:
    first = file.inserted
    file.state = {"next": first + 7}
    file.insert(*transitions(first, 7))
    print(first + 7, flush=True)
"""


def test_a_killed_process_leaves_what_it_had_committed(tmp_path: Path) -> None:
    path, committed = tmp_path / "replay.bin", 0
    rng = random.Random(1)
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 200)):
                committed = int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for line in process.stdout:
            committed = int(line) if line.endswith("\n") else committed
        contents = read_replay_file(path)
        assert contents.inserted in (committed, committed + 7)
        assert contents.state["next"] == contents.inserted
        file = opened(path, 50)
        file.close()
        found = numbers(path)
        assert found == list(range(found[0], contents.inserted))
        assert len(found) >= min(50, contents.inserted) - 7  # an unfinished batch lies over these


@pytest.mark.parametrize("rows_before", [20, 95])
@pytest.mark.parametrize("writes", range(4))
def test_a_batch_that_was_written_in_part_is_left_out(
    rows_before: int, writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "replay.bin"
    file = opened(path, 50)
    file.state = {"next": rows_before}
    file.insert(*transitions(0, rows_before))
    done = 0
    write_all = replay_file._write_all

    def stops(descriptor: int, data: bytes, offset: int) -> None:
        nonlocal done
        if done == writes:
            write_all(descriptor, data[: len(data) // 2], offset)
            raise KeyboardInterrupt
        done += 1
        write_all(descriptor, data, offset)

    monkeypatch.setattr(replay_file, "_write_all", stops)
    file.state = {"next": rows_before + 10}
    with suppress(KeyboardInterrupt):
        file.insert(*transitions(rows_before, 10))
    monkeypatch.undo()
    file.close()
    again = opened(path, 50)
    if again.inserted == rows_before:
        assert again.state == {"next": rows_before}
        assert again.left_out > 0 or writes > 2
    kept = numbers(path)
    assert kept == list(range(kept[0], again.inserted))
    again.insert(*transitions(again.inserted, 60))
    assert numbers(path) == list(range(again.inserted - 50, again.inserted))


def test_a_broken_row_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "replay.bin"
    file = opened(path)
    file.insert(*transitions(0, 60))
    for number in (0, 1, 30, 59):
        os.pwrite(file._file, b"\xff", file._places.row(number) + 5)
    file.close()
    again = opened(path)
    assert (again.left_out, len(again), again.inserted) == (4, 56, 60)
    assert sorted(numbers(path)) == sorted(set(range(60)) - {0, 1, 30, 59})
    assert set(again.sample(500)[:, again.layout.reward]) <= set(range(60)) - {0, 1, 30, 59}
    again.close()
    assert opened(path).left_out == 0  # they are gone for good


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"task": "pick_cube"}, ("task", "'reach'", "'pick_cube'")),
        ({"capacity": 200}, ("capacity", "100", "200")),
        ({"observation_size": 4}, ("observation size", "3", "4")),
        ({"action_size": 1}, ("action size", "2", "1")),
    ],
)
def test_a_file_of_something_else_is_refused_with_both_named(
    other: dict[str, Any], names: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "replay.bin"
    opened(path).close()
    with pytest.raises(ReplayFileError) as error:
        opened(path, **other)
    assert all(name in str(error.value) for name in (*names, str(path)))
    assert len(str(error.value).splitlines()) == 1


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, replay_file.PAGE + 2 * replay_file.SLOT_BYTES), data=st.data())
def test_any_broken_header_or_commit_is_refused_in_one_line_or_the_other_commit_counts(
    place: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.bin"
        file = opened(path)
        for first in (0, 5):
            file.insert(*transitions(first, 5))
        file.close()
        near = data.draw(st.sampled_from([place, place % 200, replay_file.PAGE + place % 120]))
        with path.open("r+b") as out:
            out.seek(near)
            out.write(data.draw(st.binary(min_size=1, max_size=64)))
        try:
            again = opened(path)
        except ReplayFileError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert again.inserted in (5, 10)
            again.close()


@pytest.mark.parametrize("content", [b"", b"x" * 10_000, replay_file.MAGIC])
def test_what_is_no_replay_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "replay.bin"
    path.write_bytes(content)
    with pytest.raises(ReplayFileError, match="expected a replay file"):
        opened(path)


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "replay.bin"
    opened(path).close()
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ReplayFileError, match="cut"):
        opened(path)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within: this process cannot write files beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_nothing_is_committed_and_the_rest_stays_usable(tmp_path: Path) -> None:
    path = tmp_path / "replay.bin"
    file = opened(path)
    file.state = {"next": 10}
    file.insert(*transitions(0, 10))
    file.state = {"next": 20}
    with largest_file(file._places.row(15)), pytest.raises(OSError, match="large"):
        file.insert(*transitions(10, 10))
    assert (len(file), file.inserted) == (10, 10)
    assert set(file.sample(100)[:, file.layout.reward]) <= set(range(10))
    assert read_replay_file(path).state == {"next": 10}
    file.insert(*transitions(10, 10))
    assert numbers(path) == list(range(20))
    assert read_replay_file(path).state == {"next": 20}


def test_a_state_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    file = opened(tmp_path / "replay.bin")
    file.state = {"text": "x" * replay_file.SLOT_BYTES}
    with pytest.raises(ValueError, match="state of"):
        file.commit()


def test_it_tells_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "replay.bin"
    file = opened(path)
    cursor = {"actor_id": "arm", "session": 7, "next_sequence": 9, "received": 9}
    file.state = {"sessions": [cursor | {"dropped": 0, "rejected": 1, "missed": 2}]}
    file.insert(*transitions(0, 9))
    command = [sys.executable, "-m", "sac_core.replay_file", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "task reach, 3 observations, 2 actions" in text
    assert "9 of 100 rows" in text
    assert "arm session 0000000000000007: 9 rows, next 9" in text
