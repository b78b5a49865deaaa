"""The tanh-Gaussian policy in NumPy: what an actor runs, and how its weights travel as bytes.

Two 256-unit layers take about ten microseconds, so acting needs no deep-learning framework. Set
``OPENBLAS_NUM_THREADS=1`` in the actor's process: products this small gain nothing from threads.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sac_core.tensors import decode_tensors, encode_tensors

FloatArray = npt.NDArray[np.float32]

# Bounds of the Gaussian's log standard deviation before squashing, as in the authors' SAC code
# (github.com/haarnoja/sac, LOG_SIG_CAP_MIN and LOG_SIG_CAP_MAX; arXiv:1801.01290).
LOG_STD_MIN = -20.0
LOG_STD_MAX = 2.0

MAX_POLICY_BYTES = 64 * 1024 * 1024


class Policy:
    """A policy with fixed weights. Share it between threads only behind a lock (it has scratch)."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[np.float32]], version: int = 0) -> None:
        """Takes copies of the tensors ``hidden.<i>``, ``mean`` and ``log_std``.

        Each has a ``.weight`` (outputs, inputs) and a ``.bias`` (outputs,), float32.

        Raises:
            ValueError: a tensor is missing, unknown, of a wrong shape or dtype, or not finite.
        """
        sizes = _layer_sizes(tensors)
        self.observation_size = sizes[0]
        self.action_size = sizes[-1]
        self.version = version
        self.layout = layout_hash(tensors)
        own = {name: np.array(tensor, np.float32, order="C") for name, tensor in tensors.items()}
        self._hidden = [
            (own[f"hidden.{i}.weight"], own[f"hidden.{i}.bias"], np.empty(size, np.float32))
            for i, size in enumerate(sizes[1:-1])
        ]
        # Both heads in one product: rows of the mean, then rows of the log standard deviation.
        self._head_weight = np.concatenate([own["mean.weight"], own["log_std.weight"]])
        self._head_bias = np.concatenate([own["mean.bias"], own["log_std.bias"]])

    def mean(self, observation: npt.ArrayLike) -> FloatArray:
        """The deterministic action tanh(mean), (action_size,) float32 in [-1, 1].

        Raises:
            ValueError: the observation is not (observation_size,) or not finite.
        """
        return _squash(self._heads(observation)[: self.action_size])

    def sample(self, observation: npt.ArrayLike, rng: np.random.Generator) -> FloatArray:
        """A random action tanh(mean + std * noise), (action_size,) float32 in [-1, 1].

        Raises:
            ValueError: the observation is not (observation_size,) or not finite.
        """
        heads = self._heads(observation)
        mean, log_std = heads[: self.action_size], heads[self.action_size :]
        np.maximum(log_std, LOG_STD_MIN, out=log_std)
        np.minimum(log_std, LOG_STD_MAX, out=log_std)
        noise = rng.standard_normal(self.action_size, np.float32)
        np.exp(log_std, out=log_std)
        noise *= log_std
        mean += noise
        return _squash(mean)

    def _heads(self, observation: npt.ArrayLike) -> FloatArray:
        """Mean and unclipped log standard deviation, (2 * action_size,), a fresh array."""
        values: FloatArray = np.asarray(observation, np.float32)
        if values.shape != (self.observation_size,):
            raise ValueError(
                f"observation must have shape ({self.observation_size},), got {values.shape}"
            )
        # The dot product is finite for ordinary observations and costs less than isfinite.
        if not math.isfinite(np.dot(values, values)) and not np.isfinite(values).all():
            raise ValueError(f"observation must be finite, got {values.tolist()}")
        for weight, bias, output in self._hidden:
            np.dot(weight, values, out=output)
            np.add(output, bias, out=output)
            np.maximum(output, 0.0, out=output)
            values = output
        heads: FloatArray = np.dot(self._head_weight, values)
        heads += self._head_bias
        return heads


def _squash(values: FloatArray) -> FloatArray:
    """tanh in place; a value that overflowed to NaN becomes 0, the middle of the range."""
    np.tanh(values, out=values)
    if not math.isfinite(np.dot(values, values)):
        np.nan_to_num(values, copy=False)
    return values


def layout_hash(tensors: Mapping[str, npt.NDArray[np.float32]]) -> str:
    """16 hex digits that agree exactly where two policies have the same structure.

    Covers names, shapes, activation, squashing and the bounds of the standard deviation.
    """
    structure = {
        "tensors": {name: list(tensors[name].shape) for name in sorted(tensors)},
        "activation": "relu",
        "squashing": "tanh",
        "log_std": [LOG_STD_MIN, LOG_STD_MAX],
    }
    text = json.dumps(structure, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encode_policy(tensors: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """The policy's tensors in the safetensors format.

    Raises:
        ValueError: a tensor is not float32.
    """
    _expect_float32(tensors)
    return encode_tensors(tensors)


def decode_policy(
    data: bytes | bytearray | memoryview, max_bytes: int = MAX_POLICY_BYTES
) -> dict[str, FloatArray]:
    """The tensors of ``encode_policy``; give them to ``Policy``, which checks their structure.

    Raises:
        ValueError: data is larger than max_bytes, malformed, or holds anything but float32.
    """
    return float32_tensors(decode_tensors(data, max_bytes))


def float32_tensors(tensors: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, FloatArray]:
    """The same tensors.

    Raises:
        ValueError: one of them is not float32.
    """
    _expect_float32(tensors)
    return {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}


def _expect_float32(tensors: Mapping[str, npt.NDArray[np.generic]]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise ValueError(f"policy tensor {name!r} must be float32, got {tensor.dtype}")


def _layer_sizes(tensors: Mapping[str, npt.NDArray[np.float32]]) -> list[int]:
    """(observation_size, hidden sizes ..., action_size), after checking every tensor."""
    depth = sum(name.startswith("hidden.") and name.endswith(".weight") for name in tensors)
    layers = [f"hidden.{i}" for i in range(depth)] + ["mean", "log_std"]
    expected = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    if depth == 0 or set(tensors) != expected:
        missing = sorted(expected - set(tensors)) or "none"
        unknown = sorted(set(tensors) - expected) or "none"
        raise ValueError(
            "policy tensors must be hidden.<i>, mean and log_std, each .weight and .bias; "
            f"missing: {missing}, unknown: {unknown}"
        )
    _expect_float32(tensors)
    for name, tensor in tensors.items():
        if tensor.ndim != (2 if name.endswith(".weight") else 1) or 0 in tensor.shape:
            raise ValueError(f"policy tensor {name!r} must not have shape {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"policy tensor {name!r} must be finite, it holds NaN or infinity")
    sizes = [tensors["hidden.0.weight"].shape[1]]
    sizes += [len(tensors[f"hidden.{i}.bias"]) for i in range(depth)]
    sizes += [len(tensors["mean.bias"])]
    shapes = {f"hidden.{i}": (sizes[i + 1], sizes[i]) for i in range(depth)}
    shapes |= dict.fromkeys(("mean", "log_std"), (sizes[-1], sizes[-2]))
    for layer, shape in shapes.items():
        for name, wanted in ((f"{layer}.weight", shape), (f"{layer}.bias", shape[:1])):
            if tensors[name].shape != wanted:
                raise ValueError(
                    f"policy tensor {name!r} must have shape {wanted}, got {tensors[name].shape}"
                )
    return sizes
