"""bag_to_rlds as a user meets it: its command line, its report, its datasets, broken bags."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from bag_messages import chain, event, record, rows, said
from rosbags.rosbag2 import StoragePlugin

from sac_core.rlds import RldsError, load_demonstrations
from sac_demos.bag_to_rlds import Options, convert
from sac_demos.bags import BagError
from sac_demos.lerobot import LerobotError
from sac_demos.mcap_file import Message
from sac_msgs.msg import EpisodeEvent

SECOND = 10**9


def episode(seed: int = 0, length: int = 6, outcome: int = 1, task: str = "toy") -> list[Message]:
    told = chain([(length, outcome == EpisodeEvent.OUTCOME_SUCCESS)], seed=seed)
    ids = {"task": task, "first_sequence": 0, "actor_session": 7 + seed}
    end = {"length": length, "outcome": outcome, "terminated": outcome == 1}
    return [
        event(EpisodeEvent.STARTED, SECOND, **ids),
        *(
            rows(told[n : n + 1], n, SECOND + (n + 1) * SECOND // 10, task=task,
                 actor_session=7 + seed)
            for n in range(length)
        ),
        event(EpisodeEvent.ENDED, SECOND + length * SECOND // 10, **ids, **end),
    ]  # fmt: skip


def bags(folder: Path, count: int = 3, **values: Any) -> Path:
    for number in range(count):
        record(folder / f"episode_{number:04d}", episode(number, **values))
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sac_demos.bag_to_rlds", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_writes_a_dataset_and_tells_what_it_found(tmp_path: Path) -> None:
    bags(tmp_path / "bags")
    record(tmp_path / "bags" / "failed", episode(9, outcome=EpisodeEvent.OUTCOME_FAILURE))
    done = run(tmp_path / "bags", "-o", tmp_path / "out", "--report", tmp_path / "report.json")
    assert done.returncode == 0 and done.stderr == ""
    first = done.stdout.splitlines()[0]
    assert first == (
        f"{tmp_path}/out/toy/1.0.0: 4 bags, 4 episodes (3 success, 1 failure, 0 not known), "
        "24 transitions, 2.4 s"
    )
    loaded = load_demonstrations(tmp_path / "out" / "toy", 3, 2)
    assert (len(loaded), loaded.successes, loaded.tasks) == (24, 3, ("toy",))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == json.loads(
        (tmp_path / "out" / "toy" / "1.0.0" / "bag_to_rlds.json").read_text()
    )
    steps = report["topics"]["/sac/steps"]
    assert (steps["messages"], steps["gaps"], steps["lost"]) == (24, 0, 0)
    assert steps["rate"] == pytest.approx(10.0) and steps["longest"] == pytest.approx(0.1)
    assert (report["terminated"], report["truncated"]) == (3, 1)


def test_what_the_recorder_lost_is_in_the_report(tmp_path: Path) -> None:
    lost = {"lost_messages": json.dumps({"/franka/joint_states": 7})}
    record(tmp_path / "bag", episode(), custom_data=lost)
    report = convert(Options(bags=(tmp_path / "bag",), output=tmp_path / "out"))
    assert report.topics["/franka/joint_states"].lost == 7


def test_a_dataset_is_appended_to_or_left_as_it_is(tmp_path: Path) -> None:
    bags(tmp_path / "bags", 2)
    more = record(tmp_path / "more", episode(5))
    assert run(tmp_path / "bags", "-o", tmp_path / "out").returncode == 0
    again = run(more, "-o", tmp_path / "out")
    assert again.returncode == 1 and "is there already" in again.stderr
    assert again.stderr.count("\n") == 1
    assert len(load_demonstrations(tmp_path / "out", 3, 2)) == 12
    assert run(more, "-o", tmp_path / "out", "--append").returncode == 0
    loaded = load_demonstrations(tmp_path / "out", 3, 2)
    assert (len(loaded), loaded.episodes) == (18, 3)
    assert loaded.actions[12:].tobytes() == chain([(6, True)], seed=5).actions.tobytes()


def test_bags_that_are_in_the_dataset_are_in_it_once(tmp_path: Path) -> None:
    folder = bags(tmp_path / "bags", 2)
    record(tmp_path / "again", episode(1))
    assert run(folder, tmp_path / "again", "-o", tmp_path / "out").returncode == 0
    before = {
        file.name: file.read_bytes() for file in (tmp_path / "out" / "toy" / "1.0.0").iterdir()
    }
    done = run(folder, "-o", tmp_path / "out", "--append", "--trim-idle", "0.05")
    assert done.returncode == 0, done.stderr
    assert "2 episodes were in the dataset already" in done.stdout
    assert {
        file.name: file.read_bytes() for file in (tmp_path / "out" / "toy" / "1.0.0").iterdir()
    } == before
    more = record(tmp_path / "more", episode(5))
    assert run(folder, more, "-o", tmp_path / "out", "--append").returncode == 0
    assert load_demonstrations(tmp_path / "out", 3, 2).episodes == 3


def test_episodes_of_another_task_are_not_appended(tmp_path: Path) -> None:
    bags(tmp_path / "bags", 1)
    other = record(tmp_path / "other", episode(3, task="another"))
    assert run(tmp_path / "bags", "-o", tmp_path / "out", "--name", "demos").returncode == 0
    done = run(other, "-o", tmp_path / "out", "--name", "demos", "--append")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "its task is 'toy', that of what is to be appended 'another'" in done.stderr
    assert load_demonstrations(tmp_path / "out", 3, 2).episodes == 1


def test_a_rate_that_nobody_says_is_that_of_the_stamps(tmp_path: Path) -> None:
    told = chain([(6, True)])
    steps = [rows(told[n : n + 1], n, (n + 1) * SECOND // 20) for n in range(6)]
    bag = record(tmp_path / "bag", steps)
    convert(Options(bags=(bag,), output=tmp_path / "out", lerobot=tmp_path / "lerobot"))
    assert json.loads((tmp_path / "lerobot" / "meta" / "info.json").read_text())["fps"] == 20


def test_a_bag_of_another_rate_is_in_neither_dataset(tmp_path: Path) -> None:
    folder = bags(tmp_path / "bags", 2)
    told = chain([(6, True)])
    steps = [rows(told[n : n + 1], n, (n + 1) * SECOND // 20) for n in range(6)]
    record(folder / "fast", steps)
    report = convert(Options(bags=(folder,), output=tmp_path / "out", lerobot=tmp_path / "lerobot"))
    (line,) = report.failed
    assert "20 steps/s, those before 10" in line and report.episodes == 2
    assert load_demonstrations(tmp_path / "out", 3, 2).episodes == 2
    info = json.loads((tmp_path / "lerobot" / "meta" / "info.json").read_text())
    assert info["total_episodes"] == 2


def test_a_terminal_shows_progress(tmp_path: Path) -> None:
    bags(tmp_path / "bags")
    mine, its = pty.openpty()
    command = [sys.executable, "-m", "sac_demos.bag_to_rlds", str(tmp_path / "bags")]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")], stderr=its, stdout=subprocess.DEVNULL
    ) as process:
        assert process.wait(60) == 0
    os.close(its)
    shown = os.read(mine, 65536).decode()
    os.close(mine)
    assert "[##########                    ] 1/3 bags, 6 transitions" in shown
    assert f"[{'#' * 30}] 3/3 bags, 18 transitions" in shown


# Bags that are broken, or meant to break something.


def cut(bag: Path) -> None:
    (file,) = bag.glob("*.mcap")
    os.truncate(file, file.stat().st_size // 2)


def metadata(change: Callable[[str], str]) -> Callable[[Path], object]:
    def spoil(bag: Path) -> None:
        path = bag / "metadata.yaml"
        path.write_text(change(path.read_text()))

    return spoil


def definition_that_is_none(bag: Path) -> None:
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes().replace(b"uint64 first_sequence", b"uint65 first_sequence"))


def other_content(bag: Path) -> None:
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes().replace(b"uint64 first_sequence", b"string first_sequence"))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "cut"),
    "empty": (lambda bag: os.truncate(next(bag.glob("*.mcap")), 0), "cut before its first message"),
    "without its file": (lambda bag: next(bag.glob("*.mcap")).unlink(), "No such file"),
    "metadata that are none": (metadata(lambda _: "a: ["), "no YAML"),
    "metadata of something else": (metadata(lambda _: "a: 1"), "not what rosbag2 writes"),
    "deep metadata": (metadata(lambda _: "[" * 100_000), "nested more than 50 deep"),
    "a path that leads elsewhere": (
        metadata(lambda text: text.replace("bag_1.mcap", "../../../etc/passwd")),
        "passwd",
    ),
    "large metadata": (metadata(lambda text: text + "#" * 2**25), "expected at most"),
    "a definition that is none": (definition_that_is_none, "sac_msgs/msg/uint65"),
    "a definition of something else": (other_content, "sac_msgs/msg/.* Invalid string"),
    "a folder in place of its file": (
        lambda bag: (next(bag.glob("*.mcap")).unlink(), (bag / "bag_1.mcap").mkdir()),
        "directory|regular file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_bag_is_one_line_and_the_others_are_converted(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "bags"
    record(folder / "bag_0", episode(0))
    spoilt = record(folder / "bag_1", episode(1))
    record(folder / "bag_2", episode(2))
    spoil, expected = BROKEN[what]
    spoil(spoilt)
    report = convert(Options(bags=(folder,), output=tmp_path / "out"))
    assert (report.bags, report.episodes) == (2, 2)
    (line,) = report.failed
    assert re.search(expected, line)
    assert str(spoilt) in line and "\n" not in line and len(line) < 500


def test_where_nothing_comes_out_the_command_fails_and_leaves_nothing(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", [said(0)])
    done = run(bag, "-o", tmp_path / "out")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{bag}: no transitions on sac/steps: a YAML (--config) can say which topics are "
        "observation and action",
        "bag_to_rlds: no episode came out of the bags: nothing is written",
    ]
    assert not (tmp_path / "out").exists()


def test_bags_of_another_task_are_left_out(tmp_path: Path) -> None:
    bags(tmp_path / "bags", 1)
    record(tmp_path / "bags" / "other", episode(3, task="another"))
    report = convert(Options(bags=(tmp_path / "bags",), output=tmp_path / "out"))
    (line,) = report.failed
    assert "one dataset is of one task" in line and report.episodes == 1


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_without_a_bag_one_line_says_what_was_expected(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="expected a bag of ROS 2"):
        convert(Options(bags=(tmp_path / folder,), output=tmp_path / "out"))


def test_a_recording_that_was_cut_says_what_mends_it(tmp_path: Path) -> None:
    bags(tmp_path / "bags", 1)
    (tmp_path / "bags" / "episode_0007.recording").mkdir()
    report = convert(Options(bags=(tmp_path / "bags",), output=tmp_path / "out"))
    (line,) = report.failed
    assert f"ros2 run sac_demos recover {tmp_path}/bags" in line


@pytest.mark.parametrize(
    "text",
    ["no database", "SQLite format 3\0" + "x" * 200, ""],
)
def test_databases_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    bag = record(tmp_path / "bag", episode(), StoragePlugin.SQLITE3)
    next(bag.glob("*.db3")).write_text(text)
    with pytest.raises(RldsError, match="no episode came out"):
        convert(Options(bags=(bag,), output=tmp_path / "out"))


# LeRobot.


def test_lerobot_gets_the_same_steps(tmp_path: Path) -> None:
    bags(tmp_path / "bags", 2)
    record(tmp_path / "bags" / "failed", episode(9, 4, outcome=EpisodeEvent.OUTCOME_FAILURE))
    folder = tmp_path / "lerobot"
    convert(Options(bags=(tmp_path / "bags",), output=tmp_path / "out", lerobot=folder,
                    instruction="Play with the toy."))  # fmt: skip
    info = json.loads((folder / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 10)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 16, 1)
    table = pq.read_table(folder / "data" / "chunk-000" / "file-000.parquet").to_pydict()
    loaded = load_demonstrations(tmp_path / "out", 3, 2)
    assert set(table) == set(info["features"])
    for name, values in (("observation.state", loaded.observations), ("action", loaded.actions)):
        assert np.array(table[name], np.float32).tobytes() == values.tobytes()
        assert info["features"][name]["shape"] == [values.shape[1]]
    assert np.array(table["next.reward"], np.float32).tobytes() == loaded.rewards.tobytes()
    assert np.flatnonzero(table["next.done"]).tolist() == [5, 11, 15]
    assert np.flatnonzero(table["next.success"]).tolist() == [5, 11]
    assert table["index"] == list(range(16))
    # LeRobot refuses times that are not the frame's number over the rate.
    frames = np.array(table["frame_index"])
    np.testing.assert_allclose(table["timestamp"], frames / 10.0, atol=1e-6)
    episodes = pq.read_table(folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    first = episodes.to_pylist()[0]
    assert (first["dataset_from_index"], first["dataset_to_index"], first["length"]) == (0, 6, 6)
    assert first["tasks"] == ["Play with the toy."]
    tasks = pq.read_table(folder / "meta" / "tasks.parquet")
    assert tasks.column("__index_level_0__").to_pylist() == ["Play with the toy."]
    stats = json.loads((folder / "meta" / "stats.json").read_text())
    np.testing.assert_allclose(stats["action"]["mean"], loaded.actions.mean(axis=0), rtol=1e-5)


def test_a_lerobot_folder_that_is_there_stays_and_nothing_is_written(tmp_path: Path) -> None:
    bags(tmp_path / "bags", 1)
    (tmp_path / "lerobot").mkdir()
    with pytest.raises(LerobotError, match="is there already"):
        convert(Options(bags=(tmp_path / "bags",), output=tmp_path / "out",
                        lerobot=tmp_path / "lerobot"))  # fmt: skip
    assert list((tmp_path / "out" / "toy").iterdir()) == []
