"""Launch files: how they are found and loaded, and the action that includes one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory, get_packages_with_prefixes

from ros2_launch_underlay.actions import (
    Action,
    Condition,
    LaunchDescription,
    LaunchDescriptionEntity,
    SetLaunchConfiguration,
)
from ros2_launch_underlay.context import LaunchContext
from ros2_launch_underlay.refusal import (
    LaunchError,
    NamesItsKeywords,
    SubstitutionFailure,
    refusal,
)
from ros2_launch_underlay.substitutions import SomeSubstitutionsType, package_prefix, perform

LAUNCH_FILE_PATTERN = "*launch.py"


class LaunchDescriptionSource(NamesItsKeywords):
    """A launch description that is loaded when it is needed."""

    def __init__(
        self, launch_description: LaunchDescription | None = None, location: Any = "<script>"
    ) -> None:
        """Use ``launch_description`` as it is, or load it from the file at ``location``."""
        self.location = location if not isinstance(location, Path) else str(location)
        self._launch_description = launch_description

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Return the description, loading it at the first call."""
        self.location = perform(context, self.location)
        if self._launch_description is None:
            self._launch_description = load_launch_file(self.location)
        return self._launch_description

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """Return the description, or None where its location is only known while launching."""
        location = self.location
        try:
            return self.get_launch_description(LaunchContext())
        except SubstitutionFailure:
            self.location = location
            return None


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A Python launch file."""

    def __init__(self, launch_file_path: SomeSubstitutionsType | Path) -> None:
        """Load the file at ``launch_file_path``."""
        super().__init__(location=launch_file_path)


class AnyLaunchDescriptionSource(PythonLaunchDescriptionSource):
    """A launch file of any kind, of which only Python is supported."""


class IncludeLaunchDescription(Action):
    """Visit another launch description; its configurations stay set for what follows."""

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] = (),
        condition: Condition | None = None,
    ) -> None:
        """Set ``launch_arguments``, then visit the description."""
        super().__init__(condition=condition)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            launch_description_source = AnyLaunchDescriptionSource(launch_description_source)
        self.source = launch_description_source
        self.launch_arguments = list(launch_arguments or ())

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity]:
        """Load the description and check that its required arguments are given."""
        description = self.source.get_launch_description(context)
        path = Path(self.source.location)
        context.extend_locals(
            {
                "current_launch_file_path": os.path.abspath(path),
                "current_launch_file_directory": os.path.abspath(path.parent)
                if path.exists()
                else self.source.location,
            }
        )
        given = self._argument_names(context)
        for declaration, below in description.declarations():
            if declaration.conditionally_included or declaration.default_value is not None:
                continue
            includes = [action for action in below if isinstance(action, IncludeLaunchDescription)]
            passed = [name for include in includes for name in include._argument_names(context)]
            if declaration.name not in (*given, *passed):
                raise LaunchError(
                    f"{self.source.location}: missing required argument '{declaration.name}' "
                    f"(description: '{declaration.description}'), given: [{', '.join(given)}]"
                )
        settings = [SetLaunchConfiguration(name, value) for name, value in self.launch_arguments]
        return [*settings, description]

    def sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        """Return the description, if it can be loaded now."""
        description = self.source.try_get_launch_description_without_context()
        return [] if description is None else [description]

    def _argument_names(self, context: LaunchContext) -> list[str]:
        return [perform(context, name) for name, _ in self.launch_arguments]


def load_launch_file(path: str) -> LaunchDescription:
    """Return what ``generate_launch_description()`` of the file at ``path`` returns."""
    if path.endswith((".xml", ".yaml", ".yml", ".launch")):
        kind = "YAML" if path.endswith(("yaml", "yml")) else "XML"
        raise LaunchError(refusal(f"the {kind} launch file '{path}'", ("Python launch files",)))
    if not os.path.isfile(path):
        raise SubstitutionFailure(f"launch file '{path}' does not exist")
    loader = SourceFileLoader("python_launch_file", path)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    generate = getattr(module, "generate_launch_description", None)
    if generate is None:
        raise LaunchError(f"'{path}' does not define generate_launch_description()")
    return generate()


def find_launch_file(package: str, name: str | None) -> str:
    """Return the path of the launch file ``name`` in the share directory of ``package``."""
    try:
        package_prefix(package)
    except SubstitutionFailure as error:
        with_launch_files = ", ".join(p for p in sorted(get_packages_with_prefixes()) if _files(p))
        raise LaunchError(
            f"{error}; packages with launch files: {with_launch_files or 'none'}"
        ) from error
    share = Path(get_package_share_directory(package))
    found = sorted(share.rglob(name)) if name else []
    if len(found) == 1:
        return str(found[0])
    if found:
        raise LaunchError(f"'{name}' is more than once in '{share}': {', '.join(map(str, found))}")
    names = ", ".join(path.name for path in _files(package)) or "none"
    wanted = f"launch file '{name}' not found in" if name else "name a launch file of"
    raise LaunchError(f"{wanted} package '{package}'; it has: {names}")


def _files(package: str) -> list[Path]:
    """Return the launch files of ``package``."""
    share = Path(get_package_share_directory(package))
    return sorted(share.rglob(LAUNCH_FILE_PATTERN)) if share.is_dir() else []
