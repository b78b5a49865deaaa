"""The recorder as its users meet it: a process that hears topics, and bags that others read."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from episodes_told import Teller
from mcap.reader import make_reader
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from system import Program, Start, spin_until

from sac_demos.episodes import JOURNAL, UNFINISHED
from sac_demos.mcap_file import McapCut, McapFile
from sac_msgs.msg import EpisodeEvent

READY = r"waiting for an episode"


def recorder(start: Start, path: Path, *parameters: str) -> Program:
    given = [word for one in (f"save_path:={path}", *parameters) for word in ("-p", one)]
    program = start("ros2", "run", "sac_demos", "recorder", "--ros-args", *given)
    program.wait_for(READY)
    return program


@pytest.fixture
def teller(observer: Node) -> Teller:
    return Teller(observer)


def bags(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir())


def read(bag: Path) -> dict[str, list[Any]]:
    """Messages by topic, as rosbags reads them, in the order of the bag."""
    found: dict[str, list[Any]] = {}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append(message)
    return found


def custom_data(bag: Path) -> dict[str, str]:
    text = (bag / "metadata.yaml").read_text()
    return yaml.safe_load(text)["rosbag2_bagfile_information"]["custom_data"]


def assert_holds(bag: Path, teller: Teller, first: int, last: int) -> None:
    """The bag has exactly these transitions, bit for bit."""
    rows = read(bag)["/sac/steps"]
    assert [row.first_sequence for row in rows] == list(range(first, last))
    for row, told in zip(rows, teller.transitions[first:last], strict=True):
        for name, values in vars(told).items():
            assert np.asarray(getattr(row, name)).tobytes() == values.tobytes(), name


def test_an_episode_becomes_one_bag_that_others_read(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=2", "instruction:=Lift the cube.")
    teller.wait_for_recorder()
    teller.whole_episode(27)
    program.wait_for(r"Episode 1/2: success, 27 steps, 27\.0 s, \d+ kB: episode_0001")
    teller.whole_episode(3, outcome=EpisodeEvent.OUTCOME_FAILURE)
    program.wait_for(r"Episode 2/2: failure, 3 steps")
    assert program.wait() == 0

    first, second = bags(tmp_path / "demos")
    assert sorted(one.name for one in first.iterdir()) == ["episode_0001_0.mcap", "metadata.yaml"]
    assert_holds(first, teller, 0, 27)
    assert_holds(second, teller, 27, 30)
    for bag in (first, second):  # what everybody needs who opens only this one
        found = read(bag)
        assert [message.data for message in found["/robot_description"]] == ["<robot/>"]
        assert [event.event for event in found["/sac/episode"]] == [0, 1]
        assert len(found["/franka/joint_states"]) >= 3
    said = custom_data(first)
    assert said["success"] == "true" and custom_data(second)["success"] == "false"
    assert (said["task"], said["operator_name"], said["control_rate"]) == ("pick_cube", "Ada", "10")
    assert said["language_instruction"] == "Lift the cube."
    assert (said["complete"], said["missing_transitions"]) == ("true", "0")


def test_the_bag_is_indexed_compressed_and_says_what_rosbag2_wants(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=1")
    teller.wait_for_recorder()
    teller.whole_episode(4)
    assert program.wait() == 0
    (bag,) = bags(tmp_path / "demos")
    information = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (information["version"], information["storage_identifier"]) == (9, "mcap")
    assert information["relative_file_paths"] == ["episode_0001_0.mcap"]
    with (bag / "episode_0001_0.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        messages = list(reader.iter_messages())
    assert summary is not None and summary.statistics is not None
    assert summary.statistics.message_count == len(messages) == information["message_count"]
    assert {chunk.compression for chunk in summary.chunk_indexes} == {"zstd"}
    times = [message.log_time for _, _, message in messages]
    assert times == sorted(times)
    assert all(message.publish_time <= message.log_time for _, _, message in messages)
    counts = Counter(channel.topic for _, channel, _ in messages)
    for entry in information["topics_with_message_count"]:
        topic = entry["topic_metadata"]
        assert entry["message_count"] == counts[topic["name"]]
        assert topic["type_description_hash"].startswith("RIHS01_")
    channels = {channel.topic: channel for channel in summary.channels.values()}
    (profile,) = yaml.safe_load(channels["/robot_description"].metadata["offered_qos_profiles"])
    assert profile["durability"] == "transient_local"
    assert "best_effort" in channels["/franka/joint_states"].metadata["offered_qos_profiles"]


def test_discarded_episodes_leave_nothing_and_numbers_go_on(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    folder = tmp_path / "demos"
    old = folder / "episode_0041"
    old.mkdir(parents=True)
    (old / "precious").write_text("kept")
    program = recorder(start, folder)
    teller.wait_for_recorder()
    teller.whole_episode(3, discarded=True)
    program.wait_for("Episode discarded")
    assert bags(folder) == [old]
    teller.whole_episode(3)
    program.wait_for("Episode 1: success, 3 steps")
    assert program.interrupt() == 0
    assert [bag.name for bag in bags(folder)] == ["episode_0041", "episode_0043"]
    assert (old / "precious").read_text() == "kept"


def test_rows_that_come_before_their_episode_begins_are_in_its_bag(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=2")
    teller.wait_for_recorder()
    for _ in range(2):  # topics have no order among them: the beginning may come last
        teller.first = teller.sequence
        for _ in range(4):
            teller.step()
        teller.start_event()
        teller.end()
    program.wait_for("Episode 2/2: success, 4 steps")
    assert program.wait() == 0
    first, second = bags(tmp_path / "demos")
    assert_holds(first, teller, 0, 4)
    assert_holds(second, teller, 4, 8)


def test_ctrl_c_in_the_middle_of_an_episode_leaves_a_whole_bag(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos")
    teller.wait_for_recorder()
    teller.start()
    for _ in range(6):
        teller.step()
    wait_for_journal(tmp_path / "demos", "/sac/steps", 6)
    assert program.interrupt() == 0
    (bag,) = bags(tmp_path / "demos")
    assert_holds(bag, teller, 0, 6)
    assert custom_data(bag)["complete"] == "false"
    assert "not ended, 6 steps" in program.output


def journal_messages(folder: Path) -> list[Any]:
    """What a journal holds at this moment."""
    found: list[Any] = []
    for journal in folder.glob(f"*{UNFINISHED}/{JOURNAL}"):
        try:
            for message in McapFile(journal).messages():
                found.append(message)
        except McapCut:
            continue
    return found


def wait_for_journal(folder: Path, topic: str, count: int, timeout: float = 60.0) -> None:
    """Until so many messages of a topic are in a journal on the disk."""
    deadline = time.monotonic() + timeout
    while sum(one.channel.topic == topic for one in journal_messages(folder)) < count:
        assert time.monotonic() < deadline, f"no {count} messages of {topic} in {timeout:g} s"
        os.sched_yield()


def killed(start: Start, teller: Teller, folder: Path) -> tuple[float, list[int]]:
    """Kill a recorder in the middle of an episode: when, and what had been published until then."""
    program = recorder(start, folder)
    teller.wait_for_recorder()
    published: list[int] = []  # ns

    def tick() -> None:
        published.append(time.time_ns())
        teller.joint_state()

    teller.start()
    teller.step()
    timer = teller.node.create_timer(0.01, tick)
    spin_until(teller.node, lambda: len(published) >= 100, 60.0, "100 messages")
    recorders = [
        one
        for one in psutil.Process(program.process.pid).children(recursive=True)
        if "recorder" in " ".join(one.cmdline())
    ] or [psutil.Process(program.process.pid)]
    for process in recorders:
        process.send_signal(signal.SIGKILL)
    at = time.time_ns()
    program.wait()
    teller.node.destroy_timer(timer)
    teller.end()
    return at, published


def test_kill_9_loses_at_most_the_last_fifth_of_a_second(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    """Of three attempts the best: on a busy machine a process may not run for that long."""
    latest = []
    for attempt in range(3):
        folder = tmp_path / f"demos_{attempt}"
        at, published = killed(start, teller, folder)
        mend = start("ros2", "run", "sac_demos", "recover", str(folder))
        assert mend.wait() == 0, mend.output
        assert "episode_0001: " in mend.output and "1 transitions" in mend.output
        (bag,) = bags(folder)
        with AnyReader([bag]) as reader:
            times = [
                message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                for message in (
                    reader.deserialize(raw, connection.msgtype)
                    for connection, _, raw in reader.messages()
                    if connection.topic == "/franka/joint_states"
                )
            ]
        assert custom_data(bag)["recovered"] == "true"
        wanted = [one for one in published if one < at - 200_000_000]
        latest.append(len(times) >= len(wanted) and times == sorted(times))
        if latest[-1]:
            return
    pytest.fail(f"of three recorders that were killed each lost more: {latest}")


def suspended(program: Program) -> list[psutil.Process]:
    """Stop a recorder for a while."""
    processes = [psutil.Process(program.process.pid), *program.descendants()]
    for process in processes:
        process.suspend()
    return processes


def test_messages_that_did_not_come_are_counted(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=1")
    teller.wait_for_recorder()
    teller.start()
    teller.joint_state()
    teller.step()
    wait_for_journal(tmp_path / "demos", "/franka/joint_states", 1)
    processes = suspended(program)
    for _ in range(3000):  # more than wait for a reader that does not read
        teller.joint_state()
    for process in processes:
        process.resume()
    teller.joint_state()
    wait_for_journal(tmp_path / "demos", "/franka/joint_states", 2)
    # Whatever is still under way is followed by one that tells how many there were.
    teller.joint_state()
    teller.end()
    program.wait_for(r"lacks \d+ messages of /franka/joint_states")
    assert program.wait() == 0
    (bag,) = bags(tmp_path / "demos")
    lost = json.loads(custom_data(bag)["lost_messages"])["/franka/joint_states"]
    received = len(read(bag)["/franka/joint_states"])
    assert lost > 0 and received + lost == 3003


def test_a_full_disk_is_said_once_and_what_came_meanwhile_is_kept(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=1")
    teller.wait_for_recorder()
    teller.start()
    teller.step()
    wait_for_journal(tmp_path / "demos", "/sac/steps", 1)
    processes = [psutil.Process(program.process.pid), *program.descendants()]
    size = next((tmp_path / "demos").glob(f"*{UNFINISHED}/{JOURNAL}")).stat().st_size
    unlimited = resource.RLIM_INFINITY
    for process in processes:  # a file may not become longer: as if the disk were full
        process.rlimit(psutil.RLIMIT_FSIZE, (size + 100, unlimited))
    for _ in range(30):
        teller.step()
    program.wait_for("cannot be written: File too large; what comes is kept in memory")
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, (unlimited, unlimited))
    program.wait_for("The disk takes data again")
    teller.step()
    teller.end()
    program.wait_for("Episode 1/1: success, 32 steps")
    assert program.wait() == 0
    assert program.output.count("cannot be written") == 1
    (bag,) = bags(tmp_path / "demos")
    assert_holds(bag, teller, 0, 32)


def test_an_episode_that_began_before_the_recorder_is_left_out(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    teller.start()
    teller.step()
    program = recorder(start, tmp_path / "demos", "num_episodes:=1")
    teller.wait_for_recorder()
    teller.step()
    teller.end()
    teller.whole_episode(3)
    program.wait_for("Episode 1/1: success, 3 steps")
    assert program.wait() == 0
    (bag,) = bags(tmp_path / "demos")
    assert_holds(bag, teller, 2, 5)


def test_an_episode_whose_end_was_not_told_takes_no_row_of_the_next(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=2")
    teller.wait_for_recorder()
    teller.start()
    teller.step()
    teller.episode += 1
    teller.whole_episode(3)
    program.wait_for("Episode 2/2")
    assert program.wait() == 0
    first, second = bags(tmp_path / "demos")
    assert_holds(first, teller, 0, 1)
    assert_holds(second, teller, 1, 4)


def test_an_actor_that_died_leaves_a_bag_that_says_so(
    start: Start, teller: Teller, observer: Node, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=2")
    teller.wait_for_recorder()
    teller.start()
    teller.step()
    another = Teller(observer, session=8)  # it was started anew
    another.wait_for_recorder()
    another.whole_episode(2)
    program.wait_for("Episode 2/2")
    assert program.wait() == 0
    verdicts = {
        custom_data(bag)["session"][-1]: custom_data(bag) for bag in bags(tmp_path / "demos")
    }
    assert verdicts["7"]["complete"] == "false"
    assert verdicts["8"]["complete"] == "true"


def test_an_episode_whose_actor_is_gone_ends_although_the_robot_speaks_on(
    start: Start, teller: Teller, observer: Node, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=1")
    teller.wait_for_recorder()
    teller.start()
    teller.step()
    wait_for_journal(tmp_path / "demos", "/sac/steps", 1)
    for publisher in (teller.events, teller.steps):
        observer.destroy_publisher(publisher)
    program.wait_for("episode_0001 ends here: its actor is gone")
    program.wait_for("Episode 1/1: not ended, 1 steps")
    assert program.wait() == 0
    (bag,) = bags(tmp_path / "demos")
    assert custom_data(bag)["complete"] == "false"


def test_what_cannot_be_decoded_is_said_and_recorded_on(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    program = recorder(start, tmp_path / "demos", "num_episodes:=1")
    teller.wait_for_recorder()
    for nonsense in (b"\x00\x01\x00\x00", b"\x00\x01\x00\x00" + b"\xff" * 40):
        teller.steps.publish(nonsense)
        teller.events.publish(nonsense)
    program.wait_for("is not recorded")
    teller.whole_episode(3)
    program.wait_for("Episode 1/1: success, 3 steps")
    assert program.wait() == 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [("file/below", "expected a folder that can be written"), ("demos", "another recorder")],
)
def test_a_folder_that_cannot_be_used_is_one_clear_line(
    start: Start, tmp_path: Path, path: str, expected: str
) -> None:
    (tmp_path / "file").write_text("")
    recorder(start, tmp_path / "demos")
    second = start(
        "ros2", "run", "sac_demos", "recorder", "--ros-args", "-p", f"save_path:={tmp_path / path}"
    )
    assert second.wait() == 1
    (line,) = [line for line in second.lines if "[sac_recorder]" in line]
    assert expected in line and "Traceback" not in second.output


def test_recover_leaves_a_bag_alone_that_is_being_recorded(
    start: Start, teller: Teller, tmp_path: Path
) -> None:
    recorder(start, tmp_path / "demos")
    teller.wait_for_recorder()
    teller.start()
    teller.step()
    wait_for_journal(tmp_path / "demos", "/sac/steps", 1)
    mend = start("ros2", "run", "sac_demos", "recover", str(tmp_path / "demos"))
    assert mend.wait() == 0
    assert "it is being recorded, and left alone" in mend.output
    assert journal_messages(tmp_path / "demos")
