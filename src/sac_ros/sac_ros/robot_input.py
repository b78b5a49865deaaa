"""What a robot's messages say, checked, and the `RobotState` of one instant that they make.

There is no node and no clock in here: the actor feeds it live, and whoever makes observations of
recorded messages feeds it those. Both so get the same observation of the same messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from sac_envs.kinematics import forward, quaternion_to_rotation
from sac_envs.robots import Float64, Robot
from sac_envs.task import Pose, RobotState, Task
from sac_ros.codecs import printable

SAME_INSTANT = 1_000_000  # ns by which stamps of the same instant may differ

BASE = "base"  # frame of poses
# Topics, relative to the robot's namespace.
JOINT_STATES = "franka/joint_states"
GRIPPER_JOINT_STATES = "franka_gripper/joint_states"
TOOL_POSE = "franka_robot_state_broadcaster/current_pose"


def of_franka_ros2(name: str, arm_prefix: str, namespace: str) -> str:
    """What franka_ros2's own nodes, action_server and service_server, offer under `name`.

    They are made in a namespace of the arm's prefix, in whose place comes that of a launch file
    (franka_hardware 3.4.0). `namespace` is that of the robot's other nodes.
    """
    return f"{arm_prefix}/{name}" if arm_prefix and namespace == "/" else name


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
    """The newest pose of a topic, checked; a message that is malformed is counted and left out.

    `frames`: those that a pose may be in, all of them the same one; none: any.
    """

    def __init__(self, topic: str, frames: tuple[str, ...] = ()) -> None:
        self.topic = topic
        self._frames = frames
        self.stamp = -1
        self.period = 0  # ns between the last two stamps
        self.position: Float64 = np.zeros(3)
        self.quaternion: Float64 = np.array([0.0, 0.0, 0.0, 1.0])
        self.refused = 0
        self.refusal = ""  # what was wrong with the newest of them

    def take(self, message: PoseStamped) -> None:
        """Keep a message, unless it is malformed."""
        p, o = message.pose.position, message.pose.orientation
        pose = np.array([p.x, p.y, p.z, o.x, o.y, o.z, o.w])
        norm = float(pose[3:] @ pose[3:])
        if not (np.isfinite(pose).all() and 0.9 < norm < 1.1):
            self.refused += 1
            self.refusal = "values that are no pose"
            return
        frame = message.header.frame_id
        if self._frames and frame not in self._frames:
            self.refused += 1
            self.refusal = f"frame {printable(frame)!r}, expected {' or '.join(self._frames)}"
            return
        stamp = nanoseconds(message.header.stamp)
        self.period, self.stamp = stamp - self.stamp, stamp
        self.position, self.quaternion = pose[:3], pose[3:]

    def is_due(self, now: int) -> bool:
        """Whether another message with a stamp of up to `now` is to be expected."""
        return self.stamp + max(self.period, 1) <= now + SAME_INSTANT


class JointInput:
    """The newest joint state of a robot."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self.joints: Joints | None = None
        self.changed = 0  # stamp (ns) of the last joint state that differed from the one before
        self.went_back = False  # a stamp was over a second older than the one before
        self.refused = 0  # malformed messages
        self.refusal = ""  # what was wrong with the newest of them
        self._order: tuple[Sequence[str], list[int]] = ((), [])

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self.refusal = reason

    def take_joints(self, message: JointState) -> bool:
        """Keep a joint state, if it is sound and newer than the last; whether it was kept."""
        order = self._order_of(message.name)
        if order is None:
            wanted = ", ".join(self._robot.joint_names)
            got = ", ".join(name[:32] for name in message.name[:9])
            self._refuse(f"{JOINT_STATES}: expected joints {wanted}; got {got or 'none'}")
            return False
        if len(message.position) != len(message.name) or len(message.velocity) != len(message.name):
            self._refuse(
                f"{JOINT_STATES}: {len(message.name)} names, {len(message.position)} positions "
                f"and {len(message.velocity)} velocities"
            )
            return False
        q, dq = np.array(message.position)[order], np.array(message.velocity)[order]
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            self._refuse(f"{JOINT_STATES}: values that are not finite")
            return False
        stamp = nanoseconds(message.header.stamp)
        last = self.joints
        if last is not None and stamp <= last.stamp:
            self.went_back = self.went_back or stamp < last.stamp - 1_000_000_000
            if not self.went_back:
                return False  # out of order or repeated
        if last is None or (q != last.q).any() or (dq != last.dq).any():
            self.changed = stamp
        self.joints = Joints(stamp, q, dq)
        return True

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


class RobotInput(JointInput):
    """The newest joint state, tool pose, gripper width and object poses of a robot and its task."""

    def __init__(self, robot: Robot, task: Task) -> None:
        super().__init__(robot)
        self.width: float | None = None  # m; None: not known yet
        self.tool = PoseInput(TOOL_POSE)
        frames = (BASE, f"{robot.name}_link0")  # two names of one frame
        self.objects = {
            name: PoseInput(f"objects/{name}/pose", frames)
            for name in (*(box.name for box in task.objects), *task.goals)
        }

    @property
    def poses(self) -> tuple[PoseInput, ...]:
        """Everything whose pose is needed: the tool and the objects."""
        return (self.tool, *self.objects.values())

    def take_gripper(self, message: JointState) -> None:
        """Keep the width between the fingers, unless the message is malformed."""
        place = dict(zip(message.name, message.position, strict=False))
        fingers = [place.get(name, float("nan")) for name in self._robot.finger_joint_names]
        width = sum(fingers)
        if not np.isfinite(width):
            self._refuse(
                f"{GRIPPER_JOINT_STATES}: expected finite positions of "
                f"{' and '.join(self._robot.finger_joint_names)}"
            )
            return
        self.width = max(0.0, float(width))  # closed fingers may read a little below 0

    def complete(self, joints: Joints) -> bool:
        """Whether the tool's pose belongs to the same instant as these joints."""
        return abs(self.tool.stamp - joints.stamp) <= SAME_INSTANT

    def state(self, joints: Joints, gripper_closed: bool) -> tuple[RobotState, Float64]:
        """The state at a tick, and the tool's Jacobian `(6, 7)` there."""
        _, _, jacobian = forward(joints.q)
        state = RobotState(
            time=joints.stamp / 1e9,
            tool_position=self.tool.position,
            tool_rotation=quaternion_to_rotation(self.tool.quaternion),
            tool_velocity=jacobian @ joints.dq,
            gripper_width=self.width or 0.0,
            gripper_closed=gripper_closed,
            objects={
                name: Pose(pose.position, pose.quaternion) for name, pose in self.objects.items()
            },
        )
        return state, jacobian
