"""The terminal that a person sits at: single keys without Enter, and one line of status.

`ros2 launch` gives its nodes pipes for input and output. The terminal is still there: it is the
controlling terminal of the process, or, where a launch keeps its nodes in a session of their own,
of the launch.
"""

from __future__ import annotations

import os
import re
import select
import stat
import termios
import tty
from pathlib import Path

from sac_ros.parameters import UserError

# What terminals send for keys that are no characters (ECMA-48: CSI and SS3).
SEQUENCE = re.compile(rb"\x1b(?:\[[0-9;]*[ -/]*[@-~]|O[@-~])")
NAMES = {
    b"A": "up",
    b"B": "down",
    b"C": "right",
    b"D": "left",
    b"5~": "page_up",
    b"6~": "page_down",
}
LFLAG, CC = 3, 6  # places in what termios gives
MOST = 1024  # bytes of input at a time: a person types less, a pasted page is no teleoperation


class TerminalGone(Exception):
    """The terminal was closed."""


def keys_of(data: bytes) -> list[str]:
    """The keys behind what a terminal sent: characters, or the names of arrows and page keys."""
    keys = []
    at = 0
    while at < len(data):
        sequence = SEQUENCE.match(data, at)
        if sequence:
            name = NAMES.get(sequence[0][2:])
            keys += [name] if name else []
            at = sequence.end()
            continue
        character = data[at : at + 1].decode("ascii", errors="ignore")
        keys += ["enter"] if character in ("\r", "\n") else [character] if character else []
        at += 1
    return [key for key in keys if key.isprintable()]


def _status(pid: int) -> tuple[int, int, int, int]:
    """Parent, process group, controlling terminal and its foreground group (proc(5)); 0: none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0, 0, 0, 0
    return int(fields[1]), int(fields[2]), int(fields[4]), int(fields[5])


def _device(number: int) -> str:
    """The path of a terminal by its device number (proc(5): tty_nr)."""
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    for path in (*Path("/dev/pts").glob("[0-9]*"), *Path("/dev").glob("tty*")):
        try:
            device = path.stat().st_rdev
        except OSError:
            continue
        if (os.major(device), os.minor(device)) == (major, minor):
            return str(path)
    raise UserError(f"the terminal with the device number {major}:{minor} is not in /dev")


def _owner() -> int:
    """The process whose controlling terminal this one reads: itself, or the launch above it.

    Raises UserError where there is no terminal.
    """
    pid = os.getpid()
    # What a launch starts has a pipe for its input. Others that left their terminal meant it.
    launched = stat.S_ISFIFO(os.fstat(0).st_mode)
    while pid > 0:
        parent, _, device, _ = _status(pid)
        if device != 0:
            return pid
        if not launched:
            break
        pid = parent
    raise UserError(
        "no terminal to read keys from: start this in a terminal (ros2 run sac_demos "
        "teleop_keyboard), or use teleop_joy"
    )


class Terminal:
    """A terminal in cbreak mode, until `restore`; Ctrl-C still interrupts.

    Raises UserError where there is no terminal, or another program in it has the keyboard.
    """

    def __init__(self) -> None:
        self._owner = _owner()
        path = _device(_status(self._owner)[2])
        try:
            # Not as the controlling terminal: of this process it may be none.
            self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise UserError(f"the terminal {path} cannot be opened: {error.strerror}") from error
        self._is_open = True
        self._before = termios.tcgetattr(self._file)
        # A program that was killed here may have left these off.
        self._before[LFLAG] |= termios.ICANON | termios.ECHO
        if not self.claim():
            os.close(self._file)
            raise UserError(
                "this runs in the background of its terminal, where no key reaches it: start it in "
                "the foreground, or in a terminal of its own"
            )

    def claim(self) -> bool:
        """Have single keys, without echo; whether this may read them: it is in the foreground.

        To be called again and again: after Ctrl-Z a shell sets its own mode. Raises TerminalGone
        when there is no terminal any more.
        """
        _, group, device, foreground = _status(self._owner)
        if device == 0:
            raise TerminalGone
        if group != foreground:
            return False
        try:
            now = termios.tcgetattr(self._file)
            if now[LFLAG] & (termios.ICANON | termios.ECHO):
                tty.setcbreak(self._file, termios.TCSANOW)
                now = termios.tcgetattr(self._file)
                now[CC][termios.VQUIT] = b"\0"  # Ctrl-\ would end this without a chance to restore
                termios.tcsetattr(self._file, termios.TCSANOW, now)
        except termios.error as error:
            raise TerminalGone from error
        return True

    def keys(self, timeout: float) -> list[str]:
        """The keys that were pressed within `timeout` s; returns with the first.

        Raises TerminalGone when there is no terminal any more.
        """
        if not select.select([self._file], [], [], timeout)[0]:
            return []
        try:
            data = os.read(self._file, MOST)
        except BlockingIOError:
            return []
        except OSError as error:
            raise TerminalGone from error
        if not data:
            raise TerminalGone
        return keys_of(data)

    def show(self, line: str) -> None:
        """Put `line` in the place of what was shown last; what others print goes over it."""
        self._write(f"\r\x1b[K{line[: self._width() - 1]}\r")

    def say(self, text: str) -> None:
        """Print lines that stay."""
        self._write("\r\x1b[K" + text.replace("\n", "\r\n") + "\r\n")

    def _write(self, text: str) -> None:
        """Print; a terminal that takes nothing at the moment, or is gone, is not waited for."""
        try:
            os.write(self._file, text.encode())
        except OSError:
            return

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._file).columns or 80
        except OSError:
            return 80

    def restore(self) -> None:
        """Leave the terminal as it was."""
        if not self._is_open:
            return
        self._is_open = False
        self._write("\r\x1b[K")
        try:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
        except termios.error:
            pass  # it is gone
        finally:
            os.close(self._file)
