"""Teleoperation with a gamepad or a SpaceMouse, through their usual drivers (sensor_msgs/Joy).

ros2 run joy joy_node
ros2 run sac_demos teleop_joy --ros-args --params-file config/teleop_gamepad.yaml
"""

from __future__ import annotations

import math
import queue
import time
from dataclasses import dataclass, fields

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from sensor_msgs.msg import Joy

from sac_demos.teleoperation import Request, Teleoperation, TeleopParameters
from sac_ros import qos
from sac_ros.node import main as run_node
from sac_ros.parameters import UserError, parameter

MOST = 64  # axes, and buttons, that a device has at most
LARGEST = 10.0  # of an axis: SpaceMouse drivers go a little beyond 1
NONE = -1  # no such axis or button


Float32 = NDArray[np.float32]


def _scale(default: float, what: str) -> float:
    scale: float = parameter(default, what, minimum=-1.0, maximum=1.0)
    return scale


def _index(default: int, what: str) -> int:
    index: int = parameter(default, f"{what}, -1 = none", minimum=NONE, maximum=MOST - 1)
    return index


@dataclass(frozen=True)
class Parameters(TeleopParameters):
    """Parameters of a device; the defaults are those of an Xbox-like pad under ROS 2's joy_node."""

    axis_x: int = _index(1, "Axis that moves the tool away from the robot")
    axis_y: int = _index(0, "Axis that moves it to the robot's left")
    axis_z: int = _index(4, "Axis that moves it up")
    scale_x: float = _scale(0.6, "Share of the largest action at full deflection, < 0 inverts")
    scale_y: float = _scale(0.6, "Share of the largest action at full deflection, < 0 inverts")
    scale_z: float = _scale(0.6, "Share of the largest action at full deflection, < 0 inverts")
    deadzone: float = parameter(
        0.1, "Deflection up to which nothing moves", minimum=0.0, maximum=0.9
    )
    button_gripper: int = _index(5, "Button that closes or opens the gripper")
    button_takeover: int = _index(4, "Button that takes over, or gives back")
    button_hold: int = _index(NONE, "Button that takes over as long as it is down")
    button_start: int = _index(7, "Button that begins an episode")
    button_success: int = _index(0, "Button for success")
    button_failure: int = _index(1, "Button for failure")
    button_discard: int = _index(2, "Button that discards the episode")
    button_stop: int = _index(6, "Button that stops")
    joy_timeout: float = parameter(
        0.5, "s without a message of the driver after which nothing moves", minimum=0.05
    )


def joy_from_message(message: Joy, axes: int, buttons: int) -> tuple[Float32, tuple[int, ...]]:
    """Axes in [-1, 1] and buttons (0 or 1) of a message of which that many are used.

    Raises:
        ValueError: a field is unfit for use, in one line.
    """
    for name, values, used in (("axes", message.axes, axes), ("buttons", message.buttons, buttons)):
        if not used <= len(values) <= MOST:
            raise ValueError(f"{len(values)} {name}, expected {used} to {MOST}")
    deflections = np.array(message.axes, np.float32)
    reach = float(np.abs(deflections).max(initial=0.0))
    if not math.isfinite(reach):
        raise ValueError("axes has values that are not finite")
    if reach > LARGEST:
        raise ValueError(f"axes reaches {reach:.4g}, expected about 1 at most")
    if not set(message.buttons) <= {0, 1}:
        raise ValueError("buttons has other values than 0 and 1")
    return np.clip(deflections, -1.0, 1.0), tuple(message.buttons)


def beyond(deflection: float, deadzone: float) -> float:
    """A deflection in [-1, 1] counted from the edge of the dead zone, so that nothing jumps."""
    rest = max(0.0, abs(deflection) - deadzone) / (1.0 - deadzone)
    return math.copysign(rest, deflection)


