"""Commands that arrive as messages: checked in every field, then given to the controllers."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from franka_sim_bridge.simulation import Simulation
from sac_envs.kinematics import quaternion_to_rotation
from sac_ros import qos
from sac_ros.inbox import Inbox
from sac_ros.node import side_node

# ros2_controllers: reliable and best-effort publishers both match a best-effort reader.
COMMANDS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
TARGETS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)  # CRISP's
UNIT = 1e-3  # how far a quaternion's norm may be from 1
MOST_POINTS = 10_000  # of a trajectory
GROUPS = ("joint_velocity_controller", "joint_effort_controller", "joint_position_controller")
TRAJECTORY = "joint_trajectory_controller"
CARTESIAN = "cartesian_impedance_controller"


def points_of(message: JointTrajectory) -> dict[str, Any]:
    """A trajectory message as the controller's arguments; ValueError when it is too long."""
    if len(message.points) > MOST_POINTS or len(message.joint_names) > 64:
        raise ValueError(f"more than {MOST_POINTS} points or 64 joints")
    with_velocities = bool(message.points) and all(len(p.velocities) for p in message.points)
    with_accelerations = with_velocities and all(len(p.accelerations) for p in message.points)
    start = message.header.stamp
    return {
        "joint_names": message.joint_names,
        "times": [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points],
        "positions": [p.positions for p in message.points],
        "velocities": [p.velocities for p in message.points] if with_velocities else None,
        "accelerations": [p.accelerations for p in message.points] if with_accelerations else None,
        "start": start.sec + start.nanosec * 1e-9 if start.sec or start.nanosec else None,
    }


class Commands:
    """The command topics, on a node of their own that no executor spins (see `inbox`).

    `accepted` counts the commands that the active motion controller has taken.
    """

    def __init__(self, parent: Node, simulation: Simulation) -> None:
        self._manager = simulation.manager
        self._logger = parent.get_logger()
        self.accepted = 0
        self._node = side_node(parent, f"{parent.get_name()}_commands")
        self._topics = {
            TRAJECTORY: self._subscribe(
                JointTrajectory, f"{TRAJECTORY}/joint_trajectory", self._on_trajectory
            ),
            CARTESIAN: self._subscribe(PoseStamped, "target_pose", self._on_target_pose, TARGETS),
        }
        for group in GROUPS:
            self._topics[group] = self._subscribe(
                Float64MultiArray,
                f"{group}/commands",
                lambda message, group=group: self._on_group(group, message),
            )
        self._target_joint = self._subscribe(
            JointState, "target_joint", self._on_target_joint, TARGETS
        )
        self.inbox = Inbox(self._node)

    def _subscribe(
        self, kind: type, name: str, callback: Any, profile: QoSProfile = COMMANDS
    ) -> Subscription:
        return self._node.create_subscription(
            kind, name, callback, profile, qos_overriding_options=qos.OVERRIDABLE
        )

    @property
    def active_topic(self) -> str:
        """The topic on which the active motion controller is commanded."""
        active = self._manager.active_motion
        return self._topics[active.name].topic_name if active else "any topic (no controller)"

    def destroy(self) -> None:
        """Give the node back."""
        self._node.destroy_node()

    def _take(self, controller: str, topic: str, refusal: str | None) -> None:
        if refusal is not None:
            self._refuse(topic, refusal)
        elif self._manager.controllers[controller].state == "active":
            self.accepted += 1

    def _on_trajectory(self, message: JointTrajectory) -> None:
        topic = f"{TRAJECTORY}/joint_trajectory"
        try:
            refusal = self._manager.controllers[TRAJECTORY].trajectory(**points_of(message))
        except ValueError as error:
            refusal = str(error)
        self._take(TRAJECTORY, topic, refusal)

    def _on_group(self, controller: str, message: Float64MultiArray) -> None:
        refusal = self._manager.controllers[controller].command(message.data)
        self._take(controller, f"{controller}/commands", refusal)

    def _on_target_pose(self, message: PoseStamped) -> None:
        p, o = message.pose.position, message.pose.orientation
        position = np.array([p.x, p.y, p.z])
        quaternion = np.array([o.x, o.y, o.z, o.w])
        refusal: str | None
        if self._topics[CARTESIAN].get_publisher_count() > 1:
            refusal = "it has more than one publisher"
        elif not np.isfinite(position).all():
            refusal = f"its position is not finite: {position}"
        elif not abs(float(np.linalg.norm(quaternion)) - 1.0) < UNIT:
            refusal = f"its orientation is no unit quaternion: {quaternion}"
        else:
            rotation = quaternion_to_rotation(quaternion)
            refusal = self._manager.controllers[CARTESIAN].target(position, rotation)
        self._take(CARTESIAN, "target_pose", refusal)

    def _on_target_joint(self, message: JointState) -> None:
        refusal: str | None
        if self._target_joint.get_publisher_count() > 1:
            refusal = "it has more than one publisher"
        else:
            # By index, not by name: that is what CRISP does.
            refusal = self._manager.controllers[CARTESIAN].target_joint(message.position)
        if refusal is not None:
            self._refuse("target_joint", refusal)

    def _refuse(self, topic: str, why: str) -> None:
        self._logger.error(f"A message on {topic} is ignored: {why}", throttle_duration_sec=1.0)
