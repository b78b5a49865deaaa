"""The folder of one run: configuration, versions, metrics, checkpoints, learning curve."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sac_ros.parameters import UserError

DISTRIBUTIONS = ("numpy", "torch", "gymnasium", "mujoco", "safetensors", "tensorboard")


def create(path: str, ours: Path | None = None) -> Path:
    """Make the run folder; refuses one that already holds a run, so that nothing is overwritten.

    `ours` is the folder that this process made before, if it is configured once more.
    """
    directory = Path(path).expanduser()
    if directory != ours and (directory / "configuration.json").exists():
        raise UserError(
            f"run_directory {directory} already holds a run: give another run_name, or remove it"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "checkpoints").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"run_directory {directory} cannot be made: {error.strerror}") from error
    return directory


def write_configuration(directory: Path, configuration: dict[str, Any]) -> None:
    """Write the configuration as used, seeds included, and the versions it ran with."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    document = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "configuration": configuration,
        "versions": versions,
    }
    text = json.dumps(document, indent=2, sort_keys=True)
    (directory / "configuration.json").write_text(text + "\n")


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
