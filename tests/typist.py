"""Programs at a terminal, and somebody who types."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

from system import Program

LFLAG = 3  # place in what termios gives
SINGLE_KEYS = termios.ICANON | termios.ECHO  # flags that are off while single keys are read
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Not as preexec_fn: that would fork a process of many gigabytes, most of them never touched.
AT_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class TerminalProgram(Program):
    """A program whose controlling terminal is one of its own, where `press` types.

    What it shows is split at carriage returns as at newlines: a status that is drawn again in the
    same place is a line each time.
    """

    def _start(self, command: list[str], cwd: Path) -> subprocess.Popen[str]:
        self._screen, self.terminal = os.openpty()
        return subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *command],
            cwd=cwd,
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            start_new_session=True,
            text=True,
        )

    def _output_lines(self) -> Iterator[str]:
        ended = threading.Thread(target=self._hang_up_at_its_end, daemon=True)
        ended.start()
        rest = ""
        while True:
            try:
                data = os.read(self._screen, 4096)
            except OSError as error:
                assert error.errno == errno.EIO  # nobody has the terminal open any more
                break
            *lines, rest = re.split(r"[\r\n]", rest + data.decode(errors="replace"))
            yield from (text for line in lines if (text := CONTROL.sub("", line)))

    def _hang_up_at_its_end(self) -> None:
        self.process.wait()
        self.mode_at_end = termios.tcgetattr(self.terminal)[LFLAG]
        os.close(self.terminal)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._screen, keys.encode())

    @property
    def mode(self) -> int:
        """Local flags of the terminal (termios(3))."""
        return int(termios.tcgetattr(self.terminal)[LFLAG])
