"""Subscriptions that come and go on one thread, their messages taken as bytes with their times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

LONGEST_WAIT = 0.1  # s: Python runs signal handlers only between two waits
TURN = 1000  # messages of one topic before the others have their turn


class RawMessage(NamedTuple):
    """One message as it came."""

    data: bytes
    source_time: int  # ns, published
    received_time: int  # ns
    sequence: int  # of its publisher


class RawInbox:
    """Takes messages without an executor, which would build its wait set anew for each of them.

    The node must not be given to an executor. Everything here is for one thread, but `wake`.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscriptions: dict[Subscription, Callable[[RawMessage], None]] = {}
        self._guard = _rclpy.GuardCondition(node.context.handle)
        self._wait_set: Any = None

    def subscribe(
        self,
        topic: str,
        kind: Any,
        profile: QoSProfile,
        callback: Callable[[RawMessage], None],
        **options: Any,
    ) -> Subscription:
        """Have `callback` told of a topic's messages, until `unsubscribe` of what this returns."""
        subscription = self._node.create_subscription(
            kind, topic, lambda _: None, profile, raw=True, **options
        )
        self._subscriptions[subscription] = callback
        self._wait_set = None
        return subscription

    def put_last(self, subscription: Subscription) -> None:
        """Have its messages taken after those of all others."""
        self._subscriptions[subscription] = self._subscriptions.pop(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        del self._subscriptions[subscription]
        self._node.destroy_subscription(subscription)
        self._wait_set = None

    def wait(self, timeout: float) -> None:
        """Return when there is a message, when `wake` was called, or after `timeout` s."""
        if self._wait_set is None:
            count = len(self._subscriptions)
            self._wait_set = _rclpy.WaitSet(count, 1, 0, 0, 0, 0, self._node.context.handle)
        self._wait_set.clear_entities()
        for subscription in self._subscriptions:
            self._wait_set.add_subscription(subscription.handle)
        self._wait_set.add_guard_condition(self._guard)
        self._wait_set.wait(int(min(timeout, LONGEST_WAIT) * 1e9))

    def wake(self) -> None:
        """End `wait`, now or the next time."""
        self._guard.trigger_guard_condition()

    def receive(self) -> int:
        """Hand over what has arrived, of each topic up to `TURN`; how many there were."""
        count = 0
        for subscription, callback in list(self._subscriptions.items()):
            for _ in range(TURN):
                if subscription not in self._subscriptions:  # a callback has ended it
                    break
                taken = subscription.handle.take_message(subscription.msg_type, True)
                if taken is None:
                    break
                data, info = taken
                callback(
                    RawMessage(
                        data,
                        info["source_timestamp"],
                        info["received_timestamp"],
                        info["publication_sequence_number"] or 0,
                    )
                )
                count += 1
        return count
