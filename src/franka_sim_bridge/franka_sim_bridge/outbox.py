"""State messages on their way out; fault injection may hold them back for a while."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from rclpy.publisher import Publisher

NEVER = 2**63


class _Held(NamedTuple):
    simulated_ns: int  # when it goes out, in simulated time,
    wall: float  # and in wall time, for a lockstep in which simulated time stands still
    publisher: Publisher
    data: bytes


class Outbox:
    """Publishes serialized messages at once, or `latency` s late but with their own stamps."""

    def __init__(self) -> None:
        self.latency = 0.0  # s
        self._held: deque[_Held] = deque()

    def send(self, publisher: Publisher, data: bytes, now_ns: int) -> None:
        """Publish `data`, now or later; `now_ns` is simulated time."""
        if self.latency == 0.0 and not self._held:
            publisher.publish(data)
            return
        due = now_ns + round(self.latency * 1e9)
        self._held.append(_Held(due, time.monotonic() + self.latency, publisher, data))

    @property
    def next_ns(self) -> int:
        """Simulated time at which a held message goes out."""
        return self._held[0].simulated_ns if self._held else NEVER

    def flush(self, now_ns: int) -> None:
        """Publish what is due at this simulated time."""
        while self._held and self._held[0].simulated_ns <= now_ns:
            held = self._held.popleft()
            held.publisher.publish(held.data)

    def flush_standing(self) -> float:
        """As `flush` while simulated time stands still: s of wall time until the next message."""
        while self._held:
            left = self._held[0].wall - time.monotonic()
            if left > 0.0:
                return left
            held = self._held.popleft()
            held.publisher.publish(held.data)
        return float("inf")
