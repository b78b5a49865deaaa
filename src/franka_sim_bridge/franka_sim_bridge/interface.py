"""The services and actions of franka_ros2, ros2_control and franka_gripper."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from franka_sim_bridge.actions import SimulatedActions
from franka_sim_bridge.gripper_actions import FEEDBACK_RATE, GripperActions
from franka_sim_bridge.manager_services import ManagerServices
from franka_sim_bridge.robot_services import RobotServices
from franka_sim_bridge.simulation import Simulation
from franka_sim_bridge.trajectory_actions import TrajectoryActions
from sac_ros.node import Spinner, side_node


class Interface:
    """Serves a simulation under the names of a Franka; names are relative to the node's namespace.

    Whatever changes the simulation runs as a job on its thread. The hand is a node of its own, as
    on the robot, with a thread of its own: a policy sends it goals all the time, and an executor
    takes the longer for each, the more its node offers.
    """

    def __init__(
        self, node: Node, simulation: Simulation, fail: Callable[[str], None], gripper: bool = True
    ) -> None:
        self._actions = SimulatedActions(node, simulation, FEEDBACK_RATE)
        self._hand = side_node(node, "franka_gripper")
        self._hand_actions = SimulatedActions(self._hand, simulation, FEEDBACK_RATE)
        self.manager = ManagerServices(node, simulation)
        self.robot = RobotServices(node, simulation, self._actions)
        hand = (GripperActions(self._hand, simulation, self._hand_actions),) if gripper else ()
        self._parts = (
            self.manager,
            self.robot,
            *hand,
            TrajectoryActions(node, simulation, self._actions),
        )
        self._hand_spinner = Spinner(self._hand, fail)
        self._hand_spinner.start()

    def destroy(self) -> None:
        """Give everything back."""
        self._hand_spinner.stop()
        for part in self._parts:
            part.destroy()
        self._actions.destroy()
        self._hand_actions.destroy()
        self._hand.destroy_node()
