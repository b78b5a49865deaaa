"""Random weights of a small policy, for the tests."""

from __future__ import annotations

import numpy as np


def make_tensors(observation_size=4, action_size=2, hidden=(8, 8), seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = (observation_size, *hidden)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, size in enumerate(hidden):
        shapes |= {f"hidden.{i}.weight": (size, sizes[i]), f"hidden.{i}.bias": (size,)}
    for head in ("mean", "log_std"):
        shapes |= {f"{head}.weight": (action_size, sizes[-1]), f"{head}.bias": (action_size,)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
