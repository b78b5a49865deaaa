"""What controller_manager says of its controllers and of the hardware.

It says so by itself when it has switched something. When the robot has stopped, which is an error
of `read` or `write` of its hardware, it deactivates controllers and hardware without a word
(ros2_control 4.46, `ControllerManager::read`): all that is noticed is that the broadcasters are
silent, and then it has to be asked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from typing import Any

from controller_manager_msgs.msg import (
    ControllerManagerActivity,
    ControllerState,
    HardwareComponentState,
)
from controller_manager_msgs.srv import ListControllers, ListHardwareComponents
from lifecycle_msgs.msg import State
from rclpy.node import Node

from sac_actor.calls import Request
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
AGAIN, PATIENCE = 0.1, 1.0  # s between two questions, and for an answer to the last
# Motion controllers that a policy speaks to, and what its parameter `command` calls them.
COMMANDS = ("cartesian_impedance", "joint_trajectory", "joint_velocity")
DRIVER = "joint_trajectory_controller"  # drives the arm to the start of an episode


def motion_controller(command: str) -> str:
    """The controller that takes this kind of commands."""
    return f"{command}_controller"


def moves(controller: ControllerState) -> bool:
    """Whether a controller commands joints: broadcasters only read."""
    return bool(controller.required_command_interfaces or controller.claimed_interfaces)


class Activity:
    """The states of controllers and hardware by name, as far as they are known.

    `take` is a callback for `controller_manager/activity`; `take_list` and `take_hardware` are for
    answers of `list_controllers`, which also says who moves the robot, and of
    `list_hardware_components`.
    """

    def __init__(self, arm_prefix: str = "") -> None:
        self.arm_prefix = arm_prefix
        self.known = False
        self.controllers: dict[str, str] = {}
        self.hardware: dict[str, str] = {}
        self.changes = 0  # messages on the topic: answers that were asked for before are older
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

    def take_hardware(self, components: Iterable[HardwareComponentState], changes: int) -> None:
        """Keep what an answer says of the hardware, under the same condition."""
        if changes == self.changes:
            self.hardware = _states(components)

    def is_active(self, name: str) -> bool:
        """Whether a controller is known to be active."""
        return self.controllers.get(name) == "active"

    def active_motion(self, assumed: Collection[str]) -> list[str]:
        """Names of the active motion controllers; `assumed` are some before any list has come."""
        return [
            name
            for name, state in self.controllers.items()
            if state == "active" and self._moving.get(name, name in assumed)
        ]

    def stopped_hardware(self) -> list[str]:
        """Names of the arm's hardware that is not active."""
        mine = [
            name
            for name in self.hardware
            if name.startswith(self.arm_prefix) and name.endswith(HARDWARE)
        ] or list(self.hardware)
        return [name for name in mine if self.hardware[name] != "active"]

    def stopped(self) -> str:
        """Why nothing can be controlled before a recovery; empty: nothing is known against it."""
        hardware = self.stopped_hardware()
        if hardware:
            return (
                f"the robot has stopped ({', '.join(hardware)} is {self.hardware[hardware[0]]}): a "
                "reflex, the user stop or a lost connection; the log of franka_ros2 says which"
            )
        state = self.controllers.get(JOINT_BROADCASTER, "active")
        return "" if state == "active" else f"{JOINT_BROADCASTER} is {state}"


class Inquiry:
    """Asks controller_manager for the states of controllers and hardware, without waiting.

    Made with the node, before its inbox.
    """

    def __init__(self, node: Node, known: Activity) -> None:
        self._known = known
        controllers = node.create_client(ListControllers, "controller_manager/list_controllers")
        self.name = controllers.service_name
        self._controllers = Request(controllers)
        self._hardware = Request(
            node.create_client(
                ListHardwareComponents, "controller_manager/list_hardware_components"
            )
        )
        self._changes = 0  # of the activity when it was asked
        self.asked = -math.inf  # when, monotonic s

    def ask(self, at_once: bool = False) -> bool:
        """Ask, unless that was a moment ago or answers are still to come; whether it was asked.

        `at_once`: also then, and the answers to come do not count any more.
        """
        now = time.monotonic()
        if at_once:
            self._controllers.drop()
        elif now - self.asked < AGAIN:
            return False
        if not self._controllers.ask(ListControllers.Request(), now, PATIENCE):
            return False
        self._hardware.drop()
        self._hardware.ask(ListHardwareComponents.Request(), now, PATIENCE)
        self.asked, self._changes = now, self._known.changes
        return True

    @property
    def expects(self) -> bool:
        """Whether an answer is still to come."""
        return self._controllers.expects or self._hardware.expects

    @property
    def is_old(self) -> bool:
        """Whether a state has changed since it was asked."""
        return self._known.changes != self._changes

    def take(self) -> bool:
        """Keep what is answered, once all of it is there; whether it was."""
        asked = [request for request in (self._controllers, self._hardware) if request.expects]
        if not asked or not all(request.answered for request in asked):
            return False
        controllers, hardware = self._controllers.answer(), self._hardware.answer()
        if controllers is not None:
            self._known.take_list(controllers.controller, self._changes)
        if hardware is not None:
            self._known.take_hardware(hardware.component, self._changes)
        return True


def _states(items: Iterable[Any]) -> dict[str, str]:
    return {
        item.name: LABELS.get(item.state.id, "unknown")
        for item in list(items)[:MOST]
        if is_identifier(item.name)
    }
