"""Hostile and broken peers on the real topics: counted and named, and nothing comes of them.

A message that is forged in the name and live session of a peer, with every field in order, cannot
be told from that peer's own: that takes SROS 2. Here they must only not crash anything.
"""

from __future__ import annotations

import array
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from system import Program, Start, call, spin_until

from sac_core.policy import encode_policy, layout_hash
from sac_core.replay_file import read_replay_file
from sac_msgs.msg import (
    ActorStatus,
    LearnerStatus,
    PolicyWeights,
    TransitionAck,
    TransitionBatch,
    TransitionCursor,
)
from sac_msgs.srv import LoadCheckpoint
from sac_ros import qos

WINDOW = 50  # hostile batches under way: the learner keeps the last 100 that it has not read
DEPTH = 2000  # of the other subscriptions, whose own depth of 1 would let most messages pass unread
MIB = 2**20
REMEMBERED_SESSIONS = 1024  # by a learner
HUGE_ROWS, HUGE_SIZE = 10_000, 100
HUGE_BYTES = HUGE_ROWS * HUGE_SIZE * 4 * 2
HUGE_BATCHES = 3
LARGE_POLICY = 8 * MIB
MARK = 666.0  # what hostile rows observe, and no pendulum does


def run(start: Start, package: str, executable: str, **parameters: Any) -> Program:
    arguments = [f"{name}:={value}" for name, value in parameters.items()]
    command = ["ros2", "run", package, executable, "--ros-args"]
    return start(*command, *(word for argument in arguments for word in ("-p", argument)))


def small_learner(start: Start) -> Program:
    depth = {"qos_overrides./sac/actor/status.subscription.depth": DEPTH}
    return run(
        start, "sac_learner", "learner", run_directory="run", task="Pendulum-v1",
        training_starts=60, hidden_units=16, torch_threads=1, replay_capacity=50_000, **depth,
    )  # fmt: skip


def pendulum_actor(start: Start) -> Program:
    depths = {
        f"qos_overrides./sac/{topic}.subscription.depth": DEPTH
        for topic in ("policy", "transitions_ack")
    }
    return run(
        start,
        "sac_actor",
        "actor",
        env_id="Pendulum-v1",
        step_rate=100.0,
        eval_period=0,
        queue_capacity=20_000,
        **depths,
    )


