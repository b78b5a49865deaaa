"""How the stand-in says no: one line that names what is not supported and what is."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Self


class LaunchError(RuntimeError):
    """A launch that cannot go on; the message is one line for the person at the terminal."""


class SubstitutionFailure(LaunchError):
    """A substitution that has no value."""


def refusal(what: str, supported: Iterable[str] = ()) -> str:
    """Return the line that refuses ``what``, naming the ``supported`` alternatives."""
    names = ", ".join(supported)
    listed = f"; supported: {names}" if names else ""
    return (
        f"launch stand-in: {what} is not supported here{listed}; "
        "on a ROS 2 host the real launch runs it"
    )


def accepted_keywords(cls: type) -> list[str]:
    """Return the keywords of a constructor, following ``**options`` to the base classes."""
    names: list[str] = []
    for base in cls.__mro__:
        constructor = base.__dict__.get("__init__")
        if constructor is None:
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return names


class NamesItsKeywords:
    """Base of all launch classes: an unknown keyword argument is refused by name."""

    def __new__(cls, *_args: Any, **keywords: Any) -> Self:
        accepted = accepted_keywords(cls)
        unknown = [name for name in keywords if name not in accepted]
        if unknown:
            raise LaunchError(refusal(f"'{cls.__name__}({unknown[0]}=…)'", accepted))
        return super().__new__(cls)
