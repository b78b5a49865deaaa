"""Which rows of a received batch are new, and what to acknowledge. No ROS in here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

Key = tuple[str, int]  # actor, session
COUNTED = ("dropped", "rejected", "missed")
MOST = 2**63  # of a total: what fits into a message
STORED = ("next_sequence", "dropped", "rejected", "missed", "received")


@dataclass(frozen=True)
class Cursor:
    """What the learner has of one session of one actor."""

    next_sequence: int
    dropped: int = 0  # rows lost to the actor's full queue, as it last reported
    rejected: int = 0
    missed: int = 0  # rows that the actor no longer had before they came
    received: int = 0
    last_heard: float = -math.inf  # monotonic s; -inf: not since this process began


class Intake:
    """Cursors of all actors: each row is taken once, whatever is sent again or arrives late.

    A session that was never heard of begins with the oldest row that its actor still keeps.
    `capacity` bounds the sessions that are remembered: those that never gave a row are forgotten
    first, then the one unheard for longest.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self.cursors: dict[Key, Cursor] = {}
        self._forgotten = dict.fromkeys(COUNTED, 0)  # of sessions that are not remembered

    def accept(
        self, key: Key, first: int, oldest: int, rows: int, dropped: int, now: float
    ) -> tuple[Cursor, slice]:
        """The cursor that this session has after a batch, and which of the batch's rows are new.

        Of a batch that begins beyond the cursor nothing is taken: the unchanged acknowledgement
        asks for what is missing. Rows before `oldest` come no more, and are not asked for.
        """
        cursor = self.cursors.get(key) or Cursor(oldest)
        gone = max(0, oldest - cursor.next_sequence)
        start = cursor.next_sequence + gone
        new = slice(0, 0) if first > start else slice(min(start - first, rows), rows)
        return replace(
            cursor,
            next_sequence=max(start, first + rows) if first <= start else start,
            dropped=max(cursor.dropped, dropped),
            missed=cursor.missed + gone,
            received=cursor.received + new.stop - new.start,
            last_heard=now,
        ), new

    def refuse(self, key: Key, first: int, rows: int, now: float) -> Cursor:
        """The cursor after a batch that cannot be used: its rows are not wanted again."""
        cursor, new = self.accept(key, first, min(first, self._next(key, first)), rows, 0, now)
        count = new.stop - new.start
        return replace(cursor, received=cursor.received - count, rejected=cursor.rejected + count)

    def _next(self, key: Key, otherwise: int) -> int:
        cursor = self.cursors.get(key)
        return cursor.next_sequence if cursor else otherwise

    @contextmanager
    def keeping(self, key: Key, cursor: Cursor) -> Iterator[None]:
        """Hold this cursor; back to the one before if what is done meanwhile fails."""
        before, forgotten_before = dict(self.cursors), dict(self._forgotten)
        if key not in before and len(before) >= self._capacity:
            forgotten = min(before, key=lambda k: (before[k].received > 0, before[k].last_heard))
            self._forget(self.cursors.pop(forgotten))
        self.cursors[key] = cursor
        try:
            yield
        except BaseException:
            self.cursors, self._forgotten = before, forgotten_before
            raise

    def _forget(self, cursor: Cursor) -> None:
        for name in COUNTED:
            self._forgotten[name] = min(self._forgotten[name] + getattr(cursor, name), MOST)

    def knows(self, key: Key) -> bool:
        """Whether this session of an actor has given rows."""
        cursor = self.cursors.get(key)
        return cursor is not None and cursor.received > 0

    def state(self) -> dict[str, Any]:
        """All cursors, JSON-able."""
        return {
            "forgotten": self._forgotten,
            "sessions": [
                {"actor_id": actor_id, "session": session}
                | {name: getattr(cursor, name) for name in STORED}
                for (actor_id, session), cursor in self.cursors.items()
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the cursors of `state`."""
        self.cursors = {
            (one["actor_id"], one["session"]): Cursor(**{name: one[name] for name in STORED})
            for one in state.get("sessions", ())
        }
        self._forgotten |= state.get("forgotten", {})

    def _total(self, name: str) -> int:
        there = sum(getattr(cursor, name) for cursor in tuple(self.cursors.values()))
        return min(there + self._forgotten[name], MOST)

    @property
    def dropped(self) -> int:
        """Rows that the actors lost, all sessions together."""
        return self._total("dropped")

    @property
    def missed(self) -> int:
        """Rows that came no more, all sessions together."""
        return self._total("missed")

    @property
    def rejected(self) -> int:
        """Rows refused, all sessions together."""
        return self._total("rejected")

    def heard_since(self, moment: float) -> int:
        """How many sessions were heard since `moment` (monotonic s)."""
        return sum(cursor.last_heard >= moment for cursor in tuple(self.cursors.values()))
