"""Draws learning_curve.png of a run: `python -m sac_learner.plot runs/<name>`."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # the backend has to be chosen first

Columns = dict[str, NDArray[np.float64]]


def read_columns(path: Path) -> Columns:
    """The columns of a CSV file of numbers; no columns if it is missing or has only a header."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
    except FileNotFoundError:
        return {}
    if not rows:
        return {}
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def draw(directory: Path) -> Path | None:
    """Draw return and losses against environment steps and minutes; None if there is no data."""
    training = read_columns(directory / "metrics.csv")
    evaluations = read_columns(directory / "evaluations.csv")
    if not training:
        return None
    success = evaluations.get("success_rate")
    if success is not None and not np.isfinite(success).any():
        success = None
    people = training.get("human_share")
    if people is not None and not people.any():
        people = None
    rows = 3 if success is None and people is None else 4
    figure, axes = plt.subplots(rows, 2, figsize=(12, 1 + 3 * rows), sharex="col", sharey="row")
    for column, (key, unit, label) in enumerate(
        (("transitions", 1e3, "environment steps (thousands)"), ("seconds", 60.0, "minutes"))
    ):
        x = training[key] / unit
        returns, critic, temperature = axes[:3, column]
        returns.plot(x, training["episode_return"], lw=0.8, alpha=0.5, label="training episodes")
        if evaluations:
            ex, mean = evaluations[key] / unit, evaluations["return_mean"]
            std = evaluations["return_std"]
            returns.plot(ex, mean, "o-", ms=3, color="C3", label="evaluation (mean action)")
            returns.fill_between(ex, mean - std, mean + std, color="C3", alpha=0.2, lw=0)
        critic.plot(x, training["critic_loss"], color="C0", label="critic loss")
        critic.plot(x, -training["actor_loss"], color="C1", label="−actor loss")
        critic.set_yscale("symlog")
        temperature.plot(x, training["temperature"], color="C2", label="temperature")
        temperature.set_yscale("log")
        axes[-1, column].set_xlabel(label)
        if people is not None:
            axes[3, column].fill_between(x, people, color="C4", alpha=0.4, label="a person's steps")
        if success is not None:
            axes[3, column].plot(
                evaluations[key] / unit, success, "o-", ms=3, color="C3", label="success rate"
            )
        if rows == 4:
            axes[3, column].set_ylim(-0.02, 1.02)
        for axis in axes[:, column]:
            axis.grid(alpha=0.3)
    labels = ("return", "loss", "temperature", "share")
    for axis, label in zip(axes[:, 0], labels[:rows], strict=True):
        axis.set_ylabel(label)
        axis.legend(loc="best", fontsize=8)
    figure.suptitle(directory.name)
    figure.tight_layout()
    path = directory / "learning_curve.png"
    partial = directory / f".learning_curve.{os.getpid()}.png"
    figure.savefig(partial, dpi=80)
    partial.replace(path)
    plt.close(figure)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m sac_learner.plot <run folder>")
    draw(Path(sys.argv[1]))
