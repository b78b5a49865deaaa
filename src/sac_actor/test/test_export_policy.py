"""Exported policies act as the checkpoints they come from, and say what their numbers mean."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from sac_actor import export_policy
from sac_actor.environment import GymEnvironment
from sac_core.checkpoint import save_checkpoint
from sac_core.policy_file import load_policy
from sac_envs.tasks import make_task


def checkpoint(folder: Path, task: str, observations: int, actions: int) -> Path:
    """A checkpoint of random weights."""
    rng = np.random.default_rng(0)
    shapes = {"hidden.0": (16, observations), "mean": (actions, 16), "log_std": (actions, 16)}
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = rng.normal(0, 0.5, shape).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0, 0.5, shape[0]).astype(np.float32)
    metadata = {"task": task, "config": {}}
    return save_checkpoint(folder / "checkpoints", 1431, tensors, {}, metadata, keep=1)


@pytest.mark.parametrize("task", ["reach", "pick_cube"])
def test_a_task_is_exported_with_its_numbers_and_acts_as_its_checkpoint(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = make_task(task)
    path = checkpoint(tmp_path, task, ours.observation_size, ours.action_size)
    output = tmp_path / "policy.safetensors"
    assert export_policy.main([str(path), str(output), "--robot-type", "fer"]) == 0
    assert capsys.readouterr().out == (
        f"{output}: policy of {task} on fer, learner step 1431, {ours.observation_size} "
        f"observations, {ours.action_size} actions, 10 Hz, "
        f"{output.stat().st_size / 1e3:.0f} kB\n"
    )
    exported, original = load_policy(output), load_policy(path)
    assert exported.specification is not None
    assert [q.name for q in exported.specification.observations] == [
        component.name for component in ours.observations
    ]
    rng = np.random.default_rng(1)
    for _ in range(20):
        observation = rng.normal(0, 1, ours.observation_size).astype(np.float32)
        np.testing.assert_array_equal(
            exported.policy.mean(observation), original.policy.mean(observation)
        )


def test_a_gymnasium_environment_is_exported_with_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path, "Pendulum-v1", 3, 1)
    monkeypatch.chdir(tmp_path)
    assert export_policy.main([str(tmp_path)]) == 0
    stored = load_policy(tmp_path / "Pendulum-v1_1431.safetensors")
    assert stored.specification is not None
    (torque,) = stored.specification.actions
    assert (torque.low, torque.high, torque.scale, torque.offset) == (-1.0, 1.0, 2.0, 0.0)
    assert [q.high for q in stored.specification.observations] == [1.0, 1.0, 8.0]
    stored.check(GymEnvironment("Pendulum-v1").specification)


class Lopsided(gymnasium.Env):
    """Takes actions from 1 to 3 and remembers the last one."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Box(np.float32(1.0), np.float32(3.0), (1,))
    last = float("nan")

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        return np.zeros(1, np.float32), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        Lopsided.last = float(action[0])
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_the_exported_scale_is_the_one_that_actions_get(monkeypatch: pytest.MonkeyPatch) -> None:
    gymnasium.register("Lopsided-v0", entry_point=Lopsided)
    try:
        environment = GymEnvironment("Lopsided-v0")
    finally:
        del gymnasium.registry["Lopsided-v0"]
    (action,) = environment.specification.actions
    environment.reset()
    environment.step(np.array([0.5], np.float32))
    assert Lopsided.last == pytest.approx(action.offset + 0.5 * action.scale) == 2.5


@pytest.mark.parametrize(
    ("task", "sizes", "output", "reason"),
    [
        ("reach", (4, 2), "p", "has 4 observations and 2 actions; 'reach' has 12 and 3"),
        ("NoSuch-v0", (4, 2), "p", "environment 'NoSuch-v0' cannot be made"),
        ("Pendulum-v1", (3, 1), "no/p", "no/p cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    task: str,
    sizes: tuple[int, int],
    output: str,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = checkpoint(tmp_path, task, *sizes)
    assert export_policy.main([str(path), str(tmp_path / output)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("export_policy: ")
    assert reason in error
    assert error.count("\n") == 1


def test_without_a_checkpoint_it_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_policy.main([str(tmp_path / "nowhere")]) == 1
    assert "expected a checkpoint or run folder, found nothing" in capsys.readouterr().err
