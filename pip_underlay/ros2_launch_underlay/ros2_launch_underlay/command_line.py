"""The ``ros2`` command: ``launch``, ``run`` and ``pkg``. Every other verb is refused by name."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ament_index_python.packages import get_packages_with_prefixes

from ros2_launch_underlay import aliases
from ros2_launch_underlay.actions import LaunchDescription
from ros2_launch_underlay.refusal import LaunchError, refusal
from ros2_launch_underlay.service import LaunchService
from ros2_launch_underlay.sources import (
    IncludeLaunchDescription,
    PythonLaunchDescriptionSource,
    find_launch_file,
    load_launch_file,
)
from ros2_launch_underlay.substitutions import (
    describe,
    executables,
    find_executable,
    package_prefix,
)

LAUNCH_SETTINGS = (
    *("emulate_tty", "launch-prefix", "launch-prefix-filter"),
    *("sigkill_timeout", "sigterm_timeout"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verbs: dict[str, Callable[[list[str]], int]] = {"launch": launch, "run": run, "pkg": pkg}
    try:
        if not aliases.install():
            raise LaunchError(
                f"this is the launch stand-in, but the real launch is at {aliases.real_launch()}: "
                "put the bin folder of that installation first on the PATH"
            )
        if not arguments or arguments[0] in ("-h", "--help"):
            print(f"usage: ros2 {{{','.join(verbs)}}} ...\n\n{__doc__}")
            return 0
        if arguments[0] not in verbs:
            raise LaunchError(refusal(f"'ros2 {arguments[0]}'", verbs))
        return verbs[arguments[0]](arguments[1:])
    except (LaunchError, ImportError) as error:
        print(f"ros2: {error}", file=sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit code 1."""

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise LaunchError(f"{self.prog}: {message} (see --help)")


class _Refuse(argparse.Action):
    """An option that only the real command has."""

    def __call__(self, parser: argparse.ArgumentParser, *details: Any) -> None:
        """Refuse it by name."""
        raise LaunchError(refusal(f"'{parser.prog} {details[-1]}'"))


def launch(arguments: list[str]) -> int:
    """Run ``ros2 launch``."""
    parser = _Parser(prog="ros2 launch", allow_abbrev=False)
    parser.add_argument("-n", "--noninteractive", action="store_true", help="there is no terminal")
    parser.add_argument("-d", "--debug", action="store_true", help="show tracebacks")
    parser.add_argument("-s", "--show-args", "--show-arguments", action="store_true")
    parser.add_argument("-a", "--show-all-subprocesses-output", action="store_true")
    parser.add_argument("-p", "--print", "--print-description", action=_Refuse, nargs=0)
    parser.add_argument("--launch-prefix", help="a command to put before every executable")
    parser.add_argument("--launch-prefix-filter", help="a pattern: only before such executables")
    parser.add_argument("package_name", help="a package, or the path of a launch file")
    parser.add_argument("launch_file_name", nargs="?")
    parser.add_argument("launch_arguments", nargs="*", help="name:=value; the last one wins")
    options = parser.parse_args(arguments)

    given = list(options.launch_arguments)
    if os.path.exists(options.package_name):
        path = options.package_name
        given[:0] = [options.launch_file_name] if options.launch_file_name else []
    elif os.sep in options.package_name or options.package_name.endswith(".py"):
        raise LaunchError(f"launch file '{options.package_name}' does not exist")
    else:
        path = find_launch_file(options.package_name, options.launch_file_name)
    if options.show_args:
        show_arguments(load_launch_file(path))
        return 0
    if options.show_all_subprocesses_output:
        os.environ["OVERRIDE_LAUNCH_PROCESS_OUTPUT"] = "both"
    for name in ("launch_prefix", "launch_prefix_filter"):
        if getattr(options, name):
            given.append(f"{name.replace('_', '-')}:={getattr(options, name)}")
    return run_launch_file(path, given, options.noninteractive, options.debug)


def run_launch_file(path: str, given: list[str], noninteractive: bool, debug: bool) -> int:
    """Launch the file at ``path`` and return the exit code.

    Whatever the launch file raises has been shown as one line when it arrives here, so the
    traceback is only for ``--debug``.
    """
    arguments = parse_launch_arguments(given)
    service = LaunchService(argv=given, noninteractive=noninteractive, debug=debug)
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path), launch_arguments=arguments.items()
    )
    service.include_launch_description(LaunchDescription([include]))
    sys.excepthook = _show_traceback if debug else _show_nothing
    return service.run()


def _show_traceback(*error: Any) -> None:
    traceback.print_exception(*error)


def _show_nothing(*_error: Any) -> None:
    """The line in the log said it already; the interpreter ends with 1."""


def parse_launch_arguments(arguments: list[str]) -> dict[str, str]:
    """Return ``name:=value`` arguments as a dict; the last one wins."""
    parsed: dict[str, str] = {}
    for argument in arguments:
        name, separator, value = argument.partition(":=")
        if not (name and separator and value):
            raise LaunchError(
                f"malformed launch argument '{argument}', expected format '<name>:=<value>'"
            )
        parsed[name] = value
    return parsed


def show_arguments(description: LaunchDescription) -> None:
    """Print the arguments of a launch file."""
    arguments = description.get_launch_arguments()
    print("Arguments (pass arguments as '<name>:=<value>'):")
    for argument in arguments:
        print(f"\n    '{argument.name}':{'*' if argument.conditionally_included else ''}")
        print(f"        {argument.description}")
        if argument.default_value is not None:
            print(f"        (default: {describe(argument.default_value)})")
    if not arguments:
        print("\n  No arguments.")
    elif any(argument.conditionally_included for argument in arguments):
        print("\n* argument(s) which are only used if specific conditions occur")


def run(arguments: list[str]) -> int:
    """Run ``ros2 run``: become the executable, so that its signals and exit code are its own."""
    parser = _Parser(prog="ros2 run", allow_abbrev=False)
    parser.add_argument("--prefix", default="", help="a command to put before the executable")
    parser.add_argument("package_name")
    parser.add_argument("executable_name")
    parser.add_argument("argv", nargs=argparse.REMAINDER, help="arguments of the executable")
    options = parser.parse_args(arguments)
    path = find_executable(options.package_name, options.executable_name)
    argv = [*shlex.split(options.prefix), path, *options.argv]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job has it ignored
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        raise LaunchError(f"'{argv[0]}' cannot be started: {error}") from error


def pkg(arguments: list[str]) -> int:
    """Run ``ros2 pkg executables``, ``ros2 pkg list`` or ``ros2 pkg prefix``."""
    match arguments:
        case ["prefix", package]:
            print(package_prefix(package))
        case ["list"]:
            print("\n".join(sorted(get_packages_with_prefixes())))
        case ["executables", *packages]:
            for package in packages or sorted(get_packages_with_prefixes()):
                for path in executables(package):
                    print(f"{package} {path.name}")
        case _:
            verbs = ("executables [PACKAGE]", "list", "prefix PACKAGE")
            raise LaunchError(refusal(f"'ros2 pkg {' '.join(arguments)}'", verbs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
