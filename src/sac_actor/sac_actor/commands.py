"""Command adapters: one filtered command of the policy as what a motion controller listens to.

Each speaks to one controller, as franka_ros2 and CRISP set it up. A pose carries the stamp of the
state that it answers.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sac_envs.kinematics import rotation_to_quaternion
from sac_envs.robots import Float64, Robot
from sac_envs.task import Command
from sac_ros import qos
from sac_ros.robot_input import Joints

OPTIONS = {"qos_overriding_options": qos.OVERRIDABLE}


def to_time(nanoseconds: int) -> Time:
    """Integer nanoseconds as a message."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=seconds, nanosec=rest)


class CommandAdapter(Protocol):
    """Sends commands to one kind of motion controller."""

    topic: str

    def __init__(self, node: Node, robot: Robot, period: float) -> None: ...

    def send(self, command: Command, joints: Joints, displacement: Float64) -> None:
        """Ask for `command`; `displacement` `(7,)` in rad is what it means for the joints."""
        ...

    def hold(self, joints: Joints) -> None:
        """Ask the robot to stay where it is."""
        ...


class CartesianImpedance:
    """`target_pose` of CRISP's Cartesian controller: the controller is compliant, we say where."""

    def __init__(self, node: Node, robot: Robot, period: float) -> None:
        self._publisher = node.create_publisher(
            PoseStamped, "target_pose", qos.ROBOT_COMMAND, **OPTIONS
        )
        self.topic = self._publisher.topic_name
        self._message = PoseStamped()
        self._message.header.frame_id = "base"

    def send(self, command: Command, joints: Joints, displacement: Float64) -> None:
        message = self._message
        message.header.stamp = to_time(joints.stamp)
        p, o = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = command.position.tolist()
        o.x, o.y, o.z, o.w = rotation_to_quaternion(command.rotation).tolist()
        self._publisher.publish(message)

    def hold(self, joints: Joints) -> None:
        """Nothing to say: the controller holds its last target, which was near."""


class JointTrajectoryAdapter:
    """One point, one control period ahead, for joint_trajectory_controller on effort."""

    def __init__(self, node: Node, robot: Robot, period: float) -> None:
        self._publisher = node.create_publisher(
            JointTrajectory,
            "joint_trajectory_controller/joint_trajectory",
            qos.ROBOT_COMMAND,
            **OPTIONS,
        )
        self.topic = self._publisher.topic_name
        self._robot = robot
        seconds, rest = divmod(round(period * 1e9), 1_000_000_000)
        self._period = Duration(sec=seconds, nanosec=rest)

    def send(self, command: Command, joints: Joints, displacement: Float64) -> None:
        target = np.clip(
            joints.q + displacement, self._robot.conservative_min, self._robot.conservative_max
        )
        self._publish(target)

    def hold(self, joints: Joints) -> None:
        self._publish(joints.q)

    def _publish(self, target: Float64) -> None:
        point = JointTrajectoryPoint(positions=target.tolist(), time_from_start=self._period)
        # Stamp 0 means now: the controller's clock decides, not ours.
        self._publisher.publish(
            JointTrajectory(joint_names=list(self._robot.joint_names), points=[point])
        )


class JointVelocityAdapter:
    """`joint_velocity_controller/commands`. It has no time-out of its own: hold sends zeros."""

    def __init__(self, node: Node, robot: Robot, period: float) -> None:
        self._publisher = node.create_publisher(
            Float64MultiArray, "joint_velocity_controller/commands", qos.ROBOT_COMMAND, **OPTIONS
        )
        self.topic = self._publisher.topic_name
        self._limit = robot.conservative_velocity
        self._change = robot.acceleration_max * period
        self._period = period
        self._last = np.zeros(7)

    def send(self, command: Command, joints: Joints, displacement: Float64) -> None:
        velocity = np.clip(displacement / self._period, -self._limit, self._limit)
        velocity = np.clip(velocity, self._last - self._change, self._last + self._change)
        self._publish(velocity)

    def hold(self, joints: Joints) -> None:
        self._publish(np.zeros(7))

    def _publish(self, velocity: Float64) -> None:
        self._last = velocity
        self._publisher.publish(Float64MultiArray(data=velocity.tolist()))


ADAPTERS: dict[str, type[CommandAdapter]] = {
    "cartesian_impedance": CartesianImpedance,
    "joint_trajectory": JointTrajectoryAdapter,
    "joint_velocity": JointVelocityAdapter,
}
