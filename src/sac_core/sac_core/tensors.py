"""Named NumPy tensors as safetensors bytes and back, refusing anything malformed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

# A header describes a few dozen tensors; a longer one is an attack or an accident.
MAX_HEADER_BYTES = 100_000
MAX_NAME_LENGTH = 128
MAX_DIMENSIONS = 8

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}

_METADATA = "__metadata__"  # where the format keeps texts

Tensors = Mapping[str, npt.NDArray[np.generic]]


def encode_tensors(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """The tensors, float32 or uint8, and texts about them in the safetensors format.

    Raises:
        ValueError: a tensor has another dtype.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values():
            raise ValueError(f"tensor {name!r} must be float32 or uint8, got {tensor.dtype}")
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # ascontiguousarray turns a 0-d array into a 1-d one.
    arrays = {name: array.reshape(tensors[name].shape) for name, array in contiguous.items()}
    return safetensors.numpy.save(arrays, dict(metadata) if metadata else None)


def decode_tensors(
    data: bytes | bytearray | memoryview, max_bytes: int
) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors of ``encode_tensors``, as copies.

    Sizes are checked before anything is parsed: what a stranger sends costs a few copies of it.

    Raises:
        ValueError: data is larger than max_bytes, is no safetensors data, or holds a tensor that
            is neither float32 nor uint8, has no plain name, or has another's name. One line,
            without control characters.
    """
    return decode_with_metadata(data, max_bytes)[0]


def decode_with_metadata(
    data: bytes | bytearray | memoryview, max_bytes: int
) -> tuple[dict[str, npt.NDArray[np.generic]], dict[str, str]]:
    """As ``decode_tensors``, and the texts that ``encode_tensors`` was given; none: empty.

    The texts are whatever a stranger wrote there, no longer than MAX_HEADER_BYTES together.

    Raises:
        ValueError: as ``decode_tensors``.
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
        raise ValueError(f"not safetensors data: {_one_line(str(error))}") from error
    header = _unambiguous(data[8 : 8 + header_bytes])
    return {name: _tensor(name, entry) for name, entry in entries}, header.get(_METADATA) or {}


def _tensor(name: str, entry: Mapping[str, Any]) -> npt.NDArray[np.generic]:
    """One tensor as a copy."""
    if not (0 < len(name) <= MAX_NAME_LENGTH and name.isascii() and name.isprintable()):
        raise ValueError(
            f"tensor name must be 1 to {MAX_NAME_LENGTH} printable ASCII characters, got "
            f"'{_one_line(name)}'"
        )
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise ValueError(f"tensor {name!r} must be float32 or uint8, got {entry['dtype']}")
    shape = tuple(entry["shape"])
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(
            f"tensor {name!r} must have at most {MAX_DIMENSIONS} dimensions, got {len(shape)}"
        )
    # Of a tensor without numbers the dimensions would otherwise be unbounded.
    if math.prod(max(1, size) for size in shape) > 2**31:
        raise ValueError(f"tensor {name!r} must have at most 2**31 numbers, its shape is {shape}")
    return np.frombuffer(entry["data"], dtype).reshape(shape).copy()


def _unambiguous(header: bytes) -> dict[str, Any]:
    """The header as parsed; one with a name twice is refused: parsers differ in which they take."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            raise ValueError("names in a safetensors header must differ, one stands there twice")
        return values

    # No deeper than safetensors has parsed it already, which stops at 128 levels.
    parsed: dict[str, Any] = json.loads(header.decode(), object_pairs_hook=unique)
    return parsed


def _one_line(text: str) -> str:
    """The beginning of a text as it may stand in a log line."""
    line = " ".join(text[:200].split())
    return "".join(c if c.isprintable() else "?" for c in line)
