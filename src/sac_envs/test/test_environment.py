"""The Gymnasium environments: repeatable, within their bounds, and solvable."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sac_envs
from sac_envs.task import Float32
from sac_envs.tasks import TASKS

IDS = ["SacFranka/Reach-v0", "SacFranka/PickCube-v0", "SacFranka/PickCubeSparse-v0"]
every_id = pytest.mark.parametrize("env_id", IDS)


def make(env_id: str, **options: Any) -> Any:
    return gymnasium.make(env_id, **options).unwrapped


def play(env: Any, seed: int, actions: Float32) -> list[tuple[Float32, float, bool, bool]]:
    """An episode of given actions `(steps, action_size)`; it ends early when it is over."""
    observation, _ = env.reset(seed=seed)
    episode = [(observation, 0.0, False, False)]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        episode.append((observation, reward, terminated, truncated))
        if terminated or truncated:
            break
    return episode


def random_actions(env: Any, seed: int, steps: int = 40) -> Float32:
    shape = (steps, env.task.action_size)
    return np.random.default_rng(seed).uniform(-1.0, 1.0, shape).astype(np.float32)


def same(
    one: list[tuple[Float32, float, bool, bool]], other: list[tuple[Float32, float, bool, bool]]
) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )


def rewards_of_a_demonstration(env: Any) -> list[float]:
    """The rewards of an episode that succeeds."""
    env.reset(seed=1)
    demonstrator = env.task.demonstrator(np.random.default_rng(0))
    rewards, over = [], False
    while not over:
        _, reward, terminated, truncated, info = env.step(demonstrator.act(env._state()))
        assert info["is_success"] is terminated
        rewards.append(reward)
        over = terminated or truncated
    assert terminated
    return rewards


def test_every_task_is_registered() -> None:
    assert sac_envs.__name__ == "sac_envs"
    registered = {env_id for env_id in gymnasium.registry if env_id.startswith("SacFranka/")}
    assert registered >= set(IDS)
    assert {gymnasium.spec(env_id).kwargs["task"] for env_id in IDS} == set(TASKS)


@every_id
def test_gymnasium_finds_nothing_to_complain_about(env_id: str) -> None:
    with pytest.warns() as warnings:
        check_env(make(env_id), skip_render_check=True)
    complaints = [str(w.message) for w in warnings if "infinity" not in str(w.message)]
    assert complaints == []


@every_id
def test_the_same_seed_and_actions_give_the_same_episode_bit_by_bit(env_id: str) -> None:
    one, other = make(env_id), make(env_id)
    actions = random_actions(one, seed=5)
    first = play(one, 11, actions)
    play(one, 12, actions)  # what came before an episode leaves no trace
    assert same(first, play(one, 11, actions))
    assert same(first, play(other, 11, actions))


@every_id
def test_other_seeds_start_elsewhere(env_id: str) -> None:
    env = make(env_id)
    starts = {env.reset(seed=seed)[0].tobytes() for seed in range(10)}
    assert len(starts) == 10
    assert env.reset()[0].tobytes() not in starts  # and so does an episode without a seed


@every_id
@pytest.mark.parametrize("robot_type", ["fr3", "fer"])
def test_observations_stay_within_the_declared_bounds(env_id: str, robot_type: str) -> None:
    env = make(env_id, robot_type=robot_type)
    for seed in range(3):
        for observation, reward, terminated, truncated in play(
            env, seed, random_actions(env, seed)
        ):
            assert env.observation_space.contains(observation)
            assert np.isfinite(observation).all()
            assert np.isfinite(reward)
            assert not (terminated and truncated)


@every_id
def test_an_episode_without_success_is_truncated_at_its_last_step(env_id: str) -> None:
    env = make(env_id)
    still = np.zeros((50, env.task.action_size), np.float32)
    *before, last = play(env, 0, still)
    assert len(before) == env.task.max_episode_steps
    assert not any(terminated or truncated for _, _, terminated, truncated in before)
    assert last[2:] == (False, True)


@pytest.mark.parametrize("limit", [1, 2])
def test_success_at_the_last_step_is_termination(limit: int) -> None:
    env = make("SacFranka/Reach-v0")
    env.task.tool_spread = 0.0
    env.task.target_low = env.task.target_high = env.task.tool_start
    env.task.max_episode_steps = limit
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    assert (terminated, truncated, info["is_success"]) == (True, False, True)
    assert reward > 0.9


def test_the_sparse_reward_is_one_on_success_and_zero_before() -> None:
    *before, last = rewards_of_a_demonstration(make("SacFranka/PickCubeSparse-v0"))
    assert last == 1.0
    assert not any(before)


def test_the_dense_reward_is_negative_until_success() -> None:
    *before, last = rewards_of_a_demonstration(make("SacFranka/PickCube-v0"))
    assert last > 4.0
    assert max(before) < 0.0


def test_an_action_beyond_the_bounds_counts_as_the_bound() -> None:
    env = make("SacFranka/Reach-v0")
    far = np.full((5, 3), 7.0, np.float32)
    assert same(play(env, 0, far), play(env, 0, np.ones_like(far)))


def test_the_target_of_reach_is_where_the_episode_put_it() -> None:
    env = make("SacFranka/Reach-v0")
    env.reset(seed=3)
    target = env._state().objects["target"].position.copy()
    assert np.all((env.task.target_low <= target) & (target <= env.task.target_high))
    env.step(np.ones(3, np.float32))
    np.testing.assert_array_equal(env._state().objects["target"].position, target)
