"""Named NumPy tensors as safetensors bytes and back, refusing anything malformed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

# A header describes a few dozen tensors; a longer one is an attack or an accident.
MAX_HEADER_BYTES = 100_000

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}

Tensors = Mapping[str, npt.NDArray[np.generic]]


def encode_tensors(tensors: Tensors) -> bytes:
    """The tensors, float32 or uint8, in the safetensors format.

    Raises:
        ValueError: a tensor has another dtype.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values():
            raise ValueError(f"tensor {name!r} must be float32 or uint8, got {tensor.dtype}")
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # ascontiguousarray turns a 0-d array into a 1-d one.
    return safetensors.numpy.save(
        {name: array.reshape(tensors[name].shape) for name, array in contiguous.items()}
    )


def decode_tensors(
    data: bytes | bytearray | memoryview, max_bytes: int
) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors of ``encode_tensors``, as copies.

    Raises:
        ValueError: data is larger than max_bytes, is no safetensors data, or holds a tensor that
            is neither float32 nor uint8.
    """
    size = memoryview(data).nbytes
    if size > max_bytes:
        raise ValueError(f"expected at most {max_bytes} bytes of tensors, got {size}")
    data = bytes(data)
    if size < 8:
        raise ValueError(f"expected safetensors data of at least 8 bytes, got {size}")
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > min(MAX_HEADER_BYTES, size - 8):
        raise ValueError(
            f"expected a safetensors header of at most {min(MAX_HEADER_BYTES, size - 8)} bytes, "
            f"its length field says {header_bytes}"
        )
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"not safetensors data: {' '.join(str(error).split())}") from error
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    for name, entry in entries:
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ValueError(f"tensor {name!r} must be float32 or uint8, got {entry['dtype']}")
        shape = tuple(entry["shape"])
        if math.prod(shape) * dtype.itemsize != len(entry["data"]) or len(shape) > 8:
            raise ValueError(f"tensor {name!r} has no data for its shape {shape}")
        tensors[name] = np.frombuffer(entry["data"], dtype).reshape(shape).copy()
    return tensors
