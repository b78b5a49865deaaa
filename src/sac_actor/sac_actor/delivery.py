"""Between an actor and its learner: transitions go out until acknowledged, weights come in.

The actor never waits for the learner: what is not acknowledged stays in the queue and is sent
again.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.time import Time

from sac_actor.environment import Environment
from sac_actor.queue import TransitionQueue, Unsent
from sac_core.policy import Policy
from sac_msgs.msg import PolicyWeights, TransitionAck, TransitionBatch
from sac_ros import qos
from sac_ros.codecs import (
    ack_from_message,
    policy_from_message,
    printable,
    transitions_to_message,
)
from sac_ros.node import SacNode
from sac_ros.refusals import Refusals

RESEND_AFTER = 0.5  # s without any progress in the acknowledgements of what was sent; doubles …
RESEND_AFTER_MOST = (
    8.0  # … up to this while nothing comes: the learner may be slow, or its disk full
)
LEARNER_SILENCE = 3.0  # s after which another learner may take over; each speaks once a second
FAREWELL = 4.0  # s that a stopping actor waits for its last acknowledgement; launch waits for 5
WORTH_A_WARNING = 2.0  # s without progress
WINDOW = 80  # messages of all actors under way at most: the histories have room for 100
FIRST_WINDOW = 5  # of one actor that has not heard how many there are


class Delivery:
    """Sends the rows of a queue to the learner that it follows, and takes that learner's weights.

    Messages come in on the executor thread; `send` may be called from any.
    """

    def __init__(
        self,
        node: SacNode[Any],
        queue: TransitionQueue,
        flush_period: int,
        refusals: Refusals,
    ) -> None:
        self._node = node
        self._queue = queue
        self._flush_period = flush_period
        self._refusals = refusals
        self.newest_policy: Policy | None = None
        self.newest_policy_stamp = Time()
        self._policy_session = 0  # of the learner that the newest weights came from
        self.policies_received = 0
        self.policies_rejected = 0
        self.rejected_rows = 0
        self._learner_session = 0  # of the learner that is followed
        self._learner_heard = 0.0
        self._other_weights: PolicyWeights | None = None  # newest of a learner not followed
        self._last_progress = time.monotonic()
        self._resend_after = RESEND_AFTER
        self._window = FIRST_WINDOW  # messages
        self._sending = threading.Lock()  # messages go out in order
        self._environment: Environment

    def open(self, environment: Environment) -> None:
        """Make publisher and subscriptions."""
        self._environment = environment
        node, options = self._node, {"qos_overriding_options": qos.OVERRIDABLE}
        self._transitions = node.create_publisher(
            TransitionBatch, "sac/transitions", qos.TRANSITIONS, **options
        )
        self._subscriptions = [
            node.create_subscription(
                PolicyWeights, "sac/policy", self._on_policy, qos.POLICY, **options
            ),
            node.create_subscription(
                TransitionAck, "sac/transitions_ack", self._on_ack, qos.TRANSITIONS_ACK, **options
            ),
        ]

    def close(self) -> None:
        """Give them back; what is queued stays."""
        self._node.destroy_publisher(self._transitions)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    @property
    def topic(self) -> str:
        """Where transitions go."""
        return str(self._transitions.topic_name)

    @property
    def connected(self) -> bool:
        """Whether a learner listens."""
        return bool(self._transitions.get_subscription_count() > 0)

    @property
    def followed(self) -> bool:
        """Whether there has ever been a learner."""
        return self._learner_session != 0

    # What goes out.

    def is_due(self, steps: int) -> bool:
        """Whether rows are to be sent after so many steps."""
        return steps > 1 and (steps - 1) % self._flush_period == 0

    def send(self, whole: bool = False) -> bool:
        """Publish unsent rows if a learner listens, a flush's worth a message; whether any.

        No more messages are under way than an actor's share of the histories, so that of many
        actors' none is lost there. `whole`: less than a flush's worth waits for more rows.
        """
        if not self.connected:
            return False
        period = self._flush_period
        sent = False
        with self._sending:
            self._send_again_if_due(time.monotonic())
            while self._queue.sent - self._queue.oldest < self._window * period:
                # Steps 0 to flush_period go together, so that the learner counts 31, 61, 91 …
                limit = period + 1 if self._queue.sent == 0 else period
                unsent = self._queue.take_unsent(limit, limit if whole else 1)
                if unsent is None:
                    break
                self._publish(unsent)
                sent = True
        return sent

    def _send_again_if_due(self, now: float) -> None:
        if self._queue.oldest == self._queue.sent:  # nothing is under way: waiting begins now
            self._last_progress = now
        elif now - self._last_progress > self._resend_after:
            again = self._queue.rewind()
            if self._resend_after >= WORTH_A_WARNING:
                self._node.get_logger().warning(
                    f"No acknowledgement for {self._resend_after:g} s: sending {again} rows again",
                    throttle_duration_sec=10.0,
                )
            self._last_progress = now
            self._resend_after = min(2.0 * self._resend_after, RESEND_AFTER_MOST)

    def _publish(self, unsent: Unsent) -> None:
        message = transitions_to_message(unsent.rows, TransitionBatch())
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.actor_id = self._node.get_name()
        message.actor_session = self._node.session
        message.task = self._environment.name
        message.first_sequence = unsent.first
        message.oldest_sequence = unsent.oldest
        message.dropped = unsent.dropped
        self._transitions.publish(message)

    def finish(self) -> None:
        """Send the rest, and wait a while for its acknowledgement."""
        deadline = time.monotonic() + FAREWELL
        self._resend_after = RESEND_AFTER
        while len(self._queue) and self.connected and time.monotonic() < deadline:
            if not self.send():
                time.sleep(0.01)

    # What comes in.

    def _follow(self, session: int, learner_id: str) -> None:
        """Raise ValueError unless a message is of the learner that this actor follows.

        That is one session. Another takes its place once it has been silent, as it is after a
        restart; until then another one on the same topics is an intruder, or a mistake.
        """
        now = time.monotonic()
        followed = self._learner_session
        if session != followed:
            if followed and now - self._learner_heard < LEARNER_SILENCE:
                raise ValueError(
                    f"Two learners on {self.topic}: this actor follows session "
                    f"{followed:016x}, and {printable(learner_id)!r} is {session:016x}; stop one "
                    "of them, or give each a namespace"
                )
            if followed:
                again = self._queue.rewind()
                self._node.get_logger().info(f"A new learner: sending it {again} rows again")
            self._learner_session, self._resend_after = session, RESEND_AFTER
        self._learner_heard = now

    def _on_policy(self, message: PolicyWeights) -> None:
        try:
            policy = policy_from_message(message)
            self._check_sizes(policy)
            try:
                self._follow(message.learner_session, message.learner_id)
            except ValueError:
                self._other_weights = message  # taken if that learner takes over
                raise
            newest = self.newest_policy
            same_learner = self._policy_session == message.learner_session
            if newest is not None and same_learner and policy.version < newest.version:
                raise ValueError(f"version {policy.version} after {newest.version}")
        except ValueError as error:
            self.policies_rejected += 1
            reason = f"weights of {printable(message.learner_id)!r} refused: {error}"
            self._refusals.add("weights", reason)
            return
        if newest is None:
            self._node.get_logger().info(
                f"First weights from {message.learner_id}: learner step {policy.version}"
            )
        self.policies_received += 1
        self._policy_session = message.learner_session
        self.newest_policy_stamp = Time.from_msg(message.header.stamp)
        self.newest_policy = policy

    def _check_sizes(self, policy: Policy) -> None:
        ours = (self._environment.observation_size, self._environment.action_size)
        theirs = (policy.observation_size, policy.action_size)
        if ours != theirs:
            raise ValueError(
                f"the learner's policy has {theirs[0]} observations and {theirs[1]} actions, "
                f"{self._environment.name} of {self._node.get_name()} has {ours[0]} and {ours[1]}"
            )

    def _on_ack(self, message: TransitionAck) -> None:
        try:
            cursor = ack_from_message(message, self._node.get_name(), self._node.session)
            self._follow(message.learner_session, message.learner_id)
        except ValueError as error:
            reason = f"acknowledgement of {printable(message.learner_id)!r} refused: {error}"
            self._refusals.add("acknowledgement", reason)
            return
        waiting = self._other_weights
        if waiting is not None and waiting.learner_session == message.learner_session:
            self._other_weights = None
            self._on_policy(waiting)
        self._window = max(1, WINDOW // max(1, len({one.actor_id for one in message.actors})))
        if cursor is None:
            return
        if self._queue.acknowledge(cursor.next_sequence):
            self._last_progress = time.monotonic()
            self._resend_after = RESEND_AFTER
            self.send(whole=True)  # a backlog follows its acknowledgements
        if cursor.rejected > self.rejected_rows:
            self._node.get_logger().error(
                f"The learner refused {cursor.rejected} rows; its log says why",
                throttle_duration_sec=10.0,
            )
        self.rejected_rows = cursor.rejected
