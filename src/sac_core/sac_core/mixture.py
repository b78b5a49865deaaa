"""What a learner step is drawn from: experience of the actors, and demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sac_core.replay import FloatArray, ReplayBuffer, set_generator_state


class Mixture:
    """Draws batches from the actors' experience and from demonstrations.

    Demonstrations are the preloaded ones and what a person did during training (interventions),
    which is experience as well. Drawing half of each batch from them is what RLPD does
    (arXiv:2302.02948); interventions on both sides, what HIL-SERL does (arXiv:2410.21845).
    """

    def __init__(
        self,
        experience: ReplayBuffer,
        interventions: ReplayBuffer,
        preloaded: ReplayBuffer | None = None,
        seed: int = 0,
    ) -> None:
        """The buffers may go on growing. Experience is drawn with its own generator.

        Raises:
            ValueError: the buffers' rows are of different sizes.
        """
        self._experience = experience
        self._preloaded = preloaded
        self._demonstrations = [interventions] if preloaded is None else [preloaded, interventions]
        for buffer in self._demonstrations:
            if buffer.layout != experience.layout:
                raise ValueError(f"rows must be of {experience.layout}, got {buffer.layout}")
        # Another stream than the experience's, which begins with the same seed.
        self._rng = np.random.default_rng([seed, 1])

    @property
    def demonstrations(self) -> int:
        """Rows of the demonstration buffer, those of interventions included."""
        return sum(map(len, self._demonstrations))

    def demonstrations_in(self, batch_size: int, demo_ratio: float) -> int:
        """How many rows of a batch are demonstrations; 0 in one buffer with the experience.

        No more than there are: a handful of rows must not become half of what is learnt from.
        """
        if demo_ratio <= 0.0:
            return 0
        return min(max(1, round(demo_ratio * batch_size)), self.demonstrations)

    def sample(self, batch_size: int, batches: int, demo_ratio: float) -> FloatArray:
        """Rows for consecutive batches, (batch_size * batches, row_size) float32, with replacement.

        Args:
            demo_ratio: share of demonstrations in each of the batches. 0: all rows, preloaded and
                experience, are equally likely, as if they were in one buffer.

        Raises:
            ValueError: there is no experience yet.
        """
        demonstrations = self.demonstrations_in(batch_size, demo_ratio)
        if demonstrations:
            shown = self._draw(self._demonstrations, demonstrations * batches)
            lived = self._experience.sample((batch_size - demonstrations) * batches)
            parts = [rows.reshape(batches, -1, rows.shape[1]) for rows in (shown, lived)]
            return np.concatenate(parts, axis=1).reshape(batch_size * batches, -1)
        if demo_ratio <= 0.0 and self._preloaded is not None:
            return self._draw([self._preloaded, self._experience], batch_size * batches)
        return self._experience.sample(batch_size * batches)

    def _draw(self, buffers: list[ReplayBuffer], n: int) -> FloatArray:
        """Rows of several buffers, each row of any of them equally likely."""
        ends = np.cumsum([len(buffer) for buffer in buffers])
        indices = self._rng.integers(0, ends[-1], size=n)
        of = np.searchsorted(ends, indices, side="right")
        rows = np.empty((n, self._experience.row_size), np.float32)
        for number, (buffer, begin) in enumerate(zip(buffers, [0, *ends], strict=False)):
            mine = of == number
            rows[mine] = buffer.take(indices[mine] - begin)
        return rows

    def rng_state(self) -> dict[str, Any]:
        """State of the generator that draws demonstrations, JSON-able."""
        return dict(self._rng.bit_generator.state)

    def set_rng_state(self, state: Mapping[str, Any]) -> None:
        """Restores what ``rng_state`` gave.

        Raises:
            ValueError: the state belongs to another kind of generator or is incomplete.
        """
        set_generator_state(self._rng, state)
