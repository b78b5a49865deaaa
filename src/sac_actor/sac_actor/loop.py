"""The environment loop: choose an action, step, keep the transition. No ROS in here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sac_actor.environment import Environment, EpisodeCut, Float32, Step
from sac_actor.queue import TransitionQueue
from sac_core.policy import Policy

SOURCE_RANDOM = 0
SOURCE_POLICY = 1


@dataclass(frozen=True)
class Evaluation:
    """Episodes with the mean action of one policy."""

    policy_version: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    successes: int | None  # None: the environment knows no success

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation over episodes (population)."""
        return float(np.std(self.returns))

    @property
    def success_rate(self) -> float:
        """Share of the episodes that succeeded; NaN without a notion of success."""
        return float("nan") if self.successes is None else self.successes / len(self.returns)

    def success_interval(self) -> tuple[float, float]:
        """95 % interval of the success rate (Wilson 1927)."""
        n, p, z = len(self.returns), self.success_rate, 1.959964
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, float(center - half)), min(1.0, float(center + half))


def evaluate(
    environment: Environment,
    policy: Policy,
    episodes: int,
    go_on: Callable[[], bool] = lambda: True,
    seed: int | None = None,
    report: Callable[[int, float, Step], None] = lambda episode, episode_return, last: None,
    wanted: float = 0.0,
) -> Evaluation | None:
    """Run `episodes` episodes with the policy's mean action; None if `go_on` said no on the way.

    `report(episode, return, last step)` is called after each. The evaluation ends early when a
    success rate of `wanted` is out of reach: a poor policy is not worth the time of all episodes.
    """
    returns: list[float] = []
    lengths: list[int] = []
    outcomes: list[bool | None] = []
    for episode in range(episodes):
        observation = environment.reset(seed if episode == 0 else None)
        episode_return, length, done = 0.0, 0, False
        while not done:
            if not go_on():
                environment.hold()
                return None
            last = environment.step(policy.mean(observation))
            observation = last.observation
            episode_return += last.reward
            length += 1
            done = last.terminated or last.truncated
        returns.append(episode_return)
        lengths.append(length)
        outcomes.append(last.success)
        report(episode, episode_return, last)
        if outcomes.count(False) > episodes * (1.0 - wanted) + 1e-9:
            break
    successes = None if None in outcomes else outcomes.count(True)
    return Evaluation(policy.version, tuple(returns), tuple(lengths), successes)


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
        environment: Environment,
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
        self.last_success: bool | None = None
        self._seed: int | None = seed
        self._rng = np.random.default_rng(seed)
        self.go_on: Callable[[], bool] = lambda: True  # no: the step under way ends the episode
        self._observation: Float32 | None = None  # None: a new episode begins with the next step
        self._episode_return = 0.0
        self._episode_length = 0

    def abandon_episode(self) -> None:
        """Begin a new episode with the next step (after a pause or an evaluation).

        The last transition of one that was under way counts as truncated, unless it has been sent.
        """
        if self._observation is not None:
            self._observation = None
            self.queue.truncate_newest()
            self.environment.hold()

    def step(self) -> bool:
        """One environment step; whether it ended the episode.

        When `go_on` says no meanwhile, the step is the episode's last, as truncated. When the
        environment cuts the episode, what is known of the last transition is kept, as
        truncated, and EpisodeCut goes on to the caller.
        """
        if self._observation is None:
            self._begin_episode()
        observation = self._observation
        assert observation is not None
        action, source, version = self._choose(observation)
        try:
            step = self.environment.step(action)
        except EpisodeCut as cut:
            if cut.last is not None:
                last = cut.last._replace(truncated=not cut.last.terminated)
                self._keep(observation, action, last, source, version)
            self._end_episode()
            raise
        if not self.go_on():
            self.environment.hold()
            step = step._replace(truncated=not step.terminated)
        self._keep(observation, action, step, source, version)
        self._observation = step.observation
        done = step.terminated or step.truncated
        if done:
            self.last_success = step.success
            self._end_episode()
        return done

    def _keep(
        self, observation: Float32, action: Float32, step: Step, source: int, version: int
    ) -> None:
        self.queue.append(
            observation,
            action,
            step.reward,
            step.observation,
            step.terminated,
            step.truncated,
            source,
            version,
        )
        self.steps += 1
        self._episode_return += step.reward
        self._episode_length += 1

    def _end_episode(self) -> None:
        self.episodes += 1
        self.last_return, self.last_length = self._episode_return, self._episode_length
        self._observation = None

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
