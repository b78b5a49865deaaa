"""What a watchdog hears, and what of it is reason to stop the robot. No ROS in here.

All times are of one monotonic clock, in s, at which something was received. Ages are so those of
messages as they arrive; stamps must go on besides, and values must not be frozen under them.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

RATE_WINDOW = 1.0  # s over which commands are counted
SILENCE = 0.05  # s without a joint state that make one ask whether the robot has stopped

# Kinds of causes. The last three have nothing that could persist once the robot is stopped.
EMERGENCY_STOP = "emergency stop"
STATE = "state"
FROZEN = "frozen"
LATENCY = "latency"
ACTOR = "actor"
FLOOD = "flood"
COMMANDS = "commands"
CONTROLLER = "controller"
REQUEST = "request"


@dataclass(frozen=True)
class Limits:
    """From when on what is heard, or not heard, is a reason to stop. Ages and times in s."""

    command_timeout: float
    first_command_timeout: float
    reset_timeout: float
    max_command_rate: float  # Hz
    state_timeout: float
    frozen_timeout: float
    max_state_latency: float
    actor_timeout: float


@dataclass(frozen=True)
class Cause:
    """Why the robot is to be stopped: its kind, and a line for a person."""

    kind: str
    text: str


class Vigilance:
    """Keeps what was heard, and says what is wrong with it.

    Only an active motion controller can do harm, so that ages count while one is active: from when
    it became so, whatever was heard before.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.emergency_stop = False  # as last heard
        self.active_since: float | None = None
        self._commanded, self._driven = True, False  # who may speak to the active controller
        self.command_at = self.drive_at = self.state_at = self.actor_at = -math.inf
        self._commands: deque[tuple[float, int]] = deque()
        self.changed_at = -math.inf  # when joint values last differed from those before
        self.latency = math.nan  # s, of the newest joint state
        self.frozen_while_asked = False  # since the values changed the robot was asked to move

    # What is heard.

    def activated(self, now: float, commanded: bool = True, driven: bool = False) -> None:
        """A motion controller became active.

        `commanded`: it is the actor's. `driven`: it drives the arm to the start of an episode; what
        is to be done is said to it once, so that whoever drives has to be heard instead.
        """
        self.active_since = now
        self._commanded, self._driven = commanded, driven
        self.frozen_while_asked = False

    def deactivated(self) -> None:
        """None is active any more."""
        self.active_since = None

    def hear_commands(self, count: int, now: float) -> None:
        """So many commands since the last call."""
        if count:
            self.command_at = now
            self._commands.append((now, count))
        while self._commands and now - self._commands[0][0] > RATE_WINDOW:
            self._commands.popleft()

    def hear_drives(self, count: int, now: float) -> None:
        """So many words since the last call of who drives the arm to the start of an episode."""
        if count:
            self.drive_at = now
            self._commands.append((now, count))  # a flood of them is one, too

    def hear_state(self, changed: bool, latency: float, now: float) -> None:
        """A joint state with a newer stamp than the one before, and `latency` s after its stamp.

        `changed`: whether any value differs from those before.
        """
        self.state_at, self.latency = now, latency
        if changed:
            self.changed_at, self.frozen_while_asked = now, False

    def hear_actor(self, now: float) -> None:
        """The actor spoke."""
        self.actor_at = now

    # What is wrong.

    def command_rate(self) -> float:
        """Commands per s, over the last second."""
        return sum(count for _, count in self._commands) / RATE_WINDOW

    def is_silent(self, now: float) -> bool:
        """Whether joint states have not come for longer than a robot that runs lets them."""
        since = self.active_since
        return since is not None and now - max(self.state_at, since) > SILENCE

    def is_suspicious(self) -> bool:
        """Whether fresh joint states have been the same for long: frozen, if it should move.

        Counted up to the newest of them: values that have not come are not the same.
        """
        since = max(self.changed_at, self.active_since or 0.0)
        timeout = self.limits.frozen_timeout
        return 0.0 < timeout < self.state_at - since

    def cause(self, now: float) -> Cause | None:
        """Why the robot is to be stopped now; None: it is not."""
        if self.emergency_stop:
            return Cause(EMERGENCY_STOP, "emergency_stop is true")
        since = self.active_since
        if since is None:
            return None
        return (
            self._flood()
            or self._silent_state(max(self.state_at, since), now)
            or self._late_state()
            or self._frozen()
            or self._silent_actor(since, now)
            or self._long_drive(since, now)
            or self._old_commands(since, now)
        )

    def persists(
        self, kind: str, tripped_at: float, now: float, stopped: bool = False
    ) -> Cause | None:
        """What of a cause of that kind still holds; None: the robot may go on.

        A robot that has `stopped` is silent for that: its states come back with its recovery, for
        which this must not stand in the way.
        """
        if self.emergency_stop:
            hint = "; without its sender: ros2 topic pub --once … std_msgs/msg/Bool '{data: false}'"
            return Cause(EMERGENCY_STOP, f"emergency_stop is still true{hint}")
        if kind == FLOOD:
            return self._flood()
        if kind in (STATE, LATENCY):
            if stopped:
                return None
            late = self._late_state() if kind == LATENCY else None
            return self._silent_state(self.state_at, now) or late
        if kind == FROZEN and self.changed_at <= tripped_at:
            return Cause(FROZEN, "joint values have not changed since")
        if kind == ACTOR:
            return self._silent_actor(-math.inf, now)
        return None

    def _flood(self) -> Cause | None:
        rate, most = self.command_rate(), self.limits.max_command_rate
        if rate <= most:
            return None
        return Cause(FLOOD, f"{rate:.0f} commands in a second: expected at most {most:g}")

    def _silent_state(self, heard: float, now: float) -> Cause | None:
        if now - heard <= self.limits.state_timeout:
            return None
        if self.state_at == -math.inf:
            return Cause(STATE, "no joint state has come yet")
        return Cause(
            STATE,
            f"joint states are {now - self.state_at:.2f} s old: expected at most "
            f"{self.limits.state_timeout:g} s",
        )

    def _late_state(self) -> Cause | None:
        most = self.limits.max_state_latency
        if most == 0.0 or not abs(self.latency) > most:
            return None
        if abs(self.latency) > 1e5:  # no link is that late: these are two clocks
            return Cause(
                LATENCY,
                "joint states are stamped by another clock than this node's: give it use_sim_time "
                "in simulation, or max_state_latency:=0.0",
            )
        return Cause(
            LATENCY,
            f"joint states come {self.latency:.2f} s after their stamps: expected at most {most:g} "
            "s, and clocks that agree",
        )

    def _frozen(self) -> Cause | None:
        if not (self.frozen_while_asked and self.is_suspicious()):
            return None
        return Cause(
            FROZEN,
            f"joint states are frozen: fresh stamps and the same values for "
            f"{self.state_at - self.changed_at:.1f} s although commands ask for motion",
        )

    def _silent_actor(self, since: float, now: float) -> Cause | None:
        timeout = self.limits.actor_timeout
        if timeout == 0.0 or now - max(self.actor_at, since) <= timeout:
            return None
        if self.actor_at == -math.inf:
            return Cause(ACTOR, "no actor has been heard on sac/actor/status yet")
        return Cause(ACTOR, f"the actor is gone: silent for {now - self.actor_at:.1f} s")

    def _long_drive(self, since: float, now: float) -> Cause | None:
        limits = self.limits
        drives = self._driven and now - self.drive_at <= limits.command_timeout
        if not drives or now - since <= limits.reset_timeout:
            return None
        return Cause(
            COMMANDS,
            f"a motion to the start of an episode takes {now - since:.0f} s: expected at most "
            f"{limits.reset_timeout:g} s",
        )

    def _old_commands(self, since: float, now: float) -> Cause | None:
        limits = self.limits
        command_at = self.command_at if self._commanded else -math.inf
        drive_at = self.drive_at if self._driven else -math.inf
        heard, waited = max(command_at, drive_at), now - since
        if heard >= since:
            age, most = now - heard, limits.command_timeout
            if age <= most:
                return None
            if drive_at > command_at:
                text = f"the newest word of robot_reset is {age:.2f} s old: "
            else:
                text = f"the newest command is {age:.2f} s old: "
            text += f"expected at most {most:g} s"
        elif waited <= limits.first_command_timeout:
            return None
        elif self._commanded:
            text = f"no command since the motion controller became active {waited:.1f} s ago"
        else:
            text = (
                "no word of robot_reset since the motion controller that it drives with became "
                f"active {waited:.1f} s ago"
            )
        return Cause(COMMANDS, text)
