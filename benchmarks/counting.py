"""An environment whose transitions can all be told apart, for `env_id:=counting:Counting-v0`.

An observation is (tag, step // 2**20, step % 2**20, episode step, episode length): `tag` is
COUNTING_TAG, a number below 2**24 of this process. The transition of step n, from 1 on, leads to
the observation of step n; reward and end follow from action and observation, so that a row whose
parts do not belong together can be told. Where COUNTING_LOG names a folder, each step is noted in
<folder>/<tag> before it is answered: a note outlives a process that is killed.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sac_core.replay import RowLayout

NOTE = struct.Struct("<qq")  # step, monotonic ns
PART = 2**20
OBSERVATION_SIZE, ACTION_SIZE = 5, 2
TAG, HIGH, LOW, EPISODE_STEP, LENGTH = range(OBSERVATION_SIZE)


class Counting(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Counts its steps; episodes end after 20 to 60 of them, by termination or truncation."""

    observation_space = gymnasium.spaces.Box(0.0, 2.0**24, (OBSERVATION_SIZE,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)

    def __init__(self) -> None:
        self._tag = int(os.environ.get("COUNTING_TAG", "0"))
        self._step = self._episode_step = self._length = 0
        folder = os.environ.get("COUNTING_LOG")
        self._log = -1
        if folder:
            path = Path(folder) / str(self._tag)
            self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._episode_step, self._length = 0, int(self.np_random.integers(20, 61))
        return self._observation(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._step += 1
        self._episode_step += 1
        if self._log >= 0:
            os.write(self._log, NOTE.pack(self._step, time.monotonic_ns()))
        ended = self._episode_step >= self._length
        terminated = ended and self._length % 2 == 0
        reward = 1.0 - float(np.square(action).sum())
        return self._observation(), reward, terminated, ended and not terminated, {}

    def _observation(self) -> NDArray[np.float32]:
        high, low = divmod(self._step, PART)
        parts = [self._tag, high, low, self._episode_step, self._length]
        return np.array(parts, np.float32)


def identities(next_observations: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N, 2) tag and step of the transitions that led to these observations (N, 5)."""
    whole = next_observations.astype(np.int64)
    return np.stack([whole[:, TAG], whole[:, HIGH] * PART + whole[:, LOW]], axis=1)


def belong_together(rows: NDArray[np.float32], layout: RowLayout) -> NDArray[np.bool_]:
    """(N,) whether each row of a replay buffer is a transition that this environment can make."""
    before, after = rows[:, layout.observation], rows[:, layout.next_observation]
    one_on = (identities(after) - identities(before) == (0, 1)).all(axis=1)
    one_on &= after[:, EPISODE_STEP] == before[:, EPISODE_STEP] + 1.0
    one_on &= after[:, LENGTH] == before[:, LENGTH]
    rewards = 1.0 - np.square(rows[:, layout.action]).sum(axis=1)
    ended = after[:, EPISODE_STEP] >= after[:, LENGTH]
    masks = 1.0 - (ended & (after[:, LENGTH] % 2 == 0))
    same_reward = np.abs(rows[:, layout.reward] - rewards) < 1e-5
    return one_on & same_reward & (rows[:, layout.mask] == masks)


def notes(folder: Path, tag: int) -> NDArray[np.int64]:
    """(N, 2) steps and times (monotonic ns) that a process has noted."""
    data = (folder / str(tag)).read_bytes() if (folder / str(tag)).exists() else b""
    whole = len(data) // NOTE.size * NOTE.size
    return np.frombuffer(data[:whole], np.int64).reshape(-1, 2)


gymnasium.register("Counting-v0", entry_point="counting:Counting")
