"""Subscriptions of the simulation's own thread: waited for and read without an executor.

rclpy's SingleThreadedExecutor builds its wait set in Python again for every message, which costs
0.7 ms more per command and answer than this does (measured with six subscriptions, see
docs/simulation_interface.md). Here the wait set is made once.
"""

from __future__ import annotations

from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

LONGEST_WAIT = 0.1  # s: Python runs signal handlers only between two waits


class Inbox:
    """Waits for the messages of a node's subscriptions, and hands them to their callbacks.

    The node must not be given to an executor. `receive`, `discard` and `wait` are for one thread;
    `wake` may be called from any.
    """

    def __init__(self, node: Node) -> None:
        self._context: Context = node.context
        self._subscriptions: tuple[Subscription, ...] = tuple(node.subscriptions)
        self._guard = _rclpy.GuardCondition(self._context.handle)
        count = len(self._subscriptions)
        self._wait_set = _rclpy.WaitSet(count, 1, 0, 0, 0, 0, self._context.handle)

    def wait(self, timeout: float) -> None:
        """Return when there is a message, when `wake` was called, or after `timeout` s (> 0).

        It may return early: callers look again.
        """
        wait_set = self._wait_set
        wait_set.clear_entities()
        for subscription in self._subscriptions:
            wait_set.add_subscription(subscription.handle)
        wait_set.add_guard_condition(self._guard)
        wait_set.wait(int(min(timeout, LONGEST_WAIT) * 1e9))

    def wake(self) -> None:
        """End `wait`, now or the next time."""
        self._guard.trigger_guard_condition()

    def receive(self) -> int:
        """Give every message that has arrived to its callback; how many there were."""
        count = 0
        for subscription in self._subscriptions:
            take, kind = subscription.handle.take_message, subscription.msg_type
            while (taken := take(kind, False)) is not None:
                subscription.callback(taken[0])
                count += 1
        return count

    def discard(self) -> None:
        """Throw away every message that has arrived."""
        for subscription in self._subscriptions:
            while subscription.handle.take_message(subscription.msg_type, True) is not None:
                pass
