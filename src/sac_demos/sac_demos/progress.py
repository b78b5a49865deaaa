"""A bar that grows in a terminal; elsewhere nothing."""

from __future__ import annotations

import sys
from typing import TextIO

WIDTH = 30


class Progress:
    """Shows how much of a known number is done, on one line that is written over."""

    def __init__(self, total: int, what: str, stream: TextIO | None = None) -> None:
        self._total = max(total, 1)
        self._what = what
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()

    def show(self, done: int, more: str = "") -> None:
        """`done` of them are done."""
        if self._shown:
            bar = "#" * (WIDTH * done // self._total)
            line = f"[{bar:<{WIDTH}}] {done}/{self._total} {self._what}{more}"
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        start = "\r\x1b[K" if self._shown else ""
        self._stream.write(f"{start}{line}\n")
        self._stream.flush()

    def end(self) -> None:
        """Take the bar away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
