"""What a person decides about episodes, between the service's thread and the loop's."""

from __future__ import annotations

import threading
from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """As in sac_msgs/MarkEpisode."""

    START = 0
    SUCCESS = 1
    FAILURE = 2
    DISCARD = 3
    STOP = 4


class Mark(NamedTuple):
    """One decision."""

    kind: Kind
    operator_name: str


class Refused(Exception):
    """A mark means nothing now, and why."""


class Marks:
    """Holds the mark that ends the episode under way, or begins the next.

    `give` is for the service; the others are for the loop. An episode is under way from `begin`
    until `settle` says that it is over, or `end`.
    """

    def __init__(self, waits_for_start: bool) -> None:
        self._waits_for_start = waits_for_start  # before every episode
        self._changed = threading.Condition()
        self._waiting = waits_for_start
        self._under_way = False
        self._mark: Mark | None = None
        self._started_by = ""

    def give(self, mark: Mark) -> str:
        """Take a decision; what follows from it. Refused says why nothing does."""
        with self._changed:
            if mark.kind == Kind.START:
                return self._start(mark)
            if self._under_way:
                return self._end_by(mark)
            if mark.kind == Kind.STOP and not self._waiting:
                self._waiting = True
                return "stopped: no episode begins before START"
            raise Refused(
                "no episode is under way"
                + (": the next one begins with START" if self._waiting else "")
            )

    def _start(self, mark: Mark) -> str:
        if self._under_way:
            raise Refused("an episode is under way")
        if not self._waiting:
            raise Refused("the next episode begins without START")
        self._waiting = False
        self._started_by = mark.operator_name
        self._changed.notify_all()
        return "the episode begins"

    def _end_by(self, mark: Mark) -> str:
        if self._mark is not None:
            raise Refused(f"the episode ends already, with {self._mark.kind.name}")
        self._mark = mark
        return f"{mark.kind.name.lower()}: the episode ends with this step"

    @property
    def waiting(self) -> bool:
        """Whether no episode begins before START."""
        with self._changed:
            return self._waiting

    def wait(self, timeout: float) -> bool:
        """Return with START, or after `timeout` s; whether there was anything to wait for."""
        with self._changed:
            if not self._waiting:
                return False
            self._changed.wait_for(lambda: not self._waiting, timeout)
            return True

    def begin(self) -> str | None:
        """An episode begins; the name of who asked for it. None: STOP came in between."""
        with self._changed:
            if self._waiting:
                return None
            self._under_way, self._mark = True, None
            name, self._started_by = self._started_by, ""
            return name

    def settle(self, over: bool) -> Mark | None:
        """The mark that came up to now, which ends the episode; `over`: it has ended anyway.

        A mark that comes later is one for the next episode.
        """
        with self._changed:
            mark = self._mark
            if over or mark is not None:
                self._close()
            return mark

    def end(self) -> None:
        """The episode is over, whatever a person said of it."""
        with self._changed:
            self._close()

    def _close(self) -> None:
        if not self._under_way:
            return
        stopped = self._mark is not None and self._mark.kind == Kind.STOP
        self._waiting = self._waits_for_start or stopped
        self._under_way, self._mark = False, None
