"""Programs beside the nodes in benchmarks/faults.py: they listen, pause actors, and lie.

peers.py listen | idle FILE | pause NODE… | lie MESSAGES
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import counting
import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from sac_msgs.msg import (
    ActorStatus,
    LearnerStatus,
    PolicyWeights,
    TransitionAck,
    TransitionBatch,
    TransitionCursor,
)
from sac_ros import qos

LIAR = "liar"
PAUSE = 0.01  # s between bursts of hostile messages: a flood would only fill the histories
BURST = 20  # hostile messages


def listen() -> None:
    """Print what advances: `row SESSION NEXT_SEQUENCE TIME` and `step LEARNER_STEP`."""
    node = rclpy.create_node("listener")
    newest: dict[int, int] = {}

    def on_ack(message: TransitionAck) -> None:
        moment = time.monotonic()
        for cursor in message.actors:
            session, number = cursor.actor_session, cursor.next_sequence
            if message.learner_id != LIAR and number > newest.get(session, 0):
                newest[session] = number
                print("row", session, number, moment, flush=True)

    def on_status(message: LearnerStatus) -> None:
        print("step", message.step, flush=True)

    node.create_subscription(TransitionAck, "sac/transitions_ack", on_ack, qos.TRANSITIONS_ACK)
    node.create_subscription(LearnerStatus, "sac/learner/status", on_status, qos.STATUS)
    rclpy.spin(node)


def idle(path: Path) -> None:
    """Wake up every 0.1 s and note it as an actor does: what the machine itself holds up."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    step = 0
    while True:
        step += 1
        os.write(file, counting.NOTE.pack(step, time.monotonic_ns()))
        time.sleep(0.1)


def pause(names: list[str]) -> None:
    """Deactivate these nodes."""
    node = rclpy.create_node("operator")
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    for name in names:
        client = node.create_client(ChangeState, f"/{name}/change_state")
        if not client.wait_for_service(timeout_sec=30.0):
            sys.exit(f"error: no service {client.srv_name}")
        future = client.call_async(request)
        rclpy.spin_until_future_complete(node, future, timeout_sec=30.0)
        if not future.done() or not future.result().success:
            sys.exit(f"error: {name} was not deactivated")


def lie(count: int) -> None:
    """Publish `count` messages, each with something wrong, once nodes can be heard.

    None has both the name and the session of the living actor, or of the learner: who knows these
    is that node, as far as anybody can tell without SROS 2.
    """
    node = rclpy.create_node(LIAR)
    publishers = {
        kind: node.create_publisher(kind, topic, profile)
        for kind, topic, profile in (
            (TransitionBatch, "sac/transitions", qos.TRANSITIONS),
            (PolicyWeights, "sac/policy", qos.POLICY),
            (TransitionAck, "sac/transitions_ack", qos.TRANSITIONS_ACK),
            (ActorStatus, "sac/actor/status", qos.STATUS),
        )
    }
    heard: list[ActorStatus] = []
    node.create_subscription(ActorStatus, "sac/actor/status", heard.append, qos.STATUS_OF_MANY)
    deadline = time.monotonic() + 30.0
    while not heard or not all(p.get_subscription_count() for p in publishers.values()):
        rclpy.spin_once(node, timeout_sec=0.1)
        if time.monotonic() > deadline:
            sys.exit("error: no nodes to lie to")
    lies = Lies(heard[0])
    for number in range(count):
        kind, message = lies.one()
        publishers[kind].publish(message)
        if number % BURST == 0:
            time.sleep(PAUSE)
    time.sleep(1.0)  # a reliable publisher that ends takes with it what has not arrived
    print("sent", count, flush=True)


