"""Commands that arrive as messages: checked in every field, then given to the controllers."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from franka_sim_bridge.inbox import Inbox
from franka_sim_bridge.simulation import Simulation
from sac_envs.kinematics import quaternion_to_rotation
from sac_ros import qos

# Reliable and best-effort publishers both match a best-effort reader.
COMMANDS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
UNIT = 1e-3  # how far a quaternion's norm may be from 1


class Commands:
    """The command topics, on a node of their own that no executor spins (see `inbox`)."""

    def __init__(self, parent: Node, simulation: Simulation) -> None:
        self._simulation = simulation
        self._logger = parent.get_logger()
        self.accepted = 0  # commands that a controller has taken
        name = f"{parent.get_name()}_commands"
        self._node = Node(
            name,
            namespace=parent.get_namespace(),
            context=parent.context,
            cli_args=["--ros-args", "-r", f"__node:={name}"],
            start_parameter_services=False,
            enable_rosout=False,
        )
        self._target_pose = self._node.create_subscription(
            PoseStamped,
            "target_pose",
            self._on_target_pose,
            COMMANDS,
            qos_overriding_options=qos.OVERRIDABLE,
        )
        self.inbox = Inbox(self._node)
        self.active_topic = self._target_pose.topic_name

    def destroy(self) -> None:
        """Give the node back."""
        self._node.destroy_node()

    def _on_target_pose(self, message: PoseStamped) -> None:
        if self._target_pose.get_publisher_count() > 1:
            self._refuse("target_pose", "it has more than one publisher")
            return
        p, o = message.pose.position, message.pose.orientation
        position = np.array([p.x, p.y, p.z])
        quaternion = np.array([o.x, o.y, o.z, o.w])
        if not np.isfinite(position).all():
            self._refuse("target_pose", f"its position is not finite: {position}")
        elif not abs(float(np.linalg.norm(quaternion)) - 1.0) < UNIT:
            self._refuse("target_pose", f"its orientation is no unit quaternion: {quaternion}")
        else:
            self._simulation.law.set_target(position, quaternion_to_rotation(quaternion))
            self.accepted += 1

    def _refuse(self, topic: str, why: str) -> None:
        self._logger.error(f"A message on {topic} is ignored: {why}", throttle_duration_sec=1.0)
