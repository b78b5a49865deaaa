"""Waits for the robot's topics until they make one `RobotState` of one instant.

Joint states, tool pose, gripper width and object poses come on topics of their own. Time is that of
their stamps: nothing here looks at a clock except to notice that a topic has fallen silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from sac_actor.environment import EpisodeCut, Interrupted
from sac_envs.kinematics import forward
from sac_envs.robots import Robot
from sac_envs.task import Task
from sac_ros import qos
from sac_ros.inbox import Inbox
from sac_ros.parameters import UserError
from sac_ros.robot_input import (
    GRIPPER_JOINT_STATES,
    JOINT_STATES,
    SAME_INSTANT,
    Joints,
    RobotInput,
)

SYNCHRONISE = 0.005  # s to wait for a slower topic whose next message is due
FROZEN_AFTER = 500_000_000  # ns of robot time with the very same joint values while it should move
TOOL_TOLERANCE = 0.005  # m between the tool pose and the joints' own kinematics


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
        self.input = RobotInput(robot, task)
        self.on_time: Callable[[int], None] = lambda stamp: None  # hears of every joint state
        self._frozen: Joints | None = None  # the newest that was frozen
        self.on_check: Callable[[], None] = lambda: None  # may raise EpisodeCut while it waits
        self.heard = time.monotonic()  # when a joint state last came
        self._patience = self.heard  # until when nothing is missed yet
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        state = qos.ROBOT_STATE
        node.create_subscription(JointState, JOINT_STATES, self._on_joints, state, **options)
        node.create_subscription(
            JointState, GRIPPER_JOINT_STATES, self.input.take_gripper, state, **options
        )
        for pose in self.input.poses:
            node.create_subscription(PoseStamped, pose.topic, pose.take, state, **options)
        self._inbox = Inbox(node)

    def spin(self, timeout: float) -> None:
        """Wait for up to `timeout` s until something arrives, and take it in."""
        self._inbox.spin(timeout)

    def _on_joints(self, message: JointState) -> None:
        if self.input.take_joints(message):
            self.heard = time.monotonic()
            assert self.input.joints is not None
            self.on_time(self.input.joints.stamp)

    # Waiting.

    def wait(self, due: int, moving: bool, go_on: Callable[[], bool] = lambda: True) -> Joints:
        """Joint state of the first instant stamped `due` or later, with all of that instant.

        `moving`: whether the robot should move, so that unchanging values mean that it is frozen.
        Raises Interrupted when `go_on` says no.
        """
        self._patience = time.monotonic() + self._state_timeout
        known = self.input
        while True:
            joints = known.joints
            if (
                joints is not None
                and joints.stamp >= due - SAME_INSTANT
                and known.tool.stamp >= joints.stamp - SAME_INSTANT
            ):
                break
            if not go_on():
                raise Interrupted
            self._check(moving)
            self.spin(0.05)
        self._synchronise(joints.stamp)
        self._check(moving)
        joints = known.joints
        assert joints is not None
        for pose in known.objects.values():
            why = f"; refused: {pose.refusal}" if pose.refusal else ""
            if pose.stamp < 0:
                raise EpisodeCut(f"no pose on {self._name(pose.topic)}{why}")
            age = joints.stamp - pose.stamp
            if -age > self._object_max_age:
                raise EpisodeCut(
                    f"the pose on {self._name(pose.topic)} is stamped {-age / 1e9:.2f} s after the "
                    "robot's state: expected the same clock on the PC that sees the object"
                )
            if age > self._object_max_age:
                raise EpisodeCut(
                    f"the pose on {self._name(pose.topic)} is {age / 1e9:.2f} s old: expected at "
                    f"most {self._object_max_age / 1e9:g} s{why}"
                )
        if known.width is None and self._task.uses_gripper:
            raise EpisodeCut(
                f"no width on {self._name(GRIPPER_JOINT_STATES)}: task {self._task.name} needs the "
                "Franka Hand (franka.launch.py load_gripper:=true)"
            )
        return joints

    def _synchronise(self, now: int) -> None:
        """Give object poses that are due at `now` a moment to arrive."""
        until = time.monotonic() + SYNCHRONISE
        poses = self.input.objects.values()
        while any(pose.stamp < now - SAME_INSTANT and pose.is_due(now) for pose in poses):
            left = until - time.monotonic()
            if left <= 0.0:
                return
            self.spin(left)

    def _name(self, topic: str) -> str:
        return self.node.resolve_topic_name(topic)

    def check_time(self) -> None:
        """Raise EpisodeCut once after the robot's time went back."""
        if self.input.went_back:
            self.input.went_back = False
            raise EpisodeCut("the robot's time went back: was it started anew?")

    def _check(self, moving: bool) -> None:
        """Raise what stands in the way of going on."""
        self.on_check()
        self.check_time()
        known = self.input
        now = time.monotonic()
        missed = now > self._patience
        if missed and now - self.heard > self._state_timeout:
            topic = self._name(JOINT_STATES)
            why = f"; refused: {known.refusal}" if known.refusal else ""
            raise EpisodeCut(
                f"no joint state on {topic} for {self._state_timeout:g} s: is the robot there, and "
                f"its joint_state_broadcaster active?{why}"
            )
        joints = known.joints
        if joints is None:
            return
        if moving and joints.stamp - known.changed > FROZEN_AFTER:
            self._frozen = joints
            raise EpisodeCut(
                f"joint states are frozen: fresh stamps and the same values for "
                f"{(joints.stamp - known.changed) / 1e9:.1f} s although the robot should move"
            )
        if missed and not known.complete(joints):
            topic = self._name(known.tool.topic)
            raise EpisodeCut(f"no tool pose on {topic}: is franka_robot_state_broadcaster active?")

    def begin(self) -> None:
        """A new episode: what was still is allowed to have been still, but not to be frozen."""
        frozen, joints = self._frozen, self.input.joints
        if frozen is not None and joints is not None:
            if (joints.q == frozen.q).all() and (joints.dq == frozen.dq).all():
                raise EpisodeCut("joint states are frozen still: not a value has changed")
            self._frozen = None
        self.heard = time.monotonic()
        if self.input.joints is not None:
            self.input.changed = self.input.joints.stamp

    def check_tool_frame(self, joints: Joints) -> None:
        """Refuse a tool frame other than the hand's: targets would be off by the difference."""
        position, _, _ = forward(joints.q)
        tool = self.input.tool
        off = float(np.linalg.norm(position - tool.position))
        still = float(np.abs(joints.dq).max()) < 0.05
        if still and off > TOOL_TOLERANCE:
            raise UserError(
                f"{self._name(tool.topic)} is {off * 1e3:.0f} mm from where the joints put "
                f"{self._robot.robot_type}_hand_tcp: expected the Franka Hand as end effector in "
                "Desk (or set_tcp_frame), and robot_type as it is"
            )
