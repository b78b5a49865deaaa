"""What the bridge publishes, in simulated time, under the names and profiles of franka_ros2 3.4.0.

All messages of one instant carry the same stamp; `franka/joint_states` is the last that tells the
state, so that whoever has it has the rest. What nobody listens to costs next to nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from control_msgs.msg import JointTrajectoryControllerState
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectoryPoint

from franka_sim_bridge.description import BASE
from franka_sim_bridge.outbox import Outbox
from franka_sim_bridge.readings import rotated, tool_pose
from franka_sim_bridge.robot_state import RobotStatePublisher
from franka_sim_bridge.simulation import Simulation
from franka_sim_bridge.template import Template
from franka_sim_bridge.viewers import Camera, Markers, Stamp, Transforms
from sac_envs.robots import Float64
from sac_ros import qos

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
RELIABLE_10 = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
CLOCK_PERIOD = 0.01  # s of wall time between two clock messages at least: rclpy nodes choke on more
LISTENERS_PERIOD = 0.1  # s of wall time after which it is looked up again who listens
GRIPPER_RATE = 15.0  # Hz, what the hand's own interface reaches
MERGED_RATE = 30.0  # Hz of joint_states and of the transforms
JOINT_BROADCASTER = "joint_state_broadcaster"
TRAJECTORY_CONTROLLER = "joint_trajectory_controller"
STATE_BROADCASTER = "franka_robot_state_broadcaster"
JOINT_FIELDS = ("position", "velocity", "effort")


class Rate:
    """Says when something that happens `rate` times per simulated second is due (0: never)."""

    def __init__(self, rate: float) -> None:
        self._period_ns = round(1e9 / rate) if rate > 0.0 else 0
        self.next_ns = 0 if rate > 0.0 else 2**63

    def due(self, now_ns: int) -> bool:
        """Whether it is time; if so, the next time is set."""
        if now_ns < self.next_ns:
            return False
        self.next_ns += self._period_ns
        if self.next_ns <= now_ns:  # time has made a leap, as a lockstep does
            self.next_ns = now_ns + self._period_ns
        return True


class Topic:
    """A publisher of messages that a template makes."""

    def __init__(
        self,
        node: Node,
        outbox: Outbox,
        name: str,
        message: Any,
        fields: tuple[str, ...],
        profile: QoSProfile,
    ) -> None:
        self._publisher: Publisher = node.create_publisher(
            type(message), name, profile, qos_overriding_options=qos.OVERRIDABLE
        )
        self._outbox = outbox
        self._template = Template(message, *fields)
        self.listened = True  # as of the last look

    def look(self) -> None:
        """Find out whether anybody listens."""
        self.listened = self._publisher.get_subscription_count() > 0

    def publish(self, stamp: Stamp, *values: Any) -> None:
        """Publish with this stamp and these values of the fields; none: those of the last time."""
        data = self._template(stamp, *values) if values else self._template.restamped(stamp)
        self._outbox.send(self._publisher, data, stamp[0] * 10**9 + stamp[1])


def joint_state(names: Iterable[str], *fields: str, frame: str = "") -> JointState:
    """A JointState of its final layout, with these of position, velocity and effort."""
    message = JointState(name=list(names))
    message.header.frame_id = frame
    for field in fields:
        setattr(message, field, [0.0] * len(message.name))
    return message


def in_frame(message: Any, frame: str = BASE) -> Any:
    """The message with its frame set."""
    message.header.frame_id = frame
    return message


class StatePublishers:
    """Publishes the state of a simulation; every method is for the simulation's thread.

    Attributes that inject faults into `franka/joint_states`: `drop` (nothing is published),
    `freeze` (old values under new stamps), `nan_once` (one message with NaN positions);
    `drop_objects` for the poses of objects, and `outbox.latency` for all state.
    """

    def __init__(
        self,
        node: Node,
        simulation: Simulation,
        *,
        joint_state_rate: float,
        convenience_publish_rate: float,
        robot_state_rate: float,
        marker_rate: float,
        camera_rate: float,
        gripper: bool = True,
    ) -> None:
        self._simulation = simulation
        self._gripper = gripper
        self.outbox = Outbox()
        self.drop = self.freeze = self.nan_once = self.drop_objects = False
        self._make_topics(node)
        self._looked = -math.inf
        self._clock = node.create_publisher(Clock, "/clock", RELIABLE)
        self._clock_ns = -1  # last published
        self._clock_wall = -math.inf
        self._robot_state = RobotStatePublisher(node, simulation, self.outbox)
        self._trajectory_state = node.create_publisher(
            JointTrajectoryControllerState,
            f"{TRAJECTORY_CONTROLLER}/controller_state",
            RELIABLE,
            qos_overriding_options=qos.OVERRIDABLE,
        )
        self._transforms = Transforms(node, simulation)
        self._markers = Markers(node, simulation)
        self._camera = Camera(node, simulation) if camera_rate > 0.0 else None
        self._joint_rate = Rate(joint_state_rate)
        self._convenience_rate = Rate(convenience_publish_rate)
        self._robot_state_rate = Rate(robot_state_rate)
        self._gripper_rate = Rate(GRIPPER_RATE)
        self._merged_rate = Rate(MERGED_RATE)
        self._marker_rate = Rate(marker_rate)
        self._camera_rate = Rate(camera_rate)
        self._rates = (
            self._joint_rate,
            self._convenience_rate,
            self._robot_state_rate,
            self._gripper_rate,
            self._merged_rate,
            self._marker_rate,
            self._camera_rate,
        )
        self._pose = np.zeros(7)  # position, quaternion (x, y, z, w)
        # What was last published of the joints: joint_states goes on with it when they fall silent.
        self._last_joints: tuple[Float64, Float64, Float64] = (np.zeros(7),) * 3

    def _make_topics(self, node: Node) -> None:
        simulation, outbox = self._simulation, self.outbox
        robot = simulation.robot
        arm, fingers = robot.joint_names, robot.finger_joint_names
        tool = f"{robot.name}_hand_tcp"

        def topic(name: str, message: Any, *fields: str, profile: QoSProfile) -> Topic:
            return Topic(node, outbox, name, message, fields, profile)

        def joints(name: str, names: Iterable[str], profile: QoSProfile, frame: str = "") -> Topic:
            message = joint_state(names, *JOINT_FIELDS, frame=frame)
            return topic(name, message, *JOINT_FIELDS, profile=profile)

        def convenience(name: str, message: Any, *fields: str) -> Topic:
            return topic(f"{STATE_BROADCASTER}/{name}", message, *fields, profile=BEST_EFFORT)

        self._joints = joints("franka/joint_states", arm, RELIABLE, "base_link")
        self._merged = joints("joint_states", arm + fingers, RELIABLE_10)
        self._fingers = joints("franka_gripper/joint_states", fingers, RELIABLE)
        self._objects = {
            name: topic(
                f"objects/{name}/pose", in_frame(PoseStamped()), "pose", profile=BEST_EFFORT
            )
            for name in (*simulation.world.object_names, *simulation.task.goals)
        }
        self._current_pose = convenience("current_pose", in_frame(PoseStamped()), "pose")
        self._desired_pose = convenience("last_desired_pose", in_frame(PoseStamped()), "pose")
        self._desired_twist = convenience(
            "desired_end_effector_twist", in_frame(TwistStamped()), "twist"
        )
        self._base_wrench = convenience(
            "external_wrench_in_base_frame", in_frame(WrenchStamped()), "wrench"
        )
        self._tool_wrench = convenience(
            "external_wrench_in_stiffness_frame", in_frame(WrenchStamped(), tool), "wrench"
        )
        state = joint_state(arm, *JOINT_FIELDS, frame=BASE)
        self._measured = convenience("measured_joint_states", state, *JOINT_FIELDS)
        self._desired = convenience("desired_joint_states", state, *JOINT_FIELDS)
        external = joint_state(arm, "effort", frame=BASE)
        self._external = convenience("external_joint_torques", external, "effort")
        self._secondary = (
            self._merged,
            self._desired_pose,
            self._desired_twist,
            self._base_wrench,
            self._tool_wrench,
            self._measured,
            self._desired,
            self._external,
        )

    # When.

    @property
    def next_ns(self) -> int:
        """Simulated time at which something is due."""
        return min(min(rate.next_ns for rate in self._rates), self.outbox.next_ns)

    def publish_due(self) -> None:
        """Publish what is due now."""
        self._publish(everything=False)

    def publish_all(self) -> None:
        """Publish the whole state of this instant."""
        self._publish(everything=True)

    def publish_standing(self) -> float:
        """What is left to publish while time stands still; s of wall time until there is more."""
        return min(self._publish_clock(), self.outbox.flush_standing())

    def close(self) -> None:
        """Give back what cannot wait for the end of the process."""
        if self._camera is not None:
            self._camera.close()

    # What.

    def _publish(self, everything: bool) -> None:
        now = self._simulation.time_ns
        stamp = divmod(now, 10**9)
        self._look(everything)
        self._publish_clock()
        self.outbox.flush(now)
        manager = self._simulation.manager
        broadcasts_state = manager.broadcasting(STATE_BROADCASTER)
        if self._robot_state_rate.due(now) and broadcasts_state:
            self._robot_state.publish(stamp, manager.desired())
        merged_due = self._merged_rate.due(now)
        if merged_due or everything:
            self._publish_merged(stamp)
        if (self._gripper_rate.due(now) or everything) and self._gripper:
            self._fingers.publish(stamp, self._simulation.world.width / 2, 0.0, 0.0)
        if self._convenience_rate.due(now) or everything:
            self._publish_objects(stamp)
            if broadcasts_state:
                self._publish_conveniences(stamp)
            if manager.controllers[TRAJECTORY_CONTROLLER].state == "active":
                self._publish_trajectory_state(stamp)
        if (self._joint_rate.due(now) or everything) and manager.broadcasting(JOINT_BROADCASTER):
            self._publish_joints(stamp)
        if merged_due:
            self._transforms.publish(stamp)
        if self._marker_rate.due(now):
            self._markers.publish(stamp)
        if self._camera is not None and self._camera_rate.due(now):
            self._camera.publish(stamp)

    def _look(self, everything: bool) -> None:
        """Learn who listens, from time to time."""
        now = time.monotonic()
        if not everything and now - self._looked < LISTENERS_PERIOD:
            return
        self._looked = now
        for topic in self._secondary:
            topic.look()

    def _publish_clock(self) -> float:
        """Publish the time unless it is known; else the s of wall time after which it may be."""
        now = self._simulation.time_ns
        if now == self._clock_ns:
            return math.inf
        left = self._clock_wall + CLOCK_PERIOD - time.monotonic()
        if left > 0.0:
            return left
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now, 10**9)
        self._clock.publish(message)
        self._clock_ns, self._clock_wall = now, time.monotonic()
        return math.inf

    def _publish_joints(self, stamp: Stamp) -> None:
        if self.drop:
            return
        if self.freeze:
            self._joints.publish(stamp)
            return
        world = self._simulation.world
        q = world.q
        if self.nan_once:
            self.nan_once = False
            q = np.full(7, np.nan)
        else:
            self._last_joints = (world.q.copy(), world.dq.copy(), world.measured_torques())
        self._joints.publish(stamp, q, world.dq, world.measured_torques())

    def _publish_merged(self, stamp: Stamp) -> None:
        """joint_states as joint_state_publisher makes it: last known values under new stamps."""
        if not self._merged.listened:
            return
        finger = [self._simulation.world.width / 2] * 2
        arm = self._last_joints
        at_rest = [0.0, 0.0]
        self._merged.publish(stamp, [*arm[0], *finger], [*arm[1], *at_rest], [*arm[2], *at_rest])

    def _publish_objects(self, stamp: Stamp) -> None:
        if self.drop_objects:
            return
        poses = self._simulation.object_poses()
        for name, topic in self._objects.items():
            pose = poses.get(name)
            if pose is not None:
                self._pose[:3], self._pose[3:] = pose.position, pose.quaternion
                topic.publish(stamp, self._pose)

    def _publish_conveniences(self, stamp: Stamp) -> None:
        world = self._simulation.world
        self._current_pose.publish(stamp, tool_pose(world))
        if self._base_wrench.listened or self._tool_wrench.listened:
            wrench = self._simulation.external.wrench()
            self._base_wrench.publish(stamp, wrench)
            self._tool_wrench.publish(stamp, rotated(world.tcp_rotation.T, wrench))
        if self._measured.listened:
            self._measured.publish(stamp, world.q, world.dq, world.measured_torques())
        if self._external.listened:
            self._external.publish(stamp, self._simulation.external.torques)
        if not (
            self._desired_pose.listened or self._desired_twist.listened or self._desired.listened
        ):
            return
        desired = self._simulation.manager.desired()
        self._desired_pose.publish(stamp, desired.pose)
        self._desired_twist.publish(stamp, world.jacobian() @ desired.velocity)
        self._desired.publish(stamp, desired.position, desired.velocity, desired.effort)

    def _publish_trajectory_state(self, stamp: Stamp) -> None:
        """joint_trajectory_controller/controller_state, while somebody listens."""
        if self._trajectory_state.get_subscription_count() == 0:
            return
        world = self._simulation.world
        controller = self._simulation.manager.controllers[TRAJECTORY_CONTROLLER]
        message = JointTrajectoryControllerState(joint_names=list(world.robot.joint_names))
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        q, dq = controller.reference_position, controller.reference_velocity
        message.reference = JointTrajectoryPoint(positions=q.tolist(), velocities=dq.tolist())
        message.feedback = JointTrajectoryPoint(
            positions=world.q.tolist(), velocities=world.dq.tolist()
        )
        message.error = JointTrajectoryPoint(
            positions=(q - world.q).tolist(), velocities=(dq - world.dq).tolist()
        )
        message.speed_scaling_factor = 1.0
        self._trajectory_state.publish(message)
