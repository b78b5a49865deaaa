"""The newest status of every actor, learner and watchdog of a domain, whatever their namespaces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from sac_actor.status_lines import Line, actor_line, learner_line, watchdog_line
from sac_msgs.msg import ActorStatus, LearnerStatus, WatchdogStatus
from sac_ros import qos

MOST_TOPICS = 64
MOST_NODES = 256
FORGOTTEN = 600.0  # s after which a node that says nothing more is left out

KINDS: tuple[type, ...] = (ActorStatus, LearnerStatus, WatchdogStatus)
TYPES = {f"sac_msgs/msg/{kind.__name__}": kind for kind in KINDS}


class StatusBoard:
    """Listens to every topic of a status type that there is; `look` finds new ones."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._topics: set[str] = set()
        self._heard: dict[tuple[str, str], tuple[Any, float]] = {}  # message, and when it came

    def look(self) -> None:
        """Subscribe to the topics of status that are new."""
        for topic, types in self._node.get_topic_names_and_types():
            kind = next((TYPES[name] for name in types if name in TYPES), None)
            if kind and topic not in self._topics and len(self._topics) < MOST_TOPICS:
                self._topics.add(topic)
                self._node.create_subscription(kind, topic, self._taker(topic), qos.STATUS_OF_MANY)

    def _taker(self, topic: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            key = topic, getattr(message, "actor_id", "")
            if key in self._heard or len(self._heard) < MOST_NODES:
                self._heard[key] = message, time.monotonic()

        return take

    def lines(self) -> list[Line]:
        """A line for each node: learners, then actors, then watchdogs."""
        now = time.monotonic()
        self._heard = {k: v for k, v in self._heard.items() if now - v[1] < FORGOTTEN}
        order = {LearnerStatus: 0, ActorStatus: 1, WatchdogStatus: 2}
        found = sorted(self._heard.items(), key=lambda item: (order[type(item[1][0])], item[0]))
        return [_line(topic, message, now - then) for (topic, _id), (message, then) in found]


def _line(topic: str, message: Any, silence: float) -> Line:
    if isinstance(message, LearnerStatus):
        return learner_line(message, silence)
    if isinstance(message, ActorStatus):
        return actor_line(message, silence)
    return watchdog_line(topic.removesuffix("/watchdog/status") or "/", message, silence)
