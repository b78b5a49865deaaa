"""The replay buffer: one flat float32 row per transition, sampled uniformly with replacement.

One row per transition makes a sample a single gather, and is what a memory-mapped file wants.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class RowLayout:
    """Where a transition's parts lie in its row: observation, action, reward, mask, next one.

    The mask is 1 - terminated: 0 where the episode ended in a terminal state, and 1 elsewhere,
    also where it was cut by a time limit (a truncated episode's last state has a value).
    """

    observation_size: int
    action_size: int

    def __post_init__(self) -> None:
        for name in ("observation_size", "action_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @cached_property
    def observation(self) -> slice:
        return slice(0, self.observation_size)

    @cached_property
    def action(self) -> slice:
        return slice(self.observation_size, self.observation_size + self.action_size)

    @cached_property
    def observation_action(self) -> slice:
        """Observation and action side by side: what a critic reads."""
        return slice(0, self.observation_size + self.action_size)

    @cached_property
    def reward(self) -> int:
        return self.observation_size + self.action_size

    @cached_property
    def mask(self) -> int:
        return self.reward + 1

    @cached_property
    def next_observation(self) -> slice:
        return slice(self.mask + 1, self.row_size)

    @cached_property
    def row_size(self) -> int:
        return 2 * self.observation_size + self.action_size + 2


def set_generator_state(generator: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Restores what ``generator.bit_generator.state`` gave.

    Raises:
        ValueError: the state belongs to another kind of generator or is incomplete.
    """
    try:
        generator.bit_generator.state = state
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"not a state of a PCG64 generator: {error}") from error


class ReplayBuffer:
    """The newest ``capacity`` transitions, in memory.

    One thread may insert while another samples.
    """

    def __init__(
        self, capacity: int, observation_size: int, action_size: int, seed: int = 0
    ) -> None:
        """Reserves memory for ``capacity`` rows; the system provides it as rows arrive.

        Raises:
            ValueError: a size is smaller than 1.
        """
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 transition, got {capacity}")
        self.capacity = capacity
        self.layout = RowLayout(observation_size, action_size)
        self._rows = self._make_rows()
        # Rows are numbered as they come; those from _first to before _inserted may be sampled, and
        # number n is in place n % capacity.
        self._first = 0
        self._inserted = 0
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def _make_rows(self) -> FloatArray:
        """Room for (capacity, row_size)."""
        return np.zeros((self.capacity, self.layout.row_size), np.float32)

    @property
    def row_size(self) -> int:
        """Numbers in one transition's row."""
        return self.layout.row_size

    @property
    def inserted(self) -> int:
        """Transitions inserted since the buffer was made, the overwritten ones included."""
        return self._inserted

    def __len__(self) -> int:
        return self._inserted - self._first

    def insert(
        self,
        observations: npt.ArrayLike,
        actions: npt.ArrayLike,
        rewards: npt.ArrayLike,
        masks: npt.ArrayLike,
        next_observations: npt.ArrayLike,
    ) -> None:
        """Appends N transitions in order, over the oldest ones once the buffer is full.

        Args:
            observations: (N, observation_size).
            actions: (N, action_size).
            rewards: (N,).
            masks: (N,), 1 - terminated.
            next_observations: (N, observation_size).

        Raises:
            ValueError: an array has another shape; nothing was inserted.
        """
        self._insert(self._to_rows(observations, actions, rewards, masks, next_observations))

    def _insert(self, rows: FloatArray) -> None:
        end = self._inserted + len(rows)
        with self._lock:  # what is overwritten must not be sampled meanwhile
            self._first = max(self._first, end - self.capacity)
        # Of a batch larger than the buffer only the newest rows stay.
        kept = rows[-self.capacity :]
        number = end - len(kept)
        start = number % self.capacity
        before_end = min(len(kept), self.capacity - start)
        self._write(start, kept[:before_end], number)
        if before_end < len(kept):
            self._write(0, kept[before_end:], number + before_end)
        self._commit(end)
        with self._lock:
            self._inserted = end

    def _write(self, place: int, rows: FloatArray, number: int) -> None:
        """Store rows numbered from `number` at `place` and after."""
        self._rows[place : place + len(rows)] = rows

    def _commit(self, inserted: int) -> None:
        """Everything before number `inserted` has been written."""

    def sample(self, n: int) -> FloatArray:
        """``n`` rows drawn uniformly with replacement, (n, row_size) float32, a copy.

        Raises:
            ValueError: the buffer is empty or n is negative.
        """
        with self._lock:
            if not len(self):
                raise ValueError("cannot sample from an empty replay buffer: insert rows first")
            return self._take(self._rng.integers(0, len(self), size=n))

    def take(self, indices: npt.NDArray[np.int64]) -> FloatArray:
        """Rows by their age, (n, row_size) float32, a copy.

        Args:
            indices: (n,), 0 for the oldest row; beyond the newest, that one is taken.
        """
        with self._lock:  # the buffer may be shorter than when its length was asked for
            return self._take(np.minimum(indices, len(self) - 1))

    def _take(self, indices: npt.NDArray[np.int64]) -> FloatArray:
        if self._first:
            indices = (indices + self._first) % self.capacity
        return self._rows.take(indices, axis=0)

    def rng_state(self) -> dict[str, Any]:
        """State of the generator that draws samples, JSON-able."""
        with self._lock:
            return dict(self._rng.bit_generator.state)

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Restores what ``rng_state`` gave.

        Raises:
            ValueError: the state belongs to another kind of generator or is incomplete.
        """
        with self._lock:
            set_generator_state(self._rng, state)

    def _to_rows(
        self,
        observations: npt.ArrayLike,
        actions: npt.ArrayLike,
        rewards: npt.ArrayLike,
        masks: npt.ArrayLike,
        next_observations: npt.ArrayLike,
    ) -> FloatArray:
        layout = self.layout
        count = len(np.atleast_1d(np.asarray(rewards)))
        parts: dict[str, tuple[npt.ArrayLike, int | slice, tuple[int, ...]]] = {
            "observations": (observations, layout.observation, (count, layout.observation_size)),
            "actions": (actions, layout.action, (count, layout.action_size)),
            "rewards": (rewards, layout.reward, (count,)),
            "masks": (masks, layout.mask, (count,)),
            "next_observations": (
                next_observations,
                layout.next_observation,
                (count, layout.observation_size),
            ),
        }
        rows = np.empty((count, layout.row_size), np.float32)
        for name, (values, columns, shape) in parts.items():
            array = np.asarray(values, np.float32)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
            rows[:, columns] = array
        return rows
