"""Command adapters: what they publish is smooth, inside what the filter allows, rest at the end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from sac_actor.commands import (
    ADAPTERS,
    SECOND,
    CartesianImpedance,
    CommandAdapter,
    JointReference,
    JointTrajectoryAdapter,
    JointVelocityAdapter,
    Target,
)
from sac_actor.safety import SafetyFilter, Workspace
from sac_envs.kinematics import (
    TOOL_DOWN,
    forward,
    inverse,
    quaternion_to_rotation,
    rotation_of,
    tool_positions,
)
from sac_envs.robots import FR3, HOME, Float64
from sac_envs.task import Command, RobotState
from sac_envs.tasks.reach import Reach
from sac_ros.robot_input import Joints

PERIOD = 100_000_000  # ns
RATE = 500.0  # Hz
INTERVAL = round(SECOND / RATE)  # ns
START = SECOND
WORKSPACE = Workspace.of(Reach(), (-1.0,) * 3, (1.0,) * 3)
actions = st.lists(arrays(np.float32, 3, elements=st.floats(-1.0, 1.0, width=32)), max_size=12)


def seconds(duration: Any) -> float:
    return duration.sec + duration.nanosec / SECOND


class Arm:
    """An arm that is exactly where an adapter's messages put it, and acts as the actor does."""

    def __init__(
        self, kind: Callable[..., CommandAdapter], tool: tuple[float, ...] = (0.5, 0.0, 0.2)
    ):
        self.q, error = inverse(FR3, np.array(tool), TOOL_DOWN, np.array(HOME))
        assert error < 1e-3
        self.messages: list[Any] = []
        self.adapter = kind(self.messages.append, FR3, WORKSPACE, RATE)
        self.task = Reach()
        self.safety = SafetyFilter(FR3, WORKSPACE, self.task.action_scale, PERIOD / SECOND)
        self.now = START
        self.adapter.begin(self.state(), self.joints())

    def joints(self) -> Joints:
        return Joints(self.now, self.q.copy(), np.zeros(7))

    def state(self) -> RobotState:
        position, rotation, _ = forward(self.q)
        return RobotState(self.now / SECOND, position, rotation, np.zeros(6), 0.0, False, {})

    def aim(self, action: Any) -> Command:
        """Have the adapter aim at what an action asks for, and the filter lets through."""
        state = self.state()
        wanted = self.task.command(state, self.safety.action(np.asarray(action, np.float32)))
        command, displacement = self.safety.filter(wanted, state, self.q, forward(self.q)[2])
        self.adapter.aim(Target(command, displacement, self.joints()), self.now)
        return command

    def take(self) -> Any:
        """The newest message."""
        return self.messages[-1]


# Joint trajectories.


def points(message: JointTrajectory) -> tuple[Float64, Float64, Float64, Float64]:
    """Times (ns), positions, velocities and accelerations of a trajectory's points."""
    stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
    times = np.array([stamp + seconds(p.time_from_start) * SECOND for p in message.points])
    return (
        times,
        np.array([p.positions for p in message.points]),
        np.array([p.velocities for p in message.points]),
        np.array([p.accelerations for p in message.points]),
    )


def test_a_trajectory_begins_where_the_last_one_is_and_ends_at_rest() -> None:
    arm = Arm(JointTrajectoryAdapter)
    last: tuple[Float64, ...] | None = None
    for action in ([1, 0, 0], [1, 1, 0], [-1, 0, 1], [0, -1, -1]):
        arm.aim(action)
        arm.adapter.say(arm.now, arm.now + PERIOD)
        message = arm.take()
        assert list(message.joint_names) == list(FR3.joint_names)
        times, positions, velocities, accelerations = points(message)
        assert (np.diff(times) > 0).all()
        assert times[0] == arm.now
        np.testing.assert_array_equal(velocities[-1], np.zeros(7))
        np.testing.assert_array_equal(accelerations[-1], np.zeros(7))
        if last is not None:
            # Up to LEAD the points are on the way of the last message, for this one to arrive.
            turn = arm.now + JointTrajectoryAdapter.LEAD
            assert times[1] == turn
            old = int(np.searchsorted(last[0], arm.now))
            assert last[0][old] == arm.now
            for mine, others in zip((positions, velocities, accelerations), last[1:], strict=True):
                np.testing.assert_allclose(mine[0], others[old], atol=1e-9)
        last = (times, positions, velocities, accelerations)
        # The next tick is at one of the points, so that messages can be compared there.
        arm.now = int(times[4])
        arm.q = positions[4]


