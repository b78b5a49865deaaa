"""MCAP files record by record: read as far as they go, and written so that nothing waits in memory.

The format is mcap.dev/spec. Reading here bounds what a file can ask for, tells publish times, and
takes files that were cut; writing here is a journal without chunks or indexes, of which all but the
last instant is there after the process was killed.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import lz4.frame
import zstandard

MAGIC = b"\x89MCAP0\r\n"
MAX_RECORD = 2**30  # bytes
MAX_CHUNK = 2**28  # bytes, unpacked

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, METADATA, DATA_END = 1, 2, 3, 4, 5, 6, 12, 15

_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK = struct.Struct("<QQQI")  # first and last log time, size, CRC-32
_U16, _U32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


class McapError(ValueError):
    """A file is no MCAP file, or broken; one line that names it."""


class McapCut(McapError):
    """A file ends before its end: whoever wrote it was interrupted."""


@dataclass(frozen=True)
class Schema:
    """The definition of a message."""

    name: str  # sensor_msgs/msg/JointState
    encoding: str  # ros2msg or ros2idl
    data: bytes


@dataclass(frozen=True)
class Channel:
    """A topic as one file has it."""

    topic: str
    schema: Schema
    encoding: str = "cdr"
    metadata: Mapping[str, str] = field(default_factory=dict)


class Message(NamedTuple):
    """One message, as it was on the wire."""

    channel: Channel
    sequence: int
    log_time: int  # ns, received
    publish_time: int  # ns
    data: bytes


# Reading.


class _Cursor:
    """Takes apart the content of one record."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise ValueError("a record is shorter than what it holds")
        self.at += count
        return part

    def number(self, kind: struct.Struct) -> int:
        value: int = kind.unpack(self.take(kind.size))[0]
        return value

    def text(self) -> str:
        return self.take(self.number(_U32)).decode()

    def texts(self) -> dict[str, str]:
        inner = _Cursor(self.take(self.number(_U32)))
        found = {}
        while inner.at < len(inner.data):
            key = inner.text()
            found[key] = inner.text()
        return found


def everything(channel: Channel) -> bool:
    """Wants every message."""
    return True


class McapFile:
    """Reads a file from its beginning to its end, or to where it was cut.

    Attributes:
        metadata: those met so far, by name; of several of one name the last.
        times: if given, log times (ns) of every message are appended to it, by topic.
    """

    def __init__(self, path: Path, times: Mapping[str, array[int]] | None = None) -> None:
        self.path = Path(path)
        self.metadata: dict[str, dict[str, str]] = {}
        self._times = times
        self._schemas: dict[int, Schema] = {}
        # By number: the channel, or None if it is not wanted; and where its log times go.
        self._channels: dict[int, tuple[Channel | None, Callable[[int], None]]] = {}

    def messages(self, wanted: Callable[[Channel], bool] = everything) -> Iterator[Message]:
        """Every message of the channels that are wanted, in the order of the file.

        Raises:
            McapCut: the file has no end; every message before was given.
            McapError: it is no MCAP file, or broken.
            OSError: it cannot be read.
        """
        with open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise McapError(f"{self.path}: expected a regular file")
            magic = file.read(len(MAGIC))
            if magic != MAGIC:
                if MAGIC.startswith(magic):
                    raise McapCut(f"{self.path}: cut before its first message")
                raise McapError(f"{self.path}: no MCAP file")
            try:
                for opcode, content in self._records(file, status.st_size - len(MAGIC)):
                    if opcode == CHUNK:
                        yield from self._read_chunk(content, wanted)
                    elif (message := self._read(opcode, content, wanted)) is not None:
                        yield message
            except McapError:
                raise
            except (ValueError, struct.error, zstandard.ZstdError, RuntimeError) as error:
                raise McapError(f"{self.path}: broken: {error!s:.200}") from error

    def _records(self, file: IO[bytes], left: int) -> Iterator[tuple[int, bytes]]:
        """Opcode and content of each record, to the end of the data."""
        while True:
            head = file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                raise McapCut(f"{self.path}: cut: it ends between two records")
            opcode, length = _RECORD.unpack(head)
            left -= len(head)
            if opcode in (DATA_END, FOOTER):
                return
            if length > left:
                raise McapCut(f"{self.path}: cut: a record of {length} bytes, {left} are left")
            if length > MAX_RECORD:
                raise McapError(f"{self.path}: a record of {length} bytes: at most {MAX_RECORD}")
            content = file.read(length)
            if len(content) < length:
                raise McapCut(f"{self.path}: became shorter while it was read")
            left -= length
            yield opcode, content

    def _read_chunk(self, content: bytes, wanted: Callable[[Channel], bool]) -> Iterator[Message]:
        cursor = _Cursor(content)
        _, _, size, _ = _CHUNK.unpack(cursor.take(_CHUNK.size))
        compression = cursor.text()
        data = _unpacked(cursor.take(cursor.number(_U64)), compression, size)
        at = 0
        while at < len(data):
            opcode, length = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            if opcode == CHUNK or at + length > len(data):
                raise ValueError("a chunk holds a record that is larger than itself")
            message = self._read(opcode, data[at : at + length], wanted)
            if message is not None:
                yield message
            at += length

    def _read(
        self, opcode: int, content: bytes, wanted: Callable[[Channel], bool]
    ) -> Message | None:
        """The message, if this record is one that is wanted."""
        if opcode == MESSAGE:
            number, sequence, log_time, publish_time = _MESSAGE.unpack_from(content)
            if number not in self._channels:
                raise ValueError(f"a message of the unknown channel {number}")
            channel, note = self._channels[number]
            note(log_time)
            if channel is not None:
                return Message(channel, sequence, log_time, publish_time, content[_MESSAGE.size :])
        elif opcode == SCHEMA:
            cursor = _Cursor(content)
            number = cursor.number(_U16)
            name, encoding = cursor.text(), cursor.text()
            self._schemas[number] = Schema(name, encoding, cursor.take(cursor.number(_U32)))
        elif opcode == CHANNEL:
            cursor = _Cursor(content)
            number, schema = cursor.number(_U16), cursor.number(_U16)
            topic, kind, metadata = cursor.text(), cursor.text(), cursor.texts()
            known = self._schemas.get(schema, Schema("", "", b""))
            channel = Channel(topic, known, kind, metadata)
            note = self._times[topic].append if self._times is not None else _forget
            self._channels[number] = channel if wanted(channel) else None, note
        elif opcode == METADATA:
            cursor = _Cursor(content)
            name = cursor.text()
            self.metadata[name] = cursor.texts()
        return None


