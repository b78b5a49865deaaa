"""Tensors survive their bytes, and what a stranger calls tensors is refused before it costs."""

from __future__ import annotations

import json
import resource
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from sac_core.tensors import MAX_HEADER_BYTES, decode_tensors, encode_tensors

MAX_BYTES = 2**20


def safetensors_of(header: object, values: bytes = b"") -> bytes:
    """Data with this header, given as bytes or as what JSON can say."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
shapes = stn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
tensors = st.one_of(
    stn.arrays(np.float32, shapes, elements=st.floats(width=32)),
    stn.arrays(np.uint8, shapes),
)


@given(st.dictionaries(names, tensors, max_size=5))
def test_tensors_survive_their_bytes(originals: dict[str, np.ndarray]) -> None:
    decoded = decode_tensors(encode_tensors(originals), MAX_BYTES)
    assert decoded.keys() == originals.keys()
    for name, original in originals.items():
        assert decoded[name].dtype == original.dtype
        assert decoded[name].flags.owndata and decoded[name].flags.writeable
        np.testing.assert_array_equal(decoded[name], original)


FOUR = b"\0" * 4


@pytest.mark.parametrize(
    ("header", "values", "reason"),
    [
        # Places in the data.
        ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, FOUR, "offset"),
        ({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, b"\0" * 6, "offset"),
        ({"a": entry("U8", [4], 4, 8)}, b"\0" * 8, "offset"),
        ({"a": entry("U8", [4], 4, 0)}, FOUR, "offset"),
        ({"a": entry("U8", [4], 0, 4)}, b"\0" * 8, "not fully covered"),
        ({"a": entry("U8", [4], 0, 4)}, b"\0" * 3, "not fully covered"),
        ({"a": entry("U8", [2**40], 0, 2**40)}, FOUR, "not fully covered"),
        ({"a": entry("U8", [4], 0, 2**64 - 1)}, FOUR, "not safetensors data"),
        ({}, FOUR, "not fully covered"),
        # Shapes.
        ({"a": entry("F32", [2], 0, 4)}, FOUR, "not safetensors data"),
        ({"a": entry("F32", [2**32, 2**32], 0, 0)}, b"", "overflow"),
        ({"a": entry("F32", [2**63, 2**63, 0], 0, 0)}, b"", "overflow"),
        ({"a": entry("F32", [0, 2**63], 0, 0)}, b"", r"at most 2\*\*31 numbers"),
        ({"a": entry("F32", [2**64], 0, 0)}, b"", "not safetensors data"),
        ({"a": entry("F32", [-1], 0, 4)}, FOUR, "not safetensors data"),
        ({"a": entry("F32", [1] * 9, 0, 4)}, FOUR, "at most 8 dimensions, got 9"),
        ({"a": entry("F32", [0] * 30_000, 0, 0)}, b"", "at most 8 dimensions, got 30000"),
        (b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', FOUR, "not safetensors"),
        # Types.
        ({"a": entry("F64", [1], 0, 8)}, b"\0" * 8, "float32 or uint8, got F64"),
        ({"a": entry("F4", [2], 0, 1)}, b"\0", "float32 or uint8, got F4"),
        ({"a": entry("O", [1], 0, 8)}, b"\0" * 8, "not safetensors data"),
        # Names.
        ({"": entry("U8", [4], 0, 4)}, FOUR, "name must be .* got ''"),
        ({"x" * 90_000: entry("U8", [4], 0, 4)}, FOUR, "name must be .* got 'x+'"),
        ({"a\n\x1b[31m": entry("U8", [4], 0, 4)}, FOUR, r"name must be .* got 'a \?\[31m'"),
        ({"a\n\x1b[31m": entry("U8", [4], 1, 4)}, FOUR, r"offset for tensor `a \?\[31m`"),
        ({"größe": entry("U8", [4], 0, 4)}, FOUR, "name must be"),
        (
            b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
            b'"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
            FOUR,
            "must differ",
        ),
        (
            b'{"a":{"dtype":"F32","dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
            FOUR,
            "duplicate field",
        ),
        # The header itself.
        (b"", b"", "not safetensors data"),
        (b"[]", b"", "not safetensors data"),
        (b"null", b"", "not safetensors data"),
        (b'{"a":', b"", "not safetensors data"),
        (b"\xff\xfe{}", b"", "UTF-8"),
        (b"\xef\xbb\xbf{}", b"", "not safetensors data"),
        (b'{"\\ud800":1}', b"", "not safetensors data"),
        (b"[" * 90_000, b"", "not safetensors data"),
        (b'{"a":' * 15_000 + b"1" + b"}" * 15_000, b"", "not safetensors data"),
        (b'{"__metadata__":' + b"[" * 40_000 + b"]" * 40_000 + b"}", b"", "not safetensors data"),
        (
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":'
            + b"[" * 40_000
            + b"]" * 40_000
            + b"}}",
            FOUR,
            "recursion limit",
        ),
        ({"__metadata__": {"a": 1}}, b"", "not safetensors data"),
        ({"__metadata__": {"a": {}}}, b"", "not safetensors data"),
        ({"__metadata__": "a"}, b"", "not safetensors data"),
        (b" " * (MAX_HEADER_BYTES + 1), b"", "header of at most 100000 bytes.*100001"),
    ],
)
def test_what_is_not_in_order_is_refused(header: object, values: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        decode_tensors(safetensors_of(header, values), MAX_BYTES)
    assert len(str(refusal.value)) <= 400
    assert str(refusal.value).isprintable()


def test_metadata_and_empty_tensors_are_allowed_and_mean_nothing() -> None:
    header = {
        "__metadata__": {"format": "np", "x": "y" * 1000},
        "a": entry("U8", [4], 0, 4),
        "empty": entry("F32", [3, 0], 4, 4),
        "scalar": entry("F32", [], 4, 8),
    }
    decoded = decode_tensors(safetensors_of(header, b"\1\2\3\4" + FOUR), MAX_BYTES)
    shapes_of = {name: tensor.shape for name, tensor in decoded.items()}
    assert shapes_of == {"a": (4,), "empty": (3, 0), "scalar": ()}
    assert decoded["a"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "length", [0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]
)
def test_a_length_that_lies_costs_nothing(length: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"header"):
        decode_tensors(struct.pack("<Q", length) + b"{}" + b" " * 1000, MAX_BYTES)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 50_000  # KiB


def check(data: bytes) -> None:
    """The claim: one short line, or tensors whose values are the data's, none used twice."""
    try:
        decoded = decode_tensors(data, MAX_BYTES)
    except ValueError as error:
        event("refused")
        assert 0 < len(str(error)) <= 400
        assert str(error).isprintable()
        return
    event("taken")
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_bytes])
    header.pop("__metadata__", None)
    assert decoded.keys() == header.keys()
    assert sum(tensor.nbytes for tensor in decoded.values()) == len(data) - 8 - header_bytes
    for name, tensor in decoded.items():
        assert tensor.dtype in (np.float32, np.uint8)
        assert list(tensor.shape) == header[name]["shape"]
        begin, end = header[name]["data_offsets"]
        assert tensor.tobytes() == data[8 + header_bytes :][begin:end]


