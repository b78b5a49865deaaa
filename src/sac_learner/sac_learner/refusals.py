"""What was refused last, for whoever looks at diagnostics."""

from __future__ import annotations

import math
import time
from typing import Any

SHOWN = 30.0  # s for which diagnostics are in error after something was refused


class Refusals:
    """Says what is refused, without repeating itself all the time.

    Attributes:
        last: what was refused last, and why; empty: nothing was.
    """

    def __init__(self, logger: Any) -> None:
        self.last = ""
        self._at = -math.inf
        self._logger = logger

    def say(self, text: str) -> None:
        """Something was refused."""
        self.last, self._at = text, time.monotonic()
        self._logger.error(text, throttle_duration_sec=10.0)

    @property
    def is_recent(self) -> bool:
        """Whether it was a moment ago."""
        return time.monotonic() - self._at < SHOWN
