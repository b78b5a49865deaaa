"""docs/tasks.md: its example of a task of one's own works as printed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sac_envs.environment import FrankaEnv
from sac_envs.task import Task
from sac_envs.tasks import TASKS

PAGE = Path(__file__).parents[3] / "docs" / "tasks.md"
ID = "SacFranka/PushCube-v0"


def code_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def push_cube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Task]]:
    """The printed task, registered as its line in tasks/__init__.py would do it."""
    (source,) = (block for block in code_blocks() if "class PushCube" in block)
    file = tmp_path / "push_cube.py"
    file.write_text(source)
    specification = importlib.util.spec_from_file_location("push_cube", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    task: type[Task] = module.PushCube
    monkeypatch.setitem(TASKS, task.name, task)
    gymnasium.register(ID, entry_point="sac_envs.environment:FrankaEnv", kwargs={"task": task.name})
    yield task
    del gymnasium.registry[ID]


def test_the_example_is_a_gymnasium_environment(push_cube: type[Task]) -> None:
    with pytest.warns(UserWarning, match="infinity"):
        check_env(gymnasium.make(ID).unwrapped, skip_render_check=True)


def test_the_example_can_be_solved(push_cube: type[Task]) -> None:
    env: Any = gymnasium.make(ID).unwrapped
    assert isinstance(env, FrankaEnv)
    successes = 0
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        demonstrator = env.task.demonstrator(np.random.default_rng(seed))
        assert observation.shape == (push_cube().observation_size,)
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(demonstrator.act(env._state()))
            assert env.observation_space.contains(observation)
            over = terminated or truncated
        successes += info["is_success"]
    assert successes == 10


def test_the_page_names_every_task() -> None:
    page = PAGE.read_text()
    for name in TASKS:
        assert f"| `{name}` |" in page
        assert f"SacFranka/{name.title().replace('_', '')}-v0" in page


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text())
    assert len(links) > 4
    for link in links:
        assert (PAGE.parent / link).exists(), link


def test_the_stable_baselines_example_learns_for_a_few_steps() -> None:
    if importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip("stable-baselines3 is not installed")
    (source,) = (block for block in code_blocks() if "stable_baselines3" in block)
    shorter = source.replace("20_000", "60").replace("learning_starts=1000", "learning_starts=30")
    assert shorter.count("60") == 1
    code = f"{shorter}\nassert model.num_timesteps == 60"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
