"""A status message as one line for a person: what moves, learns, waits, was clipped, or failed.

Texts in a message are a peer's: shortened, and printable. Numbers may be anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from builtin_interfaces.msg import Time

from sac_msgs.msg import ActorStatus, LearnerStatus, WatchdogStatus
from sac_ros.codecs import printable

SILENT = 3.0  # s without a status after which it says so; each comes once a second
MOVING = 0.005  # m/s from which on a tool moves
LONGEST = 120  # characters of a reason


@dataclass(frozen=True)
class Line:
    """What is to be said about one node, and whether a person should look at it."""

    text: str
    alarm: bool


def duration(seconds: float) -> str:
    """A time span to two digits: 0.05 s, 1.2 s, 40 s, 3 min, 2.5 h."""
    if not math.isfinite(seconds):
        return "? s"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return (
                f"{seconds / size:.2g} {unit}"
                if seconds < 10 * size
                else f"{seconds / size:.0f} {unit}"
            )
    return f"{seconds:.0f} s" if seconds >= 10.0 else f"{max(seconds, 0.0):.2g} s"


def actor_line(status: ActorStatus, silence: float) -> Line:
    """Of an actor whose status came `silence` s ago."""
    parts = [_motion(status), _weights(status, silence), _queue(status), _clips(status)]
    failure, alarm = _failure(status, silence)
    head = (
        f"actor {printable(status.actor_id)}, {printable(status.task)}: {printable(status.state)}"
    )
    return _line(head, [*parts, failure], silence, alarm)


def learner_line(status: LearnerStatus, silence: float) -> Line:
    """Of a learner whose status came `silence` s ago."""
    head = (
        f"learner {printable(status.learner_id)}, {printable(status.task)}: "
        f"{printable(status.state)}"
    )
    parts = [
        f"step {status.step:,} (+{_number(status.steps_per_second)}/s)",
        f"{status.transitions:,} transitions (+{_number(status.transitions_per_second)}/s) of "
        f"{status.actors} {'actor' if status.actors == 1 else 'actors'}",
        _progress(status),
        f"weights are {_number(status.policy_staleness, 0)} steps behind in what actors send",
    ]
    if status.rejected or status.missed:
        parts.append(f"{status.rejected:,} rows refused, {status.missed:,} missed")
    if status.fault:
        parts.append(f"FAULT: {printable(status.fault, LONGEST)}")
    return _line(head, parts, silence, bool(status.fault))


def watchdog_line(name: str, status: WatchdogStatus, silence: float) -> Line:
    """Of the watchdog `name`, whose status came `silence` s ago."""
    controller = printable(status.motion_controller)
    parts = [
        f"{controller} is active" if controller else "no motion controller is active",
        f"commands {_number(status.command_rate)}/s, {_age(status.command_age)}",
        f"robot state {_age(status.state_age)}",
        f"actor {_age(status.actor_age)}",
    ]
    if status.reason:
        ago = _seconds(status.header.stamp) - _seconds(status.last_trip) + silence
        parts.append(
            f"trip {status.trips}, {duration(ago)} ago: {printable(status.reason, LONGEST)}"
        )
    else:
        parts.append("never tripped")
    head = f"watchdog {printable(name)}: {printable(status.state)}"
    return _line(head, parts, silence, status.state == "tripped")


def _line(head: str, parts: list[str], silence: float, alarm: bool) -> Line:
    if silence > SILENT:
        return Line(" | ".join([f"{head}, SILENT for {duration(silence)}", *parts]), True)
    return Line(" | ".join([head, *parts]), alarm)


def _motion(status: ActorStatus) -> str:
    steps = f"{_number(status.steps_per_second)} steps/s"
    ended = f"episode {status.episodes}, last return {_number(status.last_return)}"
    if not math.isfinite(status.tool_speed):
        return f"{steps}, {ended}"
    moving = status.tool_speed >= MOVING
    return f"{f'moving {status.tool_speed:.2f} m/s' if moving else 'still'}, {steps}, {ended}"


def _weights(status: ActorStatus, silence: float) -> str:
    if status.policy_version == 0:
        return "no weights yet"
    return f"weights of step {status.policy_version:,}, {duration(status.policy_age + silence)} old"


def _queue(status: ActorStatus) -> str:
    text = f"{status.queued:,} queued"
    if status.dropped:
        text += f", {status.dropped:,} dropped"
    if status.rejected:
        text += f", {status.rejected:,} refused"
    return text if status.learner_connected else f"{text}, no learner listens"


def _clips(status: ActorStatus) -> str:
    if not status.clipped:
        return "nothing clipped"
    return f"clipped {status.clipped:,}: {printable(status.clips, LONGEST)}"


def _failure(status: ActorStatus, silence: float) -> tuple[str, bool]:
    """The newest failure, and whether it lasts."""
    strikes = f", strike {status.strikes}" if status.strikes else ""
    if status.fault:
        return f"FAULT: {printable(status.fault, LONGEST)}{strikes}", True
    if not status.last_fault:
        return "never failed", False
    ago = _seconds(status.header.stamp) - _seconds(status.last_fault_stamp) + silence
    return f"failed {duration(ago)} ago: {printable(status.last_fault, LONGEST)}{strikes}", False


def _progress(status: LearnerStatus) -> str:
    if status.evaluations == 0:
        return "not evaluated yet"
    success = status.evaluation_success_rate
    share = f"{success:.0%} succeeded, " if math.isfinite(success) else ""
    return (
        f"evaluation {status.evaluations}: {share}return {_number(status.evaluation_return)}, best "
        f"{_number(status.best_evaluation_return)}"
    )


def _number(value: float, digits: int = 1) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else "?"


def _age(seconds: float) -> str:
    return f"{duration(seconds)} old" if math.isfinite(seconds) else "not heard"


def _seconds(stamp: Time) -> float:
    return float(stamp.sec) + stamp.nanosec / 1e9
