"""Subscriptions and clients of a thread of their own: waited for and read without an executor.

rclpy's SingleThreadedExecutor builds its wait set in Python again for every message, 0.4 ms each
time with five subscriptions. Where a control period hangs on a few messages that is most of the
time they take; here the wait set is made once.
"""

from __future__ import annotations

from rclpy.client import Client
from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

LONGEST_WAIT = 0.1  # s: Python runs signal handlers only between two waits
MOST = 32  # messages of one subscription that one call hands over: a flood must not keep it


class Inbox:
    """Waits for a node's messages and hands them to their callbacks; answers complete futures.

    It knows the subscriptions and clients that the node has when it is made. The node must not be
    given to an executor. `receive`, `discard` and `wait` are for one thread; `wake` may be called
    from any.
    """

    def __init__(self, node: Node) -> None:
        self._context: Context = node.context
        self._subscriptions: tuple[Subscription, ...] = tuple(node.subscriptions)
        self._guard = _rclpy.GuardCondition(self._context.handle)
        self._clients: tuple[Client, ...] = tuple(node.clients)
        self._wait_set = _rclpy.WaitSet(
            len(self._subscriptions), 1, 0, len(self._clients), 0, 0, self._context.handle
        )

    def wait(self, timeout: float) -> None:
        """Return when there is a message, when `wake` was called, or after `timeout` s (> 0).

        It may return early: callers look again.
        """
        self._wait(timeout)

    def spin(self, timeout: float) -> None:
        """As `wait`; then hand over what was there."""
        self._wait(timeout)
        ready = set(self._wait_set.get_ready_entities("subscription"))
        if ready:  # of each one message, for a start: taking what is not there costs most of it
            for subscription in self._subscriptions:
                handle = subscription.handle
                if handle.pointer in ready:
                    taken = handle.take_message(subscription.msg_type, subscription.raw)
                    if taken is not None:
                        subscription.callback(taken[0])
        if self._clients:
            ready = set(self._wait_set.get_ready_entities("client"))
            for client in self._clients:
                if client.handle.pointer in ready:
                    self._receive_answers(client)

    def _wait(self, timeout: float) -> None:
        wait_set = self._wait_set
        wait_set.clear_entities()
        for subscription in self._subscriptions:
            wait_set.add_subscription(subscription.handle)
        for client in self._clients:
            wait_set.add_client(client.handle)
        wait_set.add_guard_condition(self._guard)
        wait_set.wait(int(min(timeout, LONGEST_WAIT) * 1e9))

    def wake(self) -> None:
        """End `wait`, now or the next time."""
        self._guard.trigger_guard_condition()

    def receive(self, most: int = MOST) -> int:
        """Give what has arrived to its callbacks, `most` messages each; how many there were."""
        count = 0
        for subscription in self._subscriptions:
            take, kind = subscription.handle.take_message, subscription.msg_type
            for _ in range(most):
                taken = take(kind, subscription.raw)
                if taken is None:
                    break
                subscription.callback(taken[0])
                count += 1
        for client in self._clients:
            self._receive_answers(client)
        return count

    def _receive_answers(self, client: Client) -> None:
        while True:
            header, answer = client.handle.take_response(client.srv_type.Response)
            if header is None:
                return
            try:
                future = client.get_pending_request(header.request_id.sequence_number)
            except KeyError:  # nobody waits for it any more
                continue
            future.set_result(answer)

    def discard(self) -> None:
        """Throw away what has arrived, `MOST` messages of each subscription."""
        for subscription in self._subscriptions:
            for _ in range(MOST):
                if subscription.handle.take_message(subscription.msg_type, True) is None:
                    break
