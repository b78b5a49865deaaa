"""Command adapters: filtered commands of a policy as what a motion controller can follow.

Each speaks to one controller, as franka_ros2 and CRISP set it up, and shapes what it says: between
two actions a jerk-limited reference leads from where it is to what the newest action asked for, and
comes to rest there. `Stream` says it to the controller, at every tick or between them as well.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sac_actor.safety import Workspace, joint_displacement
from sac_actor.shaping import Limits, Plan, Reference
from sac_envs.gains import CartesianGains
from sac_envs.kinematics import (
    forward,
    rotation_error,
    rotation_of,
    rotation_to_quaternion,
    tool_positions,
)
from sac_envs.robots import Float64, Robot
from sac_envs.task import Command, RobotState
from sac_ros.robot_input import Joints

SECOND = 1_000_000_000  # ns
MILLISECOND = 1e-3  # s, the cycle of the robot's own interface

Publish = Callable[[Any], None]


def to_time(nanoseconds: int) -> Time:
    """Integer nanoseconds as a message."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return Time(sec=seconds, nanosec=rest)


def to_trajectory(robot: Robot, reference: Reference, stamps: Sequence[int]) -> JointTrajectory:
    """Where `reference` has the joints at some stamps (ns), from the first on; the last one stands.

    The message's own stamp is left at 0, which means: from now on.
    """
    points = []
    for stamp in stamps:
        seconds, rest = divmod(stamp - stamps[0], SECOND)
        position, velocity, acceleration = reference.at(stamp)
        points.append(
            JointTrajectoryPoint(
                positions=array("d", position),
                velocities=array("d", velocity),
                accelerations=array("d", acceleration),
                time_from_start=Duration(sec=seconds, nanosec=rest),
            )
        )
    points[-1].velocities = points[-1].accelerations = array("d", bytes(7 * 8))
    return JointTrajectory(joint_names=list(robot.joint_names), points=points)


class Target(NamedTuple):
    """What the safety filter let through at a tick, and the joint state that it was seen from."""

    command: Command
    displacement: Float64  # (7,) rad, of the joints
    joints: Joints


class CommandAdapter(Protocol):
    """Shapes commands for one kind of motion controller, and publishes what it should follow.

    Stamps are the robot's, in ns. `streams`: whether the controller wants news between two ticks.
    """

    topic: str
    message: type
    streams: bool

    def __init__(
        self,
        publish: Publish,
        robot: Robot,
        workspace: Workspace,
        stream_rate: float,
        speed: float = 1.0,
    ) -> None: ...

    @property
    def end(self) -> int:
        """Stamp from which on the reference stands."""
        ...

    def prepare(self, state: RobotState, joints: Joints) -> None:
        """The controller is about to become active: what it was told last must not count then."""
        ...

    def begin(self, state: RobotState, joints: Joints) -> None:
        """The robot is held where it is: the reference stands there."""
        ...

    def aim(self, target: Target, start: int) -> None:
        """From `start` on go there."""
        ...

    def stop(self, start: int) -> None:
        """From `start` on come to rest."""
        ...

    def say(self, stamp: int, until: int) -> None:
        """Publish what the controller should follow from `stamp` to `until`, one control period."""
        ...

    def stream(self, until: int) -> bool:
        """Publish what it should follow up to `until`, the next message of a stream; if more is."""
        ...

    def halt(self) -> None:
        """Publish what ends a motion at once, where one goes on without further messages."""
        ...


