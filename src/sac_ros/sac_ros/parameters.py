"""Node parameters as a frozen dataclass: declared, described, range-checked and kept current.

    @dataclass(frozen=True)
    class Parameters:
        step_rate: float = parameter(200.0, "Steps per second; 0 = unbounded", minimum=0.0)

A field's default fixes its ROS type. Fields are read-only unless `live=True`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

INTEGER_MAX = 2**53  # far above any sensible setting, exact in JSON
FLOAT_MAX = 1e300


class UserError(Exception):
    """Something the user got wrong; its message is the one line that the user sees."""


def parameter(
    default: bool | int | float | str | tuple[float, ...],
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A dataclass field that `declare` turns into a ROS parameter.

    `minimum` and `maximum` are inclusive, for each number of a tuple, which is as long as its
    default. `live` parameters may be set while the node runs.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "live": live,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class NodeParameters:
    """What every node of the suite has."""

    autostart: bool = parameter(True, "Configure and activate without being asked")


P = TypeVar("P", bound=NodeParameters)


def _descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    meta = field.metadata
    text = meta["description"]
    if meta["choices"]:
        text += f" One of: {', '.join(meta['choices'])}."
    descriptor = ParameterDescriptor(description=text, read_only=not meta["live"])
    low, high = meta["minimum"], meta["maximum"]
    if (low is None and high is None) or isinstance(field.default, tuple):  # arrays have no range
        return descriptor
    if isinstance(field.default, int):
        descriptor.integer_range = [
            IntegerRange(
                from_value=int(-INTEGER_MAX if low is None else low),
                to_value=int(INTEGER_MAX if high is None else high),
                step=1,
            )
        ]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(-FLOAT_MAX if low is None else low),
                to_value=float(FLOAT_MAX if high is None else high),
            )
        ]
    return descriptor


def _expected(field: dataclasses.Field[Any]) -> str:
    meta = field.metadata
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    kind = {bool: "a bool", int: "an integer", float: "a float such as 1.0", str: "a string"}
    if isinstance(field.default, tuple):
        text = f"{len(field.default)} numbers such as 1.0, each finite"
    else:
        text = kind[type(field.default)]
    if meta["minimum"] is not None:
        text += f", at least {meta['minimum']}"
    if meta["maximum"] is not None:
        text += f", at most {meta['maximum']}"
    return text


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """A value as its dataclass has it; ValueError when it is not one of those that are allowed."""
    meta = field.metadata
    if meta["choices"] and value not in meta["choices"]:
        raise ValueError
    if isinstance(value, float) and math.isnan(value):  # no range keeps it out
        raise ValueError
    if not isinstance(field.default, tuple):
        return value
    low = -math.inf if meta["minimum"] is None else meta["minimum"]
    high = math.inf if meta["maximum"] is None else meta["maximum"]
    numbers = tuple(float(number) for number in value)
    within = all(math.isfinite(number) and low <= number <= high for number in numbers)
    if len(numbers) != len(field.default) or not within:
        raise ValueError
    return numbers


def declare(node: Node, kind: type[P]) -> P:
    """Declare every field of the dataclass `kind` on `node` and return its values.

    Raises `UserError` with one line that names the parameter, what was expected and what came.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        given = node._parameter_overrides.get(field.name)
        try:
            value = node.declare_parameter(field.name, field.default, _descriptor(field)).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            came = "something else" if given is None else repr(given.value)
            raise UserError(
                f"parameter {field.name}: expected {_expected(field)}, got {came}; "
                f"it means: {field.metadata['description']}"
            ) from error
        except ParameterException as error:
            raise UserError(f"parameter {field.name}: {error}") from error
        try:
            values[field.name] = _checked(field, value)
        except ValueError:
            shown = list(value) if isinstance(field.default, tuple) else value
            raise UserError(
                f"parameter {field.name}: expected {_expected(field)}, got {shown!r}"
            ) from None
    _refuse_unknown(node, values)
    return kind(**values)


def _refuse_unknown(node: Node, declared: dict[str, Any]) -> None:
    others = ("qos_overrides.", "use_sim_time", "start_type_description_service")
    unknown = sorted(
        name
        for name in node._parameter_overrides
        if name not in declared and not name.startswith(others)
    )
    if unknown:
        raise UserError(
            f"unknown parameter {', '.join(unknown)}; this node has: {', '.join(declared)}"
        )


def keep_current(node: Node, holder: object, attribute: str) -> None:
    """Replace `holder.<attribute>` (a parameter dataclass) whenever live parameters are set."""
    fields = {f.name: f for f in dataclasses.fields(getattr(holder, attribute))}

    def check(parameters: list[Parameter]) -> SetParametersResult:
        for item in parameters:
            field = fields.get(item.name)
            if field is None:
                continue
            try:
                _checked(field, item.value)
            except ValueError:
                reason = f"expected {_expected(field)}, got {item.value!r}"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def apply(parameters: list[Parameter]) -> None:
        changed = {
            p.name: _checked(fields[p.name], p.value) for p in parameters if p.name in fields
        }
        if changed:
            current = getattr(holder, attribute)
            setattr(holder, attribute, dataclasses.replace(current, **changed))

    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(apply)
