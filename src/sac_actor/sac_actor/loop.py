"""The environment loop: choose an action, step, keep the transition. No ROS in here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sac_actor.behaviour import SOURCE_HUMAN, SOURCE_POLICY, Behaviour, Choice
from sac_actor.environment import Environment, EpisodeCut, Float32, Step
from sac_actor.marks import Kind, Mark, Marks
from sac_actor.queue import TransitionQueue
from sac_core.policy import Policy


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
    person: Callable[[], Float32 | None] = lambda: None,
) -> Evaluation | None:
    """Run `episodes` episodes with the policy's mean action; None if `go_on` said no on the way.

    `report(episode, return, last step)` is called after each. The evaluation ends early when a
    success rate of `wanted` is out of reach: a poor policy is not worth the time of all episodes.
    While `person` gives an action, that is taken. Such an episode goes on to its end, as nothing
    but the person is to move the arm, and then there is no evaluation.
    """
    returns: list[float] = []
    lengths: list[int] = []
    outcomes: list[bool | None] = []
    for episode in range(episodes):
        observation = environment.reset(seed if episode == 0 else None)
        episode_return, length, done, taken_over = 0.0, 0, False, False
        while not done:
            if not go_on():
                environment.hold()
                return None
            theirs = person()
            taken_over = taken_over or theirs is not None
            environment.announce(SOURCE_POLICY if theirs is None else SOURCE_HUMAN)
            last = environment.step(policy.mean(observation) if theirs is None else theirs)
            observation = last.observation
            episode_return += last.reward
            length += 1
            done = last.terminated or last.truncated
        if taken_over:
            return None
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


@dataclass
class Episode:
    """What is known of one episode while it runs, and at its end."""

    number: int  # within the session, from 0
    first_sequence: int
    operator_name: str = ""  # who acted or judged last
    length: int = 0  # steps
    human_steps: int = 0
    episode_return: float = 0.0
    terminated: bool = False
    truncated: bool = False
    discarded: bool = False
    success: bool | None = None  # None: nobody knows


class Witness:
    """Is told what the loop does. Here nobody looks; the node's tells it to a recorder."""

    def started(self, episode: Episode) -> None:
        """The environment is at its first state."""

    def stepped(self, sequence: int) -> None:
        """The queue holds a new row under this number."""

    def ended(self, episode: Episode) -> None:
        """It is over: terminated, or truncated for whatever reason."""


def cut_short(step: Step) -> Step:
    """A step after which an episode does not go on: nobody knows how it would have ended."""
    return step if step.terminated else step._replace(truncated=True, success=None)


