"""A message that is serialized once and then only patched: what a fixed layout is worth.

Setting, serializing and publishing a JointState of seven joints takes 29 µs; patching 24 numbers
and publishing the bytes takes 12 µs, and 4 µs instead of 11 µs while nobody listens.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from sac_envs.robots import Float64

_STAMP = struct.Struct("<iI")
_STAMP_AT = 4  # behind the encapsulation; every message here begins with a std_msgs/Header


class Template:
    """The bytes of `message` with places for its stamp and for groups of float64 numbers.

    `message` starts with a header and has its final strings and lengths. Each of `fields` names,
    dotted, a float64 sequence (`position`) or a message of nothing but float64 (`pose`).
    """

    def __init__(self, message: Any, *fields: str) -> None:
        # Numbers that occur nowhere else show where each field lies.
        marks = iter(-1.0e250 * np.arange(1.0, 1000.0))
        try:
            wanted = [_mark(message, field.split("."), marks) for field in fields]
        except AttributeError as error:
            raise ValueError(f"{type(message).__name__}: {error}") from error
        self._buffer = bytearray(serialize_message(message))
        self._places: list[Float64] = []
        for numbers in wanted:
            pattern = numbers.tobytes()
            if self._buffer.count(pattern) != 1:
                raise ValueError(f"{type(message).__name__}: a field is no run of float64 numbers")
            at = self._buffer.index(pattern)
            place: Float64 = np.ndarray(len(numbers), np.float64, self._buffer, at)
            place[:] = 0.0
            self._places.append(place)

    def __call__(self, stamp: tuple[int, int], *values: Any) -> bytes:
        """The serialized message with this stamp (s, ns) and these values, one per field."""
        for place, value in zip(self._places, values, strict=True):
            place[:] = value
        return self.restamped(stamp)

    def restamped(self, stamp: tuple[int, int]) -> bytes:
        """The message with this stamp and the values of the last time."""
        _STAMP.pack_into(self._buffer, _STAMP_AT, *stamp)
        return bytes(self._buffer)


def _mark(message: Any, path: list[str], marks: Iterator[float]) -> Float64:
    """Replace the field's numbers by marks, and return these."""
    *parents, name = path
    for parent in parents:
        message = getattr(message, parent)
    value = getattr(message, name)
    if isinstance(value, array.array):
        numbers = [next(marks) for _ in value]
        setattr(message, name, numbers)
        return np.array(numbers)
    return np.array(list(_mark_all(value, marks)))


def _mark_all(message: Any, marks: Iterator[float]) -> Iterator[float]:
    for name, kind in message.get_fields_and_field_types().items():
        if kind == "double":
            mark = next(marks)
            setattr(message, name, mark)
            yield mark
        else:
            yield from _mark_all(getattr(message, name), marks)
