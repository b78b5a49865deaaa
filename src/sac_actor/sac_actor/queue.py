"""The transitions that an actor keeps until the learner has acknowledged them."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sac_ros.codecs import Transitions


class Unsent(NamedTuple):
    """Rows to send, and where the queue was when they were taken."""

    first: int  # sequence number of the first row
    oldest: int  # that of the oldest row that is kept
    dropped: int  # rows lost so far
    rows: Transitions  # copies


class TransitionQueue:
    """A ring of numbered transitions: appended by the loop, sent at a flush, freed by an ack.

    Rows have consecutive sequence numbers from 0. `oldest <= sent <= next`: rows from `oldest` on
    are kept, rows from `sent` on have not been sent (or are to be sent again). When the ring is
    full the oldest row goes and is counted in `dropped`. Thread-safe.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int) -> None:
        self.capacity = capacity
        self.oldest = 0
        self.sent = 0
        self.next = 0
        self.dropped = 0
        self._lock = threading.Lock()
        self._rows = Transitions(
            observations=np.zeros((capacity, observation_size), np.float32),
            actions=np.zeros((capacity, action_size), np.float32),
            rewards=np.zeros(capacity, np.float32),
            next_observations=np.zeros((capacity, observation_size), np.float32),
            terminated=np.zeros(capacity, np.uint8),
            truncated=np.zeros(capacity, np.uint8),
            source=np.zeros(capacity, np.uint8),
            policy_version=np.zeros(capacity, np.uint64),
        )

    def __len__(self) -> int:
        return self.next - self.oldest

    def append(
        self,
        observation: NDArray[np.float32],
        action: NDArray[np.float32],
        reward: float,
        next_observation: NDArray[np.float32],
        terminated: bool,
        truncated: bool,
        source: int,
        policy_version: int,
    ) -> int:
        """Add one transition under the next sequence number, which is returned."""
        with self._lock:
            if self.next - self.oldest == self.capacity:
                self.oldest += 1
                self.sent = max(self.sent, self.oldest)
                self.dropped += 1
            row = self.next % self.capacity
            rows = self._rows
            rows.observations[row] = observation
            rows.actions[row] = action
            rows.rewards[row] = reward
            rows.next_observations[row] = next_observation
            rows.terminated[row] = terminated
            rows.truncated[row] = truncated
            rows.source[row] = source
            rows.policy_version[row] = policy_version
            self.next += 1
            return self.next - 1

    def newest(self) -> Transitions:
        """A copy of the newest row; there is one."""
        with self._lock:
            return self._copy(np.array([(self.next - 1) % self.capacity]))

    def _copy(self, index: NDArray[np.intp]) -> Transitions:
        return Transitions(*(column[index] for column in vars(self._rows).values()))

    def truncate_newest(self) -> None:
        """The episode ended after the newest row; once that has been sent it cannot be changed."""
        with self._lock:
            if self.sent < self.next:
                row = (self.next - 1) % self.capacity
                self._rows.truncated[row] = not self._rows.terminated[row]

    def take_unsent(self, limit: int, least: int = 1) -> Unsent | None:
        """Up to `limit` unsent rows, or None where there are fewer than `least`."""
        with self._lock:
            first, count = self.sent, min(limit, self.next - self.sent)
            if count < least:
                return None
            index = np.arange(first, first + count) % self.capacity
            self.sent += count
            return Unsent(first, self.oldest, self.dropped, self._copy(index))

    def acknowledge(self, next_sequence: int) -> bool:
        """Free the rows before `next_sequence`; whether that freed any.

        A number beyond what was ever appended frees nothing: it speaks of something else.
        """
        with self._lock:
            if not self.oldest < next_sequence <= self.next:
                return False
            self.oldest = next_sequence
            self.sent = max(self.sent, next_sequence)
            return True

    def rewind(self) -> int:
        """Make every kept row unsent again; how many had been sent in vain."""
        with self._lock:
            again, self.sent = self.sent - self.oldest, self.oldest
            return again
