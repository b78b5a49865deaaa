"""The text that defines a message type, as bags carry it: its own and that of all it is made of."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

_NAME = re.compile(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)")
_TYPE = re.compile(r"\s*([A-Za-z][\w/]*)(<=\d+)?(\[[^\]]*\])?\s+[a-z]")  # of a field
_SEPARATOR = "=" * 80
_PRIMITIVES = {
    "bool", "byte", "char", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32",
    "uint32", "int64", "uint64", "string", "wstring",
}  # fmt: skip


class UnknownType(ValueError):
    """A message type is not installed here; one line that names it."""


def _split(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownType(f"{name!r:.80}: expected a message type such as sensor_msgs/msg/Joy")
    return match[1], match[2]


@cache
def message_class(name: str) -> Any:
    """The Python class of `package/msg/Name`.

    Raises:
        UnknownType: there is none.
    """
    package, kind = _split(name)
    try:
        return getattr(import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError) as error:
        raise UnknownType(f"message type {name} is not installed here") from error


@cache
def definition(name: str) -> str:
    """The definition of `package/msg/Name` in the format `ros2msg` of rosbag2.

    Raises:
        UnknownType: its .msg file, or that of a part, is not installed.
    """
    texts: dict[str, str] = {}
    wanted = [name]
    while wanted:
        current = wanted.pop(0)
        if current not in texts:
            texts[current] = _text(current)
            wanted += _parts(texts[current], _split(current)[0])
    first, *others = texts
    sections = [texts[first].strip("\n")]
    for other in others:
        package, kind = _split(other)
        sections.append(f"{_SEPARATOR}\nMSG: {package}/{kind}\n" + texts[other].strip("\n"))
    return "\n".join(sections) + "\n"


def _text(name: str) -> str:
    package, kind = _split(name)
    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{kind}.msg"
        return path.read_text()
    except (PackageNotFoundError, OSError) as error:
        raise UnknownType(f"the definition of {name} is not installed here") from error


def _parts(text: str, package: str) -> list[str]:
    """The message types that this definition uses, in order."""
    found = []
    for line in text.splitlines():
        match = _TYPE.match(line.split("#")[0])
        if match and match[1] not in _PRIMITIVES:
            *where, kind = match[1].split("/")
            found.append(f"{where[0] if where else package}/msg/{kind}")
    return found
