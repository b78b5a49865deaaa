"""The folder of one run: configuration, versions, metrics, checkpoints, learning curve."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sac_core.experience import REPLAY
from sac_ros.parameters import UserError

CONFIGURATION = "configuration.json"
DISTRIBUTIONS = ("numpy", "torch", "gymnasium", "mujoco", "safetensors", "tensorboard")


class RunDirectory:
    """The folder of one run, held by one learner at a time."""

    def __init__(self, path: str, resume: bool) -> None:
        """Makes the folder, or takes the one of an earlier start if `resume` allows it.

        Raises UserError if it cannot be made, is not to be resumed, or another learner has it.
        """
        self.path = directory = Path(path).expanduser()
        # Before anything is written: two learners in one folder would ruin each other's files.
        self.is_resumed = (directory / CONFIGURATION).exists()
        if self.is_resumed and not resume:
            raise UserError(
                f"run_directory {directory} already holds a run: give another run_name, remove "
                "it, or resume:=true to go on with it"
            )
        try:
            (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"run_directory {directory} cannot be made: {error}") from error
        try:  # the system takes it back when the process ends, however it ends
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise UserError(
                f"run_directory {directory} is in use by another learner (process {holder}): give "
                "another run_name, or stop that one"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another learner have the folder."""
        os.close(self._lock)

    @property
    def replay_file(self) -> Path:
        """Where the transitions are."""
        return self.path / REPLAY

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    def write_configuration(self, configuration: dict[str, Any]) -> None:
        """Write the configuration as used, seeds included, and the versions it ran with.

        Raises UserError if that is impossible.
        """
        versions = {"python": platform.python_version(), "platform": platform.platform()}
        for name in DISTRIBUTIONS:
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                versions[name] = "not installed"
        path = self.path / CONFIGURATION
        starts = [*self._starts(path), time.strftime("%Y-%m-%dT%H:%M:%S%z")]
        document = {"started": starts, "configuration": configuration, "versions": versions}
        text = json.dumps(document, indent=2, sort_keys=True)
        partial = self.path / f".{CONFIGURATION}.partial"
        try:
            partial.write_text(text + "\n")
            partial.replace(path)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error

    @staticmethod
    def _starts(path: Path) -> list[str]:
        """When the run was started so far."""
        try:
            return list(json.loads(path.read_text())["started"])
        except (OSError, ValueError, KeyError, TypeError):
            return []


class LearningCurve:
    """Draws learning_curve.png in a process of its own, so that training never waits for it."""

    def __init__(self, directory: Path, period: float) -> None:
        self._command = [sys.executable, "-m", "sac_learner.plot", str(directory)]
        self._period = period
        self._due = time.monotonic() + period
        self._process: subprocess.Popen[bytes] | None = None

    def update(self) -> None:
        """Start drawing if it is due and nothing is being drawn."""
        if time.monotonic() < self._due or (self._process and self._process.poll() is None):
            return
        self._due = time.monotonic() + self._period
        self._start()

    def finish(self, patience: float = 20.0) -> None:
        """Draw the last state and wait for it, for at most `patience` s."""
        self._wait(patience)
        self._start()
        self._wait(patience)

    def _wait(self, patience: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            ["nice", "-n", "10", *self._command],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the terminal must not cut the last drawing short
        )
