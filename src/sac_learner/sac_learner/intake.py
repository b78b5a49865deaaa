"""Which rows of a received batch are new, and what to acknowledge. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Cursor:
    """What the learner has of one session of one actor."""

    next_sequence: int
    dropped: int = 0  # as the actor last reported
    rejected: int = 0
    received: int = 0
    last_heard: float = 0.0  # monotonic s
    episode_return: float = 0.0


class Intake:
    """Cursors of all actors: each row is taken once, whatever is sent again or arrives late.

    A session that was never heard of begins wherever its first batch begins. `capacity` bounds
    the sessions that are remembered; the one unheard for longest is forgotten first.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self.cursors: dict[tuple[str, int], Cursor] = {}

    def accept(
        self, actor_id: str, session: int, first: int, rows: int, dropped: int, now: float
    ) -> tuple[Cursor, slice]:
        """The cursor of this session, moved on, and the slice of the batch's rows that are new.

        A batch that begins beyond the cursor leaves a gap: if the actor reports that it dropped at
        least that many rows since its last accepted batch the gap is final, otherwise nothing is
        taken, and the unchanged cursor asks for the missing rows.
        """
        cursor = self.cursors.get((actor_id, session))
        if cursor is None:
            if len(self.cursors) >= self._capacity:
                oldest = min(self.cursors, key=lambda key: self.cursors[key].last_heard)
                del self.cursors[oldest]
            cursor = self.cursors[(actor_id, session)] = Cursor(first, dropped)
        cursor.last_heard = now
        gap = first - cursor.next_sequence
        if gap > 0 and dropped - cursor.dropped < gap:
            return cursor, slice(0, 0)
        new = slice(min(max(-gap, 0), rows), rows)
        cursor.next_sequence = max(cursor.next_sequence, first + rows)
        cursor.dropped = max(cursor.dropped, dropped)
        cursor.received += new.stop - new.start
        return cursor, new

    def reject(self, cursor: Cursor, rows: int) -> None:
        """Count rows that `accept` let in but that cannot be stored."""
        cursor.received -= rows
        cursor.rejected += rows

    @property
    def dropped(self) -> int:
        """Rows that the actors lost, all sessions together."""
        return sum(cursor.dropped for cursor in self.cursors.values())

    def heard_since(self, moment: float) -> int:
        """How many sessions were heard since `moment` (monotonic s)."""
        return sum(cursor.last_heard >= moment for cursor in self.cursors.values())
