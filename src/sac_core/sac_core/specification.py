"""What the numbers of a policy mean: enough to use its weights where nothing else is known of them.

A learner needs sizes only. Whoever acts has the rest, and writes it into what it exports.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bounds = Sequence[float] | NDArray[np.floating[Any]]

MAX_NAME_LENGTH = 256  # as in the messages
MAX_NUMBERS = 16_384  # of an observation or an action
ROUNDING = 1e-6  # relative: what float32 leaves of a scale or an offset


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One number of an observation or an action: (quantity − offset) / scale, within bounds."""

    name: str
    unit: str  # of the quantity, of scale and of offset; empty: none
    low: float  # of the number; -inf: unbounded
    high: float
    scale: float
    offset: float

    def __str__(self) -> str:
        about = f"{self.offset:+g} " if self.offset else ""
        return f"{self.name} ({about}{self.scale:g} {self.unit or 'units'})"

    def agrees_with(self, other: Quantity) -> bool:
        """Whether the same number means the same."""
        ours, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return ours[:2] == theirs[:2] and all(
            math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)
            for a, b in zip(ours[2:], theirs[2:], strict=True)
        )


@dataclasses.dataclass(frozen=True)
class Specification:
    """What a policy was trained for: the task, and its observations and actions in order."""

    task: str  # or the Gymnasium environment
    robot_type: str  # empty: no robot
    control_rate: float  # Hz, actions per second; 0: the environment has no rate
    observations: tuple[Quantity, ...]
    actions: tuple[Quantity, ...]

    def difference(self, other: Specification) -> str:
        """The first thing in which `other` means something else, naming both; empty: none."""
        for what in ("robot_type", "control_rate"):
            theirs, ours = getattr(other, what), getattr(self, what)
            if theirs != ours:
                return f"{what} {_shown(ours)}, not {_shown(theirs)}"
        for kind in ("observation", "action"):
            mine: Sequence[Quantity] = getattr(self, f"{kind}s")
            yours: Sequence[Quantity] = getattr(other, f"{kind}s")
            if len(mine) != len(yours):
                return f"{len(mine)} {kind}s, not {len(yours)}"
            for index, (one, two) in enumerate(zip(mine, yours, strict=True)):
                if not one.agrees_with(two):
                    return f"{kind} {index} is {one}, not {two}"
        return ""


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def box(name: str, low: Bounds, high: Bounds) -> tuple[Quantity, ...]:
    """The numbers of a space of which nothing but bounds is known: `name_0` …, as they are."""
    return tuple(
        Quantity(f"{name}_{index}", "", float(bounds[0]), float(bounds[1]), 1.0, 0.0)
        for index, bounds in enumerate(zip(low, high, strict=True))
    )


def scaled_to(name: str, low: Bounds, high: Bounds) -> tuple[Quantity, ...]:
    """The numbers -1 to 1 that stand for quantities from `low` to `high`."""
    lowest, highest = np.asarray(low, np.float64), np.asarray(high, np.float64)
    middles, halves = (highest + lowest) / 2, (highest - lowest) / 2
    return tuple(
        Quantity(f"{name}_{index}", "", -1.0, 1.0, float(half), float(middle))
        for index, (half, middle) in enumerate(zip(halves, middles, strict=True))
    )


def encode_specification(specification: Specification) -> dict[str, Any]:
    """JSON-able: the fields, with one list for each field of the quantities.

    A bound that is infinite is null.
    """

    def columns(quantities: Sequence[Quantity]) -> dict[str, list[Any]]:
        return {
            field.name: [_finite_or_none(getattr(one, field.name)) for one in quantities]
            for field in dataclasses.fields(Quantity)
        }

    return {
        "task": specification.task,
        "robot_type": specification.robot_type,
        "control_rate": specification.control_rate,
        "observations": columns(specification.observations),
        "actions": columns(specification.actions),
    }


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isinf(value) else value


def decode_specification(values: object) -> Specification:
    """What `encode_specification` made.

    Raises:
        ValueError: something is missing, of another kind, or out of range; one line.
    """
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {type(values).__name__}")
    specification = Specification(
        task=_text("task", values.get("task")),
        robot_type=_text("robot_type", values.get("robot_type")),
        control_rate=_number("control_rate", values.get("control_rate")),
        observations=_quantities("observations", values.get("observations")),
        actions=_quantities("actions", values.get("actions")),
    )
    if specification.control_rate < 0.0:
        raise ValueError(f"control_rate must not be negative, got {specification.control_rate:g}")
    return specification


def _quantities(name: str, columns: object) -> tuple[Quantity, ...]:
    fields = [field.name for field in dataclasses.fields(Quantity)]
    if not isinstance(columns, dict) or set(columns) != set(fields):
        raise ValueError(f"{name} must have the lists {', '.join(fields)}")
    lists = list(columns.values())
    if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists}) != 1:
        raise ValueError(f"{name} must have lists of one length")
    if not 1 <= len(lists[0]) <= MAX_NUMBERS:
        raise ValueError(f"{name} must be 1 to {MAX_NUMBERS}, got {len(lists[0])}")
    return tuple(
        _quantity(f"{name}[{index}]", dict(zip(fields, row, strict=True)))
        for index, row in enumerate(zip(*(columns[field] for field in fields), strict=True))
    )


def _quantity(name: str, row: dict[str, Any]) -> Quantity:
    quantity = Quantity(
        name=_text(f"name of {name}", row["name"]),
        unit=_text(f"unit of {name}", row["unit"]),
        low=-math.inf if row["low"] is None else _number(f"low of {name}", row["low"]),
        high=math.inf if row["high"] is None else _number(f"high of {name}", row["high"]),
        scale=_number(f"scale of {name}", row["scale"]),
        offset=_number(f"offset of {name}", row["offset"]),
    )
    if quantity.low >= quantity.high or quantity.scale <= 0.0:
        raise ValueError(
            f"{name} must have low below high and a positive scale, got {quantity.low:g}, "
            f"{quantity.high:g} and {quantity.scale:g}"
        )
    return quantity


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME_LENGTH or not value.isprintable():
        raise ValueError(
            f"{name} must be a text of at most {MAX_NAME_LENGTH} printable characters, "
            f"got {json.dumps(value)[:100]}"
        )
    return value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {json.dumps(value)[:100]}")
    number = _as_float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
