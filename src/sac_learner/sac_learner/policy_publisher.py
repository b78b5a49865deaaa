"""Publishes the newest weights on a thread of its own, so that training never waits for it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sac_msgs.msg import PolicyWeights
from sac_ros import qos
from sac_ros.codecs import policy_to_message
from sac_ros.node import SacNode

Tensors = dict[str, NDArray[np.float32]]


class PolicyPublisher(threading.Thread):
    """Encodes and publishes the newest weights that it was given."""

    def __init__(self, node: SacNode[Any]) -> None:
        super().__init__(name="policy publisher", daemon=True)
        self.version = 0  # learner step of the newest published weights
        self._node = node
        self._publisher = node.create_publisher(
            PolicyWeights, "sac/policy", qos.POLICY, qos_overriding_options=qos.OVERRIDABLE
        )
        self._newest: tuple[int, Tensors] | None = None
        self._news = threading.Condition()
        self._ended = False

    def give(self, version: int, tensors: Tensors) -> None:
        """Publish these as soon as possible, in place of any that still wait."""
        with self._news:
            self._newest = (version, tensors)
            self._news.notify()

    def end(self) -> None:
        """Publish what waits, then end."""
        with self._news:
            self._ended = True
            self._news.notify()
        self.join(timeout=5.0)
        self._node.destroy_publisher(self._publisher)

    def run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._newest or self._ended)
                if self._newest is None:
                    return
                (version, tensors), self._newest = self._newest, None
            self._publish(version, tensors)

    def _publish(self, version: int, tensors: Tensors) -> None:
        message = policy_to_message(tensors, PolicyWeights())
        message.learner_id = self._node.get_name()
        message.learner_session = self._node.session
        message.version = version
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self.version = version
