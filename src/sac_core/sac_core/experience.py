"""What actors gave, in two files: every row in one, those that a person chose in another as well.

A commit of the first file counts for both: it says how many rows the second one has. Rows of a
person are written before it. Whatever of them no commit speaks of, because the process was killed
in between, is forgotten when the files are opened again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_core.replay_file import ReplayFile

REPLAY = "replay.bin"
INTERVENTIONS = "interventions.bin"


class Experience:
    """The newest ``capacity`` transitions, and the newest ``capacity`` of those of a person.

    Attributes:
        replay: all of them.
        interventions: those of a person, once more.
        unannounced: rows of `interventions` that were forgotten, as no commit spoke of them.
        missing: rows that a commit spoke of and `interventions` did not have.
    """

    def __init__(
        self,
        folder: Path,
        capacity: int,
        observation_size: int,
        action_size: int,
        task: str = "",
        seed: int = 0,
    ) -> None:
        """Opens the files in `folder`, or makes them.

        Raises:
            ReplayFileError: a file is broken, or of another task, size or capacity.
            ValueError: a size is smaller than 1.
            OSError: a file cannot be made, read or written.
        """
        of = capacity, observation_size, action_size, task, seed
        self.replay = ReplayFile(folder / REPLAY, *of)
        self.interventions = ReplayFile(folder / INTERVENTIONS, *of)
        announced, there = self.replay.state.get("interventions", 0), self.interventions.inserted
        self.unannounced, self.missing = max(0, there - announced), max(0, announced - there)
        if self.unannounced:
            self.interventions.rewind(announced)

    @property
    def state(self) -> Mapping[str, Any]:
        """What the last commit was given."""
        return self.replay.state

    def insert(
        self,
        observations: npt.ArrayLike,
        actions: npt.ArrayLike,
        rewards: npt.ArrayLike,
        masks: npt.ArrayLike,
        next_observations: npt.ArrayLike,
        is_human: npt.NDArray[np.bool_],
        state: Mapping[str, Any],
    ) -> None:
        """Stores N transitions, and a state that belongs to them; all of it or nothing.

        Args:
            observations: as the four after it, what ``ReplayBuffer.insert`` takes.
            is_human: (N,), whether a person chose the action.
            state: JSON-able.

        Raises:
            ValueError: an array has another shape.
            OSError: the disk does not take it.
        """
        columns = observations, actions, rewards, masks, next_observations
        before = self.interventions.inserted
        if is_human.any():
            self.interventions.insert(*(np.asarray(column)[is_human] for column in columns))
        try:
            self._write(state, lambda: self.replay.insert(*columns))
        except BaseException:
            if self.interventions.inserted > before:
                with contextlib.suppress(OSError):  # whoever opens the file again forgets them
                    self.interventions.rewind(before)
            raise

    def commit(self, state: Mapping[str, Any]) -> None:
        """Stores a state with the rows that are there.

        Raises:
            OSError: the disk does not take it; the last commit stays.
        """
        self._write(state, self.replay.commit)

    def _write(self, state: Mapping[str, Any], write: Callable[[], None]) -> None:
        before = self.replay.state
        self.replay.state = {**state, "interventions": self.interventions.inserted}
        try:
            write()
        except BaseException:
            self.replay.state = before
            raise

    def sync(self) -> None:
        """Have everything written to the disk itself."""
        self.interventions.sync()
        self.replay.sync()

    def close(self) -> None:
        """Give the files back; nothing may be inserted or sampled any more."""
        self.interventions.close()
        self.replay.close()
