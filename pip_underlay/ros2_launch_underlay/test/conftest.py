"""Real launches of small executables, in an ament prefix made for the test."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests also run before an installation
from ros2_launch_underlay import aliases

if not aliases.install():
    collect_ignore_glob = ["test_*.py"]  # the real launch is here: the stand-in steps back

DEADLINE = 20.0  # seconds until an awaited event is given up
MARKER = "LAUNCH_TEST_MARKER"
WORKER = '''\
#!{python} -IS
"""Print the arguments and the parameter files, then do what the arguments say."""
import json, os, signal, subprocess, sys
arguments = sys.argv[1:]
print("ARGV", json.dumps(arguments), flush=True)
for flag, path in zip(arguments, arguments[1:]):
    if flag == "--params-file":
        print("PARAMS", json.dumps(open(path).read()), flush=True)
print("SIGINT is", signal.getsignal(signal.SIGINT), flush=True)
print("GREETING", os.environ.get("GREETING"), flush=True)
if "--helper" in arguments:  # in a session of its own, deaf to everything but SIGKILL
    code = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; print('deaf'); "
    helper = subprocess.Popen(
        [sys.executable, "-IS", "-uc", code + "signal.pause()"],
        start_new_session=True, stdout=subprocess.PIPE,
    )
    helper.stdout.readline()
    print("HELPER", helper.pid, flush=True)
def stop(number, frame):
    print("GOT", signal.Signals(number).name, flush=True)
    if signal.Signals(number).name not in arguments:
        sys.exit(0)
if "--exit" in arguments:
    print("partial line", end="", flush=True)
    sys.exit(int(arguments[arguments.index("--exit") + 1]))
if "--abort" in arguments:
    os.kill(os.getpid(), signal.SIGKILL)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
print("READY", os.getpid(), file=sys.stderr, flush=True)
while True:
    signal.pause()
'''
HEADER = """\
import os
from typing import List

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument, EmitEvent, ExecuteProcess, GroupAction, IncludeLaunchDescription,
    LogInfo, OpaqueFunction, RegisterEventHandler, SetEnvironmentVariable, SetLaunchConfiguration,
    Shutdown, TimerAction, UnsetEnvironmentVariable,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnProcessExit, OnProcessStart, OnShutdown
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import (
    Command, EnvironmentVariable, EqualsSubstitution, FindExecutable, LaunchConfiguration,
    NotEqualsSubstitution, PathJoinSubstitution, PythonExpression, TextSubstitution,
    ThisLaunchFile, ThisLaunchFileDir,
)
from launch_ros.actions import Node, PushRosNamespace, SetParameter, SetRemap
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import ExecutableInPackage, FindPackagePrefix, FindPackageShare


def worker(*arguments, output="screen", **options):
    return Node(
        package="demo", executable="worker", arguments=list(arguments), output=output, **options
    )


