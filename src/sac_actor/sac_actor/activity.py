"""What controller_manager says of its controllers and of the hardware."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controller_manager_msgs.msg import ControllerManagerActivity, ControllerState
from lifecycle_msgs.msg import State

from sac_ros.codecs import is_identifier

TOPIC = "controller_manager/activity"
LABELS = {
    State.PRIMARY_STATE_UNCONFIGURED: "unconfigured",
    State.PRIMARY_STATE_INACTIVE: "inactive",
    State.PRIMARY_STATE_ACTIVE: "active",
    State.PRIMARY_STATE_FINALIZED: "finalized",
}
HARDWARE = "FrankaHardwareInterface"  # after the arm's prefix
JOINT_BROADCASTER = "joint_state_broadcaster"
MOST = 256  # controllers or hardware components
# Motion controllers that a policy speaks to, and what its parameter `command` calls them.
COMMANDS = ("cartesian_impedance", "joint_trajectory", "joint_velocity")


def motion_controller(command: str) -> str:
    """The controller that takes this kind of commands."""
    return f"{command}_controller"


def moves(controller: ControllerState) -> bool:
    """Whether a controller commands joints: broadcasters only read."""
    return bool(controller.required_command_interfaces or controller.claimed_interfaces)


class Activity:
    """The states of controllers and hardware by name, as far as they are known.

    `take` is a callback for `controller_manager/activity`, which comes when a state changes;
    `take_list` is for an answer of `list_controllers`, which also says who moves the robot.
    """

    def __init__(self, arm_prefix: str = "") -> None:
        self._prefix = arm_prefix
        self.known = False
        self.controllers: dict[str, str] = {}
        self.hardware: dict[str, str] = {}
        self.changes = 0  # messages on the topic
        self._moving: dict[str, bool] = {}

    def take(self, message: ControllerManagerActivity) -> None:
        """Keep a message's states."""
        self.controllers = _states(message.controllers)
        self.hardware = _states(message.hardware_components)
        self.known = True
        self.changes += 1

    def take_list(self, controllers: Iterable[ControllerState], changes: int) -> None:
        """Keep what a list says that was asked for after so many `changes`.

        Of states only if none has been heard since: that was newer.
        """
        listed = [one for one in list(controllers)[:MOST] if is_identifier(one.name)]
        self._moving = {one.name: moves(one) for one in listed}
        if changes == self.changes:
            self.controllers = {one.name: one.state for one in listed}
            self.known = True

    def is_active(self, name: str) -> bool:
        """Whether a controller is known to be active."""
        return self.controllers.get(name) == "active"

    def active_motion(self, assumed: str) -> list[str]:
        """Names of the active motion controllers; `assumed` is one before any list has come."""
        return [
            name
            for name, state in self.controllers.items()
            if state == "active" and self._moving.get(name, name == assumed)
        ]

    def stopped_hardware(self) -> list[str]:
        """Names of the arm's hardware that is not active."""
        mine = [
            name
            for name in self.hardware
            if name.startswith(self._prefix) and name.endswith(HARDWARE)
        ] or list(self.hardware)
        return [name for name in mine if self.hardware[name] != "active"]


def _states(items: Iterable[Any]) -> dict[str, str]:
    return {
        item.name: LABELS.get(item.state.id, "unknown")
        for item in list(items)[:MOST]
        if is_identifier(item.name)
    }