class EnvironmentLoop:
    """Acts in one environment as a behaviour chooses, and appends every transition to a queue."""

    def __init__(
        self,
        environment: Environment,
        queue: TransitionQueue,
        behaviour: Behaviour,
        seed: int,
        witness: Witness | None = None,
        judged_by_person: bool = False,
    ) -> None:
        self.environment = environment
        self.queue = queue
        self.behaviour = behaviour
        self.marks = Marks(behaviour.waits_for_start)
        self.steps = 0
        self.human_steps = 0
        self.episodes = 0
        self.episodes_kept = 0  # not discarded
        self.judged = 0  # episodes of which it is known whether they succeeded
        self.successes = 0
        self.source: int | None = None  # of the newest action; None: no episode is under way
        self.resetting = False
        self.last_return = float("nan")
        self.last_length = 0
        self.last_success: bool | None = None
        self._witness = witness or Witness()
        self._judged_by_person = judged_by_person
        self._seed: int | None = seed
        self.go_on: Callable[[], bool] = lambda: True  # no: the step under way ends the episode
        self._observation: Float32 | None = None  # None: a new episode begins with the next step
        self._episode = Episode(0, 0)

    @property
    def under_way(self) -> bool:
        """Whether the next step belongs to an episode that has begun."""
        return self._observation is not None

    def abandon_episode(self) -> None:
        """Begin a new episode with the next step (after a pause or an evaluation).

        The last transition of one that was under way counts as truncated, unless it has been sent.
        """
        if self._observation is not None:
            self.queue.truncate_newest()
            self.environment.hold()
            self._end_episode(None)

    def step(self) -> bool:
        """One environment step; whether it ended the episode.

        When `go_on` says no meanwhile, or a person marks the episode, the step is the episode's
        last. When the environment cuts the episode, what is known of the last transition is kept,
        as truncated, and EpisodeCut goes on to the caller.
        """
        if self._observation is None and not self._begin_episode():
            return False
        observation = self._observation
        assert observation is not None
        choice = self.behaviour.choose(observation, self.steps)
        self.source = choice.source
        self.environment.announce(choice.source)
        try:
            step = self.environment.step(choice.action)
        except EpisodeCut as cut:
            last, mark = cut.last, self.marks.settle(over=True)
            if last is not None:
                last = self._judged(cut_short(last), mark)
                self._keep(observation, choice, last)
            else:
                self.queue.truncate_newest()  # the last that is known
            self._end_episode(last, mark)
            raise
        if not self.go_on():
            self.environment.hold()
            step = cut_short(step)
        mark = self.marks.settle(over=step.terminated or step.truncated)
        step = self._judged(step, mark)
        self._keep(observation, choice, step)
        self._observation = step.observation
        done = step.terminated or step.truncated
        if done:
            self._end_episode(step, mark)
        return done

    def _judged(self, step: Step, mark: Mark | None) -> Step:
        """A step with what a person said of it, if anything: then it is the last."""
        if mark is None:
            return step
        if mark.kind not in (Kind.SUCCESS, Kind.FAILURE):
            return cut_short(step)
        success = mark.kind == Kind.SUCCESS
        if self._judged_by_person:
            return Step(step.observation, float(success), True, False, success)
        return step._replace(truncated=not step.terminated, success=success)

    def _keep(self, observation: Float32, choice: Choice, step: Step) -> None:
        sequence = self.queue.append(
            observation,
            choice.action,
            step.reward,
            step.observation,
            step.terminated,
            step.truncated,
            choice.source,
            choice.policy_version,
        )
        self.steps += 1
        episode = self._episode
        episode.length += 1
        episode.episode_return += step.reward
        if choice.source == SOURCE_HUMAN:
            self.human_steps += 1
            episode.human_steps += 1
            episode.operator_name = choice.operator_name or episode.operator_name
        self._witness.stepped(sequence)

    def _end_episode(self, last: Step | None, mark: Mark | None = None) -> None:
        """The episode is over; `last` is its last step, where that is known."""
        self.marks.end()
        self._observation = self.source = None
        episode = self._episode
        episode.terminated = last is not None and last.terminated
        episode.truncated = not episode.terminated
        episode.success = None if last is None else last.success
        episode.discarded = not (episode.success or self.behaviour.keeps_failures)
        episode.discarded |= episode.length == 0  # there is nothing to keep
        if mark is not None:
            episode.operator_name = mark.operator_name or episode.operator_name
            episode.discarded |= mark.kind == Kind.DISCARD
        self.episodes += 1
        self.episodes_kept += not episode.discarded
        self.last_return, self.last_length = episode.episode_return, episode.length
        self.last_success = episode.success
        self.judged += episode.success is not None
        self.successes += episode.success is True
        self._witness.ended(episode)

    def _begin_episode(self) -> bool:
        """Have the environment make a start; no if a person stopped it meanwhile."""
        self.resetting = True
        try:
            observation = self.environment.reset(self._seed)
        finally:
            self.resetting = False
        self._seed = None  # Gymnasium's own generator goes on from the first seed
        operator_name = self.marks.begin()
        if operator_name is None:
            self.environment.hold()
            return False
        self._observation = observation
        self._episode = Episode(self.episodes, self.queue.next, operator_name)
        self.behaviour.begin()
        self._witness.started(self._episode)
        return True