edges = st.sampled_from([0, 1, 2, 3, 4, 8, 12, 2**31, 2**32, 2**62, 2**63, 2**64 - 1])
json_values = st.recursive(
    st.none() | st.booleans() | edges | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def headers(draw: st.DrawFn) -> tuple[object, int]:
    """A header, most often nearly right, and the number of bytes of its tensors."""
    header: dict[str, Any] = {}
    place = 0
    for name in draw(st.lists(names, max_size=4, unique=True)):
        dtype, size = draw(st.sampled_from([("F32", 4), ("U8", 1), ("U8", 1), ("F16", 2)]))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        end = place + size * int(np.prod(shape, dtype=np.int64))
        header[name] = entry(dtype, shape, place, end)
        place = end
    for name in draw(st.lists(st.sampled_from([*header]), max_size=2)) if header else []:
        field = draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        wrong = json_values | st.lists(edges, max_size=4)
        header[name] = header[name] | {field: draw(wrong)}
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
    return header, place


@given(headers(), st.sampled_from([0, 0, 0, -1, 1, 4]))
def test_any_header_is_refused_or_means_what_it_says(
    header: tuple[object, int], more_bytes: int
) -> None:
    values = bytes(i % 256 for i in range(max(0, header[1] + more_bytes)))
    check(safetensors_of(header[0], values))


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_mean_what_they_say(data: bytes) -> None:
    check(data)
    check(safetensors_of(data))


@given(st.data())
def test_damaged_tensors_are_refused_or_mean_what_they_say(data: st.DataObject) -> None:
    good = encode_tensors({"weight": np.ones((2, 3), np.float32), "bias": np.ones(2, np.uint8)})
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed) - 1))
        changed[start : start + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check(bytes(changed))
