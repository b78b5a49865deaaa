"""What actors say of the policies that they evaluated: which one is the best. No ROS in here."""

from __future__ import annotations

import collections
import contextlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAN = float("nan")
PolicyTensors = dict[str, NDArray[np.float32]]


class RememberedPolicies:
    """The newest published weights by version: one that was evaluated may become the best.

    Versions that actors use stay longer than others.
    """

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._policies: collections.OrderedDict[int, PolicyTensors] = collections.OrderedDict()

    def add(self, version: int, tensors: PolicyTensors) -> None:
        """Remember these weights, in place of the oldest."""
        self._policies[version] = tensors
        while len(self._policies) > self._capacity:
            self._policies.popitem(last=False)

    def in_use(self, version: int) -> None:
        """An actor acts on this version, and may be evaluating it."""
        with contextlib.suppress(KeyError):  # the training thread may have let it go just now
            self._policies.move_to_end(version)

    def get(self, version: int) -> PolicyTensors | None:
        """The weights of a version, while they are remembered."""
        return self._policies.get(version)


@dataclass(frozen=True)
class Evaluation:
    """Episodes with the mean action of one policy; the success rate is NaN without success."""

    policy_version: int = 0
    episodes: int = 0
    return_mean: float = NAN
    return_std: float = NAN
    success_rate: float = NAN

    def figures(self) -> dict[str, Any]:
        """What is known, JSON-able."""
        known = {"return_mean": self.return_mean, "return_std": self.return_std}
        if not math.isnan(self.success_rate):
            known["success_rate"] = self.success_rate
        return known | {"episodes": self.episodes}

    def beats(self, other: Evaluation) -> bool:
        """Success counts before the return; what cannot be compared is beaten."""
        if not math.isnan(self.success_rate) and self.success_rate != other.success_rate:
            return not self.success_rate < other.success_rate
        return not self.return_mean <= other.return_mean


@dataclass
class Evaluations:
    """The newest and the best evaluation, and who is evaluating just now.

    Remembers `capacity` actor sessions; then it begins anew, and may count an evaluation twice.
    """

    capacity: int = 1024
    count: int = 0
    newest: Evaluation = field(default_factory=Evaluation)
    best: Evaluation = field(default_factory=Evaluation)
    _counts: dict[tuple[str, int], int] = field(default_factory=dict)
    _evaluating: set[tuple[str, int]] = field(default_factory=set)

    @property
    def under_way(self) -> bool:
        """Whether an actor is evaluating: it sends no transitions meanwhile."""
        return bool(self._evaluating)

    def hear(
        self, actor: tuple[str, int], is_evaluating: bool, count: int, last: Evaluation
    ) -> bool:
        """Take in what an actor says; whether `last` is news.

        `count` is how many evaluations this session of the actor has made.
        """
        if len(self._counts) > self.capacity or len(self._evaluating) > self.capacity:
            self._counts.clear()
            self._evaluating.clear()
        if is_evaluating:
            self._evaluating.add(actor)
        else:
            self._evaluating.discard(actor)
        if count <= self._counts.get(actor, 0):
            return False
        self._counts[actor] = count
        if not math.isfinite(last.return_mean):
            return False
        self.count += 1
        self.newest = last
        return True
