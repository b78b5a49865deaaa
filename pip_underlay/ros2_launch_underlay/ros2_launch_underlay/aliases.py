"""Make the stand-in importable as ``launch`` and ``launch_ros`` where the real ones are absent.

:func:`install` puts a finder on ``sys.meta_path``. It looks for the real ``launch`` on
``sys.path`` first and, where that is installed, finds nothing, so the real one always wins. It has
to come before the finder of ``sys.path`` because a mere folder named ``launch`` (every ROS package
has one) is an importable namespace package, and because the Python index has an unrelated project
of that name. No directory named ``launch`` is ever installed, so nothing can shadow an installation
of ROS. The ``ros2`` command and the pytest plugin call :func:`install`; other programs that need
the names do the same.

A name that is not in :data:`EXPORTS` is refused by an ImportError that says what there is.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ros2_launch_underlay import (
    actions,
    context,
    events,
    node,
    parameters,
    process,
    service,
    sources,
    substitutions,
)
from ros2_launch_underlay.refusal import SubstitutionFailure, refusal

_EVENTS: list[type] = [events.Event, events.Shutdown, events.TimerEvent]
_PARAMETERS: list[type] = [parameters.ParameterFile, parameters.ParameterValue]

EXPORTS: dict[str, list[type]] = {
    "launch": [
        actions.Action,
        actions.Condition,
        events.Event,
        context.LaunchContext,
        actions.LaunchDescription,
        actions.LaunchDescriptionEntity,
        sources.LaunchDescriptionSource,
        service.LaunchService,
        substitutions.Substitution,
    ],
    "launch.actions": [
        actions.DeclareLaunchArgument,
        actions.EmitEvent,
        process.ExecuteProcess,
        actions.GroupAction,
        sources.IncludeLaunchDescription,
        actions.LogInfo,
        actions.OpaqueFunction,
        actions.RegisterEventHandler,
        actions.SetEnvironmentVariable,
        actions.SetLaunchConfiguration,
        actions.Shutdown,
        actions.TimerAction,
        actions.UnregisterEventHandler,
        actions.UnsetEnvironmentVariable,
    ],
    "launch.conditions": [actions.IfCondition, actions.UnlessCondition],
    "launch.event_handlers": [events.OnProcessExit, events.OnProcessStart, events.OnShutdown],
    "launch.events": _EVENTS,
    "launch.events.process": [
        events.ProcessExited,
        events.ProcessStarted,
        events.ShutdownProcess,
    ],
    "launch.launch_context": [context.LaunchContext],
    "launch.launch_description": [actions.LaunchDescription],
    "launch.launch_description_entity": [actions.LaunchDescriptionEntity],
    "launch.launch_description_source": [sources.LaunchDescriptionSource],
    "launch.launch_description_sources": [
        sources.AnyLaunchDescriptionSource,
        sources.PythonLaunchDescriptionSource,
    ],
    "launch.launch_service": [service.LaunchService],
    "launch.some_substitutions_type": [],
    "launch.substitution": [substitutions.Substitution],
    "launch.substitutions": [
        substitutions.Command,
        substitutions.EnvironmentVariable,
        substitutions.EqualsSubstitution,
        substitutions.FindExecutable,
        substitutions.LaunchConfiguration,
        substitutions.NotEqualsSubstitution,
        substitutions.PathJoinSubstitution,
        substitutions.PythonExpression,
        SubstitutionFailure,
        substitutions.TextSubstitution,
        substitutions.ThisLaunchFile,
        substitutions.ThisLaunchFileDir,
    ],
    "launch.utilities": [],
    "launch_ros": [],
    "launch_ros.actions": [
        node.Node,
        node.PushRosNamespace,
        node.SetParameter,
        node.SetRemap,
    ],
    "launch_ros.descriptions": _PARAMETERS,
    "launch_ros.parameter_descriptions": _PARAMETERS,
    "launch_ros.substitutions": [
        substitutions.ExecutableInPackage,
        substitutions.FindPackagePrefix,
        substitutions.FindPackageShare,
    ],
}
_OTHER_NAMES: dict[str, dict[str, Any]] = {
    module: {"SomeSubstitutionsType": substitutions.SomeSubstitutionsType}
    for module in ("launch", "launch.some_substitutions_type")
}
_OTHER_NAMES["launch.utilities"] = {
    function.__name__: function
    for function in (
        substitutions.normalize_to_list_of_substitutions,
        substitutions.perform_substitutions,
    )
}
_OTHER_NAMES["launch.events"] = {"matches_action": events.matches_action}
_OTHER_NAMES["launch_ros.actions"] = {"PushROSNamespace": node.PushRosNamespace}


class _Finder:
    """Finds, creates and refuses the modules below ``launch`` and ``launch_ros``."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of an alias."""
        top_level, _, below = name.partition(".")
        if top_level not in ("launch", "launch_ros"):
            return None
        ours = getattr(sys.modules.get(top_level), "__loader__", None) is self
        if not ours and (below or real_launch() is not None):
            return None
        if name not in EXPORTS:
            raise ImportError(refusal(f"'{name}'", _names_below(name.rpartition(".")[0])))
        # Every alias is a package: it can have modules below.
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Use the default."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with its names."""
        vars(module).update({item.__name__: item for item in EXPORTS[module.__name__]})
        vars(module).update(_OTHER_NAMES.get(module.__name__, {}))

        def missing(name: str) -> Any:
            full_name = f"{module.__name__}.{name}"
            if full_name in EXPORTS:
                return importlib.import_module(full_name)
            if name.startswith("__"):
                raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")
            raise ImportError(refusal(f"'{full_name}'", _names_below(module.__name__)))

        vars(module)["__getattr__"] = missing


def _names_below(module: str) -> list[str]:
    """Return the supported names of ``module``, its modules included."""
    modules = [name.rpartition(".")[2] for name in EXPORTS if name.rpartition(".")[0] == module]
    classes = [item.__name__ for item in EXPORTS.get(module, [])]
    return sorted([*modules, *classes, *_OTHER_NAMES.get(module, {})])


def real_launch() -> str | None:
    """Return where the real ``launch`` is installed, or None."""
    spec = importlib.machinery.PathFinder.find_spec("launch")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if os.path.isfile(os.path.join(folder, "launch_description.py")):
            return folder
    return None


def install() -> bool:
    """Provide ``launch`` and ``launch_ros``, and return whether the stand-in does so.

    The real ones, where they are installed, are left alone.
    """
    if real_launch() is not None:
        return False
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return True
