"""Per-dimension statistics of a dataset, as Octo and OpenVLA read them to normalise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sac_core.rlds import FloatArray, load_demonstrations

FILE = "dataset_statistics.json"


def describe(values: FloatArray) -> dict[str, Any]:
    """Mean, standard deviation, extremes and quantiles of each column of `(N, size)`."""
    numbers = values.astype(np.float64)
    q01, q99 = np.quantile(numbers, (0.01, 0.99), axis=0)
    return {
        "mean": numbers.mean(axis=0).tolist(),
        "std": numbers.std(axis=0).tolist(),
        "min": numbers.min(axis=0).tolist(),
        "max": numbers.max(axis=0).tolist(),
        "q01": q01.tolist(),
        "q99": q99.tolist(),
    }


def write_statistics(folder: Path) -> None:
    """Write the statistics of the dataset in a folder beside it: of actions and observations.

    Raises:
        RldsError: the dataset is broken.
        OSError: it cannot be read or written.
    """
    rows = load_demonstrations(folder, 0, 0, max_action=np.inf)
    content = {
        "action": describe(rows.actions),
        "proprio": describe(rows.observations),
        "num_transitions": len(rows),
        "num_trajectories": rows.episodes,
    }
    partial = folder / f".{FILE}.partial"
    partial.write_text(json.dumps(content, indent=2))
    partial.replace(folder / FILE)