def test_a_command_to_stay_is_a_trajectory_too() -> None:
    arm = Arm(JointTrajectoryAdapter)
    arm.aim([0, 0, 0])
    arm.adapter.say(arm.now, arm.now + PERIOD)
    times, positions, _, _ = points(arm.take())
    assert len(times) >= 2
    np.testing.assert_allclose(
        positions, np.repeat(arm.q[np.newaxis], len(times), axis=0), atol=1e-3
    )


def test_a_trajectory_that_stops_ends_sooner() -> None:
    arm = Arm(JointTrajectoryAdapter)
    arm.aim([1, 1, 1])
    end = arm.adapter.end
    arm.adapter.stop(arm.now + 40_000_000)
    assert arm.adapter.end < end
    arm.adapter.say(arm.now + 40_000_000, arm.now + PERIOD)
    _, _, velocities, _ = points(arm.take())
    np.testing.assert_array_equal(velocities[-1], np.zeros(7))


# Velocities.


def test_every_velocity_of_a_stream_is_a_small_step_and_the_last_is_zero() -> None:
    arm = Arm(JointVelocityAdapter)
    largest = 0.5 * FR3.jerk_max * 1e-6  # half of what one millisecond may change
    sent = [np.zeros(7)]
    for action in ([1, 0, 0], [1, 1, 1], [-1, -1, -1], [0, 1, 0]):
        arm.aim(action)
        for until in range(arm.now + INTERVAL, arm.now + PERIOD + 1, INTERVAL):
            arm.adapter.stream(until)
            sent.append(np.array(arm.take().data))
            arm.q = arm.q + sent[-1] / RATE
        arm.now += PERIOD
    assert np.abs(sent).max() > 0.05
    for until in range(arm.now + INTERVAL, arm.now + 3 * SECOND, INTERVAL):  # no tick any more
        more = arm.adapter.stream(until)
        sent.append(np.array(arm.take().data))
        if not more:
            break
    assert not more
    np.testing.assert_array_equal(sent[-1], np.zeros(7))
    assert (np.abs(np.diff(sent, axis=0)) <= largest + 1e-12).all()
    assert (np.abs(sent) <= FR3.conservative_velocity + 1e-9).all()


def test_in_lockstep_one_velocity_leads_to_where_the_stream_would() -> None:
    streamed, stepped = Arm(JointVelocityAdapter), Arm(JointVelocityAdapter)
    for arm in (streamed, stepped):
        arm.aim([1, 0.5, 0])
    for until in range(START + INTERVAL, START + PERIOD + 1, INTERVAL):
        streamed.adapter.stream(until)
        streamed.q = streamed.q + np.array(streamed.take().data) / RATE
    stepped.adapter.say(START, START + PERIOD)
    stepped.q = stepped.q + np.array(stepped.take().data) * PERIOD / SECOND
    way = streamed.q - Arm(JointVelocityAdapter).q
    np.testing.assert_allclose(stepped.q, streamed.q, atol=0.05 * np.abs(way).max())


def test_velocities_are_halted_with_zeros() -> None:
    arm = Arm(JointVelocityAdapter)
    arm.adapter.halt()
    assert isinstance(arm.take(), Float64MultiArray)
    assert arm.take().data.tolist() == [0.0] * 7


# Tool poses.


def position(message: PoseStamped) -> Float64:
    p = message.pose.position
    return np.array([p.x, p.y, p.z])


def test_a_streamed_target_moves_smoothly_to_the_command_and_stands_there() -> None:
    arm = Arm(CartesianImpedance)
    begin = forward(arm.q)[0]
    command = arm.aim([1, 1, 1])
    targets = [begin]
    until = arm.now
    more = True
    while more:
        until += INTERVAL
        more = arm.adapter.stream(until)
        targets.append(position(arm.take()))
        assert until < arm.now + SECOND
    np.testing.assert_allclose(targets[-1], command.position, atol=1e-6)
    velocity = np.diff(targets, axis=0) * RATE
    # Ahead of the reference by the lag times its velocity.
    limits, lag = CartesianImpedance.LIMITS, CartesianImpedance.LAG
    most = limits.velocity[:3] + lag * limits.acceleration[:3]
    assert (np.abs(velocity) <= most + 1e-6).all()
    change = np.abs(np.diff(velocity, axis=0)) * RATE
    assert (change <= limits.acceleration[:3] + lag * limits.jerk[:3] + 1e-3).all()
    assert arm.take().header.frame_id == "base"


def test_in_lockstep_the_one_target_of_a_tick_is_where_the_reference_comes_to_rest() -> None:
    arm = Arm(CartesianImpedance)
    command = arm.aim([1, 0, -1])
    arm.adapter.say(arm.now, arm.now + PERIOD)
    np.testing.assert_allclose(position(arm.take()), command.position, atol=1e-9)
    o = arm.take().pose.orientation
    np.testing.assert_allclose([o.x, o.y, o.z, o.w], [1.0, 0.0, 0.0, 0.0], atol=1e-6)


