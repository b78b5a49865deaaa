"""Who chooses the actions: a policy, a person who takes over from it, a person alone, a script.

The loop asks one behaviour for every action. What comes of the action is the same for all: the same
scaling, the same safety filter, the same row in the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from sac_actor.environment import Environment, Float32
from sac_actor.person import Person
from sac_core.policy import Policy

# As in sac_msgs/TransitionBatch.
SOURCE_RANDOM = 0
SOURCE_POLICY = 1
SOURCE_HUMAN = 2
SOURCE_SCRIPTED = 3


class Choice(NamedTuple):
    """An action, and who chose it."""

    action: Float32  # (action_size,) in [-1, 1]
    source: int
    policy_version: int  # of the weights in use, also while a person acts; 0: none
    operator_name: str = ""  # of the person who acted


class Behaviour(Protocol):
    """Chooses the actions of an actor."""

    waits_for_start: bool  # each episode begins when a person says so
    keeps_failures: bool  # an episode without success is worth a recording

    def begin(self) -> None:
        """An episode has begun."""
        ...

    def choose(self, observation: Float32, steps: int) -> Choice:
        """The next action; `steps` were made before it, in all episodes."""
        ...


class Learnt:
    """Random actions for the first `random_steps` steps and until there is a policy, then that.

    The policy explores with its own noise, unless it is told to use its mean action.
    """

    waits_for_start = False
    keeps_failures = True

    def __init__(
        self, action_size: int, random_steps: int, seed: int, explores: bool = True
    ) -> None:
        self._explores = explores
        self.policy: Policy | None = None
        self._action_size = action_size
        self._random_steps = random_steps
        self._rng = np.random.default_rng(seed)

    def begin(self) -> None:
        """Nothing to prepare."""

    def choose(self, observation: Float32, steps: int) -> Choice:
        if self.policy is None or steps < self._random_steps:
            action = self._rng.uniform(-1.0, 1.0, self._action_size).astype(np.float32)
            return Choice(action, SOURCE_RANDOM, 0)
        policy = self.policy
        action = (
            policy.sample(observation, self._rng) if self._explores else policy.mean(observation)
        )
        return Choice(action, SOURCE_POLICY, policy.version)


class TakenOver:
    """As learnt, except while a person is engaged: then the person acts.

    Actions are displacements from where the tool is, and the gripper stays as it is between the
    thresholds: neither taking over nor giving back moves anything.
    """

    waits_for_start = False
    keeps_failures = True

    def __init__(self, person: Person, learnt: Learnt) -> None:
        self._person = person
        self._learnt = learnt

    def begin(self) -> None:
        self._person.forget_motion()

    def choose(self, observation: Float32, steps: int) -> Choice:
        heard = self._person.heard
        if heard is None or not heard.engaged:
            return self._learnt.choose(observation, steps)
        policy = self._learnt.policy
        version = policy.version if policy else 0
        return Choice(heard.action, SOURCE_HUMAN, version, heard.operator_name)


class Teleoperated:
    """A person acts, engaged or not; the arm stays where it is while nothing is asked for."""

    waits_for_start = True
    keeps_failures = True

    def __init__(self, person: Person, action_size: int) -> None:
        self._person = person
        self._still = np.zeros(action_size, np.float32)

    def begin(self) -> None:
        self._person.forget_motion()

    def choose(self, observation: Float32, steps: int) -> Choice:
        heard = self._person.heard
        if heard is None:
            return Choice(self._still, SOURCE_HUMAN, 0)
        return Choice(heard.action, SOURCE_HUMAN, 0, heard.operator_name)


class Scripted:
    """The task's demonstrator acts, another one in each episode.

    Raises UserError where the environment has none.
    """

    waits_for_start = False
    keeps_failures = False

    def __init__(self, environment: Environment, seed: int) -> None:
        self._environment = environment
        self._random = np.random.default_rng(seed)
        self._act: Callable[[], Float32] = environment.demonstrator(self._random)

    def begin(self) -> None:
        self._act = self._environment.demonstrator(self._random)

    def choose(self, observation: Float32, steps: int) -> Choice:
        return Choice(self._act(), SOURCE_SCRIPTED, 0)


BEHAVIOURS = ("policy", "scripted", "teleop")


def make_behaviour(
    name: str, environment: Environment, learnt: Learnt, person: Person, seed: int
) -> Behaviour:
    """The behaviour of that name; UserError if it cannot be had in this environment."""
    if name == "scripted":
        return Scripted(environment, seed)
    if name == "teleop":
        return Teleoperated(person, environment.action_size)
    return TakenOver(person, learnt)
