"""The actions of ``launch_ros``: nodes, and what a group of nodes shares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ros2_launch_underlay.actions import Action, Condition
from ros2_launch_underlay.context import LaunchContext
from ros2_launch_underlay.parameters import ParameterFile, evaluate_parameters, write_parameters
from ros2_launch_underlay.process import ExecuteProcess
from ros2_launch_underlay.refusal import LaunchError, refusal
from ros2_launch_underlay.substitutions import (
    ExecutableInPackage,
    SomeSubstitutionsType,
    perform,
)


class Node(ExecuteProcess):
    """Start an executable of a package as a ROS node."""

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: list[Any] | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        ros_arguments: Iterable[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **process: Any,
    ) -> None:
        """Start ``executable`` of ``package``, or the path ``executable`` without one.

        ``parameters`` is a list of dicts, paths and :class:`ParameterFile`; a later one wins.
        ``process`` are keywords of :class:`ExecuteProcess`, all but ``cmd``.
        """
        if "cmd" in process:
            raise LaunchError(refusal("'Node(cmd=…)'", ("executable", "arguments")))
        if parameters is not None and not isinstance(parameters, list | tuple):
            raise LaunchError(f"Node(parameters=…) expects a list, got {parameters!r}")
        found = executable if package is None else ExecutableInPackage(executable, package)
        super().__init__(cmd=[found, *(arguments or ())], name=exec_name, **process)
        self.node_package = package
        self.node_executable = executable
        self._name = name
        self._namespace = namespace
        self._parameters = parameters or []
        self._remappings = list(remappings or ())
        self._ros_arguments = ros_arguments

    def argv(self, context: LaunchContext) -> list[str]:
        """Return the command line with the ROS arguments that the node is given."""
        argv = super().argv(context)
        if self._ros_arguments is not None:
            argv += ["--ros-args", *(perform(context, item) for item in self._ros_arguments)]
        argv.append("--ros-args")
        name = None if self._name is None else perform(context, self._name)
        if name is not None:
            argv += ["-r", f"__node:={valid_name(name)}"]
        namespace = joined_namespace(
            context.launch_configurations.get("ros_namespace"),
            None if self._namespace is None else perform(context, self._namespace),
        )
        if namespace is not None:
            argv += ["-r", f"__ns:={namespace}"]
        for parameter, value in context.launch_configurations.get("global_params", []):
            argv += ["-p", f"{parameter}:={value}"]
        full_name = "/**"
        if name is not None and namespace is not None:
            full_name = f"{namespace.rstrip('/')}/{name}"
        for path in self._parameter_files(context, full_name):
            argv += ["--params-file", path]
        remappings = [*context.launch_configurations.get("ros_remaps", [])]
        remappings += [(perform(context, a), perform(context, b)) for a, b in self._remappings]
        for source, target in remappings:
            argv += ["-r", f"{source}:={target}"]
        return argv

    def _parameter_files(self, context: LaunchContext, full_name: str) -> Iterable[str]:
        for parameters in self._parameters:
            if isinstance(parameters, Mapping):
                yield write_parameters(context, full_name, evaluate_parameters(context, parameters))
                continue
            if not isinstance(parameters, ParameterFile):
                parameters = ParameterFile(parameters)
            path = parameters.evaluate(context)
            if os.path.isfile(path):
                yield path
            else:
                context.log.say(
                    "WARNING",
                    "launch_ros.actions.node",
                    f"Parameter file path is not a file: {path}",
                )


class PushRosNamespace(Action):
    """Put the nodes that follow, in this scope, into a namespace."""

    def __init__(
        self, namespace: SomeSubstitutionsType, *, condition: Condition | None = None
    ) -> None:
        """Append ``namespace`` to the current one, or replace it where it starts with ``/``."""
        super().__init__(condition=condition)
        self.namespace = namespace

    def execute(self, context: LaunchContext) -> None:
        """Set it."""
        previous = context.launch_configurations.get("ros_namespace")
        context.launch_configurations["ros_namespace"] = joined_namespace(
            previous, perform(context, self.namespace)
        )


class SetParameter(Action):
    """Give a parameter to the nodes that follow in this scope."""

    def __init__(
        self, name: SomeSubstitutionsType, value: Any, *, condition: Condition | None = None
    ) -> None:
        """Set ``name`` to ``value``, a scalar."""
        super().__init__(condition=condition)
        self.name = name
        self.value = value

    def execute(self, context: LaunchContext) -> None:
        """Append it to the list, which inner scopes share as in the real launch."""
        parameters = evaluate_parameters(context, {perform(context, self.name): self.value})
        for name, value in parameters.items():
            if isinstance(value, list):
                raise LaunchError(
                    f"SetParameter('{name}') with a list: the real launch passes a broken value "
                    "to the node; give it to each Node in its parameters"
                )
        shared = context.launch_configurations.setdefault("global_params", [])
        shared.extend(parameters.items())


class SetRemap(Action):
    """Give a remapping rule to the nodes that follow in this scope."""

    def __init__(
        self,
        src: SomeSubstitutionsType,
        dst: SomeSubstitutionsType,
        *,
        condition: Condition | None = None,
    ) -> None:
        """Remap ``src`` to ``dst``."""
        super().__init__(condition=condition)
        self.src = src
        self.dst = dst

    def execute(self, context: LaunchContext) -> None:
        """Append it to the list, which inner scopes share as in the real launch."""
        rule = (perform(context, self.src), perform(context, self.dst))
        context.launch_configurations.setdefault("ros_remaps", []).append(rule)


def joined_namespace(base: str | None, namespace: str | None) -> str | None:
    """Return ``namespace`` below ``base`` as an absolute name, or None where both are None."""
    if base is None and namespace is None:
        return None
    if namespace is None:
        joined = base or ""
    elif not base or namespace.startswith("/"):
        joined = namespace
    else:
        joined = f"{base.rstrip('/')}/{namespace}"
    joined = "/" + joined.strip("/")
    for part in joined.split("/")[1:] if joined != "/" else []:
        valid_name(part)
    return joined


def valid_name(name: str) -> str:
    """Return ``name`` if it is a valid node name or one part of a namespace."""
    if not (name.isascii() and name.isidentifier()):
        raise LaunchError(
            f"'{name}' is not a valid name: letters, digits and underscores, no digit first"
        )
    return name
