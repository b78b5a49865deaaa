"""Bags that were cut are mended, whoever was recording them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bag_messages import CHATTER, chain, record, rows, said
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from sac_demos.bags import Bag
from sac_demos.episodes import INFORMATION, JOURNAL
from sac_demos.mcap_file import Journal, Message
from sac_demos.recover import find_cut, mend


def read(bag: Path) -> list[bytes]:
    """Every message as the rosbags library reads it."""
    with AnyReader([bag]) as reader:
        return [bytes(raw) for _, _, raw in reader.messages()]


def recording(folder: Path, messages: list[Message], known: dict[str, str]) -> Path:
    """What a recorder leaves that was killed."""
    journal = Journal(folder / JOURNAL)
    journal.add_metadata(INFORMATION, known)
    for message in messages:
        journal.add(message)
    journal.flush()
    journal.close()
    return folder


def test_a_journal_becomes_the_bag_that_it_was_to_be(tmp_path: Path) -> None:
    told = chain([(5, False)])
    messages = [rows(told[n : n + 1], n, 10**9 + n) for n in range(5)]
    known = {"task": "toy", "length": "", "success": "false"}
    folder = recording(tmp_path / "episode_0003.recording", messages, known)
    os.truncate(folder / JOURNAL, (folder / JOURNAL).stat().st_size - 7)  # the last is half there
    assert mend(folder) == f"{tmp_path}/episode_0003: 4 messages, 4 transitions, 0.0 s"
    assert not folder.exists()
    assert read(tmp_path / "episode_0003") == [one.data for one in messages[:4]]
    custom_data = Bag(tmp_path / "episode_0003").custom_data
    assert custom_data["task"] == "toy"
    assert (custom_data["recovered"], custom_data["complete"]) == ("true", "false")


def test_a_recording_that_lacked_only_its_name_gets_it(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", [said(0)])
    bag.rename(tmp_path / "episode_0001.recording")
    assert "it was whole" in mend(tmp_path / "episode_0001.recording")
    assert (tmp_path / "episode_0001" / "metadata.yaml").exists()


def test_a_discarded_recording_goes(tmp_path: Path) -> None:
    folder = recording(tmp_path / "episode_0001.recording", [said(0)], {"discarded": "true"})
    assert "discarded" in mend(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.STORAGE])
def test_of_a_cut_bag_of_others_a_whole_one_is_made_beside(
    tmp_path: Path, compression: CompressionMode
) -> None:
    messages = [said(number) for number in range(30_000)]  # several chunks
    bag = record(tmp_path / "theirs", messages, compression=compression)
    (file,) = bag.glob("*.mcap")
    os.truncate(file, file.stat().st_size * 2 // 3)
    (bag / "metadata.yaml").unlink()
    before = file.read_bytes()
    assert list(find_cut(tmp_path)) == [bag]
    mend(bag)
    found = read(tmp_path / "theirs_mended")
    assert 5_000 < len(found) < 30_000
    assert found == [one.data for one in messages[: len(found)]]
    assert file.read_bytes() == before
    assert list(find_cut(tmp_path)) == [bag]
    assert "is there already" in mend(bag)


def test_a_database_whose_writer_was_killed_is_mended(tmp_path: Path) -> None:
    messages = [said(number) for number in range(50)]
    bag = record(tmp_path / "theirs", messages, StoragePlugin.SQLITE3)
    (bag / "metadata.yaml").unlink()
    (file,) = bag.glob("*.db3")
    # Killed in a transaction: half of it is in the file, and how it was before in the journal.
    code = (
        "import os, sqlite3, sys\n"
        f"database = sqlite3.connect({str(file)!r}, isolation_level=None)\n"
        "database.execute('PRAGMA cache_size = 1')\n"
        "database.execute('BEGIN')\n"
        "for n in range(5000):\n"
        "    database.execute('INSERT INTO messages (topic_id, timestamp, data) "
        "VALUES (1, ?, ?)', (n, b'x' * 500))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert file.with_name(f"{file.name}-journal").exists()
    mend(bag)
    assert read(tmp_path / "theirs_mended") == [one.data for one in messages]


def test_whole_bags_are_left_alone(tmp_path: Path) -> None:
    record(tmp_path / "a", [said(0)])
    record(tmp_path / "b", [said(0)], StoragePlugin.SQLITE3)
    assert list(find_cut(tmp_path)) == []


def command(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sac_demos.recover", str(path)], capture_output=True, text=True
    )


def test_the_command_says_what_it_did_and_what_it_could_not(tmp_path: Path) -> None:
    done = command(tmp_path)
    assert (done.returncode, done.stdout) == (0, "No bag was cut\n")
    recording(tmp_path / "episode_0001.recording", [said(0)], {})
    recording(tmp_path / "episode_0002.recording", [], {})
    (tmp_path / "episode_0003.recording").mkdir()
    done = command(tmp_path)
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path}/episode_0001: 1 messages, 0.0 s\n"
    first, second = done.stderr.splitlines()
    assert "episode_0002.recording: cannot be mended" in first
    assert "neither a journal nor a bag" in second
    assert command(tmp_path / "nowhere").returncode == 1


def test_a_name_that_is_taken_is_not_written_over(tmp_path: Path) -> None:
    folder = recording(tmp_path / "episode_0001.recording", [said(0)], {})
    shutil.copytree(record(tmp_path / "other", [said(1)]), tmp_path / "episode_0001")
    with pytest.raises(FileExistsError, match="is there already"):
        mend(folder)
    assert (folder / JOURNAL).exists()
    assert read(tmp_path / "episode_0001") == [said(1, CHATTER).data]
