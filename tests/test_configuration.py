"""Launch files and parameter files agree with the nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import yaml
from system import ROOT, Program

from sac_actor.node import Parameters as ActorParameters
from sac_demos.recorder import Parameters as RecorderParameters
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
