"""What the robot's topics say, assembled into one `RobotState` of one instant.

Joint states, tool pose, gripper width and object poses come on topics of their own. Time is that of
their stamps: nothing here looks at a clock except to notice that a topic has fallen silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from sac_actor.environment import EpisodeCut, Interrupted
from sac_envs.kinematics import forward, quaternion_to_rotation
from sac_envs.robots import Float64, Robot
from sac_envs.task import Pose, RobotState, Task
from sac_ros import qos
from sac_ros.inbox import Inbox
from sac_ros.parameters import UserError

SAME_INSTANT = 1_000_000  # ns by which stamps of the same instant may differ
SYNCHRONISE = 0.005  # s to wait for a slower topic whose next message is due
FROZEN_AFTER = 500_000_000  # ns of robot time with the very same joint values while it should move
TOOL_TOLERANCE = 0.005  # m between the tool pose and the joints' own kinematics


def nanoseconds(stamp: object) -> int:
    """A builtin_interfaces Time as an integer."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec  # type: ignore[attr-defined]


@dataclass
class Joints:
    """One joint state, in the robot's own joint order."""

    stamp: int  # ns
    q: Float64  # (7,)
    dq: Float64  # (7,)


class PoseInput:
    """The newest pose of a topic, checked; `missing` says what is wrong with it."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.stamp = -1
        self.period = 0  # ns between the last two stamps
        self.position: Float64 = np.zeros(3)
        self.quaternion: Float64 = np.array([0.0, 0.0, 0.0, 1.0])
        self.refused = 0

    def take(self, message: PoseStamped) -> None:
        """Keep a message, unless it is malformed."""
        p, o = message.pose.position, message.pose.orientation
        pose = np.array([p.x, p.y, p.z, o.x, o.y, o.z, o.w])
        norm = float(pose[3:] @ pose[3:])
        if not (np.isfinite(pose).all() and 0.9 < norm < 1.1):
            self.refused += 1
            return
        stamp = nanoseconds(message.header.stamp)
        self.period, self.stamp = stamp - self.stamp, stamp
        self.position, self.quaternion = pose[:3], pose[3:]

    def is_due(self, now: int) -> bool:
        """Whether another message with a stamp of up to `now` is to be expected."""
        return self.stamp + max(self.period, 1) <= now + SAME_INSTANT


class RobotTopics:
    """Subscribes to a robot's state on a node of its own, with nothing but clients, and waits.

    `wait(due)` spins on the calling thread until joint states and tool pose with a stamp of at
    least `due` (ns) are there. It raises EpisodeCut when input is missing, frozen or jumps in
    time.
    """

    def __init__(
        self,
        node: Node,
        robot: Robot,
        task: Task,
        state_timeout: float,
        object_max_age: float,
    ) -> None:
        self.node = node
        self._robot = robot
        self._task = task
        self._state_timeout = state_timeout
        self._object_max_age = int(object_max_age * 1e9)
        self.joints: Joints | None = None
        self.refused = 0  # malformed messages
        self._refusal = ""
        self._order: tuple[Sequence[str], list[int]] = ((), [])
        self._width: float | None = None
        self._heard = time.monotonic()
        self._patience = self._heard  # until when nothing is missed yet
        self._changed = 0  # stamp of the last joint state that differed from the one before
        self._went_back = False
        self._tool = PoseInput("franka_robot_state_broadcaster/current_pose")
        self._objects = {
            name: PoseInput(f"objects/{name}/pose")
            for name in (*(box.name for box in task.objects), *task.goals)
        }
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        state = qos.ROBOT_STATE
        node.create_subscription(
            JointState, "franka/joint_states", self._on_joints, state, **options
        )
        node.create_subscription(
            JointState, "franka_gripper/joint_states", self._on_gripper, state, **options
        )
        for pose in (self._tool, *self._objects.values()):
            node.create_subscription(PoseStamped, pose.topic, pose.take, state, **options)
        self._inbox = Inbox(node)

    def spin(self, timeout: float) -> None:
        """Wait for up to `timeout` s until something arrives, and take it in."""
        self._inbox.spin(timeout)

    # Messages.

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self._refusal = reason

    def _on_joints(self, message: JointState) -> None:
        order = self._order_of(message.name)
        if order is None:
            wanted = ", ".join(self._robot.joint_names)
            got = ", ".join(name[:32] for name in message.name[:9])
            self._refuse(f"franka/joint_states: expected joints {wanted}; got {got or 'none'}")
            return
        if len(message.position) != len(message.name) or len(message.velocity) != len(message.name):
            self._refuse(
                f"franka/joint_states: {len(message.name)} names, {len(message.position)} "
                f"positions and {len(message.velocity)} velocities"
            )
            return
        q, dq = np.array(message.position)[order], np.array(message.velocity)[order]
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            self._refuse("franka/joint_states: values that are not finite")
            return
        stamp = nanoseconds(message.header.stamp)
        last = self.joints
        if last is not None and stamp <= last.stamp:
            self._went_back = self._went_back or stamp < last.stamp - 1_000_000_000
            if not self._went_back:
                return  # out of order or repeated
        if last is None or (q != last.q).any() or (dq != last.dq).any():
            self._changed = stamp
        self._heard = time.monotonic()
        self.joints = Joints(stamp, q, dq)

    def _order_of(self, names: Sequence[str]) -> list[int] | None:
        """Where the robot's joints are in a message; by name, whatever the order."""
        if names != self._order[0]:
            if len(names) > 64 or len(set(names)) != len(names):
                return None
            place = {name: index for index, name in enumerate(names)}
            try:
                self._order = (list(names), [place[name] for name in self._robot.joint_names])
            except KeyError:
                return None
        return self._order[1]

    def _on_gripper(self, message: JointState) -> None:
        place = dict(zip(message.name, message.position, strict=False))
        fingers = [place.get(name, float("nan")) for name in self._robot.finger_joint_names]
        width = sum(fingers)
        if not np.isfinite(width):
            self._refuse(
                "franka_gripper/joint_states: expected finite positions of "
                f"{' and '.join(self._robot.finger_joint_names)}"
            )
            return
        self._width = max(0.0, float(width))  # closed fingers may read a little below 0

    # Waiting.

    def wait(self, due: int, moving: bool, go_on: Callable[[], bool] = lambda: True) -> Joints:
        """Joint state of the first instant stamped `due` or later, with all of that instant.

        `moving`: whether the robot should move, so that unchanging values mean that it is frozen.
        Raises Interrupted when `go_on` says no.
        """
        self._patience = time.monotonic() + self._state_timeout
        while True:
            joints = self.joints
            if (
                joints is not None
                and joints.stamp >= due - SAME_INSTANT
                and self._tool.stamp >= joints.stamp - SAME_INSTANT
            ):
                break
            if not go_on():
                raise Interrupted
            self._check(moving)
            self.spin(0.05)
        self._synchronise(joints.stamp)
        self._check(moving)
        joints = self.joints
        assert joints is not None
        for pose in self._objects.values():
            if pose.stamp < 0:
                raise EpisodeCut(f"no pose on {self._name(pose.topic)}")
            age = joints.stamp - pose.stamp
            if age > self._object_max_age:
                raise EpisodeCut(
                    f"the pose on {self._name(pose.topic)} is {age / 1e9:.2f} s old: expected at "
                    f"most {self._object_max_age / 1e9:g} s"
                )
        if self._width is None and self._task.uses_gripper:
            raise EpisodeCut(f"no width on {self._name('franka_gripper/joint_states')}")
        return joints

    def _synchronise(self, now: int) -> None:
        """Give object poses that are due at `now` a moment to arrive."""
        until = time.monotonic() + SYNCHRONISE
        poses = self._objects.values()
        while any(pose.stamp < now - SAME_INSTANT and pose.is_due(now) for pose in poses):
            left = until - time.monotonic()
            if left <= 0.0:
                return
            self.spin(left)

    def _name(self, topic: str) -> str:
        return self.node.resolve_topic_name(topic)

    def _check(self, moving: bool) -> None:
        """Raise what stands in the way of going on."""
        if self._went_back:
            self._went_back = False
            raise EpisodeCut("the robot's time went back: was it started anew?")
        now = time.monotonic()
        missed = now > self._patience
        if missed and now - self._heard > self._state_timeout:
            topic = self._name("franka/joint_states")
            why = f"; refused: {self._refusal}" if self._refusal else ""
            raise EpisodeCut(
                f"no joint state on {topic} for {self._state_timeout:g} s: is the robot there, and "
                f"its joint_state_broadcaster active?{why}"
            )
        if self.joints is None:
            return
        if moving and self.joints.stamp - self._changed > FROZEN_AFTER:
            raise EpisodeCut(
                f"joint states are frozen: fresh stamps and the same values for "
                f"{(self.joints.stamp - self._changed) / 1e9:.1f} s although the robot should move"
            )
        if missed and not self.complete(self.joints):
            topic = self._name(self._tool.topic)
            raise EpisodeCut(f"no tool pose on {topic}: is franka_robot_state_broadcaster active?")

    def complete(self, joints: Joints) -> bool:
        """Whether the tool's pose belongs to the same instant as these joints."""
        return abs(self._tool.stamp - joints.stamp) <= SAME_INSTANT

    def begin(self) -> None:
        """A new episode: what was still is allowed to have been still."""
        self._heard = time.monotonic()
        if self.joints is not None:
            self._changed = self.joints.stamp

    def state(self, joints: Joints, gripper_closed: bool) -> tuple[RobotState, Float64]:
        """The state at a tick, and the tool's Jacobian `(6, 7)` there."""
        _, _, jacobian = forward(joints.q)
        state = RobotState(
            time=joints.stamp / 1e9,
            tool_position=self._tool.position,
            tool_rotation=quaternion_to_rotation(self._tool.quaternion),
            tool_velocity=jacobian @ joints.dq,
            gripper_width=self._width or 0.0,
            gripper_closed=gripper_closed,
            objects={
                name: Pose(pose.position, pose.quaternion) for name, pose in self._objects.items()
            },
        )
        return state, jacobian

    def check_tool_frame(self, joints: Joints) -> None:
        """Refuse a tool frame other than the hand's: targets would be off by the difference."""
        position, _, _ = forward(joints.q)
        off = float(np.linalg.norm(position - self._tool.position))
        still = float(np.abs(joints.dq).max()) < 0.05
        if still and off > TOOL_TOLERANCE:
            raise UserError(
                f"{self._name(self._tool.topic)} is {off * 1e3:.0f} mm from where the joints put "
                f"{self._robot.robot_type}_hand_tcp: expected the Franka Hand as end effector in "
                "Desk (or set_tcp_frame), and robot_type as it is"
            )
