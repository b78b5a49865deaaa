"""Streams: in the robot's own time, silent in lockstep, and at rest when no tick comes."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Float64MultiArray

from sac_actor.commands import ADAPTERS, SECOND, Target
from sac_actor.safety import Workspace, joint_displacement
from sac_actor.stream import Stream
from sac_envs.kinematics import TOOL_DOWN, forward, inverse
from sac_envs.robots import FR3, HOME
from sac_envs.task import Command, RobotState
from sac_envs.tasks.reach import Reach
from sac_ros.robot_input import Joints

PERIOD = 100_000_000  # ns
RATE = 500.0  # Hz
INTERVAL = round(SECOND / RATE)
MILLISECOND = 1_000_000
STREAMING = ("cartesian_impedance", "joint_velocity")


class Robot:
    """A robot that stands, whose time goes on as the test says, and a stream of commands to it."""

    def __init__(self, adapter: str, threaded: bool = False) -> None:
        self.now = SECOND
        self.messages: list[Any] = []
        self.stands_again = threading.Event()  # velocities: after a motion, zeros were sent
        workspace = Workspace.of(Reach(), (-1.0,) * 3, (1.0,) * 3)
        made = ADAPTERS[adapter](self._hear, FR3, workspace, RATE)
        clock = time.monotonic if threaded else lambda: self.now / SECOND
        self.stream = Stream(made, PERIOD, RATE, clock, threaded)
        self.q, _ = inverse(FR3, np.array([0.5, 0.0, 0.2]), TOOL_DOWN, np.array(HOME))
        self.begin()

    def _hear(self, message: Any) -> None:
        moved = bool(self.messages)
        self.messages.append(message)
        if moved and isinstance(message, Float64MultiArray) and not np.any(message.data):
            self.stands_again.set()

    def begin(self) -> None:
        position, rotation, _ = forward(self.q)
        state = RobotState(self.now / SECOND, position, rotation, np.zeros(6), 0.0, False, {})
        self.stream.begin(state, self.joints())

    def joints(self) -> Joints:
        return Joints(self.now, self.q, np.zeros(7))

    def send(self) -> None:
        position, rotation, jacobian = forward(self.q)
        step = np.array([0.0, 0.03, 0.0, 0.0, 0.0, 0.0])
        command = Command(position + step[:3], rotation, False)
        self.stream.send(Target(command, joint_displacement(jacobian, step), self.joints()))

    def go_on(self, duration: int, states: int = MILLISECOND) -> None:
        """Time goes on, with a state every `states` ns."""
        end = self.now + duration
        while self.now < end:
            self.now += states
            self.stream.time_passed(self.now)
            if self.now % INTERVAL == 0:
                self.stream.advance()

    def jump(self) -> None:
        """One control period of lockstep: nothing, then the state at its end."""
        self.now += PERIOD
        self.stream.time_passed(self.now)
        self.stream.advance()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_in_lockstep_every_tick_has_one_message_and_nothing_is_sent_between(adapter: str) -> None:
    robot = Robot(adapter)
    for tick in range(1, 6):
        robot.send()
        robot.jump()
        assert len(robot.messages) == tick


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_reset_in_lockstep_moves_time_on_a_bit_and_is_no_time_that_goes_on(adapter: str) -> None:
    robot = Robot(adapter)
    for _ in range(3):
        for _ in range(3):
            robot.send()
            robot.jump()
        robot.now += 2_500_000  # one physics step
        robot.stream.time_passed(robot.now)
        robot.stream.advance()
        robot.begin()
    assert len(robot.messages) == 9


@pytest.mark.parametrize("adapter", STREAMING)
def test_where_time_goes_on_messages_come_at_the_streams_rate(adapter: str) -> None:
    robot = Robot(adapter)
    robot.send()
    robot.go_on(PERIOD)
    expected = PERIOD / INTERVAL
    assert 0.9 * expected <= len(robot.messages) <= expected + 2


def test_a_trajectory_is_one_message_a_tick_on_a_robot_too() -> None:
    robot = Robot("joint_trajectory")
    for tick in range(1, 4):
        robot.send()
        robot.go_on(PERIOD)
        assert len(robot.messages) == tick


@pytest.mark.parametrize("adapter", STREAMING)
def test_when_the_next_tick_is_late_the_stream_ends_at_rest(adapter: str) -> None:
    robot = Robot(adapter)
    robot.send()
    robot.go_on(3 * SECOND)
    count = len(robot.messages)
    robot.go_on(SECOND)
    assert len(robot.messages) == count  # it had ended
    if adapter == "joint_velocity":
        assert robot.messages[-1].data.tolist() == [0.0] * 7


def test_a_hold_brings_velocities_down_to_zero_in_small_steps() -> None:
    robot = Robot("joint_velocity")
    robot.send()
    robot.go_on(PERIOD)
    assert np.abs(robot.messages[-1].data).max() > 0.01
    robot.stream.hold()
    robot.go_on(SECOND)
    sent = np.array([message.data for message in robot.messages])
    np.testing.assert_array_equal(sent[-1], np.zeros(7))
    assert np.abs(np.diff(sent, axis=0)).max() <= 0.5 * FR3.jerk_max[0] * 1e-6 + 1e-12


def test_in_lockstep_a_hold_of_velocities_is_one_message_of_zeros() -> None:
    robot = Robot("joint_velocity")
    robot.send()
    robot.jump()
    robot.send()
    robot.jump()
    robot.stream.hold()
    assert len(robot.messages) == 3
    assert robot.messages[-1].data.tolist() == [0.0] * 7


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_after_silence_nothing_is_sent_until_an_episode_begins(adapter: str) -> None:
    robot = Robot(adapter)
    robot.send()
    robot.go_on(PERIOD // 2)
    robot.stream.silence()
    count = len(robot.messages)
    robot.go_on(PERIOD)
    robot.stream.hold()
    robot.send()
    robot.go_on(PERIOD)
    assert len(robot.messages) == count
    robot.begin()
    robot.send()
    assert len(robot.messages) > count


def test_the_thread_leads_to_rest_though_nobody_calls_anything_any_more() -> None:
    robot = Robot("joint_velocity", threaded=True)
    robot.send()
    robot.stream.time_passed(robot.now + 2 * MILLISECOND)  # time goes on by itself
    assert robot.stands_again.wait(20.0)
    sent = np.array([message.data for message in robot.messages])
    assert np.abs(sent).max() > 0.02
    assert np.abs(np.diff(sent, axis=0)).max() <= 0.5 * FR3.jerk_max[0] * 1e-6 + 1e-12
    robot.stream.close()


def test_closing_waits_until_the_robot_is_at_rest() -> None:
    robot = Robot("joint_velocity", threaded=True)
    robot.send()
    robot.stream.time_passed(robot.now + 2 * MILLISECOND)
    robot.stream.close()
    assert robot.messages[-1].data.tolist() == [0.0] * 7
