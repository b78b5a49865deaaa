"""Parameter values: from what a launch file writes to the type that the node receives."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from ros2_launch_underlay.context import LaunchContext
from ros2_launch_underlay.refusal import LaunchError, NamesItsKeywords, refusal
from ros2_launch_underlay.substitutions import (
    EnvironmentVariable,
    FindPackageShare,
    LaunchConfiguration,
    SomeSubstitutionsType,
    Substitution,
    perform,
)

SCALARS = (bool, int, float, str)


class ParameterValue(NamesItsKeywords):
    """A value with the type that it must have."""

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        """Use ``value``: a scalar, substitutions, or a list of these.

        ``value_type`` is one of bool, int, float, str, or a list of one of them; None takes the
        type that YAML finds in the text.
        """
        self._is_list = get_origin(value_type) is list
        self._type = get_args(value_type)[0] if self._is_list else value_type
        if self._type not in (None, *SCALARS):
            raise LaunchError(refusal(f"value_type={value_type}", (t.__name__ for t in SCALARS)))
        self._value = value

    def evaluate(self, context: LaunchContext) -> Any:
        """Return the value."""
        value, wanted = self._value, self._type
        if isinstance(value, SCALARS):
            return self._checked(value)
        if _is_substitution(value):
            return self._checked(
                _coerce(perform(context, value), None if self._is_list else wanted)
            )
        items = [
            item if isinstance(item, SCALARS) else _coerce(perform(context, item), wanted)
            for item in value
        ]
        if {type(item) for item in items} == {int, float}:
            items = [float(item) for item in items]
        return self._checked(items)

    def _checked(self, value: Any) -> Any:
        """Return ``value`` if it has the type that was asked for."""
        is_list = isinstance(value, list)
        items = value if is_list else [value]
        types = {type(item) for item in items}
        wrong_type = self._type is not None and any(
            not isinstance(item, self._type) for item in items
        )
        wrong_shape = self._type is not None and is_list != self._is_list
        if wrong_type or wrong_shape or len(types) > 1 or not types <= set(SCALARS):
            shape = "a list of " if self._is_list else ""
            wanted = self._type.__name__ if self._type else "one type"
            raise LaunchError(f"parameter value {value!r} is not {shape}{wanted}")
        return value


class ParameterFile(NamesItsKeywords):
    """A YAML file of parameters."""

    def __init__(
        self, param_file: SomeSubstitutionsType | Path, *, allow_substs: bool = False
    ) -> None:
        """Use ``param_file``; with ``allow_substs`` replace ``$(var name)`` and the like in it."""
        self.param_file = str(param_file) if isinstance(param_file, Path) else param_file
        self.allow_substs = allow_substs

    def evaluate(self, context: LaunchContext) -> str:
        """Return the path of the file, or of a copy with the substitutions done."""
        path = perform(context, self.param_file)
        if not self.allow_substs:
            return path
        text = re.sub(
            r"\$\(([^()]*)\)",
            lambda match: _inline_substitution(match.group(1)).perform(context),
            Path(path).read_text(),
        )
        return temporary_file(context, text)


def evaluate_parameters(context: LaunchContext, parameters: Mapping[Any, Any]) -> dict[str, Any]:
    """Return ``parameters`` with texts as names, nested names joined by dots, and typed values."""
    evaluated: dict[str, Any] = {}
    for name_parts, value in parameters.items():
        name = perform(context, name_parts)
        if isinstance(value, Mapping):
            nested = evaluate_parameters(context, value)
            evaluated |= {f"{name}.{rest}": item for rest, item in nested.items()}
        else:
            evaluated[name] = _evaluate(context, name, value)
    return evaluated


def write_parameters(context: LaunchContext, node: str, parameters: dict[str, Any]) -> str:
    """Write a parameter file for ``node`` (a full name or ``/**``) and return its path."""
    content = {node: {"ros__parameters": parameters}}
    return temporary_file(context, yaml.safe_dump(content, default_flow_style=False))


def temporary_file(context: LaunchContext, text: str) -> str:
    """Write ``text`` to a file that lasts as long as the launch, and return its path."""
    descriptor, path = tempfile.mkstemp(prefix="launch_params_")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    context.cleanups.append(lambda: Path(path).unlink(missing_ok=True))
    return path


def _evaluate(context: LaunchContext, name: str, value: Any) -> Any:
    """Return one value with the type that the real launch gives it."""
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if isinstance(value, (*SCALARS, bytes)):
        return value
    if _is_substitution(value):
        return _from_yaml(name, perform(context, value))
    if not isinstance(value, Sequence):
        raise LaunchError(f"parameter '{name}': a {type(value).__name__} is not a parameter value")
    items = [
        item if isinstance(item, SCALARS) else yaml.safe_load(perform(context, item))
        for item in value
    ]
    types = {type(item) for item in items}
    if types == {int, float}:
        return [float(item) for item in items]
    return _uniform(name, items)


def _from_yaml(name: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text or "''")
    except yaml.YAMLError as error:
        raise LaunchError(
            f"parameter '{name}': '{text}' is not YAML; "
            "for a text use ParameterValue(value, value_type=str)"
        ) from error
    if isinstance(value, list):
        return _uniform(name, value)
    if not isinstance(value, (*SCALARS, bytes)):
        raise LaunchError(
            f"parameter '{name}': '{text}' reads as {type(value).__name__}, which is no parameter "
            "type; for a text use ParameterValue(value, value_type=str)"
        )
    return value


def _uniform(name: str, items: list[Any]) -> list[Any]:
    types = {type(item) for item in items}
    if len(types) != 1 or not types <= set(SCALARS):
        raise LaunchError(
            f"parameter '{name}': expected a non-empty list of one type "
            f"(bool, int, float or str), got {items!r}"
        )
    return items


def _is_substitution(value: Any) -> bool:
    """Return whether ``value`` is one text: a substitution, or a list of texts and at least one."""
    if isinstance(value, Substitution):
        return True
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and all(isinstance(item, str | Substitution) for item in value)
        and any(isinstance(item, Substitution) for item in value)
    )


def _coerce(text: str, wanted: type | None) -> Any:
    """Return ``text`` as ``wanted``, or as what YAML makes of it."""
    if wanted is str:
        return text
    try:
        if wanted in (int, float):
            return wanted(text)
        text = {"1": "true", "0": "false"}.get(text, text) if wanted is bool else text
        return yaml.safe_load(text) if text else text
    except (ValueError, yaml.YAMLError) as error:
        kind = wanted.__name__ if wanted else "YAML"
        raise LaunchError(f"parameter value '{text}' is not {kind}") from error


def _inline_substitution(text: str) -> Substitution:
    """Return the substitution that ``$(text)`` stands for in a parameter file."""
    match text.split():
        case ["var", name]:
            return LaunchConfiguration(name)
        case ["env", name, *default]:
            return EnvironmentVariable(name, default_value=" ".join(default) or None)
        case ["find-pkg-share", package]:
            return FindPackageShare(package)
    raise LaunchError(refusal(f"'$({text})' in a parameter file", ("var", "env", "find-pkg-share")))