class Lies:
    """Messages that a node could send, but for one thing."""

    _KINDS = (TransitionBatch, PolicyWeights, TransitionAck, ActorStatus)

    def __init__(self, actor: ActorStatus) -> None:
        self._rng = np.random.default_rng(4)
        self._actor = actor
        nan, inf = float("nan"), float("inf")
        self._wrong: dict[type, list[Callable[[Any], object]]] = {
            TransitionBatch: [
                *(_set("actor_id", text) for text in ("", "a\nb", "ä", "a b")),
                *(_set("task", text) for text in ("another", "\x1b[2J")),
                *(_set("first_sequence", number) for number in (2**53, 2**64 - 1)),
                *(_set("oldest_sequence", number) for number in (1, 2**63)),
                *(_set("dropped", number) for number in (1, 2**64 - 1)),
                *(_set("observation_size", number) for number in (0, 4, 6, 2**32 - 1)),
                *(_set("action_size", number) for number in (0, 1, 2**32 - 1)),
                *(_put("observations", number) for number in (nan, inf, -inf)),
                *(_put("next_observations", number) for number in (nan, inf)),
                *(_put("actions", number) for number in (nan, 1.1, -2.0, 3e38)),
                *(_put("rewards", number) for number in (nan, -inf)),
                *(_put(name, 2) for name in ("terminated", "truncated")),
                _put("source", 4),
                _put("policy_version", 2**63),
                *(_longer(name) for name in ("observations", "actions", "terminated", "source")),
                *(_shorter(name) for name in ("rewards", "policy_version", "next_observations")),
            ],
            PolicyWeights: [
                _set("format", "pickle"),
                _set("layout", "0" * 64),
                _set("version", 2**64 - 1),
                _set("data", b""),
                _set("data", b"\xff" * 8),  # a header of 2**64 - 1 bytes
                _set("data", (2**40).to_bytes(8, "little") + b"{}"),
                _set("data", (2).to_bytes(8, "little") + b"[]"),
            ],
            TransitionAck: [
                _set("learner_session", 0),
                *(_acknowledge(actor, number) for number in (1, 2**40, 2**64 - 1)),
            ],
            ActorStatus: [
                _set("actor_id", ""),
                _set("evaluations", 2**64 - 1),
                _set("evaluation_return_mean", inf),
                _set("evaluation_return_std", nan),
                _set("evaluation_success_rate", 2.0),
                _set("policy_version", 2**64 - 1),
                _set("state", "\x00" * 32),
            ],
        }

    def one(self) -> tuple[type, object]:
        """A kind of message, and such a message, or bytes that are none."""
        kind = self._KINDS[int(self._rng.choice(4, p=(0.7, 0.1, 0.1, 0.1)))]
        if self._rng.random() < 0.1:
            return kind, self._rng.bytes(int(self._rng.integers(1, 300)))
        message = self._honest(kind)
        wrong = self._wrong[kind]
        wrong[int(self._rng.integers(len(wrong)))](message)
        return kind, message

    def _honest(self, kind: type) -> Any:
        session = int(self._rng.integers(1, 50))
        if kind is TransitionBatch:
            return self._batch(str(self._rng.choice([LIAR, self._actor.actor_id])), session)
        if kind is ActorStatus:
            status = copy.deepcopy(self._actor)
            status.actor_id, status.actor_session = LIAR, session
            status.state, status.evaluations = "evaluating", 1
            status.evaluation_return_mean, status.evaluation_return_std = 1e6, 0.0
            return status
        return kind(learner_id=LIAR, learner_session=session)

    def _batch(self, actor_id: str, session: int) -> TransitionBatch:
        rows = int(self._rng.integers(1, 40))
        observations = self._rng.random((2, rows * counting.OBSERVATION_SIZE), np.float32)
        return TransitionBatch(
            actor_id=actor_id,
            actor_session=session,
            task=self._actor.task,
            observation_size=counting.OBSERVATION_SIZE,
            action_size=counting.ACTION_SIZE,
            observations=observations[0].tolist(),
            actions=[0.0] * (rows * counting.ACTION_SIZE),
            rewards=[0.0] * rows,
            next_observations=observations[1].tolist(),
            terminated=[0] * rows,
            truncated=[0] * rows,
            source=[0] * rows,
            policy_version=[0] * rows,
        )


def _set(name: str, value: object) -> Callable[[Any], object]:
    return lambda message: setattr(message, name, value)


def _put(name: str, value: float) -> Callable[[Any], object]:
    """One value among many."""
    return lambda message: getattr(message, name).__setitem__(0, value)


def _longer(name: str) -> Callable[[Any], object]:
    return lambda message: getattr(message, name).append(0)


def _shorter(name: str) -> Callable[[Any], object]:
    return lambda message: getattr(message, name).pop()


def _acknowledge(actor: ActorStatus, next_sequence: int) -> Callable[[Any], object]:
    """Of the living actor's rows, by a learner that it does not follow."""
    cursor = TransitionCursor(
        actor_id=actor.actor_id, actor_session=actor.actor_session, next_sequence=next_sequence
    )
    return lambda message: message.actors.append(cursor)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] != ["idle"]:
        rclpy.init()
    match arguments:
        case ["listen"]:
            listen()
        case ["idle", path]:
            idle(Path(path))
        case ["pause", *names]:
            pause(names)
        case ["lie", count]:
            lie(int(count))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
