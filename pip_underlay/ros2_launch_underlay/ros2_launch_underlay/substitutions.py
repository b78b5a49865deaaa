"""Text that is known only while launching: the substitutions, and how they become strings."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)

from ros2_launch_underlay.expression import evaluate_expression
from ros2_launch_underlay.refusal import (
    LaunchError,
    NamesItsKeywords,
    SubstitutionFailure,
    refusal,
)

if TYPE_CHECKING:
    from ros2_launch_underlay.context import LaunchContext


class Substitution(NamesItsKeywords):
    """Base of all substitutions."""

    def perform(self, context: LaunchContext) -> str:
        """Return the text, looked up in ``context``."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return a description for ``--show-args``."""
        return f"{type(self).__name__}()"


SomeSubstitutionsType = str | Substitution | Iterable[str | Substitution]


def normalize_to_list_of_substitutions(value: SomeSubstitutionsType) -> list[Substitution]:
    """Return ``value`` (a text, a substitution or a sequence of both) as substitutions."""
    if isinstance(value, str):
        return [TextSubstitution(text=value)]
    if isinstance(value, Substitution):
        return [value]
    if not isinstance(value, Iterable):
        raise LaunchError(
            f"expected a text, a substitution or a list of both, got {value!r} "
            f"({type(value).__name__})"
        )
    return [part for item in value for part in normalize_to_list_of_substitutions(item)]


def perform_substitutions(context: LaunchContext, substitutions: Iterable[Substitution]) -> str:
    """Return the concatenated texts of ``substitutions``."""
    return "".join(substitution.perform(context) for substitution in substitutions)


def perform(context: LaunchContext, value: SomeSubstitutionsType) -> str:
    """Return ``value`` (a text, a substitution or a sequence of both) as one text."""
    return perform_substitutions(context, normalize_to_list_of_substitutions(value))


def describe(value: SomeSubstitutionsType) -> str:
    """Return the description of each part of ``value``, joined as the real launch does."""
    return " + ".join(part.describe() for part in normalize_to_list_of_substitutions(value))


class TextSubstitution(Substitution):
    """A text that is known already."""

    def __init__(self, *, text: str) -> None:
        """Hold ``text``."""
        if not isinstance(text, str):
            raise LaunchError(f"TextSubstitution expects a str, got {text!r}")
        self.text = text

    def perform(self, context: LaunchContext) -> str:
        """Return the text."""
        return self.text

    def describe(self) -> str:
        """Return the text in quotes."""
        return f"'{self.text}'"


class LaunchConfiguration(Substitution):
    """The value of a launch configuration, for example of a declared argument."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        """Look up ``variable_name``; ``default`` (any scalar, or substitutions) where unset."""
        self.variable_name = variable_name
        scalar = default is None or isinstance(default, str | Substitution)
        if not scalar:
            items = default if isinstance(default, Iterable) else (default,)
            default = [item if isinstance(item, Substitution) else str(item) for item in items]
        self.default = default

    def perform(self, context: LaunchContext) -> str:
        """Return the configuration's value, or the default."""
        name = perform(context, self.variable_name)
        if name in context.launch_configurations:
            return context.launch_configurations[name]
        if self.default is None:
            raise SubstitutionFailure(f"launch configuration '{name}' does not exist")
        return perform(context, self.default)

    def describe(self) -> str:
        """Return the configuration's name."""
        return f"LaunchConfig({describe(self.variable_name)})"


class PathJoinSubstitution(Substitution):
    """Parts joined by the path separator."""

    def __init__(self, substitutions: Iterable[str | Substitution]) -> None:
        """Hold the parts."""
        self.substitutions = normalize_to_list_of_substitutions(substitutions)

    def perform(self, context: LaunchContext) -> str:
        """Return the joined path."""
        return os.path.join(*(part.perform(context) for part in self.substitutions))

    def describe(self) -> str:
        """Return the parts."""
        return f"PathJoin('{describe(self.substitutions)}')"


class ThisLaunchFileDir(Substitution):
    """The directory of the launch file that was included last."""

    local = "current_launch_file_directory"

    def perform(self, context: LaunchContext) -> str:
        """Return the path that the include left in the context's locals."""
        if self.local not in context.get_locals_as_dict():
            raise SubstitutionFailure(f"{type(self).__name__} used outside of a launch file")
        return context.get_locals_as_dict()[self.local]


class ThisLaunchFile(ThisLaunchFileDir):
    """The path of the launch file that was included last."""

    local = "current_launch_file_path"


class EnvironmentVariable(Substitution):
    """The value of an environment variable of the launch."""

    def __init__(
        self, name: SomeSubstitutionsType, *, default_value: SomeSubstitutionsType | None = None
    ) -> None:
        """Look up ``name``; ``default_value`` where it is not set."""
        self.name = name
        self.default_value = default_value

    def perform(self, context: LaunchContext) -> str:
        """Return the value, or the default."""
        name = perform(context, self.name)
        if name in context.environment:
            return context.environment[name]
        if self.default_value is None:
            raise SubstitutionFailure(f"environment variable '{name}' does not exist")
        return perform(context, self.default_value)

    def describe(self) -> str:
        """Return the variable's name."""
        return f"EnvVar({describe(self.name)})"


class PythonExpression(Substitution):
    """The value of an expression over literals and ``math``; see :mod:`.expression`."""

    def __init__(
        self, expression: SomeSubstitutionsType, python_modules: Iterable[str] = ("math",)
    ) -> None:
        """Hold the parts of ``expression``; ``math`` is the only module there is."""
        others = [name for name in python_modules if name != "math"]
        if others:
            raise LaunchError(refusal(f"PythonExpression with module '{others[0]}'", ("math",)))
        self.expression = expression

    def perform(self, context: LaunchContext) -> str:
        """Return the value as text."""
        return str(evaluate_expression(perform(context, self.expression)))

    def describe(self) -> str:
        """Return the parts of the expression."""
        return f"PythonExpr({describe(self.expression)}, ['math'])"


