"""Launch arguments: declared from a table, read as what they are, and handed to nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext

Table = Mapping[str, tuple[str, str]]  # name: (default, description)
# Arguments that are parameters of a node. name: (type, description)
Parameters = Mapping[str, tuple[type, str]]


def declared(table: Table) -> list[DeclareLaunchArgument]:
    """The arguments of a table."""
    return [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in table.items()
    ]


def declared_parameters(parameters: Parameters) -> list[DeclareLaunchArgument]:
    """Parameters as arguments; an empty one leaves what the parameter file says."""
    return [
        DeclareLaunchArgument(
            name, default_value="", description=f"{text}; empty = as the parameter file says"
        )
        for name, (_kind, text) in parameters.items()
    ]


def value(context: LaunchContext, name: str) -> str:
    """The text of an argument."""
    text: str = LaunchConfiguration(name).perform(context)
    return text


def is_true(context: LaunchContext, name: str) -> bool:
    """Whether an argument says so; RuntimeError, which ends the launch, if it says neither."""
    text = value(context, name)
    if text not in ("true", "false"):
        raise RuntimeError(f"{name}: expected true or false, got {text!r}")
    return text == "true"


def number(context: LaunchContext, name: str) -> float:
    """An argument as a number; RuntimeError, which ends the launch, if it is none."""
    text = value(context, name)
    try:
        return float(text)
    except ValueError:
        raise RuntimeError(f"{name}: expected a number such as 1.0, got {text!r}") from None


def typed(name: str, kind: type) -> ParameterValue:
    """An argument as a parameter of that type."""
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def given(context: LaunchContext, parameters: Parameters) -> dict[str, ParameterValue]:
    """Those of the parameters that were given."""
    return {
        name: typed(name, kind)
        for name, (kind, _text) in parameters.items()
        if value(context, name) != ""
    }


def task_files(
    context: LaunchContext, task: str, node: str, variants: Sequence[str] = ()
) -> list[str]:
    """A task's own parameter files, if it has them: config/<task>/<node>.yaml, <node>_<variant>.

    A task whose name begins with another's has that one's before them: pick_cube_sparse those of
    pick_cube.
    """
    if not task:
        return []
    config = Path(FindPackageShare("sac_bringup").perform(context), "config")
    words = task.split("_")
    tasks = ["_".join(words[: count + 1]) for count in range(len(words))]
    names = [node, *(f"{node}_{variant}" for variant in variants)]
    files = [config / one / f"{name}.yaml" for name in names for one in tasks]
    return [str(path) for path in files if path.is_file()]
