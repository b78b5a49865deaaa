"""The Franka Hand through its actions, without ever waiting for one."""

from __future__ import annotations

import uuid
from typing import Any

from franka_msgs.action import Grasp, Move
from franka_msgs.msg import GraspEpsilon
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

from sac_envs.robots import HAND


class GripperClient:
    """Sends goals to `franka_gripper/move` and `/grasp`.

    A new goal replaces the one that runs, as the hand does it. How a goal goes is seen in the
    fingers' width: of an action only its service `send_goal` is used, because each message of
    rclpy's ActionClient about status and feedback would cost the loop 0.3 ms.
    """

    def __init__(self, node: Node, open_width: float) -> None:
        self._logger = node.get_logger()
        self._move: Client = node.create_client(
            Move.Impl.SendGoalService, "franka_gripper/move/_action/send_goal"
        )
        self._grasp: Client = node.create_client(
            Grasp.Impl.SendGoalService, "franka_gripper/grasp/_action/send_goal"
        )
        self._open_goal = Move.Impl.SendGoalService.Request(
            goal=Move.Goal(width=open_width, speed=HAND.default_speed)
        )
        # Any width counts as grasped: whether the object is held is for the task to see.
        self._close_goal = Grasp.Impl.SendGoalService.Request(
            goal=Grasp.Goal(
                width=0.0,
                epsilon=GraspEpsilon(inner=HAND.width_max, outer=HAND.width_max),
                speed=HAND.default_speed,
                force=HAND.default_force,
            )
        )
        self._sent: tuple[Client, Future] | None = None
        self.goals = 0
        self.rejected = 0

    def close_fingers(self) -> None:
        """Grasp whatever is between the fingers."""
        self._send(self._grasp, self._close_goal)

    def open_fingers(self) -> None:
        """Open to the task's width."""
        self._send(self._move, self._open_goal)

    def _send(self, client: Client, request: Any) -> None:
        if self._sent is not None:  # whatever becomes of that goal, this one replaces it
            earlier, future = self._sent
            earlier.remove_pending_request(future)
        self.goals += 1
        request.goal_id.uuid = list(uuid.uuid4().bytes)
        future = client.call_async(request)
        future.add_done_callback(self._answered)
        self._sent = client, future

    def _answered(self, future: Future) -> None:
        if not future.result().accepted:
            self.rejected += 1
            self._logger.warning("The gripper rejected a goal", throttle_duration_sec=10.0)
