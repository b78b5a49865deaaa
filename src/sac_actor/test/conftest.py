"""What the actor's tests share: a ROS domain of their own, and nodes that end with the test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from common import free_domain
from rclpy.node import Node

# Before any test uses ROS.
os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"  # as the nodes have it
# Tests import the helpers beside them, whichever way pytest imports the tests.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    """A ROS context that ends with the test."""
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def node(context: rclpy.Context) -> Iterator[Node]:
    """The node under test, that no executor spins."""
    node = Node("actor", context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def robot(context: rclpy.Context) -> Iterator[Node]:
    """A node that stands where the robot's are."""
    node = Node("robot", context=context)
    yield node
    node.destroy_node()
