"""Where lines go: the screen, and ``launch.log`` in a folder of the launch's own."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TextIO

from ros2_launch_underlay.refusal import LaunchError, refusal

DESTINATIONS = {
    "log": {"stdout": {"log"}, "stderr": {"log", "screen"}},
    "screen": {"stdout": {"screen"}, "stderr": {"screen"}},
    "both": {"stdout": {"log", "screen"}, "stderr": {"log", "screen"}},
}


def destinations(output: str | dict[str, str]) -> dict[str, set[str]]:
    """Return where the two streams of a process go, as sets of ``log`` and ``screen``."""
    output = os.environ.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT") or output
    if isinstance(output, str):
        if output not in DESTINATIONS:
            raise LaunchError(refusal(f"output='{output}'", DESTINATIONS))
        return DESTINATIONS[output]
    chosen: dict[str, set[str]] = {"stdout": set(), "stderr": set()}
    for stream, kind in output.items():
        if stream not in (*chosen, "both") or kind not in DESTINATIONS:
            raise LaunchError(refusal(f"output={{'{stream}': '{kind}'}}", DESTINATIONS))
        for name in chosen if stream == "both" else (stream,):
            chosen[name] |= {"log", "screen"} if kind == "both" else {kind}
    return chosen


class Log:
    """The lines of one launch."""

    def __init__(self, *, debug: bool = False) -> None:
        """Write to the screen only, until :meth:`open` is called."""
        self.debug = debug
        self.directory: Path | None = None
        self._file: TextIO | None = None
        self._screen: TextIO | None = sys.stdout

    def open(self) -> None:
        """Create the log folder below $ROS_LOG_DIR, $ROS_HOME/log or ~/.ros/log."""
        home = Path(os.environ.get("ROS_HOME") or "~/.ros").expanduser()
        base = Path(os.environ.get("ROS_LOG_DIR") or home / "log").expanduser()
        stamp = datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
        directory = base / f"{stamp}-{socket.gethostname()}-{os.getpid()}"
        try:
            directory.mkdir(parents=True)
            self._file = (directory / "launch.log").open("w", errors="replace")
            latest = base / f"latest-{os.getpid()}"
            latest.symlink_to(directory)
            latest.replace(base / "latest")
        except OSError as error:
            self.say("WARNING", "launch", f"no log file is written: {error}")
            return
        self.directory = directory
        self.say("INFO", "launch", f"All log files can be found below {directory}")

    def say(self, level: str, name: str, message: str) -> None:
        """Write a message of the launch itself."""
        if level != "DEBUG" or self.debug:
            self.line(f"[{level}] [{name}]: {message}", {"log", "screen"})

    def line(self, text: str, where: set[str]) -> None:
        """Write one line to the places in ``where``."""
        if "log" in where and self._file is not None:
            self._file.write(f"{time.time():.7f} {text}\n")
            self._file.flush()
        if "screen" in where and self._screen is not None:
            try:
                self._screen.write(text + "\n")
                self._screen.flush()
            except UnicodeEncodeError:
                self.line(re.sub(r"[^\x00-\x7f]", "?", text), {"screen"})
            except OSError:  # the terminal or the pipe is gone; the launch still ends in order
                self._screen = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
