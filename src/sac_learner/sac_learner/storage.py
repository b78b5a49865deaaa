"""What was received, in the run folder: rows and cursors, which change together or not at all."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from sac_core.experience import Experience
from sac_core.mixture import Mixture
from sac_core.replay import ReplayBuffer
from sac_core.replay_file import ReplayFile, ReplayFileError
from sac_learner.intake import Cursor, Intake, Key
from sac_msgs.msg import TransitionBatch
from sac_ros.codecs import Transitions
from sac_ros.parameters import UserError


class Storage:
    """The files of transitions with the cursor of each actor session, and what was preloaded.

    Attributes:
        task: what the rows are of; empty until it is known.
        sizes: of observation and action; 0 where any will do.
        sizes_from: who said so.
        experience: what actors gave; None until the sizes are known.
        mixture: what training draws from; None until the sizes are known.
        first_transition: when it came (monotonic s); infinite before.
        fault: why rows are not acknowledged; empty: nothing is wrong.
    """

    def __init__(self, logger: Any, task: str, sizes: tuple[int, int]) -> None:
        self.task = task
        self.sizes = sizes
        self.sizes_from = "its parameters"
        self.experience: Experience | None = None
        self.mixture: Mixture | None = None
        self.intake = Intake()
        self.first_transition = math.inf
        self.fault = ""
        self._logger = logger

    def open(
        self,
        folder: Path,
        capacity: int,
        sizes: tuple[int, int],
        seed: int,
        origin: str,
        preloaded: ReplayBuffer | None,
    ) -> None:
        """Make the files in `folder` for these sizes, or go on with them.

        Raises UserError if they are another learner's.
        """
        try:
            experience = Experience(folder, capacity, *sizes, self.task, seed)
        except (ReplayFileError, OSError) as error:
            raise UserError(str(error)) from error
        self._say_what_is_not_there(experience)
        self.intake.restore(experience.state)
        self.mixture = Mixture(experience.replay, experience.interventions, preloaded, seed)
        self.sizes, self.sizes_from, self.experience = sizes, origin, experience

    def _say_what_is_not_there(self, experience: Experience) -> None:
        interventions = experience.interventions
        for file, left_out in (
            (experience.replay, experience.replay.left_out),
            (interventions, interventions.left_out + experience.unannounced),
        ):
            if left_out:
                self._logger.warning(
                    f"Left out: {left_out} half-written rows of {file.path}; actors send again "
                    "what was not acknowledged"
                )
        if experience.missing:
            self._logger.warning(
                f"{interventions.path}: {experience.missing} rows of a person are not "
                "there any more; training goes on without"
            )

    @property
    def replay(self) -> ReplayFile | None:
        """What actors gave; None until the sizes are known."""
        return self.experience.replay if self.experience is not None else None

    @property
    def transitions(self) -> int:
        """Rows that actors gave since the run began; preloaded ones do not count."""
        return self.experience.replay.inserted if self.experience is not None else 0

    @property
    def human_steps(self) -> int:
        """Those of them that a person chose."""
        return self.experience.interventions.inserted if self.experience is not None else 0

    def store(self, key: Key, cursor: Cursor, rows: Transitions) -> bool:
        """Store a cursor and its new rows; whether the disk took them."""
        self.first_transition = min(self.first_transition, time.monotonic())
        return self._keep(key, cursor, rows)

    def keep(self, key: Key, cursor: Cursor) -> bool:
        """Store a cursor without rows; whether the disk took it."""
        return self._keep(key, cursor, None)

    def _keep(self, key: Key, cursor: Cursor, rows: Transitions | None) -> bool:
        experience = self.experience
        try:
            with self.intake.keeping(key, cursor):
                if experience is not None:
                    _write(experience, rows, self.intake.state())
        except OSError as error:
            path = experience.replay.path if experience is not None else ""
            self.say_fault(
                f"{path} cannot be written: {error.strerror}; rows are not acknowledged until "
                "it can, training goes on with those that are there"
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


def _write(experience: Experience, rows: Transitions | None, state: dict[str, Any]) -> None:
    if rows is None:
        experience.commit(state)
        return
    experience.insert(
        rows.observations,
        rows.actions,
        rows.rewards,
        1.0 - rows.terminated.astype(np.float32),
        rows.next_observations,
        rows.source == TransitionBatch.SOURCE_HUMAN,
        state,
    )
