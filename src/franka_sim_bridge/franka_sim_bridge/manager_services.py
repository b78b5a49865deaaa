"""The node `controller_manager`: its services, and the topic that tells of every change."""

from __future__ import annotations

from typing import Any

from controller_manager_msgs.msg import (
    ControllerManagerActivity,
    ControllerState,
    HardwareComponentState,
    HardwareInterface,
    NamedLifecycleState,
)
from controller_manager_msgs.srv import (
    ConfigureController,
    ListControllers,
    ListHardwareComponents,
    ListHardwareInterfaces,
    LoadController,
    SetHardwareComponentState,
    SwitchController,
    UnloadController,
)
from lifecycle_msgs.msg import State
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from franka_sim_bridge.controllers import HARDWARE
from franka_sim_bridge.simulation import Simulation

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
STATES = {
    "unconfigured": State.PRIMARY_STATE_UNCONFIGURED,
    "inactive": State.PRIMARY_STATE_INACTIVE,
    "active": State.PRIMARY_STATE_ACTIVE,
}
UPDATE_RATE = 1000  # Hz, as the robot's controllers.yaml has it


def lifecycle(label: str) -> State:
    """A life-cycle state by its label."""
    return State(id=STATES[label], label=label)


class ManagerServices:
    """Offers the controller manager of a simulation under `controller_manager/`."""

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._node = node
        self._simulation = simulation
        self._manager = simulation.manager
        self._activity = node.create_publisher(
            ControllerManagerActivity, "controller_manager/activity", LATCHED
        )
        offered = {
            "list_controllers": (ListControllers, self._list_controllers),
            "list_hardware_components": (ListHardwareComponents, self._list_components),
            "list_hardware_interfaces": (ListHardwareInterfaces, self._list_interfaces),
            "load_controller": (LoadController, self._load),
            "configure_controller": (ConfigureController, self._configure),
            "unload_controller": (UnloadController, self._unload),
            "switch_controller": (SwitchController, self._switch),
            "set_hardware_component_state": (SetHardwareComponentState, self._set_hardware),
        }
        self._services = [
            node.create_service(kind, f"controller_manager/{name}", callback)
            for name, (kind, callback) in offered.items()
        ]
        self._manager.on_change.append(self._publish_activity)
        self._publish_activity()

    def destroy(self) -> None:
        """Give everything back."""
        self._manager.on_change.remove(self._publish_activity)
        for service in self._services:
            self._node.destroy_service(service)
        self._node.destroy_publisher(self._activity)

    def _publish_activity(self) -> None:
        message = ControllerManagerActivity()
        seconds, nanoseconds = divmod(self._simulation.time_ns, 10**9)
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
        message.controllers = [
            NamedLifecycleState(name=c.name, state=lifecycle(c.state))
            for c in self._manager.controllers.values()
        ]
        message.hardware_components = [
            NamedLifecycleState(name=HARDWARE, state=lifecycle(self._manager.hardware_state))
        ]
        self._activity.publish(message)

    def _interfaces(self) -> tuple[list[HardwareInterface], list[HardwareInterface]]:
        robot = self._simulation.robot
        available = self._manager.hardware_state == "active"
        motion = self._manager.active_motion
        claimed = set(motion.claimed) if motion else set()
        command, state = [], []
        for joint in robot.joint_names:
            for kind in ("position", "velocity", "effort"):
                name = f"{joint}/{kind}"
                common = {"name": name, "data_type": "double", "is_available": available}
                command.append(HardwareInterface(is_claimed=name in claimed, **common))
                state.append(HardwareInterface(is_claimed=False, **common))
        return command, state

    # Services; `call` runs them between two physics steps.

    def _list_controllers(self, _request: Any, response: Any) -> Any:
        def snapshot() -> list[ControllerState]:
            return [
                ControllerState(
                    name=c.name,
                    state=c.state,
                    type=c.type,
                    update_rate=UPDATE_RATE,
                    claimed_interfaces=list(c.claimed) if c.state == "active" else [],
                    required_command_interfaces=list(c.claimed),
                    required_state_interfaces=list(c.required_state_interfaces),
                )
                for c in self._manager.controllers.values()
            ]

        response.controller = self._simulation.call(snapshot)
        return response

    def _list_components(self, _request: Any, response: Any) -> Any:
        command, state = self._simulation.call(self._interfaces)
        component = HardwareComponentState(
            name=HARDWARE,
            type="system",
            rw_rate=UPDATE_RATE,
            class_type="franka_hardware/FrankaHardwareInterface",
            plugin_name="franka_hardware/FrankaHardwareInterface",
            state=lifecycle(self._manager.hardware_state),
            command_interfaces=command,
            state_interfaces=state,
        )
        response.component = [component]
        return response

    def _list_interfaces(self, _request: Any, response: Any) -> Any:
        response.command_interfaces, response.state_interfaces = self._simulation.call(
            self._interfaces
        )
        return response

    def _load(self, request: Any, response: Any) -> Any:
        response.ok = self._simulation.call(lambda: self._manager.load(request.name))
        return response

    def _configure(self, request: Any, response: Any) -> Any:
        response.ok = self._simulation.call(lambda: self._manager.configure(request.name))
        return response

    def _unload(self, request: Any, response: Any) -> Any:
        response.ok = self._simulation.call(lambda: self._manager.unload(request.name))
        return response

    def _switch(self, request: Any, response: Any) -> Any:
        response.ok, response.message = self._simulation.call(
            lambda: self._manager.switch(
                request.activate_controllers, request.deactivate_controllers, request.strictness
            )
        )
        if response.message:
            self._node.get_logger().warning(f"switch_controller: {response.message}")
        return response

    def _set_hardware(self, request: Any, response: Any) -> Any:
        labels = {number: label for label, number in STATES.items()}
        target = request.target_state.label or labels.get(request.target_state.id, "")

        def apply() -> tuple[bool, str]:
            if request.name != HARDWARE:
                return False, f"no hardware component {request.name[:64]!r}: expected {HARDWARE}"
            return self._manager.set_hardware_state(target)

        response.ok, message = self._simulation.call(apply)
        response.state = lifecycle(self._manager.hardware_state)
        if message:
            self._node.get_logger().warning(f"set_hardware_component_state: {message}")
        return response
