"""All services and actions of the robot, its controller manager and its gripper."""

from __future__ import annotations

from rclpy.node import Node

from franka_sim_bridge.gripper_actions import GripperActions
from franka_sim_bridge.manager_services import ManagerServices
from franka_sim_bridge.robot_services import RobotServices
from franka_sim_bridge.simulation import Simulation


class Interface:
    """Offers them on one node, under the names that the robot's nodes have."""

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._parts = (
            ManagerServices(node, simulation),
            GripperActions(node, simulation),
            RobotServices(node, simulation),
        )

    def destroy(self) -> None:
        """Give everything back."""
        for part in self._parts:
            part.destroy()
