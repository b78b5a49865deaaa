"""The external wrench as the safety filter's limit uses it: new enough, or a fault."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ears import wait_until
from geometry_msgs.msg import WrenchStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sac_actor.environment import EpisodeCut
from sac_actor.wrench import MAX_AGE, TOPIC, ExternalWrench
from sac_ros.inbox import Inbox

SECOND = 1_000_000_000


def message(seconds: int, force: float) -> WrenchStamped:
    wrench = WrenchStamped()
    wrench.header.stamp = Time(sec=seconds)
    wrench.wrench.force.z = force
    return wrench


def test_it_comes_on_the_topic_of_the_robots_broadcaster(node: Node, robot: Node) -> None:
    # Best effort, as franka_robot_state_broadcaster publishes it.
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = robot.create_publisher(WrenchStamped, TOPIC, profile)
    wrench = ExternalWrench(node, patience=20.0)
    inbox = Inbox(node)
    wait_until(lambda: publisher.get_subscription_count() > 0, "the subscription")

    def spin(timeout: float) -> None:
        publisher.publish(message(5, -3.0))
        inbox.spin(timeout)

    wrench.wait(5 * SECOND, spin)
    np.testing.assert_array_equal(wrench.value, [0.0, 0.0, -3.0, 0.0, 0.0, 0.0])


def test_one_that_is_missing_or_stale_is_a_fault_that_says_so(node: Node) -> None:
    wrench = ExternalWrench(node, patience=0.01)
    inbox = Inbox(node)
    with pytest.raises(EpisodeCut, match="external_wrench_in_base_frame is none: max_force"):
        wrench.wait(5 * SECOND, inbox.spin)
    wrench.take(message(5, 1.0))
    wrench.wait(5 * SECOND + MAX_AGE, inbox.spin)
    with pytest.raises(EpisodeCut, match=r"is 2\.00 s old"):
        wrench.wait(7 * SECOND, inbox.spin)


def test_one_that_is_not_finite_is_left_out(node: Node) -> None:
    wrench = ExternalWrench(node, patience=0.01)
    wrench.take(message(5, 1.0))
    for bad in (math.nan, math.inf):
        wrench.take(message(6, bad))
    np.testing.assert_array_equal(wrench.value, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    with pytest.raises(EpisodeCut, match=r"1\.00 s old"):
        wrench.wait(6 * SECOND, Inbox(node).spin)