class JoyTeleop(Teleoperation[Parameters]):
    """Turns the newest Joy message into motion, and buttons that go down into requests."""

    def __init__(self) -> None:
        super().__init__("teleop_joy", Parameters)
        self._presses: queue.SimpleQueue[Request | bool] = queue.SimpleQueue()
        self._axes: Float32 = np.zeros(0, np.float32)
        self._buttons: tuple[int, ...] = ()
        self._joy_heard = -math.inf  # when the newest message came, s
        self._held: bool | None = None  # the button that takes over while it is down
        self.refused = 0

    def configure(self) -> None:
        super().configure()
        p = self.parameters
        self._axis_of = (p.axis_x, p.axis_y, p.axis_z)
        self._scales = (p.scale_x, p.scale_y, p.scale_z)
        self._request_of = {
            p.button_gripper: Request.GRIPPER,
            p.button_takeover: Request.TAKEOVER,
            p.button_start: Request.START,
            p.button_success: Request.SUCCESS,
            p.button_failure: Request.FAILURE,
            p.button_discard: Request.DISCARD,
            p.button_stop: Request.STOP,
        }
        buttons = self._buttons_of(p)
        if len(set(buttons)) < len(buttons):
            raise UserError("two of the button_… parameters name the same button; -1 is for none")
        self._used = max(self._axis_of) + 1, max(*self._request_of, p.button_hold) + 1
        self._joy = self.create_subscription(
            Joy, "joy", self._on_joy, qos.JOY, qos_overriding_options=qos.OVERRIDABLE
        )
        self.get_logger().info(f"Listening to {self._joy.topic_name}")

    @staticmethod
    def _buttons_of(p: Parameters) -> list[int]:
        """The buttons that the parameters name."""
        named = [getattr(p, field.name) for field in fields(p) if field.name.startswith("button_")]
        return [index for index in named if index != NONE]

    def cleanup(self) -> None:
        if hasattr(self, "_joy"):
            self.destroy_subscription(self._joy)
            del self._joy
        super().cleanup()

    def _on_joy(self, message: Joy) -> None:
        try:
            axes, buttons = joy_from_message(message, *self._used)
        except ValueError as error:
            self.refused += 1
            self.refusals.add("joy", f"{self._joy.topic_name} refused: {error}")
            return
        # What is down when the driver appears was not pressed for us.
        before = self._buttons or buttons
        self._axes, self._buttons, self._joy_heard = axes, buttons, time.monotonic()
        for index, (was, is_down) in enumerate(zip(before, buttons, strict=False)):
            if index in self._request_of and is_down and not was:
                self._presses.put(self._request_of[index])
        self._hold(buttons)

    def _hold(self, buttons: tuple[int, ...]) -> None:
        index = self.parameters.button_hold
        if index == NONE:
            return
        is_down = bool(buttons[index])
        if self._held is not None and is_down != self._held:
            self._presses.put(is_down)
        self._held = is_down

    @property
    def _is_fresh(self) -> bool:
        return time.monotonic() - self._joy_heard <= self.parameters.joy_timeout

    def listen(self, period: float) -> None:
        until = time.monotonic() + period
        while (left := until - time.monotonic()) > 0.0:
            try:
                press = self._presses.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(press, Request):
                self.ask(press)
            elif press != self.wish.engaged:
                self.ask(Request.TAKEOVER)
        if self._is_fresh:
            self.wish.motion = self._motion()
        elif self.wish.motion.any():
            self.wish.motion = np.zeros(3, np.float32)
            self.get_logger().warning(
                f"Nothing on {self._joy.topic_name} for {self.parameters.joy_timeout:g} s while a "
                "stick was out: nothing moves. Is the driver there, and does it repeat itself?"
            )

    def _motion(self) -> Float32:
        axes, deadzone = self._axes, self.parameters.deadzone
        return np.array(
            [
                scale * beyond(float(axes[axis]), deadzone) if axis != NONE else 0.0
                for axis, scale in zip(self._axis_of, self._scales, strict=True)
            ],
            np.float32,
        )

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        values: dict[str, object] = {
            "engaged": self.wish.engaged,
            "messages_refused": self.refused,
            "last_refusal": self.refusals.newest or "none",
        }
        if self.refusals.recent:
            return DiagnosticStatus.ERROR, self.refusals.newest, values
        if not self._buttons:
            return DiagnosticStatus.WARN, "nothing has come from the driver yet", values
        return DiagnosticStatus.OK, "ok", values


def main() -> None:
    """Entry point of `ros2 run sac_demos teleop_joy`."""
    run_node(JoyTeleop, "teleop_joy")
