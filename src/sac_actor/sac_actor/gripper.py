"""The Franka Hand through its actions, without ever waiting for one."""

from __future__ import annotations

from typing import Any

from franka_msgs.action import Grasp, Move
from franka_msgs.msg import GraspEpsilon
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future

from sac_envs.robots import HAND


class GripperClient:
    """Sends goals to `franka_gripper/move` and `/grasp`; results are only looked at for failures.

    A new goal replaces the one that runs, as the hand does it.
    """

    def __init__(self, node: Node, open_width: float) -> None:
        self._logger = node.get_logger()
        self._move: Any = ActionClient(node, Move, "franka_gripper/move")
        self._grasp: Any = ActionClient(node, Grasp, "franka_gripper/grasp")
        self._open_goal = Move.Goal(width=open_width, speed=HAND.default_speed)
        # Any width counts as grasped: whether the object is held is for the task to see.
        self._close_goal = Grasp.Goal(
            width=0.0,
            epsilon=GraspEpsilon(inner=HAND.width_max, outer=HAND.width_max),
            speed=HAND.default_speed,
            force=HAND.default_force,
        )
        self.goals = 0
        self.rejected = 0

    def ready(self) -> bool:
        """Whether the gripper's action servers are there."""
        return bool(self._move.server_is_ready() and self._grasp.server_is_ready())

    def close_fingers(self) -> None:
        """Grasp whatever is between the fingers."""
        self._send(self._grasp, self._close_goal)

    def open_fingers(self) -> None:
        """Open to the task's width."""
        self._send(self._move, self._open_goal)

    def _send(self, client: Any, goal: object) -> None:
        self.goals += 1
        client.send_goal_async(goal).add_done_callback(self._answered)

    def _answered(self, future: Future) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self.rejected += 1
            self._logger.warning("The gripper rejected a goal", throttle_duration_sec=10.0)

    def destroy(self) -> None:
        """Give the clients back."""
        self._move.destroy()
        self._grasp.destroy()
