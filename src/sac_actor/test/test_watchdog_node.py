"""The watchdog's node in this process: what it makes of the messages that come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from controller_manager_msgs.msg import ControllerManagerActivity, NamedLifecycleState
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from sac_actor import watchdog
from sac_envs.kinematics import forward
from sac_envs.robots import FR3, HOME
from sac_ros import qos


class Lab:
    """A watchdog whose work is done step by step, and a peer that is robot and actor to it."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        given = [Parameter(name, value=value) for name, value in parameters.items()]
        context = rclpy.get_default_context()
        self.dog = watchdog.Watchdog()
        self.dog.parameters = watchdog.Parameters(**{p.name: p.value for p in given})
        assert self.dog.trigger_configure() is not None
        self.dog.trigger_activate()
        self.peer = Node("peer", context=context)
        self._joints = self.peer.create_publisher(JointState, "franka/joint_states", 1)
        self._pose = self.peer.create_publisher(PoseStamped, "target_pose", 1)
        self._activity = self.peer.create_publisher(
            ControllerManagerActivity, "controller_manager/activity", qos.STATUS
        )
        self.stamp = 0
        self.q = list(HOME)

    def controller(self, state: str) -> None:
        number = {"active": State.PRIMARY_STATE_ACTIVE, "inactive": State.PRIMARY_STATE_INACTIVE}
        item = NamedLifecycleState(name="cartesian_impedance_controller")
        item.state = State(id=number[state], label=state)
        self._activity.publish(ControllerManagerActivity(controllers=[item]))

    def say(self, offset: float) -> None:
        """A joint state, and a command `offset` m from where it has the tool."""
        self.stamp += 10_000_000
        state = JointState(name=list(FR3.joint_names), position=self.q, velocity=[0.0] * 7)
        state.header.stamp.sec, state.header.stamp.nanosec = divmod(self.stamp, 10**9)
        self._joints.publish(state)
        position, _, _ = forward(HOME)
        pose = PoseStamped()
        p = pose.pose.position
        p.x, p.y, p.z = float(position[0] + offset), float(position[1]), float(position[2])
        self._pose.publish(pose)

    def until(
        self, condition: Callable[[], bool], offset: float, moves: bool, patience: float = 60.0
    ) -> bool:
        """Speak and let the watchdog work, until something holds; whether it came to that."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if moves:
                self.q[6] += 1e-6
            self.say(offset)
            self.dog.work()
            if condition():
                return True
        return False

    @property
    def state(self) -> str:
        return self.dog._state

    def close(self) -> None:
        self.dog.cleanup()
        self.dog.destroy_node()
        self.peer.destroy_node()


@pytest.fixture
def lab() -> Iterator[Lab]:
    rclpy.init()
    # But for the one that is tried, limits that a loaded machine keeps.
    made = Lab(
        {
            "max_state_latency": 0.0,
            "actor_timeout": 0.0,
            "frozen_timeout": 0.3,
            "state_timeout": 10.0,
            "command_timeout": 10.0,
        }
    )
    made.controller("active")
    assert made.until(lambda: made.state == "watching", 0.02, moves=True)
    yield made
    made.close()
    rclpy.shutdown()


def test_values_that_stay_the_same_while_commands_ask_for_motion_are_frozen(lab: Lab) -> None:
    assert lab.until(lambda: lab.state == "tripped", 0.02, moves=False)
    assert "joint states are frozen" in lab.dog._cause.text


def test_an_emergency_stop_that_is_latched_is_heard_by_a_watchdog_that_comes_later(
    lab: Lab,
) -> None:
    lab.dog.cleanup()
    latched = lab.peer.create_publisher(Bool, "emergency_stop", qos.STATUS)
    latched.publish(Bool(data=True))
    lab.dog.configure()
    assert lab.until(lambda: lab.state == "tripped", 0.001, moves=True)
    assert lab.dog._cause.text == "emergency_stop is true"


def test_a_robot_that_is_asked_to_stay_may_stay(lab: Lab) -> None:
    assert not lab.until(lambda: lab.state == "tripped", 0.001, moves=False, patience=1.0)


def test_a_robot_that_moves_is_not_frozen(lab: Lab) -> None:
    assert not lab.until(lambda: lab.state == "tripped", 0.02, moves=True, patience=1.0)
