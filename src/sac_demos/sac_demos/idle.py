"""Idle beginnings: a person looks for the controls while nothing is asked for yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sac_core.rlds_writer import Episode


def trim_start(episode: Episode, threshold: float) -> tuple[Episode, int]:
    """The episode from the first action on that is larger than `threshold` in any direction.

    How many steps were left out comes with it. An episode without any such action stays whole:
    nothing says that it is idle rather than gentle.
    """
    if threshold <= 0.0:
        return episode, 0
    acts = np.flatnonzero(np.abs(episode.actions).max(axis=1) > threshold)
    first = int(acts[0]) if len(acts) else 0
    if not first:
        return episode, 0
    return replace(
        episode,
        observations=episode.observations[first:],
        actions=episode.actions[first:],
        rewards=episode.rewards[first:],
        stamps=episode.stamps[first:],
        source=episode.source[first:],
    ), first
