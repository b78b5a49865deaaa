"""Messages of a bag as objects, by the definitions that the bag itself carries."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from sac_demos.definitions import UnknownType, definition
from sac_demos.mcap_file import Message, Schema

MAX_DEFINITION = 2**20  # bytes
BROKEN = (
    SerdeError, TypesysError, UnknownType, struct.error, ValueError, TypeError, LookupError,
    AttributeError, RecursionError, AssertionError,
)  # fmt: skip


def decode(message: Message) -> Any:
    """The message as an object with its fields, arrays of numbers as NumPy arrays.

    Raises:
        ValueError: it is not what its definition says, or that is broken or missing; in one line.
    """
    schema = message.channel.schema
    try:
        store = _store(schema)
        try:
            return store.deserialize_cdr(message.data, schema.name)
        except SerdeError:
            # Fast DDS counts the alignment of an empty list at the end, which rosbags takes for
            # too much: four bytes, as in every JointState without efforts.
            return store.deserialize_cdr(message.data[:-4], schema.name)
    except BROKEN as error:
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{message.channel.topic} ({schema.name}): {line}") from error


@lru_cache(maxsize=256)
def _store(schema: Schema) -> Typestore:
    """Knows the types of one definition; without one, that which is installed."""
    if len(schema.data) > MAX_DEFINITION:
        raise ValueError(f"a definition of {len(schema.data)} bytes: at most {MAX_DEFINITION}")
    store = get_typestore(Stores.EMPTY)
    if schema.encoding == "ros2idl" and schema.data:
        store.register(_idl_types(schema.data.decode()))
    else:
        text = schema.data.decode() if schema.data else definition(schema.name)
        store.register(get_types_from_msg(text, schema.name))
    return store


def _idl_types(text: str) -> dict[str, Any]:
    """Types of one or several IDL files, as rosbag2 puts them together."""
    separator = "=" * 80 + "\n"
    if not text.startswith(f"{separator}IDL: "):
        return dict(get_types_from_idl(text))
    types: dict[str, Any] = {}
    for part in text.split(separator)[1:]:
        types |= get_types_from_idl(part.split("\n", 1)[1])
    return types