def test_another_orientation_is_turned_to_without_a_jump() -> None:
    arm = Arm(CartesianImpedance)
    turned = rotation_of(np.array([0.0, 0.0, 0.2])) @ forward(arm.q)[1]
    target = Target(Command(forward(arm.q)[0], turned, False), np.zeros(7), arm.joints())
    arm.adapter.aim(target, arm.now)
    quaternions = []
    for until in range(arm.now, arm.adapter.end + INTERVAL, INTERVAL):
        arm.adapter.stream(until)
        o = arm.take().pose.orientation
        quaternions.append([o.x, o.y, o.z, o.w])
    # A quaternion and its negative are the same orientation.
    angles = [
        2.0 * np.arccos(min(1.0, abs(float(np.dot(a, b)))))
        for a, b in itertools.pairwise(quaternions)
    ]
    assert max(angles) <= CartesianImpedance.LIMITS.velocity[3] / RATE + 1e-6
    assert sum(angles) == pytest.approx(0.2, abs=1e-3)


def test_a_share_of_the_speed_is_one_of_the_acceleration_too() -> None:
    for share in (1.0, 0.2):
        arm = Arm(partial(JointTrajectoryAdapter, speed=share))
        arm.aim([1.0, 1.0, 1.0])
        arm.adapter.say(arm.now, arm.now + PERIOD)
        _, _, velocities, accelerations = points(arm.take())
        assert (np.abs(velocities) <= share * FR3.conservative_velocity + 1e-9).all()
        assert (np.abs(accelerations) <= share * FR3.acceleration_max).all()
    assert np.abs(accelerations).max() > 0.1, "it moves"


# Whatever the policy says.


@settings(max_examples=40, deadline=None)
@given(actions, st.sampled_from(sorted(ADAPTERS)), st.integers(0, 2**32 - 1))
def test_nothing_that_is_sent_is_outside_what_the_filter_allows(
    sequence: list[Any], name: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    start = tuple(random.uniform(WORKSPACE.low, WORKSPACE.high))
    arm = Arm(ADAPTERS[name], start)
    for action in sequence:
        arm.aim(action)
        if arm.adapter.streams:
            for until in range(arm.now + INTERVAL, arm.now + PERIOD + 1, INTERVAL):
                arm.adapter.stream(until)
                check(arm, arm.take())
        else:
            arm.adapter.say(arm.now, arm.now + PERIOD)
            check(arm, arm.take())
        arm.now += PERIOD


def check(arm: Arm, message: Any) -> None:
    """Hold a message against the limits, and move the arm as it says."""
    low, high = WORKSPACE.low, WORKSPACE.high
    if isinstance(message, PoseStamped):
        target = position(message)
        assert (target >= low - 1e-6).all()
        assert (target <= high + 1e-6).all()
        arm.q, _ = inverse(FR3, target, TOOL_DOWN, arm.q, iterations=3)
        return
    if isinstance(message, JointTrajectory):
        times, positions, velocities, accelerations = points(message)
        assert (np.abs(accelerations) <= FR3.acceleration_max).all()
        assert (np.abs(velocities) <= FR3.conservative_velocity + 1e-9).all()
        tool = tool_positions(positions)
        reached = times <= arm.now + PERIOD
        arm.q = positions[reached][-1]
    else:
        velocity = np.array(message.data)
        assert (np.abs(velocity) <= FR3.conservative_velocity + 1e-9).all()
        arm.q = arm.q + velocity / RATE
        positions = arm.q[np.newaxis]
        tool = tool_positions(positions)
    assert (positions >= FR3.conservative_min - 1e-3).all()
    assert (positions <= FR3.conservative_max + 1e-3).all()
    assert (tool >= low - 3.0 * JointReference.TOLERANCE).all()
    assert (tool <= high + 3.0 * JointReference.TOLERANCE).all()


# Before the controller is active.


@pytest.mark.parametrize("kind", ADAPTERS.values())
def test_before_it_becomes_active_a_controller_that_keeps_targets_is_told_to_stay(
    kind: type[CommandAdapter],
) -> None:
    arm = Arm(kind)
    joints, state = arm.joints(), arm.state()
    arm.adapter.prepare(state, joints)
    if kind is not CartesianImpedance:
        assert not arm.messages
        return
    (pose,) = [message.pose for message in arm.messages]
    p, o = pose.position, pose.orientation
    assert [p.x, p.y, p.z] == pytest.approx(state.tool_position.tolist())
    turned = quaternion_to_rotation(np.array([o.x, o.y, o.z, o.w]))
    assert turned == pytest.approx(state.tool_rotation)
