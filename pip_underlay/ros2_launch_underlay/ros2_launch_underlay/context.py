"""What entities see while they are visited: configurations, environment, locals and events."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ros2_launch_underlay.output import Log

if TYPE_CHECKING:
    from ros2_launch_underlay.events import BaseEventHandler, Event
    from ros2_launch_underlay.guardian_client import GuardianClient
    from ros2_launch_underlay.substitutions import Substitution


class LaunchContext:
    """State of one launch. The environment is the launcher's own, as in the real launch."""

    def __init__(
        self,
        *,
        argv: Iterable[str] | None = None,
        noninteractive: bool = False,
        log: Log | None = None,
    ) -> None:
        """Start with no configurations and no handlers."""
        self.argv = list(argv or ())
        self.noninteractive = noninteractive
        self.log = log or Log()
        self.launch_configurations: dict[str, Any] = {}
        self.environment: MutableMapping[str, str] = os.environ
        self.is_shutdown = False
        self.required_process_failed = False
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self.guardian: GuardianClient | None = None
        self.processes: list[Any] = []
        self.cleanups: list[Callable[[], None]] = []
        self.events: deque[Event] = deque()
        self.event_handlers: deque[BaseEventHandler] = deque()
        self.changed = asyncio.Event()
        self._holders: list[Any] = []
        self._locals: dict[str, Any] = {}
        self._saved_locals: list[dict[str, Any]] = []
        self._saved: list[tuple[dict[str, Any], dict[str, str]]] = []
        self._labels = 0

    def perform_substitution(self, substitution: Substitution) -> str:
        """Return the text of ``substitution``."""
        return substitution.perform(self)

    @property
    def locals(self) -> SimpleNamespace:
        """The locals, as attributes: ``context.locals.event`` in an event handler."""
        return SimpleNamespace(**self._locals)

    def get_locals_as_dict(self) -> dict[str, Any]:
        """Return a copy of the locals."""
        return dict(self._locals)

    def extend_locals(self, values: dict[str, Any]) -> None:
        """Add locals, which last until the handling of the current event ends."""
        self._locals.update(values)

    def push_locals(self) -> None:
        """Remember the locals."""
        self._saved_locals.append(dict(self._locals))

    def pop_locals(self) -> None:
        """Restore the locals."""
        self._locals = self._saved_locals.pop()

    def push_scope(self) -> None:
        """Remember the configurations and the environment (shallow, as the real launch does)."""
        self._saved.append((dict(self.launch_configurations), dict(self.environment)))

    def pop_scope(self) -> None:
        """Restore the configurations and the environment."""
        self.launch_configurations, environment = self._saved.pop()
        self.environment.clear()
        self.environment.update(environment)

    def next_label(self, name: str) -> str:
        """Return ``name-N`` with a number that counts all processes of the launch."""
        self._labels += 1
        return f"{name}-{self._labels}"

    def register_event_handler(self, handler: BaseEventHandler, append: bool = False) -> None:
        """Call ``handler`` before the older ones (or after them, with ``append``)."""
        if append:
            self.event_handlers.append(handler)
        else:
            self.event_handlers.appendleft(handler)

    def unregister_event_handler(self, handler: BaseEventHandler) -> None:
        """Forget ``handler``."""
        self.event_handlers.remove(handler)

    def emit_event_sync(self, event: Event) -> None:
        """Queue ``event``."""
        self.events.append(event)
        self.changed.set()

    def hold(self, entity: Any) -> None:
        """Keep the launch running until ``entity`` is released."""
        self._holders.append(entity)

    def release(self, entity: Any) -> None:
        """Allow the launch to end without ``entity``."""
        if entity in self._holders:
            self._holders.remove(entity)
        self.changed.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, waits or is queued."""
        return not self._holders and not self.events
