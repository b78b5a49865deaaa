"""Teleoperation with the keyboard of a terminal.

ros2 run sac_demos teleop_keyboard --ros-args -p operator_name:=Ada
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import numpy as np

from sac_demos.teleoperation import Request, Teleoperation, TeleopParameters
from sac_demos.terminal import Terminal, TerminalGone
from sac_msgs.msg import EpisodeEvent
from sac_ros.node import main as run_node
from sac_ros.parameters import parameter

# Unit vectors in the robot's base frame: x away from the robot, y to its left, z up.
MOTIONS = {
    "w": (1, 0, 0),
    "s": (-1, 0, 0),
    "a": (0, 1, 0),
    "d": (0, -1, 0),
    "r": (0, 0, 1),
    "f": (0, 0, -1),
    "up": (1, 0, 0),
    "down": (-1, 0, 0),
    "left": (0, 1, 0),
    "right": (0, -1, 0),
    "page_up": (0, 0, 1),
    "page_down": (0, 0, -1),
}
REQUESTS = {
    " ": Request.GRIPPER,
    "t": Request.TAKEOVER,
    "enter": Request.START,
    "y": Request.SUCCESS,
    "n": Request.FAILURE,
    "x": Request.DISCARD,
    "p": Request.STOP,
}
FASTER, SLOWER, HELP = "+", "-", "h"
SPEED_STEP = 1.25
SLOWEST = 0.05
FINE = 1 / 3  # of the speed, with Shift

HELP_TEXT = """\
  w s  or up down          away from the robot, towards it      space   close / open the gripper
  a d  or left right       to the robot's left, right           t       take over / give back
  r f  or page up down     up, down                             enter   begin an episode
  W A S D R F              the same, slowly                     y  n    success, failure
  + -                      faster, slower                       x       discard the episode
  h                        this help                            p       stop      Ctrl-C  quit"""
OUTCOMES = {
    EpisodeEvent.OUTCOME_SUCCESS: "success",
    EpisodeEvent.OUTCOME_FAILURE: "failure",
    EpisodeEvent.OUTCOME_UNKNOWN: "ended",
}
REDRAW = 1.0  # s after which the line is drawn again: others print, too


@dataclass(frozen=True)
class Parameters(TeleopParameters):
    """Parameters of the keyboard."""

    speed: float = parameter(
        0.4, "Share of the largest action that a key asks for", minimum=SLOWEST, maximum=1.0
    )
    hold_time: float = parameter(
        0.15,
        "s of motion after each key; a key that is held down is one pressed again and again",
        minimum=0.02,
        maximum=1.0,
    )


class Motion:
    """Motion out of single keys: each counts for `hold_time` s, so that a held key never pauses."""

    def __init__(self, speed: float, hold_time: float) -> None:
        self.speed = speed
        self._hold_time = hold_time
        self._until: dict[tuple[int, int, int], tuple[float, float]] = {}  # direction: speed, end

    def press(self, direction: tuple[int, int, int], share: float, now: float) -> None:
        """A key was pressed at `now` (s)."""
        opposite = (-direction[0], -direction[1], -direction[2])
        self._until.pop(opposite, None)
        self._until[direction] = (share, now + self._hold_time)

    def at(self, now: float) -> np.ndarray:
        """Displacement `(3,) float32` in [-1, 1] at `now`."""
        motion = np.zeros(3, np.float32)
        for direction, (share, until) in self._until.items():
            if now < until:
                motion += np.float32(share * self.speed) * np.array(direction, np.float32)
        return motion

    def change_speed(self, factor: float) -> None:
        """Make every key faster or slower."""
        self.speed = min(1.0, max(SLOWEST, self.speed * factor))


class KeyboardTeleop(Teleoperation[Parameters]):
    """Reads keys, and shows in one line what is going on."""

    def __init__(self) -> None:
        super().__init__("teleop_keyboard", Parameters)
        self._terminal: Terminal | None = None
        self._shown, self._shown_at = "", 0.0
        # Whatever ends this has to let it restore the terminal.
        for number in (signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, lambda _number, _frame: None)

    def configure(self) -> None:
        self._terminal = Terminal()
        super().configure()
        self._motion = Motion(self.parameters.speed, self.parameters.hold_time)
        self._terminal.say(HELP_TEXT)

    def cleanup(self) -> None:
        if self._terminal is not None:
            self._terminal.restore()
            self._terminal = None
        super().cleanup()

    def listen(self, period: float) -> None:
        assert self._terminal is not None
        until = time.monotonic() + period
        try:
            in_foreground = self._terminal.claim()
            while in_foreground and (left := until - time.monotonic()) > 0.0:
                for key in self._terminal.keys(left):
                    self._on_key(key)
        except TerminalGone:
            self.get_logger().error("The terminal was closed")
            self.fail("the terminal was closed")
            return
        now = time.monotonic()
        self.wish.motion = self._motion.at(now)
        if in_foreground:
            self._show(now)
        else:
            self.stopping.wait(period)

    def _on_key(self, key: str) -> None:
        slow = key.isupper()
        key = key.lower() if slow else key
        if key in MOTIONS:
            self._motion.press(MOTIONS[key], FINE if slow else 1.0, time.monotonic())
        elif key in REQUESTS:
            self.ask(REQUESTS[key])
        elif key in (FASTER, SLOWER):
            self._motion.change_speed(SPEED_STEP if key == FASTER else 1 / SPEED_STEP)
        elif key == HELP and self._terminal is not None:
            self._terminal.say(HELP_TEXT)

    def say(self, text: str) -> None:
        terminal = self._terminal
        if terminal is not None:
            terminal.say(text)
            self._shown = ""  # the line below it is drawn again

    def _show(self, now: float) -> None:
        line = self._line()
        if self._terminal is not None and (line != self._shown or now - self._shown_at > REDRAW):
            self._shown, self._shown_at = line, now
            self._terminal.show(line)

    def _line(self) -> str:
        status, episode = self.status, self.episode
        if status is None or not self.actor_is_there:
            return f"waiting for {self.parameters.actor} …"
        parts = ["you act" if self.wish.engaged else status.state]
        if episode is not None:
            ended = episode.event == EpisodeEvent.ENDED
            what = "discarded" if episode.discarded else OUTCOMES[episode.outcome]
            parts.append(f"episode {episode.episode + 1}{f': {what}' if ended else ''}")
        gripper = {1.0: "close", -1.0: "open", 0.0: "as it is"}[self.wish.gripper]
        parts += [f"gripper {gripper}", f"speed {self._motion.speed:.2f}"]
        return " | ".join(parts)


def main() -> None:
    """Entry point of `ros2 run sac_demos teleop_keyboard`."""
    run_node(KeyboardTeleop, "teleop_keyboard")
