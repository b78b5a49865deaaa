"""Hearing every message of a topic, without an executor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


class Heard(NamedTuple):
    """A message, and when it was published (ns of the machine's clock)."""

    message: Any
    published: int


class Ear:
    """Hears every message of a topic that it is told to listen to; no executor is needed."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._subscriptions: dict[str, Any] = {}

    def listen(self, topic: str, kind: type, latched: bool = False) -> None:
        """Subscribe, and wait until the publisher is found."""
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        reliability = ReliabilityPolicy.RELIABLE if latched else ReliabilityPolicy.BEST_EFFORT
        profile = QoSProfile(depth=5000, reliability=reliability, durability=durability)
        subscription = self.node.create_subscription(kind, topic, lambda _: None, profile)
        self._subscriptions[topic] = subscription
        wait_until(lambda: subscription.get_publisher_count() > 0, f"publisher of {topic}")

    def take(self, topic: str) -> list[Heard]:
        """What has arrived since the last call."""
        subscription = self._subscriptions[topic]
        heard = []
        while (taken := subscription.handle.take_message(subscription.msg_type, False)) is not None:
            heard.append(Heard(taken[0], taken[1]["source_timestamp"]))
        return heard

    def next(self, topic: str) -> Any:
        """The newest message; waits for one if there is none."""
        heard: list[Heard] = []
        wait_until(lambda: bool(heard.extend(self.take(topic)) or heard), topic)
        return heard[-1].message


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Look at a condition that other threads and discovery make true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.001)
