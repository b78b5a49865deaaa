"""What the bridge's tests share: a ROS domain of their own, two nodes, and an ear for topics."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import rclpy
from common import free_domain
from ears import Ear
from rclpy.node import Node

# Before any test uses ROS.
os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"  # as the nodes have it


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    """A ROS context that ends with the test."""
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def node(context: rclpy.Context) -> Iterator[Node]:
    """The node under test."""
    node = Node("bridge", context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def observer(context: rclpy.Context) -> Iterator[Node]:
    """A node of the test's own, that no executor spins."""
    node = Node("observer", context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def ear(observer: Node) -> Ear:
    """Ears of the observer."""
    return Ear(observer)
