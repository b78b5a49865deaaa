"""MCAP files: written in a journal, read as far as they go, bounded whatever they hold."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from bag_messages import CHATTER, STRING, said
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from sac_demos.mcap_file import (
    CHANNEL,
    CHUNK,
    MAGIC,
    SCHEMA,
    Channel,
    Journal,
    McapCut,
    McapError,
    McapFile,
    Message,
)


def read(path: Path) -> tuple[list[Message], Exception | None]:
    """Every message, and why there were no more."""
    found: list[Message] = []
    try:
        for message in McapFile(path).messages():
            found.append(message)
    except McapError as error:
        return found, error
    return found, None


def journal(path: Path, messages: list[Message]) -> Path:
    written = Journal(path)
    for message in messages:
        assert written.add(message)
    written.flush()
    written.close()
    return path


def chunked(path: Path, messages: list[Message], compression: CompressionType) -> Path:
    """As the mcap library writes it."""
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, chunk_size=500)
        writer.start("ros2")
        schema = writer.register_schema(STRING.name, STRING.encoding, STRING.data)
        channel = writer.register_channel(CHATTER.topic, "cdr", schema, {"key": "value"})
        for one in messages:
            writer.add_message(channel, one.log_time, one.data, one.publish_time, one.sequence)
        writer.add_metadata("name", {"a": "b"})
        writer.finish()
    return path


@pytest.mark.parametrize("compression", CompressionType)
def test_what_the_mcap_library_writes_is_read(tmp_path: Path, compression: CompressionType) -> None:
    messages = [said(number) for number in range(100)]
    found, error = read(chunked(tmp_path / "a.mcap", messages, compression))
    assert error is None
    assert [one[1:] for one in found] == [one[1:] for one in messages]
    assert {one.channel.schema for one in found} == {STRING}
    assert {one.channel.metadata["key"] for one in found} == {"value"}


def test_metadata_and_topics(tmp_path: Path) -> None:
    file = McapFile(chunked(tmp_path / "a.mcap", [said(0)], CompressionType.ZSTD))
    assert list(file.messages(lambda channel: channel.topic == "/other")) == []
    assert file.metadata == {"name": {"a": "b"}}


def test_the_mcap_library_reads_what_a_journal_holds(tmp_path: Path) -> None:
    other = Channel("/other", STRING, metadata={"a": "b"})
    messages = [said(0), said(1, other), said(2)]
    with journal(tmp_path / "a.mcap", messages).open("rb") as file:
        records = []
        try:
            for record in StreamReader(file).records:
                records.append(record)
        except Exception as error:
            assert "EndOfFile" in repr(error)
    kinds = [type(record).__name__ for record in records]
    assert kinds == ["Header", "Schema", "Channel", "Message", "Channel", "Message", "Message"]


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0.0, 1.0), count=st.integers(1, 30))
def test_of_a_cut_journal_every_whole_message_is_read(cut: float, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        messages = [said(number) for number in range(count)]
        path = journal(Path(folder) / "a.mcap", messages)
        ends = [
            journal(Path(folder) / f"{number}.mcap", messages[:number]).stat().st_size
            for number in range(count + 1)
        ]
        size = int(cut * path.stat().st_size)
        os.truncate(path, size)
        found, error = read(path)
        assert isinstance(error, McapCut)
        assert "\n" not in str(error)
        whole = max((number for number, end in enumerate(ends) if end <= size), default=0)
        assert found == messages[:whole]


def test_what_was_flushed_is_there_while_the_journal_is_open(tmp_path: Path) -> None:
    written = Journal(tmp_path / "below" / "a.mcap")
    written.add(said(0))
    assert not written.path.exists()
    written.flush()
    written.add(said(1))
    assert read(written.path)[0] == [said(0)]
    written.flush()
    assert read(written.path)[0] == [said(0), said(1)]
    assert written.size == written.path.stat().st_size


def test_the_last_metadata_of_a_name_counts(tmp_path: Path) -> None:
    written = Journal(tmp_path / "a.mcap")
    written.add_metadata("episode", {"success": "unknown"})
    written.add(said(0))
    written.add_metadata("episode", {"success": "true"})
    written.flush()
    file = McapFile(written.path)
    with pytest.raises(McapCut):
        list(file.messages())
    assert file.metadata == {"episode": {"success": "true"}}


def test_a_journal_whose_disk_is_full_keeps_what_fits_and_refuses_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.mkdir()  # nothing can be written there
    written = Journal(path)
    written.PENDING = 1000
    taken = 0
    while written.add(said(taken)):
        taken += 1
    assert taken > 5
    with pytest.raises(OSError):
        written.flush()
    path.rmdir()
    written.flush()
    assert written.add(said(taken))
    written.flush()
    assert [one.sequence for one in read(path)[0]] == list(range(taken + 1))


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def chunk(data: bytes, compression: str, size: int) -> bytes:
    head = struct.pack("<QQQI", 0, 0, size, 0) + text(compression)
    return record(CHUNK, head + struct.pack("<Q", len(data)) + data)


BOMB = zstandard.compress(bytes(2**26))
HOSTILE = {
    "a record of an exabyte": (struct.pack("<BQ", 5, 2**60), "cut"),
    "a message of no channel": (record(5, struct.pack("<HIQQ", 9, 0, 0, 0)), "unknown channel 9"),
    "a text of four gigabytes": (record(SCHEMA, b"\1\0" + b"\xff" * 4), "shorter than"),
    "a text that is none": (record(SCHEMA, b"\1\0" + struct.pack("<I", 2) + b"\xff\xfe"), "utf-8"),
    "a channel that is cut": (record(CHANNEL, b"\1\0\1"), "shorter than"),
    "a chunk of a petabyte": (chunk(b"", "", 2**50), "expected at most"),
    "a chunk that unpacks to more": (chunk(BOMB, "zstd", 100), "unpacks to"),
    "a chunk that unpacks to less": (chunk(zstandard.compress(b"ab"), "zstd", 100), "unpacks to"),
    "lz4 that unpacks to more": (chunk(lz4.frame.compress(bytes(2**26)), "lz4", 9), "unpacks to"),
    "lz4 that is none": (chunk(b"abc", "lz4", 9), "broken"),
    "zstd that is none": (chunk(b"abc", "zstd", 9), "broken"),
    "an unknown compression": (chunk(b"abc", "zip", 3), "expected zstd, lz4 or none"),
    "a chunk in a chunk": (chunk(chunk(b"", "", 0), "", len(chunk(b"", "", 0))), "larger than"),
    "a chunk whose record is larger": (chunk(struct.pack("<BQ", 5, 99), "", 9), "larger than"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_broken_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    content, expected = HOSTILE[what]
    path = tmp_path / "a.mcap"
    path.write_bytes(MAGIC + record(1, text("ros2") + text("")) + content)
    found, error = read(path)
    assert found == [] and error is not None
    assert expected in str(error) and "\n" not in str(error) and str(path) in str(error)


def test_other_files_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no bag at all")
    os.mkfifo(tmp_path / "pipe")
    assert "no MCAP file" in str(read(tmp_path / "text")[1])
    assert "regular file" in str(read(tmp_path / "pipe")[1])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_changed_bytes_break_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = chunked(Path(folder) / "a.mcap", [said(n) for n in range(5)], CompressionType.LZ4)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        _, error = read(path)
        assert error is None or "\n" not in str(error)


def test_the_written_bag_is_read_by_the_mcap_library(tmp_path: Path) -> None:
    from sac_demos.bag_folder import write_bag

    messages = [said(number) for number in range(10)]
    contents = write_bag(tmp_path, "bag", messages, {"a": "b"})
    assert contents.messages == 10 and contents.counts == {"/chatter": 10}
    with (tmp_path / "bag_0.mcap").open("rb") as file:
        found = list(make_reader(file, validate_crcs=True).iter_messages())
    assert [message.data for _, _, message in found] == [one.data for one in messages]
