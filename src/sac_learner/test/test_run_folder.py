"""The run folder: configuration, metrics and the picture of them."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sac_learner import plot
from sac_learner.metrics import Metrics
from sac_learner.run_directory import LearningCurve, RunDirectory
from sac_ros.parameters import UserError

FIGURES = {
    "transitions": 1000,
    "episode_return": float("nan"),
    "critic_loss": 1.5,
    "actor_loss": -3.0,
    "temperature": 0.1,
}
EVALUATION = {"transitions": 1000, "return_mean": -900.0, "return_std": 5.0}


def test_a_second_start_goes_on_with_the_run_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = RunDirectory(str(path), resume=True)
    assert not first.is_resumed
    first.write_configuration({"seed": 3})
    with pytest.raises(UserError, match=r"already holds a run.*resume:=true"):
        RunDirectory(str(path), resume=False)
    first.release()
    second = RunDirectory(str(path), resume=True)
    assert second.is_resumed
    second.write_configuration({"seed": 4})
    document = json.loads((path / "configuration.json").read_text())
    assert document["configuration"] == {"seed": 4}
    assert document["versions"]["torch"]
    assert len(document["started"]) == 2


def test_two_learners_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    first = RunDirectory(str(tmp_path), resume=True)
    with pytest.raises(UserError, match=f"in use by another learner .process {os.getpid()}."):
        RunDirectory(str(tmp_path), resume=True)
    first.release()
    RunDirectory(str(tmp_path), resume=True).release()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be made: .*Not a directory"):
        RunDirectory(str(tmp_path / "file" / "run"), resume=True)


def write_some(directory: Path, project: str = "") -> None:
    metrics = Metrics(directory, project, {"seed": 0}, pytest.fail)
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
    curve = LearningCurve(tmp_path, period=1000.0)
    curve.finish()
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob(".learning_curve*")) == []


def test_the_share_of_a_person_has_a_panel_of_its_own(tmp_path: Path) -> None:
    heights = []
    for number, share in enumerate((0.0, 0.3)):
        (tmp_path / f"{number}").mkdir()
        metrics = Metrics(tmp_path / f"{number}", "", {}, pytest.fail)
        metrics.training(10, FIGURES | {"human_share": share})
        metrics.close()
        picture = plot.draw(tmp_path / f"{number}")
        assert picture is not None
        heights.append(imread(picture).shape[0])
    assert heights[1] > heights[0]


def test_weights_and_biases_gets_the_figures_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write_some(tmp_path, "franka-sac-test")
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_figures_go_on_where_an_earlier_start_was_cut(tmp_path: Path) -> None:
    write_some(tmp_path)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("4000,30,1")  # killed while it wrote
    seconds = plot.read_columns(tmp_path / "metrics.csv")["seconds"]
    metrics = Metrics(tmp_path, "", {}, pytest.fail)
    assert metrics.elapsed >= seconds[1]
    metrics.training(40, FIGURES)
    metrics.close()
    columns = plot.read_columns(tmp_path / "metrics.csv")
    assert columns["step"].tolist() == [10, 20, 40]
    assert (np.diff(columns["seconds"]) >= 0.0).all()


def test_a_full_disk_costs_figures_but_not_the_training(tmp_path: Path) -> None:
    warnings: list[str] = []
    metrics = Metrics(tmp_path, "", {}, warnings.append)
    metrics.training(10, FIGURES)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        metrics.training(20, FIGURES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert warnings and "training goes on" in warnings[0]
    metrics.training(30, FIGURES)
    metrics.close()
    assert 30 in plot.read_columns(tmp_path / "metrics.csv")["step"]
