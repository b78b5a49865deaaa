"""The actions of ``launch``, all but the process, and the description that holds them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ros2_launch_underlay import events
from ros2_launch_underlay.context import LaunchContext
from ros2_launch_underlay.events import BaseEventHandler, Event, ProcessExited, TimerEvent
from ros2_launch_underlay.refusal import LaunchError, NamesItsKeywords
from ros2_launch_underlay.substitutions import (
    LaunchConfiguration,
    SomeSubstitutionsType,
    Substitution,
    perform,
)


class LaunchDescriptionEntity(NamesItsKeywords):
    """Base of what a launch description can hold."""

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Do it, and return what to visit next."""
        raise NotImplementedError

    def sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        """Return what is known, before launching, to be visited next."""
        return ()


def checked_entity(entity: Any) -> LaunchDescriptionEntity:
    """Return ``entity`` if a launch description can hold it."""
    if not isinstance(entity, LaunchDescriptionEntity):
        raise LaunchError(f"expected an action or a launch description, got {entity!r}")
    return entity


class Condition(NamesItsKeywords):
    """Whether an action is visited."""

    def __init__(self, predicate: Callable[[LaunchContext], bool]) -> None:
        """Ask ``predicate``."""
        self.evaluate = predicate


class IfCondition(Condition):
    """Visit where the expression is ``true`` or ``1``; only ``false`` and ``0`` mean no."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        """Evaluate ``predicate_expression`` at the visit."""
        super().__init__(lambda context: is_true(context, predicate_expression))


class UnlessCondition(Condition):
    """Visit where the expression is ``false`` or ``0``; only ``true`` and ``1`` mean no."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        """Evaluate ``predicate_expression`` at the visit."""
        super().__init__(lambda context: not is_true(context, predicate_expression))


def is_true(context: LaunchContext, expression: SomeSubstitutionsType) -> bool:
    """Return the truth value that ``expression`` spells."""
    text = perform(context, expression)
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.strip().lower() not in values:
        raise LaunchError(f"condition '{text}' is not one of {', '.join(values)}")
    return values[text.strip().lower()]


class Action(LaunchDescriptionEntity):
    """Base of the actions."""

    def __init__(self, *, condition: Condition | None = None) -> None:
        """Execute where ``condition`` holds."""
        self.condition = condition

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Execute, if the condition holds."""
        if self.condition is None or self.condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Do it, and return what to visit next."""
        raise NotImplementedError


class LaunchDescription(LaunchDescriptionEntity):
    """What a launch file returns."""

    def __init__(self, initial_entities: Iterable[LaunchDescriptionEntity] | None = None) -> None:
        """Hold ``initial_entities``."""
        self.entities = list(initial_entities or ())

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity]:
        """Return the entities."""
        return self.entities

    def sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        """Return the entities."""
        return self.entities

    def add_action(self, action: LaunchDescriptionEntity) -> None:
        """Append ``action``."""
        self.entities.append(action)

    add_entity = add_action

    def get_launch_arguments(self) -> list[DeclareLaunchArgument]:
        """Return the declared arguments, those of includes that can be loaded now included."""
        found: dict[str, DeclareLaunchArgument] = {}
        for declaration, _ in self.declarations():
            found.setdefault(declaration.name, declaration)
        return list(found.values())

    def declarations(self) -> Iterator[tuple[DeclareLaunchArgument, list[Action]]]:
        """Yield each declaration with the actions that lead to it, outermost first."""

        def walk(
            entity: LaunchDescriptionEntity, path: list[Action], conditional: bool
        ) -> Iterator[tuple[DeclareLaunchArgument, list[Action]]]:
            checked_entity(entity)
            conditional = conditional or getattr(entity, "condition", None) is not None
            if isinstance(entity, DeclareLaunchArgument):
                entity.conditionally_included = conditional
                yield entity, path
            below = [*path, entity] if isinstance(entity, Action) else path
            for sub_entity in entity.sub_entities():
                yield from walk(sub_entity, below, conditional)

        return walk(self, [], False)


class DeclareLaunchArgument(Action):
    """An argument of a launch file, kept in the launch configuration of the same name."""

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: list[str] | None = None,
        condition: Condition | None = None,
    ) -> None:
        """Declare ``name``; without a ``default_value`` it is required."""
        super().__init__(condition=condition)
        self.name = name
        self.default_value = default_value
        self.choices = choices
        self.conditionally_included = False
        self.description = description or ("" if choices else "no description given")
        if choices is not None:
            self.description = _describe_choices(description, choices)
            if isinstance(default_value, str) and default_value not in choices:
                raise LaunchError(
                    f"argument '{name}': default '{default_value}' is none of {choices}"
                )

    def execute(self, context: LaunchContext) -> None:
        """Set the configuration to the default where it is not set, and check the choices."""
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise LaunchError(
                    f"Required launch argument '{self.name}' (description: "
                    f"'{self.description}') was not provided"
                )
            context.launch_configurations[self.name] = perform(context, self.default_value)
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise LaunchError(
                f'Argument "{self.name}" provided value "{value}" is not valid. '
                f"Valid options are: {self.choices}"
            )


def _describe_choices(description: str | None, choices: list[str]) -> str:
    if description is None:
        return f"One of: {choices}"
    stop = "" if description.endswith(".") else "."
    return f"{description}{stop} Valid choices are: {choices}"


class SetLaunchConfiguration(Action):
    """Set a launch configuration."""

    def __init__(
        self,
        name: SomeSubstitutionsType,
        value: SomeSubstitutionsType,
        *,
        condition: Condition | None = None,
    ) -> None:
        """Set ``name`` to ``value`` at the visit."""
        super().__init__(condition=condition)
        self.name = name
        self.value = value

    def execute(self, context: LaunchContext) -> None:
        """Set it."""
        name = perform(context, self.name)
        context.launch_configurations[name] = perform(context, self.value)


class SetEnvironmentVariable(Action):
    """Set an environment variable of the launcher, and so of what it starts later."""

    def __init__(
        self,
        name: SomeSubstitutionsType,
        value: SomeSubstitutionsType,
        *,
        condition: Condition | None = None,
    ) -> None:
        """Set ``name`` to ``value`` at the visit."""
        super().__init__(condition=condition)
        self.name = name
        self.value = value

    def execute(self, context: LaunchContext) -> None:
        """Set it."""
        context.environment[perform(context, self.name)] = perform(context, self.value)


class UnsetEnvironmentVariable(Action):
    """Remove an environment variable of the launcher."""

    def __init__(self, name: SomeSubstitutionsType, *, condition: Condition | None = None) -> None:
        """Remove ``name`` at the visit."""
        super().__init__(condition=condition)
        self.name = name

    def execute(self, context: LaunchContext) -> None:
        """Remove it."""
        context.environment.pop(perform(context, self.name), None)


class LogInfo(Action):
    """Write a line to the screen and the log."""

    def __init__(self, *, msg: SomeSubstitutionsType, condition: Condition | None = None) -> None:
        """Write ``msg`` at the visit."""
        super().__init__(condition=condition)
        self.msg = msg

    def execute(self, context: LaunchContext) -> None:
        """Write it."""
        context.log.say("INFO", "launch.user", perform(context, self.msg))


class OpaqueFunction(Action):
    """Call a function of the launch file with the context."""

    def __init__(
        self,
        *,
        function: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        condition: Condition | None = None,
    ) -> None:
        """Call ``function(context, *args, **kwargs)`` at the visit; it may return entities."""
        super().__init__(condition=condition)
        self.call = lambda context: function(context, *(args or ()), **(kwargs or {}))

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity]:
        """Call it, and visit what it returns."""
        return events.entities(self.call(context))


class _PushScope(Action):
    """Remember the configurations and the environment."""

    def execute(self, context: LaunchContext) -> None:
        """Do it."""
        context.push_scope()


class _PopScope(Action):
    """Restore the configurations and the environment."""

    def execute(self, context: LaunchContext) -> None:
        """Do it."""
        context.pop_scope()


class GroupAction(Action):
    """Actions with a common condition and, unless ``scoped=False``, their own scope."""

    def __init__(
        self,
        actions: Iterable[LaunchDescriptionEntity],
        *,
        scoped: bool = True,
        launch_configurations: dict[Any, SomeSubstitutionsType] | None = None,
        condition: Condition | None = None,
    ) -> None:
        """Hold ``actions``; ``launch_configurations`` are set before them."""
        super().__init__(condition=condition)
        settings = [
            SetLaunchConfiguration(name, value)
            for name, value in (launch_configurations or {}).items()
        ]
        self.actions: list[LaunchDescriptionEntity] = [*settings, *actions]
        if scoped:
            self.actions = [_PushScope(), *self.actions, _PopScope()]

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity]:
        """Visit the actions."""
        return self.actions

    def sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        """Return the actions."""
        return self.actions


class EmitEvent(Action):
    """Emit an event: ``EmitEvent(event=Shutdown())`` ends the launch."""

    def __init__(self, *, event: Event, condition: Condition | None = None) -> None:
        """Emit ``event`` at the visit."""
        super().__init__(condition=condition)
        self.event = event

    def execute(self, context: LaunchContext) -> None:
        """Emit it."""
        cause = context.get_locals_as_dict().get("event")
        if isinstance(self.event, events.Shutdown) and isinstance(cause, ProcessExited):
            context.log.say(
                "INFO",
                "launch",
                f"process[{cause.process_name}] was required: shutting down launched system",
            )
            if cause.returncode != 0 and not context.is_shutdown:
                context.required_process_failed = True
        context.emit_event_sync(self.event)


class Shutdown(EmitEvent):
    """End the launch."""

    def __init__(
        self, *, reason: str = "reason not given", condition: Condition | None = None
    ) -> None:
        """Name the ``reason``."""
        super().__init__(event=events.Shutdown(reason=reason), condition=condition)


class RegisterEventHandler(Action):
    """Register an event handler."""

    def __init__(
        self, event_handler: BaseEventHandler, *, condition: Condition | None = None
    ) -> None:
        """Register ``event_handler`` at the visit."""
        super().__init__(condition=condition)
        self.event_handler = event_handler

    def execute(self, context: LaunchContext) -> None:
        """Register it."""
        context.register_event_handler(self.event_handler)


class UnregisterEventHandler(RegisterEventHandler):
    """Forget an event handler."""

    def execute(self, context: LaunchContext) -> None:
        """Forget it."""
        context.unregister_event_handler(self.event_handler)


class TimerAction(Action):
    """Visit actions after a period, unless cancelled before."""

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool = True,
        condition: Condition | None = None,
    ) -> None:
        """Wait ``period`` (seconds) at the visit, then visit ``actions``."""
        super().__init__(condition=condition)
        self.period = period
        self.actions = list(actions)
        self.cancel_on_shutdown = cancel_on_shutdown
        self._context: LaunchContext | None = None
        self._locals: dict[str, Any] = {}
        self._handle: asyncio.TimerHandle | None = None

    def execute(self, context: LaunchContext) -> None:
        """Start the timer."""
        if context.asyncio_loop is None:
            raise LaunchError("a TimerAction needs a running launch")
        self._context = context
        self._locals = context.get_locals_as_dict()
        self._handle = context.asyncio_loop.call_later(
            seconds(context, self.period, "TimerAction(period=…)"), self._fire
        )
        context.hold(self)
        context.register_event_handler(
            BaseEventHandler(
                matcher=lambda event: isinstance(event, TimerEvent) and event.timer_action is self,
                reaction=self._visit_actions,
            )
        )
        if self.cancel_on_shutdown:
            context.register_event_handler(
                events.OnShutdown(on_shutdown=lambda _event, _context: self.cancel())
            )

    def sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        """Return the actions."""
        return self.actions

    def cancel(self) -> None:
        """Forget the actions, if the period is not over yet."""
        if self._handle is not None and self._context is not None:
            self._handle.cancel()
            self._context.release(self)

    def _fire(self) -> None:
        if self._context is not None:
            self._context.emit_event_sync(TimerEvent(timer_action=self))
            self._context.release(self)

    def _visit_actions(
        self, _event: Event, context: LaunchContext
    ) -> list[LaunchDescriptionEntity]:
        context.extend_locals(self._locals)
        return self.actions


def seconds(context: LaunchContext, value: float | SomeSubstitutionsType, what: str) -> float:
    """Return a duration that is a number or substitutions that spell one."""
    text = str(value) if isinstance(value, int | float) else perform(context, value)
    try:
        return float(text)
    except ValueError as error:
        raise LaunchError(f"{what}: expected a number of seconds, got '{text}'") from error


def launch_setting(name: str, default: float) -> Substitution:
    """Return a setting that a launch argument of the same name overrides."""
    return LaunchConfiguration(name, default=default)
