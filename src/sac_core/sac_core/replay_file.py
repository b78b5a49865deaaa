"""A replay buffer in a memory-mapped file: what was inserted outlives the process.

The file holds a header, two slots for commits, a checksum for each row, and the rows. An insert
writes rows, then their checksums, then a commit into the older of the two slots: how many rows
there are, and whatever state belongs to exactly these rows. A process that is killed anywhere in
between leaves the last commit; what it had half written is recognised and left out.

    python -m sac_core.replay_file runs/<name>/replay.bin

tells what is in one. Rows survive the death of the process at once; that of the machine, once the
system has written them back or `sync` was called.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_core.replay import FloatArray, ReplayBuffer, RowLayout

FORMAT = 1
MAGIC = b"SACREPLY"
PAGE = 4096
SLOT_BYTES = 128 * PAGE  # of each of the two commits
CHUNK_ROWS = 65_536  # rows checked at a time

_HEADER = struct.Struct("<8sII")  # magic, length and CRC-32 of the JSON after it
_SLOT = struct.Struct("<QII")  # generation, length and CRC-32 (of generation and JSON)
_GENERATION = struct.Struct("<Q")
_NUMBER_WEIGHT = np.uint64(0x9E3779B97F4A7C15)  # odd: 2**64 over the golden ratio


class ReplayFileError(ValueError):
    """A replay file is broken, or of other sizes or another task; one line that names the path."""


@dataclass(frozen=True)
class ReplayContents:
    """What a replay file held when it was read."""

    task: str
    capacity: int
    layout: RowLayout
    inserted: int  # rows ever inserted
    left_out: int  # rows whose checksum was wrong
    state: dict[str, Any]  # as given to the last commit
    rows: FloatArray  # (N, row_size), oldest first


class ReplayFile(ReplayBuffer):
    """The newest ``capacity`` transitions, in a file. One process at a time may have it open.

    Attributes:
        state: JSON-able; stored with the next commit, and read back from the last one. Replace it
            as a whole before ``insert`` or ``commit``.
        left_out: rows that were found half written when the file was opened.
    """

    def __init__(
        self,
        path: Path,
        capacity: int,
        observation_size: int,
        action_size: int,
        task: str = "",
        seed: int = 0,
    ) -> None:
        """Opens the file, or makes it.

        Raises:
            ReplayFileError: the file is broken, or of another task, size or capacity.
            ValueError: a size is smaller than 1.
            OSError: the file cannot be made, read or written.
        """
        self.path = Path(path)
        self.task = task
        self.state: dict[str, Any] = {}
        self.left_out = 0
        self._generation = 0
        super().__init__(capacity, observation_size, action_size, seed)
        self._open_commit()

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been committed since the file was made."""
        return self._generation == 0

    def _make_rows(self) -> FloatArray:
        wanted = ReplayHeader(
            self.task, self.capacity, self.layout.observation_size, self.layout.action_size
        )
        if not self.path.exists():
            _create(self.path, wanted)
        self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            header = _read_header(self._file, self.path)
            _compare(header, wanted, self.path)
        except BaseException:
            os.close(self._file)
            raise
        self._places = _Places(self.capacity, self.layout.row_size)
        return _map_rows(self._file, self._places)

    def _open_commit(self) -> None:
        commit = _read_commit(self._file, self.path)
        if commit is None:
            return
        self._generation, self._first, self._inserted, self.state = commit
        good = _verify(self._file, self._places, self._rows, self._first, self._inserted)
        self.left_out = int((~good).sum()) + self._uncommitted()
        if not good.all():
            self._leave_out(good)

    def _uncommitted(self) -> int:
        """Rows that were written after the last commit into places that had been empty."""
        place = self._inserted
        if place >= self.capacity:
            return 0  # they lie over the oldest rows, where checksums tell
        count = 0
        for end in range(place + 1, self.capacity + 1):
            if not self._rows[end - 1].any():
                break
            count += 1
        return count

    def _leave_out(self, good: npt.NDArray[np.bool_]) -> None:
        """Fill the places of bad rows with the oldest good ones, so that the good ones adjoin."""
        bad = self._first + np.flatnonzero(~good)
        oldest = self._first
        for number in bad:
            while oldest < number and not good[oldest - self._first]:
                oldest += 1
            if oldest < number:
                row = self._rows[oldest % self.capacity].copy()[None]
                self._write(int(number) % self.capacity, row, int(number))
            oldest += 1
        self._first = max(oldest, self._inserted - int(good.sum()))
        self.commit()

    # Writing.

    def _write(self, place: int, rows: FloatArray, number: int) -> None:
        data = np.ascontiguousarray(rows)
        numbers = np.arange(number, number + len(rows), dtype=np.uint64)
        _write_all(self._file, data.tobytes(), self._places.row(place))
        _write_all(self._file, _checksums(data, numbers).tobytes(), self._places.checksum(place))

    def _commit(self, inserted: int) -> None:
        text = json.dumps(
            {"first": self._first, "inserted": inserted, "state": self.state},
            separators=(",", ":"),
            allow_nan=False,
        ).encode()
        if _SLOT.size + len(text) > SLOT_BYTES:
            raise ValueError(f"state of {len(text)} bytes: expected at most {SLOT_BYTES - 16}")
        generation = self._generation + 1
        crc = zlib.crc32(text, zlib.crc32(_GENERATION.pack(generation)))
        record = _SLOT.pack(generation, len(text), crc) + text
        _write_all(self._file, record, PAGE + generation % 2 * SLOT_BYTES)
        self._generation = generation

    def commit(self) -> None:
        """Store the state as it is now with the rows that are there.

        Raises:
            OSError: the disk does not take it; the last commit stays.
        """
        self._commit(self._inserted)

    def rewind(self, inserted: int) -> None:
        """Forget the rows numbered `inserted` and above, as if they had not been inserted.

        Raises:
            OSError: the disk does not take it; they are forgotten until the file is opened again.
        """
        with self._lock:
            self._inserted = min(self._inserted, inserted)
            self._first = min(self._first, self._inserted)
        self.commit()

    def sync(self) -> None:
        """Have everything written to the disk itself."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Give the file back; nothing may be inserted or sampled any more."""
        if self._file >= 0:
            del self._rows
            os.close(self._file)
            self._file = -1


