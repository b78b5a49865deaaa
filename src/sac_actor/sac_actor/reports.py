"""What a recorder hears of an actor: every step by itself, and when episodes begin and end.

Independent of the delivery to the learner: nothing is sent again, and evaluations are left out.
"""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from rclpy.duration import Duration

from sac_actor.commands import to_time
from sac_actor.environment import Environment
from sac_actor.loop import Episode, Witness
from sac_actor.queue import TransitionQueue
from sac_msgs.msg import EpisodeEvent, TransitionBatch
from sac_ros import qos
from sac_ros.codecs import transitions_to_message
from sac_ros.node import SacNode

OUTCOMES = {
    None: EpisodeEvent.OUTCOME_UNKNOWN,
    True: EpisodeEvent.OUTCOME_SUCCESS,
    False: EpisodeEvent.OUTCOME_FAILURE,
}
FAREWELL = 2.0  # s for a recorder to take the end of the last episode


class Reports(Witness):
    """Publishes `sac/episode`, and `sac/steps` while somebody listens."""

    def __init__(self, node: SacNode[Any], queue: TransitionQueue, behaviour: str) -> None:
        self._node = node
        self._queue = queue
        self._behaviour = behaviour
        self._environment: Environment

    def open(self, environment: Environment) -> None:
        """Make the publishers."""
        self._environment = environment
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        self._steps = self._node.create_publisher(
            TransitionBatch, "sac/steps", qos.STEPS, **options
        )
        self._episodes = self._node.create_publisher(
            EpisodeEvent, "sac/episode", qos.EPISODE, **options
        )

    def close(self) -> None:
        """Give them back, once those who listen have everything."""
        for publisher in (self._steps, self._episodes):
            publisher.wait_for_all_acked(Duration(seconds=FAREWELL))
            self._node.destroy_publisher(publisher)

    @property
    def topic(self) -> str:
        """Where steps go."""
        return str(self._steps.topic_name)

    @property
    def recorded(self) -> bool:
        """Whether anybody listens to every step."""
        return bool(self._steps.get_subscription_count() > 0)

    def started(self, episode: Episode) -> None:
        self._publish(EpisodeEvent.STARTED, episode)

    def ended(self, episode: Episode) -> None:
        self._publish(EpisodeEvent.ENDED, episode)

    def stepped(self, sequence: int) -> None:
        if not self.recorded:
            return
        message = transitions_to_message(self._queue.newest(), TransitionBatch())
        message.header.stamp = self._now()
        message.actor_id = self._node.get_name()
        message.actor_session = self._node.session
        message.task = self._environment.name
        message.first_sequence = sequence
        message.oldest_sequence = self._queue.oldest
        message.dropped = self._queue.dropped
        self._steps.publish(message)

    def _now(self) -> Time:
        """Robot time of the newest state; the node's, where the environment has no time."""
        stamp = self._environment.stamp
        return self._node.get_clock().now().to_msg() if stamp is None else to_time(stamp)

    def _publish(self, event: int, episode: Episode) -> None:
        message = EpisodeEvent(
            actor_id=self._node.get_name(),
            actor_session=self._node.session,
            task=self._environment.name,
            behaviour=self._behaviour,
            operator_name=episode.operator_name,
            control_rate=self._environment.specification.control_rate,
            episode=episode.number,
            event=event,
            first_sequence=episode.first_sequence,
            length=episode.length,
            episode_return=episode.episode_return,
            terminated=episode.terminated,
            truncated=episode.truncated,
            discarded=episode.discarded,
            outcome=OUTCOMES[episode.success],
            human_steps=episode.human_steps,
        )
        message.header.stamp = self._now()
        self._episodes.publish(message)
