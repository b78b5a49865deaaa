"""Makes whole bags of journals, on a thread of its own: the recorder does not wait for it."""

from __future__ import annotations

import heapq
import queue
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sac_demos.bag_folder import write_bag
from sac_demos.episodes import Recording
from sac_demos.mcap_file import McapCut, McapFile, Message

WINDOW = 3_000_000_000  # ns by which messages of a journal may be out of order
RETRY = 2.0  # s until a disk that was full is tried again


@dataclass(frozen=True)
class Finished:
    """What became of a recording."""

    recording: Recording
    size: int  # bytes of the bag; 0: nothing remains of it
    error: str = ""  # why its journal could not be made a bag


def in_order(messages: Iterable[Message], window: int = WINDOW) -> Iterator[Message]:
    """The messages by log time, if none is later than `window` ns."""
    waiting: list[tuple[int, int, Message]] = []
    for count, message in enumerate(messages):
        heapq.heappush(waiting, (message.log_time, count, message))
        while waiting[0][0] < message.log_time - window:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def finish_bag(
    journal: Path, messages: Iterable[Message], custom_data: Mapping[str, str], target: Path
) -> int:
    """Make a bag beside a journal, take the journal away, and give the folder its name.

    Returns the size of the bag in bytes.

    Raises:
        OSError: the disk does not take it; the journal stays.
        McapError: of `messages`.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already")
    try:
        write_bag(journal.parent, target.name, in_order(messages), custom_data)
    except BaseException:
        for half in journal.parent.glob(f"{target.name}_*"):  # it takes room that is missing
            half.unlink()
        raise
    journal.unlink()
    journal.parent.rename(target)
    return sum(path.stat().st_size for path in target.iterdir())


class Finisher:
    """Finishes recordings in the order they come; `results` has what became of each."""

    def __init__(self) -> None:
        self.results: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self.fault = ""  # why the newest attempt failed; empty: it did not
        self._jobs: queue.SimpleQueue[Recording | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="finisher", daemon=True)
        self._thread.start()

    def finish(self, recording: Recording) -> None:
        """Have a bag made of what was recorded."""
        self._jobs.put(recording)

    def stop(self) -> None:
        """Finish what was given so far, and end; a disk that is full is not waited for."""
        self._stopping.set()
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (recording := self._jobs.get()) is not None:
            self.results.put(self._finish(recording))

    def _finish(self, recording: Recording) -> Finished:
        while True:
            try:
                size = self._attempt(recording)
                self.fault = ""
                return Finished(recording, size)
            except (OSError, ValueError) as error:
                self.fault = f"{recording.folder}: cannot be finished: {error}"
                if self._stopping.wait(RETRY) or isinstance(error, ValueError):
                    recording.journal.close()
                    return Finished(recording, 0, str(error))

    def _attempt(self, recording: Recording) -> int:
        if not recording.is_wanted:
            recording.journal.close()
            shutil.rmtree(recording.folder, ignore_errors=True)
            return 0
        journal = recording.journal
        journal.flush()
        messages = until_cut(McapFile(journal.path).messages())
        size = finish_bag(journal.path, messages, recording.custom_data(), recording.target)
        journal.close()
        return size


def until_cut(messages: Iterator[Message]) -> Iterator[Message]:
    """All messages of a journal: it has no end, and all that was added is there."""
    try:
        yield from messages
    except McapCut:
        return
