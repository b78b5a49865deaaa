"""Events, and the handlers that launch files register for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ros2_launch_underlay.refusal import LaunchError, NamesItsKeywords

if TYPE_CHECKING:
    from ros2_launch_underlay.context import LaunchContext


class Event(NamesItsKeywords):
    """Base of all events."""


class Shutdown(Event):
    """The launch ends."""

    def __init__(self, *, reason: str = "reason not given", due_to_sigint: bool = False) -> None:
        """Name the reason."""
        self.reason = reason
        self.due_to_sigint = due_to_sigint


class TimerEvent(Event):
    """A timer's period is over."""

    def __init__(self, *, timer_action: Any) -> None:
        """Name the timer."""
        self.timer_action = timer_action


class ProcessEvent(Event):
    """Something happened to a process."""

    def __init__(
        self,
        *,
        action: Any,
        name: str,
        cmd: list[str],
        cwd: str | None,
        env: dict[str, str],
        pid: int,
    ) -> None:
        """Describe the process."""
        self.action = action
        self.process_name = name
        self.cmd = cmd
        self.cwd = cwd
        self.env = env
        self.pid = pid


class ProcessStarted(ProcessEvent):
    """A process started."""


class ProcessExited(ProcessEvent):
    """A process ended; ``returncode`` is negative for a signal."""

    def __init__(self, *, returncode: int, **process: Any) -> None:
        """Add the return code."""
        super().__init__(**process)
        self.returncode = returncode


class ShutdownProcess(Event):
    """Processes are to end, and not to be started again."""

    def __init__(self, *, process_matcher: Callable[[Any], bool]) -> None:
        """Name them by what ``process_matcher`` says of their actions."""
        self.process_matcher = process_matcher


def matches_action(target_action: Any) -> Callable[[Any], bool]:
    """Return a matcher for ``target_action`` alone."""
    return lambda action: action is target_action


class BaseEventHandler(NamesItsKeywords):
    """Calls something for the events that match, once or always."""

    def __init__(
        self,
        *,
        matcher: Callable[[Event], bool],
        reaction: Any,
        handle_once: bool = False,
    ) -> None:
        """Use ``reaction``, which is entities or a callable of the event and the context."""
        self.matches = matcher
        self.reaction = reaction
        self.handle_once = handle_once

    def handle(self, event: Event, context: LaunchContext) -> list[Any]:
        """Return the entities to visit."""
        context.extend_locals({"event": event})
        if self.handle_once:
            context.unregister_event_handler(self)
        return entities(self.reaction(event, context) if callable(self.reaction) else self.reaction)


def entities(value: Any) -> list[Any]:
    """Return one entity, several or None as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) else [value]


class _OnProcess(BaseEventHandler):
    """Base of the handlers for one process, for those that a callable accepts, or for all."""

    event_type: type[ProcessEvent]

    def __init__(self, target_action: Any, reaction: Any, handle_once: bool) -> None:
        """Match by action."""
        is_process = hasattr(target_action, "process_details")
        if not (target_action is None or is_process or callable(target_action)):
            raise LaunchError(
                f"{type(self).__name__}(target_action=…) expects a process action such as Node, "
                f"or a callable, got {target_action!r}"
            )

        def matches(event: Event) -> bool:
            if not isinstance(event, self.event_type):
                return False
            if is_process or target_action is None:
                return target_action in (None, event.action)
            return bool(target_action(event.action))

        super().__init__(matcher=matches, reaction=reaction, handle_once=handle_once)


class OnProcessExit(_OnProcess):
    """Visit ``on_exit`` when a process ended."""

    event_type = ProcessExited

    def __init__(
        self, *, target_action: Any = None, on_exit: Any, handle_once: bool = False
    ) -> None:
        """Handle the exits of ``target_action``, or of every process."""
        super().__init__(target_action, on_exit, handle_once)


class OnProcessStart(_OnProcess):
    """Visit ``on_start`` when a process started."""

    event_type = ProcessStarted

    def __init__(
        self, *, target_action: Any = None, on_start: Any, handle_once: bool = False
    ) -> None:
        """Handle the starts of ``target_action``, or of every process."""
        super().__init__(target_action, on_start, handle_once)


class OnShutdown(BaseEventHandler):
    """Visit ``on_shutdown`` when the launch ends."""

    def __init__(self, *, on_shutdown: Any, handle_once: bool = False) -> None:
        """Handle the end, however it came."""
        super().__init__(
            matcher=lambda event: isinstance(event, Shutdown),
            reaction=on_shutdown,
            handle_once=handle_once,
        )