class CartesianImpedance:
    """`target_pose` of CRISP's Cartesian controller: the controller is compliant, we say where.

    It damps the tool's motion as such, so that an arm on the move is behind its target by the
    gains' lag. The target is ahead of the reference by just that: the arm is where that is.
    """

    topic, message, streams = "target_pose", PoseStamped, True

    # m/s, m/s², m/s³ along each axis; rad/s, rad/s², rad/s³ about it.
    LIMITS = Limits(
        velocity=np.array([0.6] * 3 + [1.0] * 3),
        acceleration=np.array([1.5] * 3 + [6.0] * 3),
        jerk=np.array([80.0] * 3 + [300.0] * 3),
    )
    LAG = CartesianGains().lag  # s

    def __init__(
        self,
        publish: Publish,
        robot: Robot,
        workspace: Workspace,
        stream_rate: float,
        speed: float = 1.0,
    ) -> None:
        self._publish = publish
        self._workspace = workspace
        # Position, and the rotation vector that is left to the newest command's orientation.
        self._reference = Reference(self.LIMITS.share(speed), np.zeros(6))
        self._orientation = np.eye(3)
        self._message = PoseStamped()
        self._message.header.frame_id = "base"

    @property
    def end(self) -> int:
        return self._reference.end

    def prepare(self, state: RobotState, joints: Joints) -> None:
        """CRISP keeps a target that came while it was inactive, and goes there once it is active.

        A target that has come late from the last episode is replaced: stay here.
        """
        self.begin(state, joints)
        self.say(joints.stamp, joints.stamp)

    def begin(self, state: RobotState, joints: Joints) -> None:
        self._orientation = state.tool_rotation
        self._reference.rest(np.concatenate((state.tool_position, np.zeros(3))))

    def aim(self, target: Target, start: int) -> None:
        command = target.command
        here, _, _ = self._reference.at(start)
        if command.rotation is not self._orientation:
            turned = rotation_of(here[3:]) @ self._orientation
            here[3:] = rotation_error(turned, command.rotation)
            self._orientation = command.rotation
        goal = np.concatenate((command.position, np.zeros(3)))
        self._reference.aim(goal, start, position=here)

    def stop(self, start: int) -> None:
        self._reference.stop(start)

    def say(self, stamp: int, until: int) -> None:
        """Where the reference comes to rest: the one target of a period must not be behind it."""
        pose, _, _ = self._reference.at(max(until, self.end))
        self._send(stamp, pose, pose[:3])

    def stream(self, until: int) -> bool:
        pose, velocity, _ = self._reference.at(until)
        self._send(until, pose, pose[:3] + self.LAG * velocity[:3])
        return until < self.end

    def halt(self) -> None:
        """Nothing to say: the controller holds its last target, which was near."""

    def _send(self, stamp: int, pose: Float64, target: Float64) -> None:
        low = np.minimum(self._workspace.low, pose[:3])
        high = np.maximum(self._workspace.high, pose[:3])
        rotation = rotation_of(pose[3:]) @ self._orientation
        message = self._message
        message.header.stamp = to_time(stamp)
        p, o = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = np.minimum(np.maximum(target, low), high).tolist()
        o.x, o.y, o.z, o.w = rotation_to_quaternion(rotation).tolist()
        self._publish(message)


class JointReference(Reference):
    """A reference of the joints `(7,)` that goes where the tool stays in its workspace.

    Each joint keeps to its own box, but the tool's way from one joint configuration to another is
    bent, the more so when the arm has to turn. A way that leaves the workspace is not taken: the
    arm stops instead, or goes on to where the last command led.
    """

    STEP = 20_000_000  # ns between two looks at the way
    TOLERANCE = 1e-3  # m

    def __init__(self, robot: Robot, workspace: Workspace, limits: Limits) -> None:
        super().__init__(limits, np.zeros(7))
        self._robot = robot
        self._workspace = workspace

    def go(self, target: Target, start: int, position: Float64 | None = None) -> None:
        """From `start` on go to a target; `position` as in `aim`."""
        goal = self._goal(target)
        here = self.at(start)[0] if position is None else position
        # Whoever is outside already may be that far outside on the way back.
        margin = max(self._outside(tool_positions(here[np.newaxis])), self.TOLERANCE)

        def inside(plan: Plan) -> bool:
            return self._outside(tool_positions(plan.positions(self.STEP))) <= margin

        if not self.aim(goal, start, position, inside):
            self.stop(start, inside)

    def _goal(self, target: Target) -> Float64:
        """Joint positions of a target: in the conservative box, or on the way back into it.

        One Newton step after the linear one: over 0.05 m that is wrong by up to 6 mm.
        """
        q, command = target.joints.q, target.command
        goal = q + target.displacement
        position, rotation, jacobian = forward(goal)
        left = np.empty(6)
        left[:3] = command.position - position
        left[3:] = rotation_error(command.rotation, rotation)
        low = np.minimum(self._robot.conservative_min, q)
        high = np.maximum(self._robot.conservative_max, q)
        return np.clip(goal + joint_displacement(jacobian, left), low, high)

    def _outside(self, tool: Float64) -> float:
        """How far the farthest of some tool positions `(n, 3)` is outside the workspace, m."""
        box = self._workspace
        return float(np.maximum(box.low - tool, tool - box.high).max())


