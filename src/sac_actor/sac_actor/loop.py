"""The environment loop: choose an action, step, keep the transition. No ROS in here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sac_actor.environment import Float32, GymEnvironment
from sac_actor.queue import TransitionQueue
from sac_core.policy import Policy

SOURCE_RANDOM = 0
SOURCE_POLICY = 1


@dataclass(frozen=True)
class Evaluation:
    """Returns of episodes with the mean action of one policy."""

    policy_version: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation over episodes (population)."""
        return float(np.std(self.returns))


def evaluate(
    environment: GymEnvironment,
    policy: Policy,
    episodes: int,
    go_on: Callable[[], bool] = lambda: True,
    seed: int | None = None,
    report: Callable[[int, float, int], None] = lambda episode, episode_return, length: None,
) -> Evaluation | None:
    """Run `episodes` episodes with the policy's mean action; None if `go_on` said no on the way.

    `report(episode, return, length)` is called after each.
    """
    returns, lengths = [], []
    for episode in range(episodes):
        observation = environment.reset(seed if episode == 0 else None)
        episode_return, length, done = 0.0, 0, False
        while not done:
            if not go_on():
                return None
            observation, reward, terminated, truncated = environment.step(policy.mean(observation))
            episode_return += reward
            length += 1
            done = terminated or truncated
        returns.append(episode_return)
        lengths.append(length)
        report(episode, episode_return, length)
    return Evaluation(policy.version, tuple(returns), tuple(lengths))


class Pace:
    """Holds a loop to a rate on average, in bursts: it runs, then sleeps for at least `BURST`.

    A simulated environment does not mind, and a learner beside it minds a lot: each time the actor
    wakes up it may push one of the learner's threads off its core while the others wait for it.
    After a delay of over a second it does not try to catch up.
    """

    BURST = 0.1  # s

    def __init__(self) -> None:
        self._due = 0.0

    def wait(self, rate: float) -> None:
        """Sleep if the loop is ahead of `rate` per second by a burst (0: never)."""
        if rate <= 0.0:
            return
        now = time.monotonic()
        if now - self._due > 1.0:
            self._due = now
        elif self._due - now > max(self.BURST, 0.5 / rate):
            time.sleep(self._due - now)
        self._due += 1.0 / rate


class EnvironmentLoop:
    """Acts in one environment and appends every transition to a queue.

    Random actions for the first `random_steps` steps and until there is a policy, then the policy
    with its own exploration noise.
    """

    def __init__(
        self,
        environment: GymEnvironment,
        queue: TransitionQueue,
        random_steps: int,
        seed: int,
    ) -> None:
        self.environment = environment
        self.queue = queue
        self.random_steps = random_steps
        self.policy: Policy | None = None
        self.steps = 0
        self.episodes = 0
        self.last_return = float("nan")
        self.last_length = 0
        self._seed: int | None = seed
        self._rng = np.random.default_rng(seed)
        self._observation: Float32 | None = None  # None: a new episode begins with the next step
        self._episode_return = 0.0
        self._episode_length = 0

    def abandon_episode(self) -> None:
        """Begin a new episode with the next step (after a pause or an evaluation)."""
        self._observation = None

    def step(self) -> bool:
        """One environment step; whether it ended the episode."""
        if self._observation is None:
            self._begin_episode()
        observation = self._observation
        assert observation is not None
        action, source, version = self._choose(observation)
        next_observation, reward, terminated, truncated = self.environment.step(action)
        self.queue.append(
            observation, action, reward, next_observation, terminated, truncated, source, version
        )
        self.steps += 1
        self._observation = next_observation
        self._episode_return += reward
        self._episode_length += 1
        done = terminated or truncated
        if done:
            self.episodes += 1
            self.last_return, self.last_length = self._episode_return, self._episode_length
            self._observation = None
        return done

    def _begin_episode(self) -> None:
        self._observation = self.environment.reset(self._seed)
        self._seed = None  # Gymnasium's own generator goes on from the first seed
        self._episode_return, self._episode_length = 0.0, 0

    def _choose(self, observation: Float32) -> tuple[Float32, int, int]:
        """Action `(action_size,)` in [-1, 1], its source, and the version of its policy."""
        if self.policy is None or self.steps < self.random_steps:
            size = self.environment.action_size
            return self._rng.uniform(-1.0, 1.0, size).astype(np.float32), SOURCE_RANDOM, 0
        action = self.policy.sample(observation, self._rng)
        return action, SOURCE_POLICY, self.policy.version