def generate_launch_description():
"""


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll ``condition`` until it is true and return its value."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {DEADLINE} s for {what}"
        time.sleep(0.01)
    return value


class Running:
    """A ``ros2`` command that was started, and its output so far."""

    def __init__(self, argv: list[str], env: dict[str, str], terminal: bool = False) -> None:
        """Start it; with ``terminal`` as the foreground process of a pseudo terminal."""
        self.marker = env[MARKER]
        self.output = ""
        if terminal:
            pid, source = pty.fork()
            if pid == 0:
                os.execve(argv[0], argv, env)
            self.pid, self.terminal = pid, source
        else:
            self._process = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=-2
            )
            assert self._process.stdout is not None
            self.pid, source = self._process.pid, os.dup(self._process.stdout.fileno())
        self.psutil = psutil.Process(self.pid)
        self._is_terminal = terminal
        self._hung_up = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._reader.start()

    def _read(self, source: int) -> None:
        while not self._hung_up.is_set():
            if not select.select([source], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(source, 4096)
            except OSError:
                data = b""
            if not data:
                break
            self.output += data.decode(errors="replace").replace("\r\n", "\n")
        os.close(source)

    def hang_up(self) -> None:
        """Close the terminal."""
        self._hung_up.set()
        self._reader.join(DEADLINE)

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until ``pattern`` was printed ``count`` times and return the last match."""

        def found() -> list[re.Match[str]]:
            matches = list(re.finditer(pattern, self.output, re.MULTILINE))
            assert len(matches) >= count or self.marked() or self._reader.is_alive(), self.output
            return matches[count - 1 : count]

        try:
            return wait_until(found, f"'{pattern}'")[0]
        except AssertionError as error:
            raise AssertionError(f"no '{pattern}' in:\n{self.output}") from error

    def send(self, number: int) -> None:
        """Signal the command."""
        self.psutil.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the end and return the exit code."""
        if self._is_terminal:
            ended = wait_until(lambda: os.waitpid(self.pid, os.WNOHANG), "the end")
            while ended[0] == 0:
                ended = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(ended[1])
        else:
            try:
                code = self._process.wait(DEADLINE)
            except subprocess.TimeoutExpired as error:
                raise AssertionError(f"still running:\n{self.output}") from error
        self._reader.join(DEADLINE)
        return code

    def marked(self) -> list[psutil.Process]:
        """Return all living processes of this launch, wherever they went."""
        found = []
        for process in psutil.process_iter():
            try:
                zombie = process.status() == psutil.STATUS_ZOMBIE
                if not zombie and process.environ().get(MARKER) == self.marker:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def assert_nothing_is_left(self) -> None:
        """Wait until no process of the launch lives."""
        wait_until(lambda: not self.marked(), f"the end of all processes: {self.marked()}")


class Workspace:
    """An ament prefix with the package ``demo``, and ways to launch it."""

    wait_until = staticmethod(wait_until)

    def __init__(self, root: Path) -> None:
        """Create the prefix below ``root``."""
        self.root = root
        self.prefix = root / "prefix"
        self.launch_files = self.prefix / "share/demo/launch"
        index = self.prefix / "share/ament_index/resource_index/packages"
        for folder in (index, self.launch_files, self.prefix / "lib/demo"):
            folder.mkdir(parents=True)
        (index / "demo").touch()
        worker = self.prefix / "lib/demo/worker"
        worker.write_text(WORKER.replace("{python}", sys.executable))
        worker.chmod(0o755)
        self.started: list[Running] = []

    def write(self, body: str, name: str = "test.launch.py") -> Path:
        """Write a launch file that returns the entities in ``body``."""
        path = self.launch_files / name
        text = textwrap.dedent(body).strip()
        if "return" not in text:
            text = f"return LaunchDescription([\n{text}\n])"
        path.write_text(HEADER + textwrap.indent(text, "    ") + "\n")
        return path

    def environment(self) -> dict[str, str]:
        """Return the environment of a command, with a marker of its own."""
        return {
            **os.environ,
            MARKER: uuid.uuid4().hex,
            "AMENT_PREFIX_PATH": str(self.prefix),
            "PYTHONPATH": os.pathsep.join(
                [str(Path(aliases.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
            "ROS_LOG_DIR": str(self.root / "log"),
            "PYTHONUNBUFFERED": "",
        }

    def ros2(self, *arguments: str, terminal: bool = False, shell: str = "") -> Running:
        """Start ``ros2`` with ``arguments``, behind ``shell`` if given."""
        argv = [sys.executable, "-m", "ros2_launch_underlay.command_line", *map(str, arguments)]
        if shell:
            argv = ["/bin/sh", "-c", shell, "sh", *argv]
        running = Running(argv, self.environment(), terminal)
        self.started.append(running)
        return running

    def launch(self, body: str, *arguments: str, **options: Any) -> Running:
        """Write a launch file and start it."""
        return self.ros2("launch", str(self.write(body)), *arguments, **options)

    def output_of(self, body: str, *arguments: str, code: int = 0) -> str:
        """Write a launch file, run it to its end, and return its output."""
        running = self.launch(body, *arguments)
        assert running.exit_code() == code, running.output
        running.assert_nothing_is_left()
        return running.output


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose processes are ended by pid, whatever the test did."""
    workspace = Workspace(tmp_path)
    yield workspace
    for running in workspace.started:
        for process in running.marked():
            process.kill()
