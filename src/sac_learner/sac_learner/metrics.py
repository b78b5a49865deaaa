"""Where figures go: TensorBoard and metrics.csv always, Weights & Biases when asked."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from sac_ros.parameters import UserError


def _summary_writer() -> type[Any]:
    """torch.utils.tensorboard.SummaryWriter, which would load TensorFlow where that is installed.

    That costs a learner four seconds and half a gigabyte. This module's name is TensorBoard's own
    sign that it is to do without.
    """
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter


class CsvLog:
    """One row per call, with the columns of the first; flushed at once, so that it can be read.

    Goes on with a file of an earlier start, whose last line may have been cut.
    """

    def __init__(self, path: Path) -> None:
        self.last: dict[str, str] = {}  # of an earlier start
        if path.exists():
            whole = path.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]
            if kept != whole:
                os.truncate(path, len(kept))
            for row in csv.DictReader(kept.decode(errors="replace").splitlines()):
                self.last = row
        self._file: TextIO = path.open("a", newline="")
        self._writer: csv.DictWriter[str] | None = None

    def write(self, row: dict[str, float]) -> None:
        """Append one row; every row has the same columns. OSError if the disk does not take it."""
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row))
            if self._file.tell() == 0:
                self._writer.writeheader()
        self._writer.writerow(
            {
                key: f"{value:.8g}" if isinstance(value, float) else value
                for key, value in row.items()
            }
        )
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # what a full disk did not take is lost
            self._file.close()


class Metrics:
    """Writes training figures and evaluations, with the time since the start of the run.

    Raises UserError if Weights & Biases was asked for and cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        wandb_project: str,
        configuration: dict[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        self._folder = directory / "tensorboard"
        self._make_writer = _summary_writer()
        self._warn = warn
        try:
            self._training = CsvLog(directory / "metrics.csv")
            self._evaluations = CsvLog(directory / "evaluations.csv")
        except OSError as error:
            raise UserError(f"{directory}: figures cannot be written: {error}") from error
        self._tensorboard: Any = None
        # Time goes on where an earlier start of the run ended.
        self._started = time.monotonic() - float(self._training.last.get("seconds") or 0.0)
        self._wandb = None
        if wandb_project:
            try:
                import wandb
            except ImportError as error:
                raise UserError(
                    "wandb_project is set but Weights & Biases is not installed: pip install wandb"
                ) from error
            try:
                self._wandb = wandb.init(
                    project=wandb_project,
                    name=directory.name,
                    dir=str(directory),
                    config=configuration,
                )
            except wandb.errors.Error as error:
                raise UserError(
                    f"Weights & Biases refused project {wandb_project!r}: {error}; "
                    "log in with 'wandb login' or set WANDB_MODE=offline"
                ) from error

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._started

    def training(self, step: int, figures: dict[str, float]) -> None:
        """Figures of the last log period at learner step `step`; NaN means none."""
        self._write(self._training, "train", step, figures)

    def evaluation(self, step: int, figures: dict[str, float]) -> None:
        """An evaluation that came in at learner step `step`."""
        self._write(self._evaluations, "evaluation", step, figures)

    def _write(self, log: CsvLog, group: str, step: int, figures: dict[str, float]) -> None:
        """Write figures everywhere; those that the disk does not take are lost, with a warning."""
        finite = {f"{group}/{k}": v for k, v in figures.items() if math.isfinite(v)}
        try:
            log.write({"seconds": self.elapsed, "step": step, **figures})
            if self._tensorboard is None:
                self._tensorboard = self._make_writer(str(self._folder), flush_secs=10)
            for key, value in finite.items():
                self._tensorboard.add_scalar(key, value, step)
        except (OSError, RuntimeError) as error:  # its writer breaks for good: the next is new
            self._tensorboard = None
            self._warn(f"Figures cannot be written: {error}; training goes on")
        if self._wandb is not None:
            self._wandb.log({"step": step, **finite})

    def close(self) -> None:
        """Write out everything."""
        if self._tensorboard is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._tensorboard.close()
        self._training.close()
        self._evaluations.close()
        if self._wandb is not None:
            self._wandb.finish()
