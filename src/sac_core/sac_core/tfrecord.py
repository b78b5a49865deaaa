"""TFRecord files without TensorFlow: records one after another, each with two checksums.

    uint64 length, uint32 masked CRC-32C of it, the bytes, uint32 masked CRC-32C of these

(little-endian; tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details").
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAX_RECORD = 2**30  # bytes: an episode with its pictures

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


class TfrecordError(ValueError):
    """A file is no whole TFRecord file; one line that names it."""


def _masked_crc(data: bytes) -> int:
    import google_crc32c  # only who has to do with datasets needs it

    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def write_record(file: IO[bytes], data: bytes) -> None:
    """Append one record."""
    length = _LENGTH.pack(len(data))
    file.write(length + _CRC.pack(_masked_crc(length)))
    file.write(data)
    file.write(_CRC.pack(_masked_crc(data)))


def read_records(path: Path) -> Iterator[bytes]:
    """Every record of a file, in order. No more is allocated than the file holds.

    Raises:
        TfrecordError: it is no regular file, was cut, or a checksum is wrong.
        OSError: it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise TfrecordError(f"{path}: expected a regular file")
        left = status.st_size
        while left:
            data = _read_record(file, left, path)
            left -= len(data) + 16
            yield data


def _read_record(file: IO[bytes], left: int, path: Path) -> bytes:
    head = file.read(12)
    if len(head) < 12:
        raise TfrecordError(f"{path}: cut in the middle of a record's length")
    (length,), (crc,) = _LENGTH.unpack_from(head), _CRC.unpack_from(head, 8)
    if _masked_crc(head[:8]) != crc:
        raise TfrecordError(f"{path}: the checksum of a record's length is wrong: no TFRecord file")
    if length > MAX_RECORD:
        raise TfrecordError(f"{path}: a record of {length} bytes, expected at most {MAX_RECORD}")
    if length + 16 > left:
        raise TfrecordError(f"{path}: cut: a record of {length} bytes where {left - 12} are left")
    data = file.read(length)
    end = file.read(4)
    if len(end) < 4:
        raise TfrecordError(f"{path}: became shorter while it was read")
    if _CRC.unpack(end)[0] != _masked_crc(data):
        raise TfrecordError(f"{path}: the checksum of a record is wrong")
    return data
