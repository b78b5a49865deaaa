"""A process of the launch: its command line, its output, its end and its restarts."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

from ros2_launch_underlay.actions import Action, Condition, is_true, launch_setting, seconds
from ros2_launch_underlay.context import LaunchContext
from ros2_launch_underlay.events import (
    BaseEventHandler,
    Event,
    OnProcessExit,
    ProcessExited,
    ProcessStarted,
    ShutdownProcess,
)
from ros2_launch_underlay.output import destinations
from ros2_launch_underlay.refusal import LaunchError
from ros2_launch_underlay.substitutions import SomeSubstitutionsType, perform

SIGTERM_TIMEOUT = 5  # seconds after SIGINT, as in the real launch
SIGKILL_TIMEOUT = 5  # seconds after SIGTERM


class ExecuteProcess(Action):
    """Start a process; the launch goes on until it ended."""

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        name: SomeSubstitutionsType | None = None,
        prefix: SomeSubstitutionsType | None = None,
        cwd: SomeSubstitutionsType | None = None,
        env: dict[Any, SomeSubstitutionsType] | None = None,
        additional_env: dict[Any, SomeSubstitutionsType] | None = None,
        shell: bool = False,
        output: Any = "log",
        emulate_tty: bool = False,
        sigterm_timeout: SomeSubstitutionsType | float | None = None,
        sigkill_timeout: SomeSubstitutionsType | float | None = None,
        on_exit: Any = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        condition: Condition | None = None,
    ) -> None:
        """Run ``cmd``, of which each item is one argument.

        ``name`` is the label (default: the executable's name), ``output`` is ``log``, ``screen``,
        ``both`` or a dict of these per stream, ``on_exit`` is visited at every exit, and
        ``respawn_max_retries`` below zero means endless. Times are in seconds.
        """
        super().__init__(condition=condition)
        self.cmd = list(cmd)
        self.name = name
        self.prefix = prefix
        self.cwd = cwd
        self.env = env
        self.additional_env = additional_env
        self.shell = shell
        self.output = output
        self.emulate_tty = emulate_tty
        self.sigterm_timeout = sigterm_timeout
        self.sigkill_timeout = sigkill_timeout
        self.on_exit = on_exit
        self.respawn = respawn
        self.respawn_delay = respawn_delay
        self.respawn_max_retries = respawn_max_retries
        self.process_details: dict[str, Any] | None = None
        self.return_code: int | None = None

    def argv(self, context: LaunchContext) -> list[str]:
        """Return the command line without the prefix."""
        return [perform(context, item) for item in self.cmd]

    def execute(self, context: LaunchContext) -> None:
        """Resolve everything that depends on the context, and schedule the start."""
        if self.process_details is not None:
            raise LaunchError(f"process '{self.process_details['name']}' is visited twice")
        argv = self._prefixed(context, self.argv(context))
        name = os.path.basename(argv[0]) if self.name is None else perform(context, self.name)
        env = dict(context.environment) if self.env is None else _perform_dict(context, self.env)
        self.process_details = {
            "action": self,
            "name": context.next_label(name),
            "cmd": argv,
            "cwd": None if self.cwd is None else perform(context, self.cwd),
            "env": env | _perform_dict(context, self.additional_env or {}),
            "pid": 0,
        }
        run = ProcessRun(self, context, self.process_details)
        if context.is_shutdown or context.asyncio_loop is None:
            return
        context.register_event_handler(OnProcessExit(target_action=self, on_exit=self.on_exit))
        context.register_event_handler(
            OnProcessExit(target_action=self, on_exit=run.respawn_or_end), append=True
        )
        context.register_event_handler(
            BaseEventHandler(
                matcher=lambda event: (
                    isinstance(event, ShutdownProcess) and event.process_matcher(self)
                ),
                reaction=run.shut_down,
            )
        )
        context.hold(self)
        context.processes.append(run)
        # Not now: if the rest of the description turns out to be wrong, nothing has started.
        context.asyncio_loop.call_soon(run.start)

    def _prefixed(self, context: LaunchContext, argv: list[str]) -> list[str]:
        """Return ``argv`` behind the prefix; one from the command line can have a filter."""
        prefix = self.prefix
        if prefix is None:
            pattern = context.launch_configurations.get("launch-prefix-filter", "")
            if not re.match(pattern, os.path.basename(argv[0])):
                return argv
            prefix = context.launch_configurations.get("launch-prefix", "")
        return [*shlex.split(perform(context, prefix)), *argv]


class ProcessRun:
    """One process action while the launch runs: the current process and its restarts."""

    def __init__(
        self, action: ExecuteProcess, context: LaunchContext, details: dict[str, Any]
    ) -> None:
        """Resolve what of ``action`` depends on the context."""
        self._action = action
        self._context = context
        self._details = details
        self._label = details["name"]
        self._identifier: int | None = None
        self._readers: list[OutputReader] = []
        self._retries_left = action.respawn_max_retries
        self._is_shut_down = False
        respawn = action.respawn
        self._respawn = respawn if isinstance(respawn, bool) else is_true(context, respawn)
        tty = context.launch_configurations.get("emulate_tty")
        self._emulate_tty = action.emulate_tty if tty is None else is_true(context, tty)
        output = action.output
        self._destinations = destinations(
            output if isinstance(output, dict) else perform(context, output)
        )
        self._timeouts = (
            self._timeout("sigterm_timeout", action.sigterm_timeout, SIGTERM_TIMEOUT),
            self._timeout("sigkill_timeout", action.sigkill_timeout, SIGKILL_TIMEOUT),
        )

    def _timeout(self, name: str, value: Any, default: float) -> float:
        value = launch_setting(name, default) if value is None else value
        return seconds(self._context, value, name)

    def start(self) -> None:
        """Start the process, unless it or the launch is to end."""
        context, details = self._context, self._details
        is_ending = context.is_shutdown or self._is_shut_down
        if is_ending or context.guardian is None or context.asyncio_loop is None:
            context.release(self._action)
            return
        pairs = [os.openpty() if self._emulate_tty else os.pipe() for _ in range(2)]
        read_ends, write_ends = zip(*pairs, strict=True)
        shell = ["/bin/sh", "-c", " ".join(details["cmd"])]
        try:
            self._identifier = context.guardian.spawn(
                self,
                argv=shell if self._action.shell else details["cmd"],
                cwd=details["cwd"],
                env=details["env"],
                timeouts=self._timeouts,
                descriptors=[*write_ends, *read_ends],
            )
        finally:
            for descriptor in write_ends:
                os.close(descriptor)
        self._readers = [
            OutputReader(context, descriptor, self._label, self._destinations[stream])
            for descriptor, stream in zip(read_ends, ("stdout", "stderr"), strict=True)
        ]

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._identifier is not None and self._context.guardian is not None:
            self._context.guardian.stop(self._identifier)

    def on_started(self, pid: int) -> None:
        """Say so."""
        self._details["pid"] = pid
        self._say("INFO", f"process started with pid [{pid}]")
        self._context.emit_event_sync(ProcessStarted(**self._details))

    def on_failed(self, error: str) -> None:
        """End the launch: a process that cannot be started is an error of the description."""
        self._identifier = None
        self._context.release(self._action)
        if self._context.asyncio_loop is not None:
            message = f"process[{self._label}] cannot be started: {error}"
            self._context.asyncio_loop.call_exception_handler(
                {"message": message, "exception": LaunchError(message)}
            )

    def on_signal(self, name: str) -> None:
        """Say which signal follows, and why."""
        before = {"SIGTERM": ("SIGINT", 0), "SIGKILL": ("SIGTERM", 1)}
        if name in before:
            previous, index = before[name]
            self._say(
                "ERROR",
                f"process[{self._label}] failed to terminate '{self._timeouts[index]}' seconds "
                f"after receiving '{previous}', escalating to '{name}'",
            )
        self._say("INFO", f"sending signal '{name}' to process[{self._label}]")

    def on_exited(self, returncode: int) -> None:
        """Write what the process left in its pipes, say how it ended and emit the event."""
        for reader in self._readers:
            reader.finish()
        self._identifier = None
        self._action.return_code = returncode
        pid = self._details["pid"]
        if returncode == 0:
            self._say("INFO", f"process has finished cleanly [pid {pid}]")
        else:
            cmd = " ".join(part for part in self._details["cmd"] if part.strip())
            self._say(
                "ERROR", f"process has died [pid {pid}, exit code {returncode}, cmd '{cmd}']."
            )
        self._context.emit_event_sync(ProcessExited(returncode=returncode, **self._details))

    def respawn_or_end(self, _event: Event, context: LaunchContext) -> None:
        """Start again if that is wanted; the last handler of the process's exit."""
        loop = context.asyncio_loop
        is_ending = context.is_shutdown or self._is_shut_down
        if self._respawn and self._retries_left != 0 and not is_ending and loop:
            self._retries_left -= 1
            loop.call_later(self._action.respawn_delay or 0.0, self.start)
        else:
            context.release(self._action)

    def shut_down(self, _event: Event, _context: LaunchContext) -> None:
        """End the process, or the wait for its restart, for good."""
        self._is_shut_down = True
        self.stop()
        self.abandon_wait()

    def abandon_wait(self) -> None:
        """Release the launch if the process does not run: a restart no longer comes."""
        if self._identifier is None:
            self._context.release(self._action)

    def _say(self, level: str, message: str) -> None:
        self._context.log.say(level, self._label, message)


class OutputReader:
    """Reads one stream of a process and writes its lines behind the process's label."""

    def __init__(
        self, context: LaunchContext, descriptor: int, label: str, where: set[str]
    ) -> None:
        """Read ``descriptor``, which is closed at its end."""
        self._context = context
        self._descriptor = descriptor
        self._label = label
        self._where = where
        self._rest = b""
        self._is_open = True
        os.set_blocking(descriptor, False)
        if context.asyncio_loop is not None:
            context.asyncio_loop.add_reader(descriptor, self.read)

    def read(self) -> bool:
        """Write the lines that are there; return whether there may be more."""
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return False
        except OSError:  # a pseudo terminal reports its end so
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._write(line)
        if not data:
            self.close()
        return bool(data)

    def finish(self) -> None:
        """Write everything that is there, an unfinished last line included."""
        while self._is_open and self.read():
            pass
        if self._rest:
            self._write(self._rest)
            self._rest = b""

    def close(self) -> None:
        """Stop reading."""
        if self._is_open and self._context.asyncio_loop is not None:
            self._is_open = False
            self._context.asyncio_loop.remove_reader(self._descriptor)
            with contextlib.suppress(OSError):
                os.close(self._descriptor)

    def _write(self, line: bytes) -> None:
        text = line.removesuffix(b"\r").decode(errors="replace")
        self._context.log.line(f"[{self._label}] {text}", self._where)


def _perform_dict(
    context: LaunchContext, values: dict[Any, SomeSubstitutionsType]
) -> dict[str, str]:
    return {perform(context, name): perform(context, value) for name, value in values.items()}
