"""Demonstrations from RLDS datasets, checked against what this learner trains on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sac_core.replay import ReplayBuffer
from sac_core.rlds import Demonstrations, RldsError, load_demonstrations
from sac_ros.codecs import printable
from sac_ros.parameters import UserError

SEPARATOR = ":"  # between several paths, as in PATH
PROGRESS_PERIOD = 2.0  # s between two lines while a large dataset is read


@dataclass(frozen=True)
class Preloaded:
    """The transitions of one or several datasets of one task."""

    rows: ReplayBuffer
    task: str  # empty where the datasets do not say

    @property
    def sizes(self) -> tuple[int, int]:
        """Of observation and action."""
        return self.rows.layout.observation_size, self.rows.layout.action_size


def preload(paths: str, sizes: tuple[int, int], task: str, logger: Any) -> Preloaded:
    """Read the datasets at `paths`, and say what came of it.

    Args:
        paths: one or several, with `SEPARATOR` between them.
        sizes: of observation and action; 0 = as the first dataset says.
        task: what they must show; empty = what the first one that says so shows.

    Raises UserError if one of them is broken, or of other sizes or another task.
    """
    loaded = []
    for path in paths.split(SEPARATOR):
        found = _load(path, sizes, logger)
        sizes = found.observations.shape[1], found.actions.shape[1]
        if len({*found.tasks, task} - {""}) > 1:
            shown = ", ".join(repr(printable(one)) for one in found.tasks)
            expected = f"this learner's is {task!r}" if task else "expected one"
            raise UserError(f"preload_rlds_path {path}: its task is {shown}, {expected}")
        task = task or "".join(found.tasks)
        loaded.append(found)
    count = sum(map(len, loaded))
    if not count:
        raise UserError(f"preload_rlds_path {paths}: expected at least one transition, found none")
    rows = ReplayBuffer(count, *sizes)
    for one in loaded:
        rows.insert(one.observations, one.actions, one.rewards, one.masks, one.next_observations)
    return Preloaded(rows, task)


def _load(path: str, sizes: tuple[int, int], logger: Any) -> Demonstrations:
    begun = said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > PROGRESS_PERIOD:
            said = time.monotonic()
            logger.info(f"Reading demonstrations of {path}: {done:,} of {total:,} episodes")

    try:
        found = load_demonstrations(Path(path).expanduser(), *sizes, progress)
    except (RldsError, RuntimeError) as error:  # the second: ~ of an unknown user
        raise UserError(f"preload_rlds_path {printable(str(error), 500)}") from error
    logger.info(
        f"Preloaded {found.episodes:,} episodes ({found.successes:,} successful) of {path}: "
        f"{len(found):,} transitions, {found.terminated:,} terminal, {found.truncated:,} "
        f"truncated, {found.dropped:,} dropped, in {time.monotonic() - begun:.2f} s"
    )
    return found
