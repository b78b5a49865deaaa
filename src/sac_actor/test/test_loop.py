"""The environment loop stores what happened, and evaluates without storing anything."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from loops import Cut, make_policy, taken

from sac_actor.behaviour import Learnt
from sac_actor.environment import EpisodeCut, GymEnvironment, Step
from sac_actor.loop import EnvironmentLoop, Evaluation, Pace, evaluate
from sac_actor.queue import TransitionQueue
from sac_core.policy import Policy
from sac_ros.parameters import UserError


def run_loop(steps: int, random_steps: int = 0, policy: Policy | None = None) -> EnvironmentLoop:
    environment = GymEnvironment("Pendulum-v1")
    learnt = Learnt(1, random_steps, seed=5)
    learnt.policy = policy
    loop = EnvironmentLoop(environment, TransitionQueue(1000, 3, 1), learnt, seed=5)
    for _ in range(steps):
        loop.step()
    return loop


def test_transitions_are_those_that_the_environment_made() -> None:
    loop = run_loop(250)
    rows = taken(loop)
    environment = gymnasium.make("Pendulum-v1")
    observation, _ = environment.reset(seed=5)
    for row in range(250):
        np.testing.assert_array_equal(rows.observations[row], observation)
        observation, reward, terminated, truncated, _ = environment.step(2.0 * rows.actions[row])
        np.testing.assert_allclose(rows.next_observations[row], observation, rtol=1e-5, atol=1e-5)
        assert rows.rewards[row] == pytest.approx(float(reward), rel=1e-4, abs=1e-4)
        assert (rows.terminated[row], rows.truncated[row]) == (terminated, truncated)
        if terminated or truncated:
            assert row == 199
            observation, _ = environment.reset()
    assert loop.episodes == 1
    assert loop.last_length == 200
    assert loop.last_return == pytest.approx(float(rows.rewards[:200].sum()), rel=1e-4)


def test_the_same_seed_makes_the_same_transitions() -> None:
    first, second = run_loop(50), run_loop(50)
    np.testing.assert_array_equal(taken(first).next_observations, taken(second).next_observations)


def test_actions_are_random_first_and_the_policys_afterwards() -> None:
    loop = run_loop(20, random_steps=12, policy=make_policy(3, 1))
    rows = taken(loop)
    assert rows.source.tolist() == [0] * 12 + [1] * 8
    assert rows.policy_version.tolist() == [0] * 12 + [7] * 8


def test_evaluation_uses_the_mean_action_and_is_repeatable() -> None:
    policy = make_policy(3, 1)
    environment = GymEnvironment("Pendulum-v1")
    first = evaluate(environment, policy, 3, seed=1)
    second = evaluate(environment, policy, 3, seed=1)
    assert first is not None and second is not None
    assert first == second
    assert first.policy_version == 7
    assert first.lengths == (200, 200, 200)
    assert evaluate(environment, policy, 3, go_on=lambda: False) is None


def test_an_evaluation_that_a_person_takes_over_goes_on_to_its_episodes_end_and_is_none() -> None:
    asked: list[float] = []

    class Asked(GymEnvironment):
        def step(self, action: np.ndarray) -> Step:
            asked.append(float(action[0]))
            return super().step(action)

    policy, wish = make_policy(3, 1), np.full(1, 0.25, np.float32)

    def person() -> np.ndarray | None:
        return wish if 210 <= len(asked) < 220 else None

    assert evaluate(Asked("Pendulum-v1"), policy, 3, seed=1, person=person) is None
    assert len(asked) == 400, "two whole episodes, and no third"
    assert asked[210:220] == [0.25] * 10
    assert 0.25 not in asked[:210] + asked[220:]


def test_an_episode_without_a_step_is_none_to_keep() -> None:
    loop = run_loop(0)
    loop._begin_episode()
    loop.abandon_episode()
    assert (loop.episodes, loop.episodes_kept) == (1, 0)


def test_actions_are_scaled_to_the_environments_bounds() -> None:
    environment = GymEnvironment("Pendulum-v1")
    environment.reset(seed=0)
    reference = gymnasium.make("Pendulum-v1")
    reference.reset(seed=0)
    ours = environment.step(np.array([-0.5], np.float32))
    theirs = reference.step(np.array([-1.0], np.float32))
    np.testing.assert_array_equal(ours[0], theirs[0])


@pytest.mark.parametrize(
    ("env_id", "reason"),
    [
        ("NoSuchThing-v0", "cannot be made"),
        ("CartPole-v1", "expected a bounded continuous action space"),
        ("no_such_module:Thing-v0", "cannot be made"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_with_the_reason(
    env_id: str, reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        GymEnvironment(env_id)


def test_the_pace_holds_on_average_and_does_not_catch_up_after_a_long_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    pace = Pace()
    for _ in range(11):
        pace.wait(10.0)
        now[0] += 0.03  # the work
    assert now[0] == pytest.approx(101.03)
    now[0] += 5.0
    before = now[0]
    for _ in range(11):
        pace.wait(10.0)
    assert now[0] - before == pytest.approx(1.0)


@pytest.mark.parametrize(("known", "kept"), [(True, [0, 0, 1]), (False, [0, 1])])
def test_a_cut_episode_ends_truncated_with_what_is_known_of_its_last_step(
    known: bool, kept: list[int]
) -> None:
    loop = EnvironmentLoop(Cut(known), TransitionQueue(100, 3, 1), Learnt(1, 0, 1), seed=1)
    loop.step()
    loop.step()
    with pytest.raises(EpisodeCut):
        loop.step()
    assert loop.episodes == 1
    loop.step()  # a new episode
    rows = taken(loop)
    assert rows.truncated.tolist() == [*kept, 0]
    assert not rows.terminated.any()


def test_a_pause_truncates_the_episode_and_lets_the_robot_rest() -> None:
    environment = Cut(known=True)
    loop = EnvironmentLoop(environment, TransitionQueue(100, 3, 1), Learnt(1, 0, 1), seed=1)
    loop.step()
    loop.go_on = lambda: False
    assert loop.step()  # during this step
    loop.go_on = lambda: True
    environment._steps = 0
    loop.step()
    loop.abandon_episode()  # between two steps
    assert taken(loop).truncated.tolist() == [0, 1, 1]
    assert environment.held == 2


def test_an_evaluation_counts_successes_and_ends_when_too_few_are_left() -> None:
    policy = make_policy(18, 4)  # never trained: it does not pick anything
    environment = GymEnvironment("sac_envs:SacFranka/PickCube-v0")
    result = evaluate(environment, policy, 50, seed=0, wanted=0.95)
    assert result is not None
    assert result.successes == 0
    assert len(result.returns) == 3  # 47 of 50 would be too few
    assert result.success_rate == 0.0


def test_the_interval_of_the_success_rate_is_wilsons() -> None:
    result = Evaluation(1, (0.0,) * 50, (1,) * 50, 48)
    low, high = result.success_interval()
    assert (low, high) == (pytest.approx(0.865, abs=1e-3), pytest.approx(0.989, abs=1e-3))
    assert Evaluation(1, (0.0,) * 50, (1,) * 50, 50).success_interval()[1] == pytest.approx(1.0)
