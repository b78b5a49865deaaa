"""Programs and ROS nodes as whole-system tests use them."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from rclpy.node import Node

from sac_msgs.msg import ActorStatus, LearnerStatus
from sac_ros import qos

ROOT = Path(__file__).resolve().parents[1]
LOG = r"\[sac_learner\]: "  # what precedes a message of the learner


class Program:
    """A started command whose output is read line by line while it runs."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = self._start(command, cwd)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self, command: list[str], cwd: Path) -> subprocess.Popen[str]:
        # A session of its own: what it starts can be found, and ended, by it.
        return subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _output_lines(self) -> Iterator[str]:
        assert self.process.stdout is not None
        yield from self.process.stdout

    def _read(self) -> None:
        for line in self._output_lines():
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, timeout: float = 60.0, after: int = 0) -> re.Match[str]:
        """The first match of `pattern` in a line; fails when the output ends or time runs out.

        The first `after` lines do not count.
        """
        seen = after
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0.0:
                    why = "ended" if self._ended else f"did not within {timeout:g} s"
                    pytest.fail(f"waiting for {pattern!r}: the program {why}\n{self.output}")
                self._news.wait(left)

    def wait(self, timeout: float = 60.0) -> int:
        """The exit status, once it ends by itself."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not end within {timeout:g} s\n{self.output}")
        self._reader.join(timeout)
        return status

    def interrupt(self, timeout: float = 60.0) -> int:
        """Ctrl-C, and the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.wait(timeout)

    def descendants(self) -> list[psutil.Process]:
        """Every live process below it."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def end(self) -> None:
        """End it and all that it started, whatever state it is in."""
        processes = self.descendants()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in processes:
            if process.is_running():
                process.kill()
        self._reader.join(10.0)


Start = Callable[..., Program]


def gym_train(start: Start, *arguments: str) -> Program:
    return start("ros2", "launch", "sac_bringup", "gym_train.launch.py", *arguments)


def spin_until(node: Node, condition: Callable[[], bool], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        node.executor.spin_once(timeout_sec=0.2)


def call(node: Node, kind: type, name: str, request: object) -> object:
    resolved = node.resolve_service_name(name)
    known = (c for c in node.clients if c.srv_type is kind and c.service_name == resolved)
    client = next(known, None) or node.create_client(kind, name)
    assert client.wait_for_service(timeout_sec=60.0), f"no service {name}"
    # An answer to a client that the server has not discovered yet is lost, on a loaded machine.
    futures = [client.call_async(request)]
    asked = time.monotonic()

    def answered() -> bool:
        nonlocal asked
        if time.monotonic() - asked > 20.0:
            asked = time.monotonic()
            futures.append(client.call_async(request))
        return any(future.done() for future in futures)

    spin_until(node, answered, 60.0, name)
    return next(future.result() for future in futures if future.done())


class Statuses:
    """The newest status of learner and actor."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.learner, self.actor = LearnerStatus(), ActorStatus()
        node.create_subscription(LearnerStatus, "sac/learner/status", self._on_learner, qos.STATUS)
        node.create_subscription(ActorStatus, "sac/actor/status", self._on_actor, qos.STATUS)

    def _on_learner(self, status: LearnerStatus) -> None:
        self.learner = status

    def _on_actor(self, status: ActorStatus) -> None:
        self.actor = status

    def train_on(self, steps: int = 20) -> None:
        """Wait until the learner is `steps` further, and has more rows."""
        before = self.learner
        spin_until(
            self._node,
            lambda: (
                self.learner.step > before.step + steps
                and self.learner.transitions > before.transitions
            ),
            120.0,
            "training goes on",
        )
