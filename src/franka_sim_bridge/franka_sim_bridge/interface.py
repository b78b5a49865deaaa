"""The services and actions of franka_ros2, ros2_control and franka_gripper on one node."""

from __future__ import annotations

from rclpy.node import Node

from franka_sim_bridge.actions import SimulatedActions
from franka_sim_bridge.gripper_actions import FEEDBACK_RATE, GripperActions
from franka_sim_bridge.manager_services import ManagerServices
from franka_sim_bridge.robot_services import RobotServices
from franka_sim_bridge.simulation import Simulation
from franka_sim_bridge.trajectory_actions import TrajectoryActions


class Interface:
    """Serves a simulation under the names of a Franka; names are relative to the node's namespace.

    Whatever changes the simulation runs as a job on its thread.
    """

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._actions = SimulatedActions(node, simulation, FEEDBACK_RATE)
        self._parts = (
            ManagerServices(node, simulation),
            RobotServices(node, simulation, self._actions),
            GripperActions(node, simulation, self._actions),
            TrajectoryActions(node, simulation, self._actions),
        )

    def destroy(self) -> None:
        """Give everything back."""
        for part in self._parts:
            part.destroy()
        self._actions.destroy()
