"""The launcher's end of the socket to the guardian, which owns all processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ros2_launch_underlay import guardian
from ros2_launch_underlay.output import Log
from ros2_launch_underlay.refusal import LaunchError


class GuardedProcess(Protocol):
    """What the reports about a process are delivered to."""

    def on_started(self, pid: int) -> None:
        """It runs."""

    def on_failed(self, error: str) -> None:
        """It could not be started."""

    def on_signal(self, name: str) -> None:
        """It is about to get a signal."""

    def on_exited(self, returncode: int) -> None:
        """It ended."""


class GuardianClient:
    """Starts the guardian, passes requests to it and delivers its reports."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log) -> None:
        """Start the guardian, in a session of its own so that no terminal signals it."""
        self._loop = loop
        self._log = log
        self._processes: list[GuardedProcess] = []  # by identifier
        self._pids: dict[int, int] = {}  # of running processes, by identifier
        self._reports = b""
        self._is_ending = False
        self.ended = loop.create_future()
        script = str(Path(guardian.__file__).resolve())
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", script, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        loop.add_reader(self._socket.fileno(), self._receive)

    def spawn(
        self,
        process: GuardedProcess,
        *,
        argv: list[str],
        cwd: str | None,
        env: dict[str, str],
        timeouts: tuple[float, float],
        descriptors: Sequence[int],
    ) -> int:
        """Ask for a process and return its identifier.

        ``descriptors`` are the write ends, then the read ends, of stdout and stderr.
        """
        self._processes.append(process)
        identifier = len(self._processes) - 1
        request = {"do": "spawn", "id": identifier, "argv": argv, "cwd": cwd, "env": env}
        self._send({**request, "timeouts": timeouts}, descriptors)
        return identifier

    def stop(self, identifier: int) -> None:
        """Ask for the process to be ended: SIGINT, then SIGTERM, then SIGKILL."""
        self._send({"do": "stop", "id": identifier})

    async def end(self) -> None:
        """End all processes that are left, and the guardian."""
        self._is_ending = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        await self.ended
        self._guardian.wait()
        self._socket.close()

    def _send(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        data = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(self._socket, [data], descriptors)
            self._socket.sendall(data[sent:])
        except OSError as error:
            raise LaunchError(f"the guardian of the processes is gone: {error}") from error

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self._on_end()
            return
        *lines, self._reports = (self._reports + data).split(b"\n")
        for line in lines:
            self._deliver(json.loads(line))

    def _deliver(self, report: dict[str, Any]) -> None:
        if report["event"] == "leftovers":
            pids = ", ".join(map(str, report["pids"]))
            self._log.say("WARNING", "launch", f"ending processes that were left behind: {pids}")
            return
        identifier = report["id"]
        process = self._processes[identifier]
        match report["event"]:
            case "started":
                self._pids[identifier] = report["pid"]
                process.on_started(report["pid"])
            case "failed":
                process.on_failed(report["error"])
            case "signal":
                process.on_signal(report["signal"])
            case "exited":
                del self._pids[identifier]
                process.on_exited(report["returncode"])

    def _on_end(self) -> None:
        """The guardian ended: as it was asked to, or because somebody killed it."""
        self._loop.remove_reader(self._socket.fileno())
        self.ended.set_result(None)
        if self._is_ending:
            return
        self._log.say("ERROR", "launch", "the guardian of the processes was killed")
        for identifier, pid in list(self._pids.items()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._deliver({"event": "exited", "id": identifier, "returncode": -signal.SIGKILL})