class Peer:
    """A node among the others that hears what they say of themselves, and publishes anything."""

    def __init__(self, node: Node, *programs: Program) -> None:
        self.node = node
        self.programs = programs
        self.learner, self.actor, self.ack = LearnerStatus(), ActorStatus(), TransitionAck()
        self.diagnostics: dict[str, dict[str, str]] = {}
        for kind, topic, name in (
            (LearnerStatus, "sac/learner/status", "learner"),
            (ActorStatus, "sac/actor/status", "actor"),
            (TransitionAck, "sac/transitions_ack", "ack"),
        ):
            node.create_subscription(kind, topic, self._keeper(name), qos.STATUS)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 32)

    def _keeper(self, name: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            if getattr(message, "learner_id", "sac_learner") != "sac_learner":
                return  # one of this peer's own
            if getattr(message, "actor_id", "sac_actor") == "sac_actor":
                setattr(self, name, message)

        return keep

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            self.diagnostics[status.name] = values | {"message": status.message}

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; fails when that takes long, or a program ends meanwhile."""

        def holds() -> bool:
            for program in self.programs:
                assert program.process.poll() is None, program.output
            return condition()

        spin_until(self.node, holds, 60.0, what)

    def publisher(self, kind: type, topic: str) -> Publisher:
        """One that delivers all it is given to every subscriber that keeps up."""
        profile = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        publisher = self.node.create_publisher(kind, topic, profile)
        self.wait(lambda: publisher.get_subscription_count() >= 1, f"a subscriber of {topic}")
        return publisher

    def cursors(self) -> dict[tuple[str, int], TransitionCursor]:
        """What the learner last said it has of whom."""
        return {(one.actor_id, one.actor_session): one for one in self.ack.actors}

    def until_refused(self, node: str, what: str) -> None:
        """Wait until diagnostics of a node name this as what it refused last."""
        self.wait(
            lambda: what in self.diagnostics.get(node, {}).get("last_refusal", ""),
            f"{node} refuses {what}",
        )

    def until_said(self, program: Program, pattern: str) -> re.Match[str]:
        """Wait for output of a program while this peer goes on with what it does."""
        found: list[re.Match[str]] = []
        self.wait(
            lambda: bool(found.extend(re.finditer(pattern, program.output)) or found), pattern
        )
        return found[0]

    def goes_on(self) -> None:
        """Wait until the learner trains on new rows and the actor acts on newer weights."""
        learner, actor = self.learner, self.actor
        self.wait(
            lambda: (
                self.learner.step > learner.step
                and self.learner.transitions > learner.transitions
                and self.actor.steps > actor.steps
                and self.actor.policy_version > actor.policy_version
            ),
            "acting and training go on",
        )


# What a hostile actor may send.


def numbers(*values: float) -> array.array[float]:
    return array.array("f", values)


def batch(rows: int, observation_size: int = 3) -> TransitionBatch:
    """A batch that is in order, of rows that can be told from a pendulum's."""
    marked = array.array("f", [MARK]) * (rows * observation_size)
    zeros = array.array("B", bytes(rows))
    return TransitionBatch(
        task="Pendulum-v1",
        observation_size=observation_size,
        action_size=1,
        observations=marked,
        actions=array.array("f", bytes(4 * rows)),
        rewards=array.array("f", bytes(4 * rows)),
        next_observations=marked,
        terminated=zeros,
        truncated=zeros,
        source=zeros,
        policy_version=array.array("Q", bytes(8 * rows)),
    )


def put(field: str, value: float, typecode: str = "f") -> Callable[[TransitionBatch], None]:
    """Puts one value into an array."""

    def spoil(message: TransitionBatch) -> None:
        values = getattr(message, field)[:]
        values[-1] = value
        setattr(message, field, array.array(typecode, values))

    return spoil


def cut(field: str) -> Callable[[TransitionBatch], None]:
    return lambda message: setattr(message, field, getattr(message, field)[:-1])


def grow(field: str) -> Callable[[TransitionBatch], None]:
    return lambda message: setattr(message, field, getattr(message, field) * 2)


def having(**values: Any) -> Callable[[Any], None]:
    def spoil(message: Any) -> None:
        for name, value in values.items():
            setattr(message, name, value)

    return spoil


NAN, INF = float("nan"), float("inf")
# A learner refuses each of these, and says so to the actor.
ANSWERED: dict[str, Callable[[TransitionBatch], None]] = {
    "other_task": having(task="HalfCheetah-v4"),
    "task_of_control_characters": having(task="Pendulum-v1\n[INFO] \x1b[2J"),
    "long_task": having(task="x" * 300),
    **{
        f"{value}_in_{field}": put(field, value)
        for field in ("observations", "actions", "rewards", "next_observations")
        for value in (NAN, INF)
    },
    "vast_observation": put("observations", 3e38),
    "vast_reward": put("rewards", -3e38),
    "wide_action": put("actions", 1.5),
    "far_action": put("actions", -3e38),
    **{
        f"{how.__name__}_{field}": how(field)
        for field in (
            "observations", "actions", "next_observations", "terminated", "truncated", "source",
            "policy_version",
        )
        for how in (cut, grow)
    },
    "grow_rewards": grow("rewards"),
    "no_observation": having(observation_size=0),
    "no_action": having(action_size=0),
    "vast_sizes": having(observation_size=2**32 - 1, action_size=2**32 - 1),
    "terminated_2": put("terminated", 2, "B"),
    "truncated_255": put("truncated", 255, "B"),
    "source_4": put("source", 4, "B"),
    "version_from_the_future": put("policy_version", 2**63, "Q"),
    "oldest_after_first": having(oldest_sequence=2**63),
    "absurd_dropped": having(dropped=2**64 - 1),
}  # fmt: skip
# Nobody can be answered, or there is nothing to answer.
UNANSWERED: dict[str, Callable[[TransitionBatch], None]] = {
    "nameless": having(actor_id=""),
    "spaces": having(actor_id="an actor"),
    "control_characters": having(actor_id="a\r\n[FATAL] [sac_learner]: \x1b]0;x\x07"),
    "not_ascii": having(actor_id="аctor"),
    "long_name": having(actor_id="x" * 5000),
    "beyond_any_run": having(first_sequence=2**62),
    "end_of_numbers": having(first_sequence=2**64 - 1, oldest_sequence=2**64 - 1),
    "empty": lambda message: having(
        **dict.fromkeys(("observations", "actions", "rewards", "next_observations"), numbers())
    )(message),
}


class HostileActors:
    """Sends batches that a learner must refuse, one actor a kind, and knows what they are owed."""

    def __init__(self, peer: Peer, random_: random.Random) -> None:
        self.peer = peer
        self.publisher = peer.publisher(TransitionBatch, "sac/transitions")
        self.random = random_
        self.owed: dict[tuple[str, int], int] = {}  # next sequence number, all before it refused
        self.sent = 0

    def send(self, name: str, message: TransitionBatch, spoil: Callable[[Any], None]) -> None:
        """The next batch of the actor `name`."""
        key = name, len(name)
        message.actor_id, message.actor_session = key
        message.first_sequence = self.owed.get(key, 0)
        spoil(message)
        self.publisher.publish(message)
        self.sent += 1
        if name in ANSWERED:
            self.owed[key] = message.first_sequence + len(message.rewards)

    def wait(self) -> None:
        """Until every rejected batch is acknowledged as that."""
        self.peer.wait(self.all_acknowledged, "acknowledgements of what was refused")

    def all_acknowledged(self) -> bool:
        cursors = self.peer.cursors()
        return all(
            key in cursors and cursors[key].next_sequence == cursors[key].rejected == owed
            for key, owed in self.owed.items()
        )

    def attack(self, batches: int) -> None:
        kinds = [*(ANSWERED | UNANSWERED).items()]
        order = [kinds[i % len(kinds)] for i in range(batches)]
        for begin in range(0, batches, WINDOW):
            window = order[begin : begin + WINDOW]
            self.random.shuffle(window)
            for name, spoil in window:
                self.send(name, batch(self.random.randint(2, 8)), spoil)
            self.wait()
        for _ in range(HUGE_BATCHES):
            huge = batch(HUGE_ROWS, HUGE_SIZE)
            self.send("other_task", huge, ANSWERED["other_task"])
            self.wait()


def send_numbers_that_make_no_sense(peer: Peer, hostile: HostileActors) -> None:
    """Rows in order whose numbers are not next: none is wanted, so none is taken."""
    for session in range(20):
        spoilt = batch(2)
        having(actor_id="jumper", actor_session=session, task="other")(spoilt)
        again = batch(2)  # the numbers that have just been refused
        having(actor_id="jumper", actor_session=session)(again)
        ahead = batch(2)  # all that came before is gone, it says, and a row is missing
        having(
            actor_id="jumper", actor_session=session, first_sequence=2**53 - 10,
            oldest_sequence=2**53 - 11, dropped=2**53 - 11,
        )(ahead)  # fmt: skip
        for message in (spoilt, again, ahead):
            hostile.publisher.publish(message)
        hostile.sent += 1
    peer.wait(
        lambda: all(
            ("jumper", session) in peer.cursors()
            and peer.cursors()[("jumper", session)].next_sequence == 2**53 - 11
            for session in range(20)
        ),
        "the learner waits for the missing row",
    )


# What a hostile learner may send.


def weights(observation_size: int = 3) -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {
        "hidden.0.weight": (8, observation_size),
        "hidden.0.bias": (8,),
    }
    for head in ("mean", "log_std"):
        shapes |= {f"{head}.weight": (1, 8), f"{head}.bias": (1,)}
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def policy(tensors: dict[str, np.ndarray], session: int, version: int) -> PolicyWeights:
    return PolicyWeights(
        learner_id="intruder",
        learner_session=session,
        version=version,
        format="safetensors",
        layout=layout_hash(tensors),
        data=array.array("B", encode_policy(tensors)),
    )


def hostile_policy(random_: random.Random, learner: LearnerStatus) -> PolicyWeights:
    """Weights that an actor must refuse."""
    message = policy(weights(), random_.choice([1, learner.learner_session]), 2**53)
    kind = random_.randrange(13)
    data = message.data
    if kind < 6:  # damaged
        for _ in range(random_.randint(1, 5)):
            place = random_.randrange(len(data) if kind else 8)
            data[place] = random_.randrange(256)
        message.layout = random_.choice([message.layout, "unknown"])
        message.learner_session = 1
        return message
    if kind == 6:
        message.data = data[: random_.randrange(len(data))]
    elif kind == 7:
        tensors = weights()
        tensors["mean.bias"][0] = random_.choice([np.nan, np.inf])
        message.data = array.array("B", encode_policy(tensors))
    elif kind == 8:
        message = policy(weights(observation_size=4), learner.learner_session, 2**53)
    elif kind == 9:
        message.learner_session, message.version = learner.learner_session, 0  # it has gone further
    elif kind == 10:
        message.header.stamp.sec = -1
    elif kind == 11:
        spoil = random_.choice(
            [
                having(format="pickle"),
                having(layout="x" * 1000),
                having(learner_id="\x1b[2J"),
                having(version=2**64 - 1),
            ]
        )
        spoil(message)
    else:
        message.learner_session = 1  # in order, of a learner that nobody follows
    return message


def hostile_ack(random_: random.Random, peer: Peer) -> TransitionAck:
    """An acknowledgement that must free no row."""
    session = peer.learner.learner_session
    own = {"actor_id": "sac_actor", "actor_session": peer.actor.actor_session}
    kind = random_.randrange(7)
    if kind == 0:  # of rows that were never made
        session = random_.choice([1, session])
        cursors = [TransitionCursor(**own, next_sequence=2**40)]
    elif kind == 1:
        cursors = [TransitionCursor(**own, next_sequence=2**64 - 1)]
    elif kind == 2:
        cursors = [TransitionCursor(**own, next_sequence=n) for n in (0, 2**40)]
    elif kind == 3:
        field = random_.choice(["rejected", "missed"])
        cursors = [TransitionCursor(**own, **{field: 2**63})]
    elif kind == 4:
        cursors = [TransitionCursor(**own | {"actor_session": 1}, next_sequence=2**40)]
    elif kind == 5:
        count = 1024 if random_.random() < 0.05 else 3
        cursors = [TransitionCursor(actor_id="x" * 256, next_sequence=n) for n in range(count)]
    else:
        session = 1
        cursors = [TransitionCursor(**own, next_sequence=peer.actor.steps)]
    return TransitionAck(learner_id="intruder", learner_session=session, actors=cursors)


def hostile_status(random_: random.Random, learner: LearnerStatus) -> ActorStatus:
    """A status from which a learner must not learn anything."""
    message = ActorStatus(
        actor_id="intruder",
        actor_session=1,
        state="policy",
        evaluations=2**40,
        evaluation_policy_version=learner.published_version,
        evaluation_return_mean=0.0,
        evaluation_success_rate=NAN,
    )
    spoil = random_.choice(
        [
            having(actor_id=random_.choice(["", "a b", "x" * 300, "\x1b[2J"])),
            having(task="\n"),
            having(state="x" * 100),
            having(fault="x" * 100_000),
            having(evaluations=2**64 - 1),
            having(steps=2**63, episodes=2**63, dropped=2**63),
            having(evaluation_return_mean=INF),
            having(evaluation_return_std=NAN),
            having(evaluation_success_rate=2.0),
        ]
    )
    spoil(message)
    return message


def garbage(random_: random.Random, messages: Iterable[Any]) -> list[bytes]:
    """For each message bytes that were cut, flipped, or never were a message."""
    found = []
    for message in messages:
        data = bytearray(serialize_message(message))
        how = random_.randrange(4)
        if how == 0:
            data = bytearray(random_.randbytes(random_.randint(1, 300)))
        elif how == 1:
            data = data[:4] + random_.randbytes(random_.randint(0, 300))
        elif how == 2:
            del data[random_.randint(4, len(data) - 1) :]
        else:
            for _ in range(random_.randint(1, 8)):
                data[random_.randint(0, len(data) - 1)] ^= 1 << random_.randrange(8)
        found.append(bytes(data))
    return found


def resident(program: Program) -> int:
    """Bytes in memory of the node that `ros2 run` started."""
    processes = [psutil.Process(program.process.pid), *program.descendants()]
    return sum(process.memory_info().rss for process in processes)


class Attack:
    """Sends all of the above to a learner and an actor, each kind once the last was dealt with."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sent = 0
        self._random = random.Random(4)
        self._actors = HostileActors(peer, self._random)
        self._policies = peer.publisher(PolicyWeights, "sac/policy")
        self._acks = peer.publisher(TransitionAck, "sac/transitions_ack")
        self._statuses = peer.publisher(ActorStatus, "sac/actor/status")

    def send(self, publisher: Publisher, message: Any) -> None:
        publisher.publish(message)
        self.sent += 1

    def with_batches(self, count: int = 3000) -> None:
        """Every batch is counted, and answered where somebody can be."""
        peer, actors = self.peer, self._actors
        actors.attack(count)
        send_numbers_that_make_no_sense(peer, actors)
        self.sent += actors.sent
        peer.wait(
            lambda: int(peer.diagnostics["/sac_learner"]["batches_refused"]) == actors.sent,
            "the learner counts every batch",
        )
        refused_rows = sum(actors.owed.values()) + 2 * 20  # the last are the jumpers'
        peer.wait(lambda: peer.learner.rejected == refused_rows, "the learner counts every row")
        assert "refused: " in peer.diagnostics["/sac_learner"]["message"]

    def with_weights(self, count: int = 1500) -> None:
        """All weights are counted."""
        for _ in range(count):
            self.send(self._policies, hostile_policy(self._random, self.peer.learner))
        large = PolicyWeights(learner_id="intruder", data=array.array("B", bytes(LARGE_POLICY)))
        self.send(self._policies, large)
        self.peer.wait(
            lambda: self.peer.actor.policies_rejected == count + 1, "the actor counts them all"
        )
        self.peer.until_refused("/sac_actor", "weights of 'intruder' refused: format is ''")
        assert "refused: " in self.peer.diagnostics["/sac_actor"]["message"]

    def with_acknowledgements_and_statuses(self, count: int = 1500) -> None:
        """What is sent last is refused last: all before it was read."""
        for _ in range(count):
            self.send(self._acks, hostile_ack(self._random, self.peer))
            self.send(self._statuses, hostile_status(self._random, self.peer.learner))
        self.send(self._acks, TransitionAck(learner_id="the last"))
        self.send(self._statuses, ActorStatus(actor_id="the last"))
        self.peer.until_refused("/sac_actor", "acknowledgement of 'the last'")
        self.peer.until_refused("/sac_learner", "status of 'the last'")
        assert self.peer.learner.evaluations == 0

    def with_garbage(self, count: int = 500) -> None:
        """Bytes that are no messages are passed over, and what comes after them is read."""
        spoilt = batch(3)
        having(actor_id="flipped", task="other")(spoilt)
        for _ in range(count // WINDOW):
            for data in garbage(self._random, [spoilt] * WINDOW):
                self.send(self._actors.publisher, data)
            self._actors.send("other_task", batch(2), ANSWERED["other_task"])
            self._actors.wait()
        weights_ = [policy(weights(), session=1, version=5)] * count
        acks = [hostile_ack(self._random, self.peer) for _ in range(count)]
        for ack in acks:
            ack.learner_session = 1  # else a changed bit may free rows in the live session's name
        statuses = [hostile_status(self._random, self.peer.learner) for _ in range(count)]
        for publisher, messages, last, node in (
            (self._policies, weights_, PolicyWeights(learner_id="now weights"), "/sac_actor"),
            (self._acks, acks, TransitionAck(learner_id="now an ack"), "/sac_actor"),
            (self._statuses, statuses, ActorStatus(actor_id="now a status"), "/sac_learner"),
        ):
            for data in garbage(self._random, messages):
                self.send(publisher, data)
            self.send(publisher, last)
            self.peer.until_refused(node, getattr(last, "learner_id", None) or last.actor_id)

    def from_many_sessions(self, count: int = 1100) -> None:
        """Sessions that gave nothing displace each other, never the one that gave rows."""
        for session in range(count):
            spoilt = batch(1)
            having(actor_id="x" * 256, actor_session=2**64 - 1 - session, task="other")(spoilt)
            self.send(self._actors.publisher, spoilt)
            if session % WINDOW == WINDOW - 1:
                last = "x" * 256, 2**64 - 1 - session
                self.peer.wait(lambda last=last: last in self.peer.cursors(), "an answer")
        assert len(self.peer.ack.actors) == REMEMBERED_SESSIONS < count
        assert ("sac_actor", self.peer.actor.actor_session) in self.peer.cursors()


def assert_nothing_piled_up(program: Program, before: int, large: int, count: int) -> None:
    """Of each of `count` large messages DDS may keep one copy; reading one takes three more."""
    growth = resident(program) - before
    assert growth < (count + 3) * large + 40 * MIB, f"{growth / MIB:.0f} MiB more"


def assert_holds_only_what_was_made(replay_file: Path, made: int) -> None:
    contents = read_replay_file(replay_file)
    assert contents.inserted == len(contents.rows) == made
    assert not (contents.rows == MARK).any()
    assert np.isfinite(contents.rows).all()


def test_ten_thousand_hostile_messages_change_nothing(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    learner, actor = small_learner(start), pendulum_actor(start)
    peer = Peer(observer, learner, actor)
    peer.wait(lambda: peer.actor.policy_version > 0 and peer.learner.step > 20, "some training")
    attack = Attack(peer)
    before_learner, before_actor = resident(learner), resident(actor)
    for kind in (
        attack.with_batches,
        attack.with_weights,
        attack.with_acknowledgements_and_statuses,
        attack.with_garbage,
        attack.from_many_sessions,
    ):
        kind()
        peer.goes_on()
    assert attack.sent >= 10_000
    assert_nothing_piled_up(learner, before_learner, HUGE_BYTES, HUGE_BATCHES)
    assert_nothing_piled_up(actor, before_actor, LARGE_POLICY, 1)
    assert peer.actor.dropped == peer.actor.rejected == 0
    peer.programs = (learner,)
    assert actor.interrupt() == 0
    made = int(actor.wait_for(r"Stopped after (\d+) steps and \d+ episodes$")[1])
    peer.wait(lambda: peer.learner.transitions == made, "every row of the actor")
    assert learner.interrupt() == 0
    assert_holds_only_what_was_made(tmp_path / "run" / "replay.bin", made)
    assert "Traceback" not in learner.output + actor.output


class OtherLearner:
    """A learner that speaks on the topics of another: acknowledgements always, weights once."""

    session = 7
    version = 10**6

    def __init__(self, peer: Peer) -> None:
        self.batches: list[TransitionBatch] = []
        self._peer = peer
        self._next = 0
        peer.node.create_subscription(
            TransitionBatch, "sac/transitions", self._on_batch, qos.TRANSITIONS
        )
        self._acks = peer.publisher(TransitionAck, "sac/transitions_ack")
        weights_ = policy(weights(), self.session, self.version)
        weights_.learner_id = "other_learner"
        self._policies = peer.publisher(PolicyWeights, "sac/policy")
        self._policies.publish(weights_)
        peer.node.create_timer(0.5, self._acknowledge)

    def _on_batch(self, message: TransitionBatch) -> None:
        if not self.batches or message.first_sequence <= self._next:
            self._next = message.first_sequence + len(message.rewards)
        self.batches.append(message)

    def _acknowledge(self) -> None:
        cursors = []
        if self._peer.actor.policy_version == self.version:  # it is followed
            own = {"actor_id": "sac_actor", "actor_session": self._peer.actor.actor_session}
            cursors = [TransitionCursor(**own, next_sequence=self._next)]
        self._acks.publish(
            TransitionAck(learner_id="other_learner", learner_session=self.session, actors=cursors)
        )


def test_of_two_learners_an_actor_follows_the_first_until_that_is_silent(
    start: Start, observer: Node
) -> None:
    learner, actor = small_learner(start), pendulum_actor(start)
    peer = Peer(observer, actor)
    peer.wait(lambda: peer.actor.policy_version > 0, "weights of the first")
    other = OtherLearner(peer)
    peer.until_said(actor, r"\[ERROR\].* 'other_learner' refused: Two learners on /sac/transitions")
    peer.wait(lambda: peer.actor.policies_rejected == 1, "its weights are counted as refused")
    peer.until_refused("/sac_actor", "Two learners on /sac/transitions")
    assert "Two learners" in peer.diagnostics["/sac_actor"]["message"]
    peer.goes_on()
    assert peer.actor.policy_version < other.version

    for process in learner.descendants() or [psutil.Process(learner.process.pid)]:
        process.kill()
    again = peer.until_said(actor, r"A new learner: sending it (\d+) rows again")
    peer.wait(lambda: peer.actor.policy_version == other.version, "weights that waited are taken")
    resent = [one for one in other.batches if one.first_sequence == one.oldest_sequence]
    assert resent, f"{again[1]} rows sent again, none from the oldest"
    peer.wait(lambda: peer.actor.queued < 60, "the other's acknowledgements free the queue")
    assert peer.actor.dropped == 0
    assert actor.interrupt() == 0


def test_a_request_for_what_cannot_be_is_answered(start: Start, observer: Node) -> None:
    learner = small_learner(start)
    for path in ("", "nowhere", "x" * 5000, "~nobody/run", "/dev/zero", "a\n[FATAL] b", "\x00"):
        response = call(
            observer,
            LoadCheckpoint,
            "/sac_learner/load_checkpoint",
            LoadCheckpoint.Request(path=path),
        )
        assert not response.success
        assert response.message
    assert learner.interrupt() == 0
    assert not re.search(r"^\[FATAL\]", learner.output, re.MULTILINE)
