"""Publishes what a robot and an actor say of episodes, for tests of whoever records it."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from system import spin_until

from sac_msgs.msg import EpisodeEvent, TransitionBatch
from sac_ros import qos
from sac_ros.codecs import Transitions, transitions_to_message

JOINTS = [f"fr3_joint{number}" for number in range(1, 8)]
OBSERVATIONS, ACTIONS = 18, 4
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Teller:
    """Says what an actor and its robot say; the content is drawn at random."""

    def __init__(self, node: Node, session: int = 7) -> None:
        self.node = node
        self.session = session
        self.sequence = 0
        self.episode = 0
        self._rng = np.random.default_rng(session)
        self._observation = self._draw(OBSERVATIONS)
        self.joints = node.create_publisher(JointState, "franka/joint_states", qos.ROBOT_STATE)
        self.description = node.create_publisher(String, "robot_description", LATCHED)
        self.events = node.create_publisher(EpisodeEvent, "sac/episode", qos.EPISODE)
        self.steps = node.create_publisher(TransitionBatch, "sac/steps", qos.STEPS)
        self.description.publish(String(data="<robot/>"))
        self.transitions: list[Transitions] = []  # all that was told

    def _draw(self, size: int) -> np.ndarray:
        return self._rng.uniform(-1.0, 1.0, (1, size)).astype(np.float32)

    def wait_for_recorder(self) -> None:
        """Until somebody listens to all of it."""
        publishers = (self.joints, self.description, self.events, self.steps)
        for publisher in publishers:
            spin_until(
                self.node,
                lambda it=publisher: it.get_subscription_count() > 0,
                30.0,
                f"a listener of {publisher.topic_name}",
            )

    def _event(self, **values: Any) -> EpisodeEvent:
        event = EpisodeEvent(
            actor_id="teller",
            actor_session=self.session,
            task="pick_cube",
            behaviour="teleop",
            operator_name="Ada",
            control_rate=10.0,
            episode=self.episode,
            **values,
        )
        event.header.stamp.sec = 100 + self.sequence
        return event

    def start(self) -> None:
        """An episode begins."""
        self.first = self.sequence
        self.start_event()

    def start_event(self) -> None:
        """Tell that the episode of `first` began, whatever was told of it before."""
        self.events.publish(self._event(event=EpisodeEvent.STARTED, first_sequence=self.first))

    def joint_state(self) -> None:
        """The robot says where it is."""
        message = JointState(name=JOINTS, position=[0.1] * 7, velocity=[0.0] * 7)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.joints.publish(message)

    def step(self, terminated: bool = False, truncated: bool = False) -> None:
        """One transition."""
        following = self._draw(OBSERVATIONS)
        row = Transitions(
            observations=self._observation,
            actions=self._draw(ACTIONS),
            rewards=self._draw(1)[0],
            next_observations=following,
            terminated=np.array([terminated], np.uint8),
            truncated=np.array([truncated], np.uint8),
            source=np.array([TransitionBatch.SOURCE_HUMAN], np.uint8),
            policy_version=np.array([0], np.uint64),
        )
        message = TransitionBatch(
            actor_id="teller",
            actor_session=self.session,
            task="pick_cube",
            first_sequence=self.sequence,
            oldest_sequence=self.sequence,
        )
        self.sequence += 1
        message.header.stamp.sec = 100 + self.sequence
        self.steps.publish(transitions_to_message(row, message))
        self._observation = following
        self.transitions.append(row)

    def end(self, outcome: int = EpisodeEvent.OUTCOME_SUCCESS, **values: Any) -> None:
        """The episode is over."""
        success = outcome == EpisodeEvent.OUTCOME_SUCCESS
        self.events.publish(
            self._event(
                event=EpisodeEvent.ENDED,
                first_sequence=self.first,
                length=self.sequence - self.first,
                terminated=success,
                truncated=not success,
                outcome=outcome,
                **values,
            )
        )
        self.episode += 1
        self._observation = self._draw(OBSERVATIONS)

    def whole_episode(self, steps: int = 5, **values: Any) -> None:
        """From beginning to end, the robot's states with it."""
        self.start()
        for number in range(steps):
            self.joint_state()
            last = number == steps - 1
            self.step(terminated=last and "outcome" not in values)
        self.end(**values)
