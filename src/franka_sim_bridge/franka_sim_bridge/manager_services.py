"""The services of ros2_control's controller_manager, and its activity topic."""

from __future__ import annotations

import threading
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

from franka_sim_bridge.simulation import Simulation
from sac_ros import qos

ACTIVITY = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
STATES = {
    "unconfigured": State.PRIMARY_STATE_UNCONFIGURED,
    "inactive": State.PRIMARY_STATE_INACTIVE,
    "active": State.PRIMARY_STATE_ACTIVE,
    "finalized": State.PRIMARY_STATE_FINALIZED,
}
LABELS = {number: label for label, number in STATES.items()}
PLUGIN = "franka_hardware/FrankaHardwareInterface"
COMMANDS = ("position", "velocity", "effort")


def lifecycle_state(label: str) -> State:
    """A state's message by its label."""
    return State(id=STATES[label], label=label)


class ManagerServices:
    """`controller_manager/...` on a node.

    `hardware_delay` injects a fault: s that `set_hardware_component_state` takes, as it is said to
    hang now and then; all services wait for it.
    """

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._node = node
        self._simulation = simulation
        self._manager = simulation.manager
        self.hardware_delay = 0.0
        self._ended = threading.Event()
        self._rate = min(round(1e9 / simulation.step_ns), 65535)
        self._activity = node.create_publisher(
            ControllerManagerActivity,
            "controller_manager/activity",
            ACTIVITY,
            qos_overriding_options=qos.OVERRIDABLE,
        )
        self._services = [
            node.create_service(kind, f"controller_manager/{name}", callback)
            for kind, name, callback in (
                (ListControllers, "list_controllers", self._list_controllers),
                (ListHardwareComponents, "list_hardware_components", self._list_components),
                (ListHardwareInterfaces, "list_hardware_interfaces", self._list_interfaces),
                (LoadController, "load_controller", self._load),
                (ConfigureController, "configure_controller", self._configure),
                (UnloadController, "unload_controller", self._unload),
                (SwitchController, "switch_controller", self._switch),
                (SetHardwareComponentState, "set_hardware_component_state", self._set_hardware),
            )
        ]
        self._manager.on_change.append(self._publish_activity)
        simulation.call(self._publish_activity)

    def destroy(self) -> None:
        """Give services and topic back."""
        self._ended.set()
        self._manager.on_change.remove(self._publish_activity)
        for service in self._services:
            self._node.destroy_service(service)
        self._node.destroy_publisher(self._activity)

    # What is, on the simulation's thread.

    def _publish_activity(self) -> None:
        message = ControllerManagerActivity()
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = divmod(self._simulation.time_ns, 10**9)
        message.controllers = [
            NamedLifecycleState(name=name, state=lifecycle_state(controller.state))
            for name, controller in self._manager.controllers.items()
        ]
        state = lifecycle_state(self._manager.hardware_state)
        hardware = NamedLifecycleState(name=self._manager.hardware, state=state)
        message.hardware_components = [hardware]
        self._activity.publish(message)

    def _controllers(self) -> list[ControllerState]:
        return [
            ControllerState(
                name=name,
                state=controller.state,
                type=controller.type,
                update_rate=self._rate,
                claimed_interfaces=controller.claimed if controller.state == "active" else [],
                required_command_interfaces=controller.claimed,
                required_state_interfaces=controller.required_state_interfaces,
            )
            for name, controller in self._manager.controllers.items()
        ]

    def _interfaces(self) -> tuple[list[HardwareInterface], list[HardwareInterface]]:
        """Command and state interfaces; commands are there while the hardware is."""
        manager = self._manager
        claimed = {
            interface
            for controller in manager.controllers.values()
            if controller.state == "active"
            for interface in controller.claimed
        }
        names = [
            f"{joint}/{kind}" for joint in self._simulation.robot.joint_names for kind in COMMANDS
        ]
        there = manager.hardware_state != "unconfigured"
        commands = [
            HardwareInterface(
                name=name,
                data_type="double",
                is_available=manager.hardware_state == "active",
                is_claimed=name in claimed,
            )
            for name in names
        ]
        states = [
            HardwareInterface(name=name, data_type="double", is_available=there) for name in names
        ]
        return commands, states

    def _component(self) -> HardwareComponentState:
        commands, states = self._interfaces()
        return HardwareComponentState(
            name=self._manager.hardware,
            type="system",
            rw_rate=self._rate,
            class_type=PLUGIN,
            plugin_name=PLUGIN,
            state=lifecycle_state(self._manager.hardware_state),
            command_interfaces=commands,
            state_interfaces=states,
        )

    # The services, on the executor's thread.

    def _list_controllers(self, request: Any, response: Any) -> Any:
        response.controller = self._simulation.call(self._controllers)
        return response

    def _list_components(self, request: Any, response: Any) -> Any:
        response.component = [self._simulation.call(self._component)]
        return response

    def _list_interfaces(self, request: Any, response: Any) -> Any:
        interfaces = self._simulation.call(self._interfaces)
        response.command_interfaces, response.state_interfaces = interfaces
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
        target = LABELS.get(request.target_state.id, request.target_state.label)
        self._ended.wait(self.hardware_delay)
        if request.name == self._manager.hardware:
            response.ok, message = self._simulation.call(
                lambda: self._manager.set_hardware_state(target)
            )
        else:
            response.ok = False
            expected = self._manager.hardware
            message = f"no hardware component {request.name[:64]!r}: expected {expected}"
        response.state = lifecycle_state(self._manager.hardware_state)
        if message:
            self._node.get_logger().error(f"set_hardware_component_state: {message}")
        return response
