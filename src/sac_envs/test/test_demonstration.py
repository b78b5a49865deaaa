"""Every task has a scripted demonstrator that does it, never twice in the same way."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from sac_envs.demonstration import Hand
from sac_envs.robots import ROBOTS
from sac_envs.task import Float32, Task
from sac_envs.tasks import TASKS, make_task

every_task = pytest.mark.parametrize("name", TASKS)


def make(name: str, robot_type: str = "fr3") -> Any:
    env_id = f"SacFranka/{name.title().replace('_', '')}-v0"
    return gymnasium.make(env_id, robot_type=robot_type).unwrapped


def demonstrate(env: Any, seed: int, demonstrator_seed: int) -> tuple[bool, Float32]:
    """Whether an episode succeeded, and its actions `(steps, action_size)`."""
    env.reset(seed=seed)
    demonstrator = env.task.demonstrator(np.random.default_rng(demonstrator_seed))
    actions, over = [], False
    while not over:
        actions.append(demonstrator.act(env._state()))
        _, _, terminated, truncated, _ = env.step(actions[-1])
        over = terminated or truncated
    return terminated, np.array(actions)


@every_task
@pytest.mark.parametrize("robot_type", ROBOTS)
def test_a_demonstration_succeeds_nearly_always(name: str, robot_type: str) -> None:
    env = make(name, robot_type)
    failures = [seed for seed in range(100) if not demonstrate(env, seed, seed)[0]]
    assert len(failures) <= 2, failures


@every_task
def test_actions_are_those_of_the_task(name: str) -> None:
    env = make(name)
    for seed in range(5):
        _, actions = demonstrate(env, seed, seed)
        assert actions.dtype == np.float32
        assert actions.shape[1] == env.task.action_size
        assert (np.abs(actions) <= 1.0).all()


@every_task
def test_no_two_demonstrations_are_alike_and_one_can_be_repeated(name: str) -> None:
    env = make(name)
    runs = [demonstrate(env, seed=3, demonstrator_seed=seed)[1] for seed in (*range(10), 0)]
    assert runs[0].tobytes() == runs[-1].tobytes()
    assert len({run.tobytes() for run in runs[:-1]}) == 10
    assert len({len(run) for run in runs}) > 1  # some are faster than others


def test_a_cube_that_slips_away_is_tried_again() -> None:
    env = make("pick_cube")
    env.task.max_episode_steps = 80
    env.reset(seed=0)
    demonstrator = env.task.demonstrator(np.random.default_rng(0))
    slipped = over = False
    while not over:
        if not slipped and env._state().gripper_closed:
            env.world.data.joint("cube").qpos[:2] += (0.05, 0.08)
            slipped = True
        _, _, terminated, truncated, _ = env.step(demonstrator.act(env._state()))
        over = terminated or truncated
    assert slipped and terminated


def test_a_hand_keeps_its_direction_at_its_speed() -> None:
    hand = Hand(np.random.default_rng(2), 0.05)
    steps = np.array([hand.towards(np.array([1.0, 0.5, 0.0]), np.zeros(3)) for _ in range(200)])
    x, y, z = steps.mean(0)
    assert Hand.SLOWEST <= x <= 1.0
    assert y == pytest.approx(x / 2, abs=0.03)
    assert z == pytest.approx(0.0, abs=0.03)
    near = np.array([hand.towards(np.array([0.01, 0.0, 0.0]), np.zeros(3)) for _ in range(200)])
    assert near.mean(0)[0] == pytest.approx(0.2, abs=0.03)  # 0.01 m of 0.05


def test_a_task_without_one_says_so() -> None:
    class Plain(Task):
        name = "plain"

    with pytest.raises(ValueError, match="task plain has no scripted demonstrator"):
        Plain().demonstrator(np.random.default_rng(0))
    assert make_task("reach").demonstrator(np.random.default_rng(0))
