"""What the bridge publishes, in simulated time, under the names and profiles of franka_ros2 3.4.0.

All messages of one instant carry the same stamp; `franka/joint_states` is the last of them, so that
whoever has it has the rest.
"""

from __future__ import annotations

import time
from typing import Any

import mujoco
import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from franka_sim_bridge.simulation import Simulation
from franka_sim_bridge.template import Template
from sac_envs.robots import Float64
from sac_ros import qos

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
BASE = "base"  # root link of the robot's description
CLOCK_PERIOD = 0.01  # s of wall time between two clock messages at least: rclpy nodes choke on more
GRIPPER_RATE = 15.0  # Hz, what the hand's own interface reaches


class Rate:
    """Says when something that happens `rate` times per simulated second is due (0: never)."""

    def __init__(self, rate: float) -> None:
        self._period_ns = round(1e9 / rate) if rate > 0.0 else 0
        self.next_ns = 0 if rate > 0.0 else 2**63

    def due(self, now_ns: int) -> bool:
        """Whether it is time; if so, the next time is set."""
        if now_ns < self.next_ns:
            return False
        self.next_ns = max(self.next_ns, now_ns - self._period_ns) + self._period_ns
        return True


class Topic:
    """A publisher of messages that a template makes."""

    def __init__(
        self, node: Node, name: str, message: Any, fields: tuple[str, ...], profile: QoSProfile
    ) -> None:
        self._publisher = node.create_publisher(
            type(message), name, profile, qos_overriding_options=qos.OVERRIDABLE
        )
        self._template = Template(message, *fields)

    def publish(self, stamp: tuple[int, int], *values: Any) -> None:
        """Publish with this stamp (s, ns) and these values of the fields."""
        self._publisher.publish(self._template(stamp, *values))


def joint_state(names: tuple[str, ...], frame: str = "") -> JointState:
    """A JointState of its final layout."""
    message = JointState(name=list(names))
    message.header.frame_id = frame
    message.position = message.velocity = message.effort = [0.0] * len(names)
    return message


def pose_stamped() -> PoseStamped:
    """A PoseStamped in the base frame."""
    message = PoseStamped()
    message.header.frame_id = BASE
    return message


JOINT_FIELDS = ("position", "velocity", "effort")


class StatePublishers:
    """Publishes the state of a simulation; every method is for the simulation's thread."""

    def __init__(
        self, node: Node, simulation: Simulation, joint_state_rate: float, convenience_rate: float
    ) -> None:
        self._simulation = simulation
        robot = simulation.robot
        self._clock = node.create_publisher(Clock, "/clock", RELIABLE)
        self._clock_ns = -1  # last published
        self._clock_wall = 0.0
        joints = joint_state(robot.joint_names, "base_link")
        self._joints = Topic(node, "franka/joint_states", joints, JOINT_FIELDS, RELIABLE)
        fingers = joint_state(robot.finger_joint_names)
        self._fingers = Topic(node, "franka_gripper/joint_states", fingers, JOINT_FIELDS, RELIABLE)
        broadcaster = "franka_robot_state_broadcaster"
        self._pose = Topic(
            node, f"{broadcaster}/current_pose", pose_stamped(), ("pose",), BEST_EFFORT
        )
        names = (*simulation.world.object_names, *simulation.task.goals)
        self._objects = {
            name: Topic(node, f"objects/{name}/pose", pose_stamped(), ("pose",), BEST_EFFORT)
            for name in names
        }
        self._joint_rate = Rate(joint_state_rate)
        self._convenience_rate = Rate(convenience_rate)
        self._gripper_rate = Rate(GRIPPER_RATE)
        self._rates = (self._joint_rate, self._convenience_rate, self._gripper_rate)
        self._seven = np.zeros(7)  # a pose: position, quaternion (x, y, z, w)
        self._quaternion = np.zeros(4)

    @property
    def next_ns(self) -> int:
        """Simulated time at which something is due."""
        return min(rate.next_ns for rate in self._rates)

    def publish_due(self) -> None:
        """Publish what is due now."""
        self._publish(everything=False)

    def publish_all(self) -> None:
        """Publish the whole state of this instant."""
        self._publish(everything=True)

    def _publish(self, everything: bool) -> None:
        now = self._simulation.time_ns
        stamp = divmod(now, 10**9)
        self.publish_clock()
        if self._gripper_rate.due(now) or everything:
            self._fingers.publish(stamp, self._simulation.world.width / 2, 0.0, 0.0)
        if self._convenience_rate.due(now) or everything:
            self._publish_objects(stamp)
            self._pose.publish(stamp, self._tool_pose())
        if self._joint_rate.due(now) or everything:
            world = self._simulation.world
            self._joints.publish(stamp, world.q, world.dq, world.measured_torques())

    def publish_clock(self) -> float:
        """Publish the time unless it is known; else the s of wall time after which it may be."""
        now = self._simulation.time_ns
        if now == self._clock_ns:
            return float("inf")
        left = self._clock_wall + CLOCK_PERIOD - time.monotonic()
        if left > 0.0:
            return left
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now, 10**9)
        self._clock.publish(message)
        self._clock_ns, self._clock_wall = now, time.monotonic()
        return float("inf")

    def _publish_objects(self, stamp: tuple[int, int]) -> None:
        poses = self._simulation.object_poses()
        for name, topic in self._objects.items():
            pose = poses.get(name)
            if pose is not None:
                self._seven[:3], self._seven[3:] = pose.position, pose.quaternion
                topic.publish(stamp, self._seven)

    def _tool_pose(self) -> Float64:
        world = self._simulation.world
        mujoco.mju_mat2Quat(self._quaternion, world.tcp_rotation.ravel())
        self._seven[:3] = world.tcp_position
        self._seven[3:6], self._seven[6] = self._quaternion[1:], self._quaternion[0]
        return self._seven
