"""Launch files and parameter files agree with the nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from sac_bringup.arguments import task_files
from system import ROOT, Program

from launch import LaunchContext
from sac_actor.node import Parameters as ActorParameters
from sac_actor.robot_reset import Parameters as ResetParameters
from sac_actor.robot_setup import Parameters as RobotSetupParameters
from sac_actor.watchdog import Parameters as WatchdogParameters
from sac_demos.recorder import Parameters as RecorderParameters
from sac_demos.teleop_joy import Parameters as JoyParameters
from sac_demos.teleop_keyboard import Parameters as KeyboardParameters
from sac_learner.parameters import Parameters as LearnerParameters
from sac_ros.parameters import NodeParameters

# What a launch decides for each run and no file fixes.
DECIDED_BY_LAUNCH = {"task", "run_directory", "checkpoint", "env_id", "seed"}


@pytest.mark.parametrize(
    ("file", "parameters"),
    [
        ("learner", LearnerParameters),
        ("actor", ActorParameters),
        ("recorder", RecorderParameters),
        ("robot_reset", ResetParameters),
        ("watchdog", WatchdogParameters),
        ("teleop_keyboard", KeyboardParameters),
        ("teleop_gamepad", JoyParameters),
        ("robot_setup", RobotSetupParameters),
    ],
)
def test_parameter_files_hold_every_parameter_with_its_default(
    file: str, parameters: type[NodeParameters]
) -> None:
    values = yaml.safe_load((ROOT / "config" / f"{file}.yaml").read_text())["/**"][
        "ros__parameters"
    ]
    defaults = {
        f.name: list(f.default) if isinstance(f.default, tuple) else f.default
        for f in dataclasses.fields(parameters)
    }
    assert values == {k: v for k, v in defaults.items() if k not in DECIDED_BY_LAUNCH}


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "config").glob("*/[la]*.yaml")),
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_settings_of_a_task_are_parameters_of_the_node(path: Path) -> None:
    node, _, variant = path.stem.partition("_")
    assert variant in ("", "real_time", "demos")
    values = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    parameters = {"learner": LearnerParameters, "actor": ActorParameters}[node]
    fields = {field.name: field.default for field in dataclasses.fields(parameters)}
    assert {name: type(value) for name, value in values.items()} == {
        name: type(fields[name]) for name in values
    }


def test_a_task_has_the_settings_of_the_one_whose_name_begins_its_own() -> None:
    files = task_files(LaunchContext(), "pick_cube_sparse", "learner", ["real_time", "demos"])
    assert ["/".join(Path(file).parts[-2:]) for file in files] == [
        "pick_cube/learner.yaml",
        "pick_cube_sparse/learner.yaml",
        "pick_cube/learner_real_time.yaml",
        "pick_cube/learner_demos.yaml",
    ]
    assert task_files(LaunchContext(), "", "learner") == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "launch").glob("*.launch.py")), ids=lambda p: p.name
)
def test_every_launch_file_shows_its_arguments_and_their_meaning(
    path: object, start: Callable[..., Program]
) -> None:
    program = start("ros2", "launch", "sac_bringup", path.name, "--show-args")  # type: ignore[attr-defined]
    assert program.wait() == 0
    assert "Arguments" in program.output
    assert "no description given" not in program.output


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make sim_train" in readme
    assert "make test" in readme
