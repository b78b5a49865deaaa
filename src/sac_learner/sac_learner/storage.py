"""What was received, in the run folder: rows and cursors, which change together or not at all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sac_core.replay_file import ReplayFile, ReplayFileError
from sac_learner.intake import Cursor, Intake, Key
from sac_ros.codecs import Transitions
from sac_ros.parameters import UserError


class Storage:
    """The replay file, and the cursor of each actor session beside its rows.

    Attributes:
        task: what the rows are of; empty until it is known.
        sizes: of observation and action; 0 where any will do.
        sizes_from: who said so.
        replay: None until the sizes are known.
        first_transition: when it came (monotonic s); infinite before.
        fault: why rows are not acknowledged; empty: nothing is wrong.
    """

    def __init__(self, logger: Any, task: str, sizes: tuple[int, int]) -> None:
        self.task = task
        self.sizes = sizes
        self.sizes_from = "its parameters"
        self.replay: ReplayFile | None = None
        self.intake = Intake()
        self.first_transition = math.inf
        self.fault = ""
        self._logger = logger

    def open(
        self, path: Path, capacity: int, sizes: tuple[int, int], seed: int, origin: str
    ) -> None:
        """Make the replay file for these sizes, or go on with it; UserError if it is another's."""
        try:
            replay = ReplayFile(path, capacity, *sizes, self.task, seed)
        except (ReplayFileError, OSError) as error:
            raise UserError(str(error)) from error
        if replay.left_out:
            self._logger.warning(
                f"Left out: {replay.left_out} half-written rows of {replay.path}; actors send "
                "again what was not acknowledged"
            )
        self.intake.restore(replay.state)
        self.sizes, self.sizes_from, self.replay = sizes, origin, replay

    @property
    def transitions(self) -> int:
        """Rows stored since the run began."""
        return self.replay.inserted if self.replay is not None else 0

    def store(self, key: Key, cursor: Cursor, rows: Transitions) -> bool:
        """Store a cursor and its new rows; whether the disk took them."""
        replay = self.replay
        assert replay is not None
        self.first_transition = min(self.first_transition, time.monotonic())

        def insert() -> None:
            replay.insert(
                rows.observations,
                rows.actions,
                rows.rewards,
                1.0 - rows.terminated.astype(np.float32),
                rows.next_observations,
            )

        return self._keep(key, cursor, insert)

    def keep(self, key: Key, cursor: Cursor) -> bool:
        """Store a cursor without rows; whether the disk took it."""
        return self._keep(key, cursor, self.replay.commit if self.replay is not None else None)

    def _keep(self, key: Key, cursor: Cursor, write: Callable[[], None] | None) -> bool:
        replay = self.replay
        try:
            with self.intake.keeping(key, cursor):
                if replay is not None and write is not None:
                    before, replay.state = replay.state, self.intake.state()
                    try:
                        write()
                    except BaseException:
                        replay.state = before
                        raise
        except OSError as error:
            self.say_fault(
                f"{replay.path if replay is not None else ''} cannot be written: {error.strerror}; "
                "rows are not acknowledged until it can, training goes on with those that are there"
            )
            return False
        if self.fault:
            self.fault = ""
            self._logger.info("The replay file can be written again")
        return True

    def say_fault(self, fault: str) -> None:
        """Rows cannot be stored, and why."""
        if fault != self.fault:
            self._logger.error(fault)
        self.fault = fault
