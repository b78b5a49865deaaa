"""The parent of every launched process: it starts them, signals them and outlives the launcher.

The launcher starts one guardian and talks to it over a socket. When the socket closes, because the
launch ended or because the launcher was killed, the guardian ends every process that is left. It
is a subreaper, so processes that lost their parent become its children and are ended too. This
file runs as a script of its own and imports nothing but the standard library.

A request is one line of JSON, ``{"do": "spawn", "id", "argv", "cwd", "env", "timeouts"}`` with the
write ends and the read ends of its stdout and stderr as file descriptors, or
``{"do": "stop", "id"}``. Reports are lines of JSON with the keys ``event`` and ``id``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PRCTL = ctypes.CDLL(None, use_errno=True).prctl
DESCRIPTORS_PER_SPAWN = 4
POLL_PERIOD = 0.05  # seconds between looks while something is being ended


@dataclass
class Escalation:
    """SIGINT now, SIGTERM after the first timeout, SIGKILL after the second (seconds)."""

    timeouts: tuple[float, float]
    due: float = field(default_factory=time.monotonic)
    sent: list[str] = field(default_factory=list)

    def next_signal(self) -> signal.Signals | None:
        """Return the signal that is due now, if one is."""
        if len(self.sent) == 3 or time.monotonic() < self.due:
            return None
        chosen = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[len(self.sent)]
        self.due += (*self.timeouts, 0.0)[len(self.sent)]
        self.sent.append(chosen.name)
        return chosen


@dataclass
class Child:
    """One launched process, the leader of its own process group."""

    process: subprocess.Popen[bytes]
    identifier: int
    timeouts: tuple[float, float]
    read_ends: list[int]
    escalation: Escalation | None = None

    def close(self) -> None:
        """Close the pipes, after the process was reaped by pid."""
        self.process.returncode = 0  # Popen must not wait for it again
        if self.process.stdin is not None:
            self.process.stdin.close()
        for descriptor in self.read_ends:
            os.close(descriptor)


class Guardian:
    """Starts, reaps and ends processes as the launcher asks, and all of them when it is gone."""

    def __init__(self, launcher: socket.socket, launcher_pid: int) -> None:
        """Listen to ``launcher``, the process ``launcher_pid``."""
        self._launcher = launcher
        self._launcher_pid = launcher_pid
        self._launcher_is_there = True
        self._requests = b""
        self._descriptors: list[int] = []
        self._children: dict[int, Child] = {}  # by pid
        self._signalled_groups: set[int] = set()
        self._leftovers = Escalation((0.0, 0.0))  # grows to the longest timeouts of all children
        self._wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the launcher is gone and no process is left."""
        while self._launcher_is_there or self._children or self._end_leftovers():
            self._wait()
            self._reap()
            for child in list(self._children.values()):
                if not self._launcher_is_there:
                    self._stop(child)
                self._escalate(child)

    def _wait(self) -> None:
        """Wait for a request, a signal or the next deadline."""
        sources: list[Any] = [self._wakeup]
        if self._launcher_is_there:
            sources.append(self._launcher)
        ending = any(child.escalation for child in self._children.values())
        patient = self._launcher_is_there and not ending
        ready, _, _ = select.select(sources, [], [], None if patient else POLL_PERIOD)
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        if self._launcher in ready:
            self._receive()
        if os.getppid() != self._launcher_pid:  # even if a fork of it keeps the socket open
            self._launcher_is_there = False

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._launcher, 1 << 16, 64)
        except ConnectionError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        self._launcher_is_there = bool(data)
        *lines, self._requests = (self._requests + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["do"] == "spawn":
                self._spawn(request)
            for child in list(self._children.values()):
                if request["do"] == "stop" and child.identifier == request["id"]:
                    self._stop(child)

    def _spawn(self, request: dict[str, Any]) -> None:
        descriptors = self._descriptors[:DESCRIPTORS_PER_SPAWN]
        del self._descriptors[:DESCRIPTORS_PER_SPAWN]
        out, err, *read_ends = descriptors
        try:
            process = subprocess.Popen(
                request["argv"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=request["cwd"],
                env=request["env"],
                process_group=0,
                preexec_fn=_end_with_the_guardian(os.getpid()),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            for descriptor in read_ends:
                os.close(descriptor)
            self._report(event="failed", id=request["id"], error=str(error))
        else:
            timeouts = (float(request["timeouts"][0]), float(request["timeouts"][1]))
            self._children[process.pid] = Child(process, request["id"], timeouts, read_ends)
            longest = self._leftovers.timeouts
            self._leftovers.timeouts = (max(longest[0], timeouts[0]), max(longest[1], timeouts[1]))
            self._report(event="started", id=request["id"], pid=process.pid)
        finally:
            os.close(out)
            os.close(err)

    def _stop(self, child: Child) -> None:
        if child.escalation is None:
            child.escalation = Escalation(child.timeouts)
            self._signalled_groups.add(child.process.pid)

    def _escalate(self, child: Child) -> None:
        number = child.escalation.next_signal() if child.escalation else None
        if number is not None:
            self._report(event="signal", id=child.identifier, signal=number.name)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, number)

    def _reap(self) -> None:
        """Collect every process that ended: launched ones and orphans that came to us."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                child = self._children.pop(pid, None)
                if child is not None:
                    child.close()
                    code = os.waitstatus_to_exitcode(status)
                    self._report(event="exited", id=child.identifier, returncode=code)

    def _end_leftovers(self) -> bool:
        """Signal the descendants that outlived their launched process; return if any is left."""
        pids = descendants(os.getpid())
        if not pids:
            return False
        if not self._leftovers.sent:
            self._report(event="leftovers", pids=pids)
            self._leftovers.due = time.monotonic()
        number = self._leftovers.next_signal()
        if number is None and len(self._leftovers.sent) == 3:
            number = signal.SIGKILL  # for those that were born since
        if number is None:
            return True
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if number is signal.SIGINT and os.getpgid(pid) in self._signalled_groups:
                    continue  # it had its SIGINT with its group
                os.kill(pid, number)
        return True

    def _report(self, **report: Any) -> None:
        with contextlib.suppress(OSError):  # the launcher is gone: nobody to tell
            self._launcher.sendall(json.dumps(report).encode() + b"\n")


def _end_with_the_guardian(guardian: int) -> Any:
    """Return what a child does before exec: die with the guardian, even if that is killed."""

    def before_exec() -> None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:  # it died before the request took effect
            os._exit(1)

    return before_exec


def descendants(root: int) -> list[int]:
    """Return the pids of all living processes below ``root``, parents first."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                state, parent = stat.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def main() -> None:
    """Guard the launcher: the arguments are the descriptor of its socket and its pid."""
    PRCTL(PR_SET_CHILD_SUBREAPER, 1)
    # Caught, not ignored: the launcher decides when to end, and children get the default back.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    PRCTL(PR_SET_PDEATHSIG, signal.SIGCHLD)  # wakes the loop, which looks who its parent is
    Guardian(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
