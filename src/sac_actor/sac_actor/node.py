"""The actor node: runs the environment loop, sends transitions, takes new weights, evaluates.

It never waits for the learner: what is not acknowledged stays in the queue and is sent again.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.time import Time

from sac_actor.environment import Environment, EpisodeCut, Interrupted, make_environment
from sac_actor.loop import EnvironmentLoop, Evaluation, Pace, evaluate
from sac_actor.parameters import RobotParameters
from sac_actor.queue import TransitionQueue, Unsent
from sac_core.policy import Policy
from sac_msgs.msg import ActorStatus, PolicyWeights, TransitionAck, TransitionBatch
from sac_ros import node, qos
from sac_ros.codecs import (
    ack_from_message,
    policy_from_message,
    printable,
    transitions_to_message,
)
from sac_ros.parameters import parameter

RESEND_AFTER = 0.5  # s without any progress in the acknowledgements of what was sent; doubles …
RESEND_AFTER_MOST = (
    8.0  # … up to this while nothing comes: the learner may be slow, or its disk full
)
LEARNER_SILENCE = 3.0  # s after which another learner may take over; each speaks once a second
FAREWELL = 4.0  # s that a stopping actor waits for its last acknowledgement; launch waits for 5
WORTH_A_WARNING = 2.0  # s without progress
WINDOW = 80  # messages of all actors under way at most: the histories have room for 100
FIRST_WINDOW = 5  # of one actor that has not heard how many there are
AFTER_CUT = 1.0  # s between two attempts to begin an episode after one was cut
REFUSAL_SHOWN = 30.0  # s for which diagnostics are in error after a message was refused
MAX_FAULT = 512  # characters, as in ActorStatus.msg
SILENCE = 10.0  # s between two reminders that there is no learner


@dataclass(frozen=True)
class Parameters(RobotParameters):
    """Parameters of the actor node."""

    seed: int = parameter(0, "Seed of the environment and of exploration", minimum=0)
    step_rate: float = parameter(
        200.0,
        "Steps per second in a Gymnasium environment, 0 = as fast as it can; a robot has its own",
        minimum=0.0,
        live=True,
    )
    random_steps: int = parameter(300, "Steps with random actions before the policy", minimum=0)
    flush_period: int = parameter(30, "Steps between two batches to the learner", minimum=1)
    queue_capacity: int = parameter(2000, "Transitions kept until acknowledged", minimum=1)
    apply_policy_at: str = parameter(
        "flush", "When new weights are taken", choices=("flush", "step", "episode"), live=True
    )
    eval_period: int = parameter(
        10_000, "Steps between two evaluations, 0 = never", minimum=0, live=True
    )
    eval_episodes: int = parameter(5, "Episodes of one evaluation", minimum=1, live=True)
    eval_success: float = parameter(
        0.0,
        "An evaluation ends early once this success rate is out of reach, 0 = never",
        minimum=0.0,
        maximum=1.0,
        live=True,
    )


class Actor(node.SacNode[Parameters]):
    """Acts in an environment on behalf of a learner elsewhere."""

    environment: Environment  # while configured
    queue: TransitionQueue  # since it was configured first
    loop_: EnvironmentLoop

    def __init__(self) -> None:
        super().__init__("sac_actor", Parameters)
        self._newest_policy: Policy | None = None
        self._newest_policy_stamp = Time()
        self._policy_session = 0  # of the learner that the newest weights came from
        self._policies_received = 0
        self._policies_rejected = 0
        self._refusal, self._refused_at = "", -math.inf  # why a message was last refused, and when
        self._rejected_rows = 0
        self._learner_session = 0  # of the learner that is followed
        self._learner_heard = 0.0
        self._other_weights: PolicyWeights | None = None  # newest of a learner not followed
        self._last_progress = time.monotonic()
        self._resend_after = RESEND_AFTER
        self._window = FIRST_WINDOW  # messages
        self._sending = threading.Lock()  # messages go out in order
        self._evaluations = 0
        self._evaluation = Evaluation(0, (float("nan"),), (0,), None)
        self._evaluating = False
        self._fault = ""  # why the episode was cut, until one begins again
        self._cuts = 0
        self._next_evaluation = 0
        self._was_connected = False
        self._last_reminder = time.monotonic()
        self._rate_mark = (time.monotonic(), 0)
        self._rate = 0.0
        self._pace = Pace()

    def configure(self) -> None:
        p = self.parameters
        self.environment = make_environment(self, p, p.env_id, self._goes_on)
        if hasattr(self, "loop_"):  # configured once more: what is queued stays
            self.loop_.environment = self.environment
            self.loop_.abandon_episode()
        else:
            self.queue = TransitionQueue(
                p.queue_capacity, self.environment.observation_size, self.environment.action_size
            )
            self.loop_ = EnvironmentLoop(self.environment, self.queue, p.random_steps, p.seed)
            self.loop_.go_on = self._goes_on
            self._next_evaluation = p.eval_period
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        self._transitions = self.create_publisher(
            TransitionBatch, "sac/transitions", qos.TRANSITIONS, **options
        )
        self._status = self.create_publisher(ActorStatus, "sac/actor/status", qos.STATUS, **options)
        self._subscriptions_ = [
            self.create_subscription(
                PolicyWeights, "sac/policy", self._on_policy, qos.POLICY, **options
            ),
            self.create_subscription(
                TransitionAck, "sac/transitions_ack", self._on_ack, qos.TRANSITIONS_ACK, **options
            ),
        ]
        self._timer = self.create_timer(1.0, self._every_second)
        self.get_logger().info(
            f"Acting in {self.environment.name}: {self.environment.observation_size} observations, "
            f"{self.environment.action_size} actions; session {self.session:016x}"
        )

    def cleanup(self) -> None:
        if hasattr(self, "environment"):
            self.environment.close()
            del self.environment
            self.destroy_timer(self._timer)
            for publisher in (self._transitions, self._status):
                self.destroy_publisher(publisher)
            for subscription in self._subscriptions_:
                self.destroy_subscription(subscription)

    def _goes_on(self) -> bool:
        return self.active.is_set() and not self.stopping.is_set()

    # The loop, on the main thread.

    def work(self) -> None:
        try:
            self._act()
        except Interrupted:
            self.loop_.abandon_episode()
        except EpisodeCut as cut:
            self._on_cut(str(cut))

    def _act(self) -> None:
        p = self.parameters
        if not self.environment.paces_itself:
            self._pace.wait(p.step_rate)
        episode_ended = self.loop_.step()
        if self._fault:
            self.get_logger().info("Acting again")
            self._fault = ""
        flush = self.loop_.steps > 1 and (self.loop_.steps - 1) % p.flush_period == 0
        if flush:
            self._send()
        if (
            p.apply_policy_at == "step"
            or (flush and p.apply_policy_at == "flush")
            or (episode_ended and p.apply_policy_at == "episode")
        ):
            self._take_policy()
        if episode_ended and p.eval_period > 0 and self._next_evaluation <= self.loop_.steps:
            self._evaluate()

    def _on_cut(self, reason: str) -> None:
        """Say why there is no episode, and wait a moment before the next attempt."""
        self._evaluating = False
        self.loop_.abandon_episode()
        self._cuts += 1
        if reason != self._fault:
            self.get_logger().error(f"Episode stopped: {reason}")
        self._fault = reason
        self.stopping.wait(AFTER_CUT)

    def _take_policy(self) -> None:
        self.loop_.policy = self._newest_policy

    def _send(self, whole: bool = False) -> bool:
        """Publish unsent rows if a learner listens, a flush's worth a message; whether any.

        No more messages are under way than an actor's share of the histories, so that of many
        actors' none is lost there. `whole`: less than a flush's worth waits for more rows.
        """
        if self._transitions.get_subscription_count() == 0:
            return False
        period = self.parameters.flush_period
        sent = False
        with self._sending:
            self._send_again_if_due(time.monotonic())
            while self.queue.sent - self.queue.oldest < self._window * period:
                # Steps 0 to flush_period go together, so that the learner counts 31, 61, 91 …
                limit = period + 1 if self.queue.sent == 0 else period
                unsent = self.queue.take_unsent(limit, limit if whole else 1)
                if unsent is None:
                    break
                self._publish_transitions(unsent)
                sent = True
        return sent

    def _send_again_if_due(self, now: float) -> None:
        if self.queue.oldest == self.queue.sent:  # nothing is under way: waiting begins now
            self._last_progress = now
        elif now - self._last_progress > self._resend_after:
            again = self.queue.rewind()
            if self._resend_after >= WORTH_A_WARNING:
                self.get_logger().warning(
                    f"No acknowledgement for {self._resend_after:g} s: sending {again} rows again",
                    throttle_duration_sec=10.0,
                )
            self._last_progress = now
            self._resend_after = min(2.0 * self._resend_after, RESEND_AFTER_MOST)

    def _publish_transitions(self, unsent: Unsent) -> None:
        message = transitions_to_message(unsent.rows, TransitionBatch())
        message.header.stamp = self.get_clock().now().to_msg()
        message.actor_id = self.get_name()
        message.actor_session = self.session
        message.task = self.environment.name
        message.first_sequence = unsent.first
        message.oldest_sequence = unsent.oldest
        message.dropped = unsent.dropped
        self._transitions.publish(message)

    def _evaluate(self) -> None:
        """Episodes with the mean action of the newest weights; nothing of them is stored."""
        self._take_policy()
        if self.loop_.policy is None:
            return  # there will be an evaluation at the end of the first episode with weights
        p = self.parameters
        self._evaluating = True
        try:
            result = evaluate(
                self.environment,
                self.loop_.policy,
                p.eval_episodes,
                go_on=self._goes_on,
                wanted=p.eval_success,
            )
        finally:
            self._evaluating = False
        if result is None:
            return
        self._next_evaluation = self.loop_.steps + p.eval_period
        self._evaluation = result
        self._evaluations += 1
        successes = ""
        if result.successes is not None:
            successes = f"{result.successes} of {len(result.returns)} succeeded, "
        self.get_logger().info(
            f"Evaluation {self._evaluations}: {successes}"
            f"mean return {result.mean:.1f} ± {result.std:.1f} "
            f"over {len(result.returns)} episodes (weights of learner step {result.policy_version})"
        )
        self._publish_status()

    def on_deactivate(self, state):  # type: ignore[no-untyped-def]
        result = super().on_deactivate(state)
        self.loop_.abandon_episode()
        return result

    def finish(self) -> None:
        """Send what is left and wait for its acknowledgement, for a bounded time."""
        if not hasattr(self, "environment"):
            return  # never configured, or cleaned up
        self.loop_.abandon_episode()
        deadline = time.monotonic() + FAREWELL
        while len(self.queue) and time.monotonic() < deadline:
            if self._transitions.get_subscription_count() == 0:
                break
            self._resend_after = RESEND_AFTER
            if not self._send():
                time.sleep(0.01)
        self._publish_status()
        left = f", {len(self.queue)} rows not acknowledged" if len(self.queue) else ""
        self.get_logger().info(
            f"Stopped after {self.loop_.steps} steps and {self.loop_.episodes} episodes{left}"
        )

    # What comes in, on the executor thread.

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
                    f"Two learners on {self._transitions.topic_name}: this actor follows session "
                    f"{followed:016x}, and {printable(learner_id)!r} is {session:016x}; stop one "
                    "of them, or give each a namespace"
                )
            if followed:
                again = self.queue.rewind()
                self.get_logger().info(f"A new learner: sending it {again} rows again")
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
            newest = self._newest_policy
            same_learner = self._policy_session == message.learner_session
            if newest is not None and same_learner and policy.version < newest.version:
                raise ValueError(f"version {policy.version} after {newest.version}")
        except ValueError as error:
            self._policies_rejected += 1
            self._refused_at = time.monotonic()
            self._refusal = f"weights of {printable(message.learner_id)!r} refused: {error}"
            self.get_logger().error(self._refusal, throttle_duration_sec=10.0)
            return
        if newest is None:
            self.get_logger().info(
                f"First weights from {message.learner_id}: learner step {policy.version}"
            )
        self._policies_received += 1
        self._policy_session = message.learner_session
        self._newest_policy_stamp = Time.from_msg(message.header.stamp)
        self._newest_policy = policy

    def _check_sizes(self, policy: Policy) -> None:
        ours = (self.environment.observation_size, self.environment.action_size)
        theirs = (policy.observation_size, policy.action_size)
        if ours != theirs:
            raise ValueError(
                f"the learner's policy has {theirs[0]} observations and {theirs[1]} actions, "
                f"{self.environment.name} of {self.get_name()} has {ours[0]} and {ours[1]}"
            )

    def _on_ack(self, message: TransitionAck) -> None:
        try:
            cursor = ack_from_message(message, self.get_name(), self.session)
            self._follow(message.learner_session, message.learner_id)
        except ValueError as error:
            self._refused_at = time.monotonic()
            self._refusal = f"acknowledgement of {printable(message.learner_id)!r} refused: {error}"
            self.get_logger().error(self._refusal, throttle_duration_sec=10.0)
            return
        waiting = self._other_weights
        if waiting is not None and waiting.learner_session == message.learner_session:
            self._other_weights = None
            self._on_policy(waiting)
        self._window = max(1, WINDOW // max(1, len({one.actor_id for one in message.actors})))
        if cursor is None:
            return
        if self.queue.acknowledge(cursor.next_sequence):
            self._last_progress = time.monotonic()
            self._resend_after = RESEND_AFTER
            self._send(whole=True)  # a backlog follows its acknowledgements
        if cursor.rejected > self._rejected_rows:
            self.get_logger().error(
                f"The learner refused {cursor.rejected} rows; its log says why",
                throttle_duration_sec=10.0,
            )
        self._rejected_rows = cursor.rejected

    # What goes out.

    def _every_second(self) -> None:
        then, steps = self._rate_mark
        now = time.monotonic()
        self._rate = (self.loop_.steps - steps) / (now - then)
        self._rate_mark = (now, self.loop_.steps)
        self._publish_status()
        self._say_whether_connected(now)
        # A loop that is paused, evaluates or waits for a reset comes to no flush.
        self._send(whole=self.active.is_set())

    def _say_whether_connected(self, now: float) -> None:
        connected = self._transitions.get_subscription_count() > 0
        if connected and not self._was_connected:
            self.get_logger().info("A learner listens")
        if not connected and now - self._last_reminder > SILENCE and self.active.is_set():
            self._last_reminder = now
            policy = self.loop_.policy
            acting = f"weights of learner step {policy.version}" if policy else "random actions"
            self.get_logger().warning(
                f"No learner listens on {self._transitions.topic_name}: acting on with {acting}, "
                f"{len(self.queue)} of {self.queue.capacity} rows queued, "
                f"{self.queue.dropped} dropped"
            )
        self._was_connected = connected

    def _state(self) -> str:
        if not self.active.is_set():
            return "paused"
        if self._fault:
            return "fault"
        if self._evaluating:
            return "evaluating"
        acts_randomly = self.loop_.policy is None or self.loop_.steps < self.loop_.random_steps
        return "random" if acts_randomly else "policy"

    def _publish_status(self) -> None:
        policy = self.loop_.policy
        now = self.get_clock().now()
        age = (now - self._newest_policy_stamp).nanoseconds / 1e9 if policy else 0.0
        status = ActorStatus(
            actor_id=self.get_name(),
            actor_session=self.session,
            task=self.environment.name,
            state=self._state(),
            fault=self._fault[:MAX_FAULT],
            observation_size=self.environment.observation_size,
            action_size=self.environment.action_size,
            steps=self.loop_.steps,
            episodes=self.loop_.episodes,
            steps_per_second=self._rate,
            last_return=self.loop_.last_return,
            last_length=self.loop_.last_length,
            queued=len(self.queue),
            dropped=self.queue.dropped,
            rejected=self._rejected_rows,
            learner_connected=self._transitions.get_subscription_count() > 0,
            policy_version=policy.version if policy else 0,
            policy_age=age,
            policies_received=self._policies_received,
            policies_rejected=self._policies_rejected,
            evaluations=self._evaluations,
            evaluation_policy_version=self._evaluation.policy_version,
            evaluation_episodes=len(self._evaluation.returns) if self._evaluations else 0,
            evaluation_return_mean=self._evaluation.mean,
            evaluation_return_std=self._evaluation.std,
            evaluation_success_rate=self._evaluation.success_rate,
        )
        status.header.stamp = now.to_msg()
        self._status.publish(status)

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        if not hasattr(self, "environment"):
            return DiagnosticStatus.WARN, "not configured", {}
        values: dict[str, object] = {
            "state": self._state(),
            "steps": self.loop_.steps,
            "steps_per_second": f"{self._rate:.1f}",
            "queued": len(self.queue),
            "dropped": self.queue.dropped,
            "episodes_cut": self._cuts,
            "policies_rejected": self._policies_rejected,
        }
        values |= self.environment.diagnose()
        if self._fault:
            return DiagnosticStatus.ERROR, self._fault, values
        values["last_refusal"] = self._refusal or "none"
        if time.monotonic() - self._refused_at < REFUSAL_SHOWN:
            return DiagnosticStatus.ERROR, self._refusal, values
        if self.queue.dropped:
            return DiagnosticStatus.WARN, f"{self.queue.dropped} rows dropped: queue full", values
        if not self._was_connected:
            return DiagnosticStatus.WARN, "no learner listens", values
        return DiagnosticStatus.OK, self._state(), values


def main() -> None:
    """Entry point of `ros2 run sac_actor actor`."""
    node.main(Actor, "sac_actor")
