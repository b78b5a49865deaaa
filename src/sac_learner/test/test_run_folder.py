"""The run folder: configuration, metrics and the picture of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sac_learner import plot, run_directory
from sac_learner.metrics import Metrics
from sac_ros.parameters import UserError

FIGURES = {
    "transitions": 1000,
    "episode_return": float("nan"),
    "critic_loss": 1.5,
    "actor_loss": -3.0,
    "temperature": 0.1,
}
EVALUATION = {"transitions": 1000, "return_mean": -900.0, "return_std": 5.0}


def test_a_second_run_never_overwrites_a_first(tmp_path: Path) -> None:
    directory = run_directory.create(str(tmp_path / "run"))
    run_directory.write_configuration(directory, {"seed": 3})
    document = json.loads((directory / "configuration.json").read_text())
    assert document["configuration"] == {"seed": 3}
    assert document["versions"]["torch"]
    with pytest.raises(UserError, match="already holds a run"):
        run_directory.create(str(tmp_path / "run"))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made: Not a directory"):
        run_directory.create(str(tmp_path / "file" / "run"))


def write_some(directory: Path, project: str = "") -> None:
    metrics = Metrics(directory, project, {"seed": 0})
    for step in (10, 20):
        metrics.training(step, FIGURES)
        metrics.evaluation(step, EVALUATION)
    metrics.close()


def test_figures_go_to_tensorboard_and_csv(tmp_path: Path) -> None:
    write_some(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "train/critic_loss" in events.Tags()["scalars"]
    assert "train/episode_return" not in events.Tags()["scalars"]  # there was none
    assert [e.step for e in events.Scalars("evaluation/return_mean")] == [10, 20]
    columns = plot.read_columns(tmp_path / "metrics.csv")
    assert columns["step"].tolist() == [10, 20]
    assert columns["critic_loss"].tolist() == [1.5, 1.5]


def test_the_learning_curve_is_drawn_from_what_is_there(tmp_path: Path) -> None:
    assert plot.draw(tmp_path) is None
    write_some(tmp_path)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("12,3")  # a row that is just being written
    curve = run_directory.LearningCurve(tmp_path, period=1000.0)
    curve.finish()
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob(".learning_curve*")) == []


def test_weights_and_biases_gets_the_figures_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write_some(tmp_path, "franka-sac-test")
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
