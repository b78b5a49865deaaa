"""What a node refused of the messages that came: in its log, and in its diagnostics."""

from __future__ import annotations

import math
import time

from rclpy.node import Node

SHOWN = 30.0  # s for which diagnostics are in error after a message was refused
BETWEEN = 10.0  # s between two lines of the log about one kind of message


class Refusals:
    """The newest refusal, why it was, and whether it was just now."""

    def __init__(self, node: Node) -> None:
        self._logger = node.get_logger()
        self._logged: dict[str, float] = {}
        self._at = -math.inf
        self.newest = ""

    def add(self, kind: str, reason: str) -> None:
        """A message of that kind was refused. A flood of them does not fill the log."""
        now = time.monotonic()
        self.newest, self._at = reason, now
        if now - self._logged.get(kind, -math.inf) >= BETWEEN:
            self._logged[kind] = now
            self._logger.error(reason)

    @property
    def recent(self) -> bool:
        """Whether a person should hear of it now."""
        return time.monotonic() - self._at < SHOWN
