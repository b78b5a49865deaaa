"""What tests of the environment loop share."""

from __future__ import annotations

import numpy as np

from sac_actor.environment import EpisodeCut, GymEnvironment, Step
from sac_actor.loop import EnvironmentLoop
from sac_core.policy import Policy
from sac_ros.codecs import Transitions


def make_policy(observation_size: int, action_size: int, version: int = 7) -> Policy:
    rng = np.random.default_rng(0)

    def layer(name: str, out: int, into: int) -> dict[str, np.ndarray]:
        return {
            f"{name}.weight": rng.normal(0, 0.1, (out, into)).astype(np.float32),
            f"{name}.bias": np.zeros(out, np.float32),
        }

    tensors = {
        **layer("hidden.0", 16, observation_size),
        **layer("hidden.1", 16, 16),
        **layer("mean", action_size, 16),
        **layer("log_std", action_size, 16),
    }
    return Policy(tensors, version=version)


def taken(loop: EnvironmentLoop) -> Transitions:
    unsent = loop.queue.take_unsent(1000)
    assert unsent is not None
    return unsent.rows


class Cut(GymEnvironment):
    """A Pendulum whose every third step is cut; what is known of the step is kept, or nothing."""

    def __init__(self, known: bool) -> None:
        super().__init__("Pendulum-v1")
        self._known = known
        self._steps = 0
        self.held = 0

    def step(self, action: np.ndarray) -> Step:
        step = super().step(action)
        self._steps += 1
        if self._steps % 3 == 0:
            raise EpisodeCut("the robot was switched off", step if self._known else None)
        return step

    def hold(self) -> None:
        self.held += 1