class JointTrajectoryAdapter:
    """Trajectories for joint_trajectory_controller on effort, each from the reference of the last.

    Positions, velocities and accelerations make the controller's spline follow the reference; the
    last point stands. Points carry the robot's own time: whenever a message arrives, it goes on
    where the controller is, and it changes what is to come only after `LEAD`.
    """

    topic, message, streams = "joint_trajectory_controller/joint_trajectory", JointTrajectory, False

    LEAD = (
        10_000_000  # ns from the state to where a new plan leaves the old one: state, policy, DDS
    )
    POINTS = 20_000_000  # ns between two points

    def __init__(
        self,
        publish: Publish,
        robot: Robot,
        workspace: Workspace,
        stream_rate: float,
        speed: float = 1.0,
    ) -> None:
        self._publish = publish
        self._robot = robot
        # A spline through points of a bang-bang profile is up to 2.3 times as jerky (its jerk in
        # each segment is the best quadratic for it), and overshoots in acceleration.
        limits = Limits(
            robot.conservative_velocity, 0.6 * robot.acceleration_max, 0.1 * robot.jerk_max
        )
        self._reference = JointReference(robot, workspace, limits.share(speed))

    @property
    def end(self) -> int:
        return self._reference.end

    def prepare(self, state: RobotState, joints: Joints) -> None:
        """Nothing to say: a trajectory that comes while it is inactive is not kept."""

    def begin(self, state: RobotState, joints: Joints) -> None:
        self._reference.rest(joints.q)

    def aim(self, target: Target, start: int) -> None:
        self._reference.go(target, start + self.LEAD)

    def stop(self, start: int) -> None:
        self._reference.stop(start + self.LEAD)

    def say(self, stamp: int, until: int) -> None:
        reference = self._reference
        turn = stamp + self.LEAD
        end = max(reference.end, turn + self.LEAD)
        times = [stamp, *range(turn, end - self.POINTS // 2, self.POINTS), end]
        message = to_trajectory(self._robot, reference, times)
        message.header.stamp = to_time(stamp)
        self._publish(message)

    def stream(self, until: int) -> bool:
        """It needs none: what was said leads on until it ends."""
        return False

    def halt(self) -> None:
        """Nothing to say: the trajectory that was sent ends at rest."""


class JointVelocityAdapter:
    """`joint_velocity_controller/commands`: followed as they are, the last one for ever.

    The robot takes no step that is larger than its jerk allows within a millisecond, so what it can
    accelerate is what so small steps add up to at the stream's rate.
    """

    topic, message, streams = "joint_velocity_controller/commands", Float64MultiArray, True

    def __init__(
        self,
        publish: Publish,
        robot: Robot,
        workspace: Workspace,
        stream_rate: float,
        speed: float = 1.0,
    ) -> None:
        self._publish = publish
        # Half of what one cycle may change, as two messages may come within one.
        self._step = 0.5 * robot.jerk_max * MILLISECOND**2
        acceleration = np.minimum(0.8 * self._step * stream_rate, 0.6 * robot.acceleration_max)
        limits = Limits(robot.conservative_velocity, acceleration, acceleration / 0.02)
        self._reference = JointReference(robot, workspace, limits.share(speed))
        self._last = np.zeros(7)  # what was sent last

    @property
    def end(self) -> int:
        return self._reference.end

    def prepare(self, state: RobotState, joints: Joints) -> None:
        """Nothing to say: it forgets its last command when it becomes active."""

    def begin(self, state: RobotState, joints: Joints) -> None:
        self._reference.rest(joints.q)

    def aim(self, target: Target, start: int) -> None:
        # Only velocities are sent, so the reference's position may be corrected to the measured.
        joints = target.joints
        since = self._reference.at(start)[0] - self._reference.at(joints.stamp)[0]
        self._reference.go(target, start, joints.q + since)

    def stop(self, start: int) -> None:
        self._reference.stop(start)

    def say(self, stamp: int, until: int) -> None:
        """The mean velocity: at `until` the robot is where the reference is."""
        way = self._reference.at(until)[0] - self._reference.at(stamp)[0]
        self._send(way * (SECOND / (until - stamp)))

    def stream(self, until: int) -> bool:
        wanted = self._reference.at(until)[1] if until < self.end else np.zeros(7)
        self._send(np.clip(wanted, self._last - self._step, self._last + self._step))
        return until < self.end or bool(self._last.any())

    def halt(self) -> None:
        self._send(np.zeros(7))

    def _send(self, velocity: Float64) -> None:
        self._last = velocity
        self._publish(Float64MultiArray(data=array("d", velocity)))


ADAPTERS: dict[str, type[CommandAdapter]] = {
    "cartesian_impedance": CartesianImpedance,
    "joint_trajectory": JointTrajectoryAdapter,
    "joint_velocity": JointVelocityAdapter,
}
