"""Batches of transitions: checked, stored and acknowledged, on the executor thread."""

from __future__ import annotations

import collections
import math
import threading
import time
from collections.abc import Callable

import numpy as np

from sac_learner.intake import Key
from sac_learner.parameters import Parameters
from sac_learner.storage import Storage
from sac_learner.training import Training
from sac_msgs.msg import TransitionAck, TransitionBatch, TransitionCursor
from sac_ros.codecs import (
    MAX_COUNT,
    Transitions,
    is_identifier,
    printable,
    transitions_from_message,
)
from sac_ros.node import SacNode
from sac_ros.refusals import Refusals

ACK_PERIOD = 0.01  # s between two acknowledgements; those in between go out after a learner step
EPISODES_AVERAGED = 20
STEPS_AVERAGED = 1000  # for the share of those that a person chose


class Receiver:
    """Takes batches in.

    Attributes:
        refused: batches that could not be used.
        last_batch: when one came that could (monotonic s).
        staleness: learner steps between the newest transition's policy and its arrival.
        episode_return: mean over the last episodes; NaN before the first.
        human_share: of the newest rows, those that a person chose.
        unacknowledged: whether an acknowledgement is still to be published.
    """

    def __init__(
        self,
        node: SacNode[Parameters],
        storage: Storage,
        training: Training,
        refusals: Refusals,
        learn_sizes: Callable[[TransitionBatch], bool],
        wake: threading.Event,
    ) -> None:
        """`learn_sizes` makes ready for the first actor's sizes; `wake` is set on every news."""
        self.refused = 0
        self.last_batch = time.monotonic()
        self.staleness = 0.0
        self.episode_return = math.nan
        self.human_share = 0.0
        self.unacknowledged = False
        self._acknowledged = -math.inf
        self._node = node
        self._storage = storage
        self._training = training
        self._refusals = refusals
        self._learn_sizes = learn_sizes
        self._wake = wake
        self._publish: Callable[[TransitionAck], None] = lambda ack: None
        self._episode_returns: dict[Key, float] = {}  # of episodes under way
        self._returns: collections.deque[float] = collections.deque(maxlen=EPISODES_AVERAGED)
        self._is_human: collections.deque[bool] = collections.deque(maxlen=STEPS_AVERAGED)

    def start(self, publish: Callable[[TransitionAck], None]) -> None:
        """Acknowledge by `publish` from now on, at once to begin with.

        An actor that knew an earlier learner so hears what this one lacks.
        """
        self._publish = publish
        self.acknowledge()

    def on_transitions(self, message: TransitionBatch) -> None:
        """Take a batch in: what cannot be used is refused, what is there already is left out."""
        now = time.monotonic()
        try:
            rows = transitions_from_message(message)
            self._check_task_and_sizes(message)
        except ValueError as error:
            self._refuse(message, str(error), now)
            return
        storage = self._storage
        if storage.replay is None and not self._learn_sizes(message):
            return
        key = message.actor_id, message.actor_session
        cursor, new = storage.intake.accept(
            key, message.first_sequence, message.oldest_sequence, len(rows), message.dropped, now
        )
        if not storage.store(key, cursor, rows[new]):
            return
        self._look_at(key, rows[new])
        self._acknowledge_soon()
        self.last_batch = now
        starts = self._node.parameters.training_starts
        if storage.transitions < starts or not self._training.begun:
            self._node.get_logger().info(
                f"Filling up replay buffer: {storage.transitions}/{starts}"
            )
        self._wake.set()

    def _check_task_and_sizes(self, message: TransitionBatch) -> None:
        storage = self._storage
        if storage.task and message.task != storage.task:
            raise ValueError(
                f"it is of task {printable(message.task)!r}, this learner has {storage.task!r}"
            )
        known, theirs = storage.sizes, (message.observation_size, message.action_size)
        if any(ours and ours != their for ours, their in zip(known, theirs, strict=True)):
            raise ValueError(
                f"it has {theirs[0]} observations and {theirs[1]} actions, this learner has "
                f"{known[0] or 'any'} and {known[1] or 'any'} (from {storage.sizes_from})"
            )

    def _refuse(self, message: TransitionBatch, reason: str, now: float) -> None:
        """Count and name a batch that cannot be used, and acknowledge it, so that it ends."""
        self.refused += 1
        self._refusals.add(
            "batch", f"batch of actor {printable(message.actor_id)!r} refused: {reason}"
        )
        if not is_identifier(message.actor_id) or message.first_sequence > MAX_COUNT:
            return  # nobody to answer
        key = message.actor_id, message.actor_session
        rows = len(message.rewards)
        cursor = self._storage.intake.refuse(key, message.first_sequence, rows, now)
        if self._storage.keep(key, cursor):
            self._acknowledge_soon()

    def _look_at(self, key: Key, rows: Transitions) -> None:
        """Figures of new rows."""
        if not len(rows):
            return
        self._count_returns(key, rows)
        self._is_human.extend((rows.source == TransitionBatch.SOURCE_HUMAN).tolist())
        self.human_share = sum(self._is_human) / len(self._is_human)
        self.staleness = max(0.0, self._training.step - float(rows.policy_version[-1]))

    def _count_returns(self, key: Key, rows: Transitions) -> None:
        """Add up the rewards of this actor's episode, and keep the sum of each that ended."""
        if len(self._episode_returns) > len(self._storage.intake.cursors):
            self._episode_returns.clear()  # sessions that are forgotten
        total = self._episode_returns.get(key, 0.0)
        for reward, done in zip(
            rows.rewards.tolist(), (rows.terminated | rows.truncated).tolist(), strict=True
        ):
            total += reward
            if done:
                self._returns.append(total)
                self.episode_return = float(np.mean(self._returns))
                total = 0.0
        self._episode_returns[key] = total

    def _acknowledge_soon(self) -> None:
        """Now, unless that was done a moment ago: many batches may share an acknowledgement."""
        self.unacknowledged = True
        if time.monotonic() - self._acknowledged < ACK_PERIOD:
            self._wake.set()
        else:
            self.acknowledge()

    def acknowledge(self) -> None:
        """Publish the cursors of all sessions."""
        self._acknowledged, self.unacknowledged = time.monotonic(), False
        node = self._node
        message = TransitionAck(learner_id=node.get_name(), learner_session=node.session)
        message.header.stamp = node.get_clock().now().to_msg()
        message.actors = [
            TransitionCursor(
                actor_id=actor_id,
                actor_session=session,
                next_sequence=cursor.next_sequence,
                rejected=cursor.rejected,
                missed=cursor.missed,
            )
            for (actor_id, session), cursor in tuple(self._storage.intake.cursors.items())
        ]
        self._publish(message)
