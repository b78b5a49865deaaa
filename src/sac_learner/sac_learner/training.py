"""Learner steps: when they may begin, how many the data allows, and what they said."""

from __future__ import annotations

import torch

from sac_core.agent import SACAgent
from sac_learner.parameters import Parameters
from sac_learner.storage import Storage
from sac_ros.node import SacNode


class Training:
    """Trains the agent on what is stored. For the main thread; counts may be read by others.

    Attributes:
        agent: None until the sizes are known.
        begun: whether enough transitions have come in to train on.
        limited: whether training waits for transitions, as `max_updates_per_step` asks.
    """

    def __init__(self, node: SacNode[Parameters], storage: Storage) -> None:
        self.agent: SACAgent | None = None
        self.begun = False
        self.limited = False
        self._node = node
        self._storage = storage
        self._transitions_before = 0
        self._steps_before = 0
        self._infos: list[torch.Tensor] = []
        self._names: list[str] = []

    @property
    def step(self) -> int:
        """Learner steps since the run began."""
        return self.agent.step if self.agent is not None else 0

    def may_begin(self) -> bool:
        """Whether there are enough transitions to train on."""
        starts = self._node.parameters.training_starts
        return self.agent is not None and self._storage.transitions >= starts

    def begin(self) -> None:
        """Count updates and transitions from here on."""
        self.begun = True
        self.count_anew()

    def count_anew(self) -> None:
        """Compare updates with the transitions that come in from now on."""
        self._transitions_before = self._storage.transitions
        self._steps_before = self.step

    def may_step(self) -> bool:
        """Whether the transitions that came in allow for another learner step."""
        limit = self._node.parameters.max_updates_per_step
        ahead = self._updates() - limit * self._transitions()
        self.limited = limit > 0.0 and ahead >= 0.0
        return not self.limited

    def _updates(self) -> int:
        """Critic updates since training began."""
        return (self.step - self._steps_before) * self._node.parameters.utd_ratio

    def _transitions(self) -> int:
        """Transitions that came in since training began, with the first fill."""
        return self._storage.transitions - self._transitions_before + 1

    @property
    def update_to_data_ratio(self) -> float:
        """Critic updates per transition since training began."""
        return self._updates() / self._transitions()

    def do_step(self) -> None:
        """One learner step."""
        agent, mixture, p = self.agent, self._storage.mixture, self._node.parameters
        assert agent is not None and mixture is not None
        info = agent.update(mixture.sample(p.batch_size, p.utd_ratio, p.demo_ratio))
        self._names = list(info)
        self._infos.append(torch.stack(list(info.values())))

    def take_figures(self) -> dict[str, float]:
        """Means of what the steps since the last call said; empty if there were none."""
        if not self._infos:
            return {}
        means = torch.stack(self._infos).mean(dim=0).tolist()
        self._infos = []
        return dict(zip(self._names, means, strict=True))