def _forget(time: int) -> None:
    """Nobody asked for the time of every message."""


def _unpacked(data: bytes, compression: str, size: int) -> bytes:
    """The records of a chunk, of `size` bytes and no more."""
    if size > MAX_CHUNK:
        raise ValueError(f"a chunk of {size} bytes, expected at most {MAX_CHUNK}")
    if compression == "zstd":
        data = unpacked_zstd(data, size)
    elif compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1)
    elif compression:
        raise ValueError(f"compression {compression!r:.40}: expected zstd, lz4 or none")
    if len(data) != size:
        raise ValueError(f"a chunk of {size} bytes that unpacks to others")
    return data


def unpacked_zstd(data: bytes, most: int) -> bytes:
    """A frame of zstd, unpacked; ValueError where that is more than `most` bytes."""
    promised = zstandard.frame_content_size(data)
    if promised > most:  # it would be believed, whatever the limit
        raise ValueError(f"at most {most} bytes expected, it unpacks to {promised}")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=most)


# Writing.


def _text(text: str) -> bytes:
    data = text.encode()
    return _U32.pack(len(data)) + data


def _texts(texts: Mapping[str, str]) -> bytes:
    data = b"".join(_text(key) + _text(value) for key, value in texts.items())
    return _U32.pack(len(data)) + data


def _record(opcode: int, content: bytes) -> bytes:
    return _RECORD.pack(opcode, len(content)) + content


class Journal:
    """Writes an MCAP file without chunks. `flush` is the only thing that touches the disk.

    What was added before a flush that succeeded outlives the process. While the disk takes nothing,
    up to `PENDING` bytes wait; what comes then is refused.
    """

    PENDING = 64 * 2**20  # bytes

    def __init__(self, path: Path) -> None:
        """`path`: a file that is not there; it and its folder appear with the first flush."""
        self.path = Path(path)
        self.size = 0  # bytes, those that wait included
        self._pending = bytearray()
        self._file = -1
        self._schemas: dict[Schema, int] = {}
        self._channels: dict[str, int] = {}
        self._add(MAGIC + _record(HEADER, _text("ros2") + _text("sac_demos")))

    def _add(self, data: bytes) -> None:
        self._pending += data
        self.size += len(data)

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Keep these values; of several of one name the last counts."""
        self._add(_record(METADATA, _text(name) + _texts(values)))

    def add(self, message: Message) -> bool:
        """Append a message; False where it is refused because too many wait for the disk."""
        if len(self._pending) > self.PENDING:
            return False
        channel = self._channels.get(message.channel.topic)
        if channel is None:
            channel = self._add_channel(message.channel)
        head = _MESSAGE.pack(channel, message.sequence, message.log_time, message.publish_time)
        self._add(_RECORD.pack(MESSAGE, len(head) + len(message.data)) + head + message.data)
        return True

    def _add_channel(self, channel: Channel) -> int:
        schema = self._schemas.get(channel.schema)
        if schema is None:
            schema = self._schemas[channel.schema] = len(self._schemas) + 1
            definition = channel.schema
            content = _text(definition.name) + _text(definition.encoding)
            content += _U32.pack(len(definition.data)) + definition.data
            self._add(_record(SCHEMA, _U16.pack(schema) + content))
        number = self._channels[channel.topic] = len(self._channels) + 1
        content = _U16.pack(number) + _U16.pack(schema) + _text(channel.topic)
        content += _text(channel.encoding) + _texts(channel.metadata)
        self._add(_record(CHANNEL, content))
        return number

    def flush(self) -> None:
        """Hand everything to the system.

        Raises:
            OSError: the disk does not take it; it waits for the next flush.
        """
        if self._file < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self.path, flags, 0o644)
            lock(self._file)
        while self._pending:
            written = os.write(self._file, memoryview(self._pending)[: 2**20])
            del self._pending[:written]

    def close(self) -> None:
        """Give the file back as it is."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def lock(file: int) -> None:
    """Keep others from taking a file for one that is done; BlockingIOError where it is taken."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
