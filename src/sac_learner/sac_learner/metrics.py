"""Where figures go: TensorBoard and metrics.csv always, Weights & Biases when asked."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any, TextIO

from torch.utils.tensorboard import SummaryWriter

from sac_ros.parameters import UserError


class CsvLog:
    """One row per call, with the columns of the first; flushed at once, so that it can be read."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", newline="")
        self._writer: csv.DictWriter[str] | None = None

    def write(self, row: dict[str, float]) -> None:
        """Append one row; every row has the same columns."""
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
        self._file.close()


class Metrics:
    """Writes training figures and evaluations, with the time since the start of the run.

    Raises UserError if Weights & Biases was asked for and cannot be used.
    """

    def __init__(self, directory: Path, wandb_project: str, configuration: dict[str, Any]) -> None:
        self._started = time.monotonic()
        self._tensorboard = SummaryWriter(str(directory / "tensorboard"), flush_secs=10)
        self._training = CsvLog(directory / "metrics.csv")
        self._evaluations = CsvLog(directory / "evaluations.csv")
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
        self._training.write({"seconds": self.elapsed, "step": step, **figures})
        self._send("train", step, figures)

    def evaluation(self, step: int, figures: dict[str, float]) -> None:
        """An evaluation that came in at learner step `step`."""
        self._evaluations.write({"seconds": self.elapsed, "step": step, **figures})
        self._send("evaluation", step, figures)

    def _send(self, group: str, step: int, figures: dict[str, float]) -> None:
        finite = {f"{group}/{k}": v for k, v in figures.items() if math.isfinite(v)}
        for key, value in finite.items():
            self._tensorboard.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log({"step": step, **finite})

    def close(self) -> None:
        """Write out everything."""
        self._tensorboard.close()
        self._training.close()
        self._evaluations.close()
        if self._wandb is not None:
            self._wandb.finish()
