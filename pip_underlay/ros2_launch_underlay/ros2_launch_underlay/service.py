"""The launch itself: visits entities, handles events, and ends everything it started."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Iterable

from ros2_launch_underlay import events
from ros2_launch_underlay.actions import LaunchDescription, LaunchDescriptionEntity, checked_entity
from ros2_launch_underlay.context import LaunchContext
from ros2_launch_underlay.guardian_client import GuardianClient
from ros2_launch_underlay.output import Log
from ros2_launch_underlay.refusal import LaunchError


class LaunchService:
    """Runs launch descriptions until nothing is left to do."""

    def __init__(
        self,
        *,
        argv: Iterable[str] | None = None,
        noninteractive: bool = False,
        debug: bool = False,
    ) -> None:
        """Prepare; ``debug`` adds the traceback to an error of the launch."""
        self._log = Log(debug=debug)
        self.context = LaunchContext(argv=argv, noninteractive=noninteractive, log=self._log)
        self._descriptions: list[LaunchDescription] = []
        self._interrupted = False

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Visit ``launch_description`` when the launch runs."""
        self._descriptions.append(launch_description)

    def run(self) -> int:
        """Run to the end and return the exit code.

        It is 1 if the launch itself failed or a required process did, else 0. What else a launch
        file raises comes out of here, after it was shown and everything was ended.
        """
        self._log.open()
        try:
            asyncio.run(self._run())
        except (LaunchError, ImportError):  # shown already
            if self._log.debug:
                traceback.print_exc()
            return 1
        finally:
            self._log.close()
        return int(self.context.required_process_failed)

    def shutdown(self, reason: str = "LaunchService.shutdown() called") -> None:
        """End the launch in order."""
        if not self.context.is_shutdown:
            self.context.is_shutdown = True
            self.context.emit_event_sync(events.Shutdown(reason=reason))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self.context.asyncio_loop = loop
        self._failure: asyncio.Future[None] = loop.create_future()
        loop.set_exception_handler(self._on_callback_failure)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started with nohup
            loop.add_signal_handler(number, self._on_signal, number)
        self.context.guardian = GuardianClient(loop, self._log)
        try:
            for description in self._descriptions:
                self._visit(description)
            await self._serve()
        except BaseException as error:
            kind = (
                "" if isinstance(error, LaunchError | ImportError) else f"{type(error).__name__}: "
            )
            self._log.say("ERROR", "launch", f"Caught exception in launch: {kind}{error}")
            self.shutdown(reason=str(error))
            await self._serve()
            raise
        finally:
            await self.context.guardian.end()
            for cleanup in self.context.cleanups:
                cleanup()

    async def _serve(self) -> None:
        """Handle events until the launch is idle and shut down."""
        context = self.context
        while True:
            context.changed.clear()
            while context.events:
                self._handle(context.events.popleft())
            if self._failure.done():
                failure, self._failure = self._failure, asyncio.Future()
                failure.result()
            if context.is_idle and context.is_shutdown:
                return
            if context.is_idle:
                self.shutdown(reason="idle")
            await context.changed.wait()

    def _handle(self, event: events.Event) -> None:
        context = self.context
        if isinstance(event, events.Shutdown):
            context.is_shutdown = True
        try:
            for handler in list(context.event_handlers):
                if handler.matches(event):
                    context.push_locals()
                    for entity in handler.handle(event, context):
                        self._visit(entity)
                    context.pop_locals()
        finally:
            if isinstance(event, events.Shutdown):
                for process in context.processes:
                    process.stop()
                    process.abandon_wait()

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        """Visit ``entity`` and, depth first, what it returns."""
        for sub_entity in checked_entity(entity).visit(self.context) or ():
            self._visit(sub_entity)

    def _on_signal(self, number: signal.Signals) -> None:
        text = "ctrl-c (SIGINT)" if number is signal.SIGINT else number.name
        if self._interrupted:
            self._log.say("WARNING", "launch", f"user interrupted with {text} again, ignoring...")
            return
        self._interrupted = True
        self._log.say("WARNING", "launch", f"user interrupted with {text}")
        self.shutdown(reason=text)

    def _on_callback_failure(
        self, loop: asyncio.AbstractEventLoop, details: dict[str, object]
    ) -> None:
        """Hand the error of a scheduled call to :meth:`_serve`, which ends the launch."""
        error = details.get("exception")
        if isinstance(error, BaseException) and not self._failure.done():
            self._failure.set_exception(error)
            self.context.changed.set()
        else:
            loop.default_exception_handler(details)