@dataclass(frozen=True)
class ReplayHeader:
    """What a replay file is for."""

    task: str
    capacity: int
    observation_size: int
    action_size: int


def read_replay_header(path: Path) -> ReplayHeader:
    """What a replay file is for.

    Raises:
        ReplayFileError: it is no replay file, or broken.
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read_header(file, Path(path))
    finally:
        os.close(file)


def read_replay_file(path: Path) -> ReplayContents:
    """Read all rows of a replay file, also of one that a learner has open.

    Raises:
        ReplayFileError: it is no replay file, or broken.
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = _read_header(file, Path(path))
        layout = RowLayout(header.observation_size, header.action_size)
        places = _Places(header.capacity, layout.row_size)
        commit = _read_commit(file, Path(path))
        _, first, inserted, state = commit or (0, 0, 0, {})
        mapped = _map_rows(file, places)
        good = _verify(file, places, mapped, first, inserted)
        rows = mapped.take(np.arange(first, inserted)[good] % header.capacity, axis=0)
    finally:
        os.close(file)
    return ReplayContents(
        header.task, header.capacity, layout, inserted, int((~good).sum()), state, rows
    )


# The file's parts.


class _Places:
    """Where things are in the file, in bytes."""

    def __init__(self, capacity: int, row_size: int) -> None:
        self.capacity = capacity
        self.row_size = row_size
        self._checksums = PAGE + 2 * SLOT_BYTES
        self.rows = -(-(self._checksums + 8 * capacity) // PAGE) * PAGE
        self.end = self.rows + 4 * row_size * capacity

    def checksum(self, place: int) -> int:
        return self._checksums + 8 * place

    def row(self, place: int) -> int:
        return self.rows + 4 * self.row_size * place


def _create(path: Path, header: ReplayHeader) -> None:
    """Make an empty replay file, whole or not at all."""
    layout = RowLayout(header.observation_size, header.action_size)
    text = json.dumps({"format": FORMAT, **vars(header)}).encode()
    if _HEADER.size + len(text) > PAGE:
        raise ValueError(f"task of {len(header.task)} characters: expected at most 256")
    partial = path.with_name(f".{path.name}.partial")
    file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(file, _Places(header.capacity, layout.row_size).end)
        _write_all(file, _HEADER.pack(MAGIC, len(text), zlib.crc32(text)) + text, 0)
        os.posix_fallocate(file, PAGE, 2 * SLOT_BYTES)  # commits must fit on a full disk
        os.fsync(file)
    except BaseException:
        partial.unlink()
        raise
    finally:
        os.close(file)
    partial.rename(path)


def _read_header(file: int, path: Path) -> ReplayHeader:
    page = os.pread(file, PAGE, 0)
    try:
        magic, length, crc = _HEADER.unpack_from(page)
        text = page[_HEADER.size : _HEADER.size + length]
        if magic != MAGIC or len(text) != length or zlib.crc32(text) != crc:
            raise ValueError("the header is no replay file's, or broken")
        found = json.loads(text)
        if found.pop("format") != FORMAT:
            raise ValueError("its format is another")
        header = ReplayHeader(**found)
        layout = RowLayout(header.observation_size, header.action_size)
        end = _Places(header.capacity, layout.row_size).end
    except (struct.error, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReplayFileError(
            f"{path}: expected a replay file of format {FORMAT}: {error}"
        ) from error
    size = os.fstat(file).st_size
    if size != end:
        raise ReplayFileError(f"{path}: expected {end} bytes, found {size}: the file was cut")
    return header


def _compare(found: ReplayHeader, wanted: ReplayHeader, path: Path) -> None:
    """Refuse a file of something else."""
    for name, unit in (
        ("task", ""),
        ("observation_size", ""),
        ("action_size", ""),
        ("capacity", " transitions"),
    ):
        there, here = getattr(found, name), getattr(wanted, name)
        if there != here:
            raise ReplayFileError(
                f"{path}: its {name.replace('_', ' ')} is {there!r}{unit}, this learner's is "
                f"{here!r}{unit}: give another run_name, or the same settings"
            )


def _read_commit(file: int, path: Path) -> tuple[int, int, int, dict[str, Any]] | None:
    """Generation, first and next row number, and state of the last whole commit."""
    found = []
    touched = False
    for slot in range(2):
        data = os.pread(file, SLOT_BYTES, PAGE + slot * SLOT_BYTES)
        generation, length, crc = _SLOT.unpack_from(data)
        text = data[_SLOT.size : _SLOT.size + length]
        touched = touched or generation > 1
        if generation and zlib.crc32(text, zlib.crc32(_GENERATION.pack(generation))) == crc:
            found.append((generation, text))
    if not found:
        if touched:
            raise ReplayFileError(f"{path}: neither of its two commits can be read")
        return None
    generation, text = max(found)
    values = json.loads(text)
    return generation, values["first"], values["inserted"], values["state"]


def _map_rows(file: int, places: _Places) -> FloatArray:
    """The rows as a read-only array; the descriptor may be closed afterwards."""
    with os.fdopen(os.dup(file), "rb") as opened:
        return np.memmap(
            opened, np.float32, "r", places.rows, (places.capacity, places.row_size)
        ).view(np.ndarray)


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


# Checksums.


def _checksums(rows: FloatArray, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """(N,) of rows (N, row_size): a sum of products, different for each word and row number."""
    words = rows.view(np.uint32).astype(np.uint64)
    weights = _weights(rows.shape[1])
    return words @ weights + (numbers + np.uint64(1)) * _NUMBER_WEIGHT


def _weights(size: int) -> npt.NDArray[np.uint64]:
    drawn = np.random.Generator(np.random.PCG64(FORMAT)).integers(0, 2**63, size, np.uint64)
    return drawn * np.uint64(2) + np.uint64(1)


def _verify(
    file: int, places: _Places, rows: FloatArray, first: int, inserted: int
) -> npt.NDArray[np.bool_]:
    """Which of the rows from `first` to before `inserted` are as they were written."""
    good = np.zeros(inserted - first, bool)
    stored = np.frombuffer(os.pread(file, 8 * places.capacity, places.checksum(0)), np.uint64)
    for begin in range(first, inserted, CHUNK_ROWS):
        numbers = np.arange(begin, min(begin + CHUNK_ROWS, inserted), dtype=np.uint64)
        where = (numbers % np.uint64(places.capacity)).astype(np.int64)
        wanted = _checksums(rows.take(where, axis=0), numbers)
        good[begin - first : begin - first + len(numbers)] = wanted == stored[where]
    return good


def _describe(contents: ReplayContents, path: Path) -> str:
    layout = contents.layout
    lines = [
        f"{path}: task {contents.task or '(none)'}, {layout.observation_size} observations, "
        f"{layout.action_size} actions",
        f"{len(contents.rows):,} of {contents.capacity:,} rows; {contents.inserted:,} inserted"
        + (f", {contents.left_out:,} broken" if contents.left_out else ""),
    ]
    sessions: list[Mapping[str, Any]] = contents.state.get("sessions", [])
    for one in sessions:
        lines.append(
            f"  {one['actor_id']} session {one['session']:016x}: {one['received']:,} rows, next "
            f"{one['next_sequence']:,}; {one['dropped']:,} dropped by the actor, "
            f"{one['rejected']:,} rejected, {one['missed']:,} missed"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m sac_core.replay_file <run folder>/replay.bin")
    try:
        print(_describe(read_replay_file(Path(sys.argv[1])), Path(sys.argv[1])))
    except (OSError, ReplayFileError) as error:
        sys.exit(str(error))