class Command(Substitution):
    """The standard output of a command, which runs without a shell."""

    def __init__(
        self, command: SomeSubstitutionsType, *, on_stderr: SomeSubstitutionsType = "fail"
    ) -> None:
        """Run ``command``; ``on_stderr`` is ``fail``, ``ignore``, ``warn`` or ``capture``."""
        self.command = command
        self.on_stderr = on_stderr

    def perform(self, context: LaunchContext) -> str:
        """Return the output, trailing newline included."""
        text = perform(context, self.command)
        on_stderr = perform(context, self.on_stderr)
        if on_stderr not in ("fail", "ignore", "warn", "capture"):
            raise SubstitutionFailure(
                f"Command(on_stderr='{on_stderr}'): expected fail, ignore, warn or capture"
            )
        stderr = subprocess.STDOUT if on_stderr == "capture" else subprocess.PIPE
        try:
            result = subprocess.run(
                shlex.split(text), stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
            )
        except OSError as error:
            raise SubstitutionFailure(f"command '{text}' cannot run: {error}") from error
        if result.returncode != 0:
            raise SubstitutionFailure(
                f"command '{text}' ended with {result.returncode}: {(result.stderr or '').strip()}"
            )
        if result.stderr and on_stderr == "fail":
            raise SubstitutionFailure(
                f"command '{text}' wrote to stderr (allow it with on_stderr='warn'): "
                f"{result.stderr.strip()}"
            )
        if result.stderr and on_stderr == "warn":
            context.log.say("WARNING", "launch", f"'{text}': {result.stderr.strip()}")
        return result.stdout

    def describe(self) -> str:
        """Return the command."""
        return f"Command({describe(self.command)})"


class FindExecutable(Substitution):
    """The path of an executable that is on PATH."""

    def __init__(self, *, name: SomeSubstitutionsType) -> None:
        """Look for ``name``."""
        self.name = name

    def perform(self, context: LaunchContext) -> str:
        """Return the path."""
        name = perform(context, self.name)
        path = shutil.which(name)
        if path is None:
            raise SubstitutionFailure(f"executable '{name}' not found on the PATH")
        return path

    def describe(self) -> str:
        """Return the executable's name."""
        return f"FindExec({describe(self.name)})"


class EqualsSubstitution(Substitution):
    """``true`` where both texts are equal, or mean the same truth value or number."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        """Compare ``left`` with ``right``."""
        self.left = left
        self.right = right

    def perform(self, context: LaunchContext) -> str:
        """Return ``true`` or ``false``."""
        left, right = perform(context, self.left), perform(context, self.right)
        return str(left == right or _as_number(left) == _as_number(right)).lower()


class NotEqualsSubstitution(EqualsSubstitution):
    """``false`` where :class:`EqualsSubstitution` is ``true``."""

    def perform(self, context: LaunchContext) -> str:
        """Return ``true`` or ``false``."""
        return str(super().perform(context) == "false").lower()


def _as_number(text: str) -> float | str:
    """Return the number that ``text`` means, or ``text``."""
    truth = {"true": 1.0, "false": 0.0}
    if text.lower() in truth:
        return truth[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text


class FindPackagePrefix(Substitution):
    """The install prefix of a package, from the ament index."""

    def __init__(self, package: SomeSubstitutionsType) -> None:
        """Look for ``package``."""
        self.package = package

    def perform(self, context: LaunchContext) -> str:
        """Return the path."""
        return self.find(perform(context, self.package))

    def find(self, package: str) -> str:
        """Return the path for the package called ``package``."""
        return package_prefix(package)

    def describe(self) -> str:
        """Return the package's name."""
        return f"{type(self).__name__}(pkg={describe(self.package)})"


class FindPackageShare(FindPackagePrefix):
    """The share directory of a package, from the ament index."""

    def find(self, package: str) -> str:
        """Return the path for the package called ``package``."""
        package_prefix(package)
        return get_package_share_directory(package)


class ExecutableInPackage(FindPackagePrefix):
    """The path of an executable that a package installed to ``lib/<package>``."""

    def __init__(self, executable: SomeSubstitutionsType, package: SomeSubstitutionsType) -> None:
        """Look for ``executable`` in ``package``."""
        super().__init__(package)
        self.executable = executable

    def perform(self, context: LaunchContext) -> str:
        """Return the path."""
        return find_executable(perform(context, self.package), perform(context, self.executable))


def package_prefix(package: str) -> str:
    """Return the install prefix of ``package``."""
    try:
        return get_package_prefix(package)
    except (PackageNotFoundError, ValueError) as error:
        raise SubstitutionFailure(
            f"package '{package}' not found, searching: [{os.environ.get('AMENT_PREFIX_PATH', '')}]"
        ) from error


def executables(package: str) -> list[Path]:
    """Return what can be run in ``package``, sorted by name."""
    folder = Path(package_prefix(package), "lib", package)
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [path for path in files if path.is_file() and os.access(path, os.X_OK)]


def find_executable(package: str, executable: str) -> str:
    """Return the path of ``executable`` in ``package``; there is no fallback to PATH."""
    path = shutil.which(executable, path=str(Path(package_prefix(package), "lib", package)))
    if path is None:
        names = ", ".join(path.name for path in executables(package)) or "no executables at all"
        raise SubstitutionFailure(
            f"executable '{executable}' not found in package '{package}'; it has: {names}"
        )
    return path
