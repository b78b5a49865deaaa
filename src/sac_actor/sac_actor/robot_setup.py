"""Tell a robot its load and when a contact is a collision, before anything moves it; then end.

The robot takes both only while no motion controller is active, and it forgets them when it is
switched off. `franka_train.launch.py` runs this between loading the controllers and starting who
activates one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from controller_manager_msgs.srv import ListControllers
from franka_msgs.srv import SetFullCollisionBehavior, SetLoad
from rclpy.client import Client

from sac_ros import node
from sac_ros.codecs import printable
from sac_ros.parameters import NodeParameters, UserError, parameter
from sac_ros.robot_input import of_franka_ros2

MOMENT = 0.1  # s between two looks for a service
ANSWER = 5.0  # s that a service may take


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the set-up. Thresholds hold for motion at constant speed and beyond it."""

    arm_prefix: str = parameter("", "Before the names of the arm's joints, with an underscore")
    mass: float = parameter(
        0.0, "kg of what is mounted besides the end effector of Desk", minimum=0.0, maximum=3.0
    )
    center_of_mass: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), "m of that load in the flange's frame", minimum=-1.0, maximum=1.0
    )
    inertia: tuple[float, ...] = parameter(
        (0.0,) * 9, "kg m² of that load, column by column", minimum=-1.0, maximum=1.0
    )
    torque_contact: tuple[float, ...] = parameter(
        (25.0, 25.0, 22.0, 20.0, 19.0, 17.0, 14.0),
        "N m of external torque on each joint from which on there is a contact",
        minimum=1.0,
        maximum=100.0,
    )
    torque_collision: tuple[float, ...] = parameter(
        (35.0, 35.0, 32.0, 30.0, 29.0, 27.0, 24.0),
        "N m of external torque on each joint at which the robot stops",
        minimum=1.0,
        maximum=100.0,
    )
    force_contact: tuple[float, ...] = parameter(
        (30.0, 30.0, 30.0, 25.0, 25.0, 25.0),
        "N and N m of external wrench on the tool from which on there is a contact",
        minimum=1.0,
        maximum=150.0,
    )
    force_collision: tuple[float, ...] = parameter(
        (40.0, 40.0, 40.0, 35.0, 35.0, 35.0),
        "N and N m of external wrench on the tool at which the robot stops",
        minimum=1.0,
        maximum=150.0,
    )
    patience: float = parameter(60.0, "s to wait for the robot's services", minimum=1.0)


class RobotSetup(node.SacNode[Parameters]):
    """Sets up a robot once and ends: with status 0 when all is set."""

    def __init__(self) -> None:
        super().__init__("robot_setup", Parameters)

    def configure(self) -> None:
        p = self.parameters
        for kind in ("torque", "force"):
            contact, collision = getattr(p, f"{kind}_contact"), getattr(p, f"{kind}_collision")
            if any(low > high for low, high in zip(contact, collision, strict=True)):
                raise UserError(
                    f"{kind}_contact must nowhere be above {kind}_collision, got {contact} and "
                    f"{collision}"
                )
        make = self.create_client
        self._list = make(ListControllers, "controller_manager/list_controllers")
        self._load = make(SetLoad, self._service("set_load"))
        self._collisions = make(
            SetFullCollisionBehavior, self._service("set_full_collision_behavior")
        )
        self.get_logger().info("Setting up the robot: load and collision thresholds")

    def _service(self, name: str) -> str:
        prefix, namespace = self.parameters.arm_prefix, self.get_namespace()
        return of_franka_ros2(f"service_server/{name}", prefix, namespace)

    def work(self) -> None:
        """All of it; UserError where the robot does not take it."""
        p = self.parameters
        self._expect_idle()
        load = SetLoad.Request(
            mass=p.mass, center_of_mass=list(p.center_of_mass), load_inertia=list(p.inertia)
        )
        self._set(self._load, load)
        self._set(self._collisions, self._thresholds())
        if self.stopping.is_set():
            return
        self.get_logger().info(
            f"Load {p.mass:g} kg; the robot stops at {min(p.torque_collision):g} to "
            f"{max(p.torque_collision):g} N m of a joint, and at {min(p.force_collision[:3]):g} N "
            "on the tool"
        )
        self.stopping.set()

    def _thresholds(self) -> SetFullCollisionBehavior.Request:
        p = self.parameters
        request = SetFullCollisionBehavior.Request()
        for phase in ("acceleration", "nominal"):
            for kind in ("torque", "force"):
                name = f"{kind}_thresholds_{phase}"
                setattr(request, f"lower_{name}", list(getattr(p, f"{kind}_contact")))
                setattr(request, f"upper_{name}", list(getattr(p, f"{kind}_collision")))
        return request

    def _expect_idle(self) -> None:
        """Refuse to go on while a controller moves the robot."""
        answer = self._call(self._list, ListControllers.Request())
        active = [
            printable(one.name)
            for one in (answer.controller if answer else ())
            if one.state == "active" and one.claimed_interfaces
        ]
        if active:
            raise UserError(
                f"{', '.join(active)} is active, and load and thresholds can only be set while no "
                f"motion controller is: ros2 control switch_controllers --deactivate {active[0]}"
            )

    def _set(self, client: Client, request: Any) -> None:
        answer = self._call(client, request)
        if answer is not None and not answer.success:
            raise UserError(
                f"{client.service_name} was refused: {printable(answer.error, 200)}; is the robot "
                "in use, stopped by its user stop, or not unlocked in Desk?"
            )

    def _call(self, client: Client, request: Any) -> Any:
        """The answer of a service that may still have to appear; None when told to stop."""
        deadline = time.monotonic() + self.parameters.patience
        while not client.service_is_ready():
            if self.stopping.wait(MOMENT):
                return None
            if time.monotonic() > deadline:
                raise UserError(
                    f"no service {client.service_name} within {self.parameters.patience:g} s: is "
                    "franka_ros2 running, and the robot reachable?"
                )
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _future: answered.set())
        if not answered.wait(ANSWER):
            raise UserError(f"{client.service_name} did not answer within {ANSWER:g} s")
        return future.result()


def main() -> None:
    """Entry point of `ros2 run sac_actor robot_setup`."""
    node.main(RobotSetup, "robot_setup")
