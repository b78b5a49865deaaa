"""tf.train.Example without TensorFlow: a record of named lists of floats, integers or bytes.

Its definition (tensorflow/core/example/{example,feature}.proto) is three messages deep; with the
encoding of protocol buffers (protobuf.dev/programming-guides/encoding) a list of floats lies in the
record as it lies in memory, so that reading one costs no copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.uint8] | list[bytes]

MAX_FIELDS = 2**20  # in one message of a record: an object in memory each

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_NAME = 1 << 3 | _BYTES  # tag of the name in an entry of the map of features
_VALUE = 2 << 3 | _BYTES  # tag of the value there
_PACKED = 1 << 3 | _BYTES  # tag of the numbers in a list
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # fields of Feature


# Reading.


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("no tf.train.Example: a number without an end")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, begin and end of each field of the message in `data[at:end]`."""
    count = 0
    while at < end:
        count += 1
        if count > MAX_FIELDS:
            raise ValueError(f"a record of more than {MAX_FIELDS} parts")
        tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at, end)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(data, at, end)
        elif kind == _VARINT:
            length = _varint(data, at, end)[1] - at
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"no tf.train.Example: wire type {kind}")
        if at + length > end:
            raise ValueError("no tf.train.Example: a field is longer than what holds it")
        yield tag >> 3, kind, at, at + length
        at += length


def decode(record: bytes, wanted: Mapping[bytes, str]) -> dict[str, Values]:
    """The lists of these names that are there, as views of `record` where that is possible.

    `wanted` is made by `names`. A list of integers comes as uint8 where each takes one byte, as
    int64 elsewhere.

    Raises:
        ValueError: it is no tf.train.Example, in one line.
    """
    found: dict[str, Values] = {}
    for number, _, begin, end in _fields(record, 0, len(record)):
        if number != 1:
            continue
        for field, _, at, stop in _fields(record, begin, end):
            if field != 1:
                continue
            # Nearly always the name comes first and is short: what is not wanted is passed over.
            if stop - at > 2 and record[at] == _NAME and record[at + 1] < 0x80:
                rest = at + 2 + record[at + 1]
                key = record[at + 2 : rest]
                if key not in wanted:
                    continue
                packed = _packed(record, rest, stop)
                if packed is not None:
                    found[wanted[key]] = packed
                    continue
            key, value = _entry(record, at, stop)
            if key in wanted:
                found[wanted[key]] = _feature(record, *value)
    return found


def names(wanted: Collection[str]) -> dict[bytes, str]:
    """Names as `decode` looks for them."""
    return {name.encode(): name for name in wanted}


def _packed(data: bytes, at: int, end: int) -> Values | None:
    """An entry's list from its value on, if it lies there as every writer puts it.

    Numbers in one piece, or a single string of bytes.
    """
    kind = 0
    for tag in (_VALUE, 0, _PACKED):  # in the entry: a Feature, in it a list, in it what it holds
        if at >= end or tag not in (0, data[at]):
            return None
        kind = kind or (data[at] if tag == 0 else 0)
        length, at = _varint(data, at + 1, end)
        if at + length != end:
            return None
    if kind == _FLOAT_LIST << 3 | _BYTES and (end - at) % 4 == 0:
        return np.frombuffer(data, np.float32, (end - at) // 4, at)
    if kind == _INT64_LIST << 3 | _BYTES:
        return _integers(data[at:end])
    return [data[at:end]] if kind == _BYTES_LIST << 3 | _BYTES else None


def _entry(data: bytes, at: int, end: int) -> tuple[bytes, tuple[int, int]]:
    """Name of one of the features, and where its value is."""
    key, value = b"", (end, end)
    for number, kind, begin, stop in _fields(data, at, end):
        if kind == _BYTES and number == 1:
            key = data[begin:stop]
        elif kind == _BYTES and number == 2:
            value = begin, stop
    return key, value


def _feature(data: bytes, at: int, end: int) -> Values:
    values: Values = []
    for number, kind, begin, stop in _fields(data, at, end):
        if kind != _BYTES:
            raise ValueError("no tf.train.Example: a feature that is no list")
        if number == _BYTES_LIST:
            values = [data[a:b] for _, _, a, b in _fields(data, begin, stop)]
        elif number == _FLOAT_LIST:
            values = _floats(data, begin, stop)
        elif number == _INT64_LIST:
            values = _integers(_joined(data, begin, stop))
    return values


def _floats(data: bytes, begin: int, end: int) -> NDArray[np.float32]:
    parts = list(_fields(data, begin, end))
    if len(parts) == 1:
        _, _, at, stop = parts[0]
        if (stop - at) % 4:
            raise ValueError("no tf.train.Example: a list of floats that is cut")
        return np.frombuffer(data, np.float32, (stop - at) // 4, at)
    joined = b"".join(data[at:stop] for _, _, at, stop in parts)
    if len(joined) % 4:
        raise ValueError("no tf.train.Example: a list of floats that is cut")
    return np.frombuffer(joined, np.float32)


def _joined(data: bytes, begin: int, end: int) -> bytes:
    """The values of a list, whether they came together or one by one."""
    return b"".join(data[at:stop] for _, _, at, stop in _fields(data, begin, end))


def _integers(data: bytes) -> NDArray[np.int64] | NDArray[np.uint8]:
    raw = np.frombuffer(data, np.uint8)
    if data.isascii():  # each of them takes one byte
        return raw
    ends = np.flatnonzero(raw < 0x80)
    if not len(ends) or ends[-1] != len(raw) - 1:
        raise ValueError("no tf.train.Example: a list of integers that is cut")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise ValueError("no tf.train.Example: a number without an end")
    place = np.arange(len(raw)) - np.repeat(starts, lengths)
    bits = (raw & np.uint8(0x7F)).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts).view(np.int64)


# Writing.


def _number(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | _BYTES,)) + _number(len(content)) + content


def _list(values: np.ndarray | Sequence[bytes]) -> bytes:
    """One Feature."""
    if not isinstance(values, np.ndarray):
        return _field(_BYTES_LIST, b"".join(_field(1, one) for one in values))
    if values.dtype == np.float32:
        return _field(_FLOAT_LIST, _field(1, np.ascontiguousarray(values).tobytes()))
    if values.dtype in (np.bool_, np.uint8) and (not values.size or values.max() < 0x80):
        return _field(_INT64_LIST, _field(1, values.astype(np.uint8).tobytes()))
    return _field(_INT64_LIST, _field(1, b"".join(_number(int(one)) for one in values.flat)))


def encode(features: Mapping[str, np.ndarray | Sequence[bytes]]) -> bytes:
    """A record of these lists: float32 or integer arrays of any shape, or sequences of bytes."""
    entries = (
        _field(1, _field(1, name.encode()) + _field(2, _list(values)))
        for name, values in features.items()
    )
    return _field(1, b"".join(entries))
