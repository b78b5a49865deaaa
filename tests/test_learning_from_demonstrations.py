"""A learner with demonstrations: preloaded ones wait for actors, a person's outlive it."""

from __future__ import annotations

import array
import csv
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from rclpy.node import Node
from system import LOG, Program, Start, gym_train, spin_until

from sac_core.experience import INTERVENTIONS, REPLAY
from sac_core.replay_file import read_replay_file
from sac_core.rlds_writer import Episode, EpisodeLabels, RldsWriter
from sac_msgs.msg import (
    ActorStatus,
    LearnerStatus,
    TeleopAction,
    TransitionAck,
    TransitionBatch,
)
from sac_ros import qos

EPISODES, LENGTH = 4, 50


def demonstrations(root: Path, task: str = "Pendulum-v1", observation_size: int = 3) -> Path:
    """A dataset as small as a pendulum's: episodes that were cut."""
    random = np.random.default_rng(0)
    with RldsWriter(root, "shown", observation_size, 1) as writer:
        for _ in range(EPISODES):
            writer.add(
                Episode(
                    observations=random.normal(0.0, 1.0, (LENGTH + 1, observation_size)),
                    actions=random.uniform(-1.0, 1.0, (LENGTH, 1)),
                    rewards=random.uniform(-16.0, 0.0, LENGTH),
                    terminated=False,
                    stamps=np.arange(LENGTH + 1),
                    source=np.full(LENGTH, TransitionBatch.SOURCE_SCRIPTED, np.uint8),
                    labels=EpisodeLabels(task=task),
                )
            )
    return writer.path


def learner(start: Start, **changes: str) -> Program:
    parameters = {
        "run_directory": "run",
        "task": "Pendulum-v1",
        "hidden_units": "16",
        "torch_threads": "1",
        "replay_capacity": "50000",
        "log_period": "1.0",
    }
    arguments = [f"{name}:={value}" for name, value in (parameters | changes).items()]
    command = ["ros2", "run", "sac_learner", "learner", "--ros-args"]
    return start(*command, *(word for argument in arguments for word in ("-p", argument)))


def kill(program: Program) -> None:
    for process in (psutil.Process(program.process.pid), *program.descendants()):
        process.send_signal(signal.SIGKILL)
    program.wait()


class Peer:
    """Hears the learner, and plays an actor on which a person acts now and then."""

    SESSION = 77

    def __init__(self, node: Node) -> None:
        self.node = node
        self.status, self.acknowledged = LearnerStatus(), 0
        node.create_subscription(LearnerStatus, "sac/learner/status", self._on_status, qos.STATUS)
        node.create_subscription(
            TransitionAck, "sac/transitions_ack", self._on_ack, qos.TRANSITIONS_ACK
        )
        self.batches = node.create_publisher(TransitionBatch, "sac/transitions", qos.TRANSITIONS)

    def _on_status(self, status: LearnerStatus) -> None:
        self.status = status

    def _on_ack(self, ack: TransitionAck) -> None:
        for cursor in ack.actors:
            if cursor.actor_session == self.SESSION:
                self.acknowledged = cursor.next_sequence

    def send(self, first: int, count: int) -> None:
        """Rows that tell their number; a person chose every third."""
        number = np.arange(first, first + count, dtype=np.float32)
        observations = array.array("f", np.repeat(number, 3).tobytes())
        zeros = array.array("B", bytes(count))
        self.batches.publish(
            TransitionBatch(
                actor_id="arm",
                actor_session=self.SESSION,
                task="Pendulum-v1",
                first_sequence=first,
                observation_size=3,
                action_size=1,
                observations=observations,
                next_observations=observations,
                actions=array.array("f", bytes(4 * count)),
                rewards=array.array("f", number.tobytes()),
                terminated=zeros,
                truncated=zeros,
                source=array.array("B", (1 + (number % 3 == 0)).astype(np.uint8).tobytes()),
                policy_version=array.array("Q", bytes(8 * count)),
            )
        )

    def until_acknowledged(self, count: int) -> None:
        spin_until(self.node, lambda: self.acknowledged >= count, 60.0, f"{count} acknowledged")

    def until(self, condition: str, **wanted: object) -> None:
        """Wait for a status with these values."""

        def holds() -> bool:
            return all(getattr(self.status, name) == value for name, value in wanted.items())

        spin_until(self.node, holds, 60.0, f"{condition}: {wanted}")


def test_demonstrations_wait_for_three_hundred_transitions_of_actors_and_are_half_of_a_batch(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    mine, yours = (demonstrations(tmp_path / name) for name in ("mine", "yours"))
    peer = Peer(observer)
    program = gym_train(
        start, "env_id:=Pendulum-v1", "run_name:=shown", "step_rate:=100.0", "eval_period:=0",
        f"preload_rlds_path:={mine}:{yours}",
    )  # fmt: skip
    for path in (mine, yours):
        program.wait_for(
            rf"{LOG}Preloaded 4 episodes \(0 successful\) of {path}: 200 transitions, 0 terminal, "
            r"4 truncated, 0 dropped, in \d"
        )
    program.wait_for(rf"{LOG}3 observations, 1 actions \(from the demonstrations\)")
    for count in range(31, 302, 30):
        program.wait_for(rf"{LOG}Filling up replay buffer: {count}/300$")
    program.wait_for(rf"{LOG}Sent initial policy to actors$")
    assert program.output.index("271/300") < program.output.index("Sent initial policy")
    peer.until("half of a batch", state="training", demonstrations=400, demo_ratio=0.5)
    assert peer.status.transitions == peer.status.replay_size >= 301
    assert (peer.status.human_steps, peer.status.human_share) == (0, 0.0)
    program.wait_for(rf"{LOG}step \d")
    assert program.interrupt() == 0
    with (tmp_path / "runs/shown/metrics.csv").open() as file:
        assert {row["demonstrations"] for row in csv.DictReader(file)} == {"400"}


def test_what_a_person_did_outlives_a_killed_learner_in_both_buffers(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    path, peer = demonstrations(tmp_path), Peer(observer)
    with_demonstrations = {"preload_rlds_path": str(path), "training_starts": "1000"}
    program = learner(start, **with_demonstrations)
    program.wait_for("Run folder")
    spin_until(observer, lambda: peer.batches.get_subscription_count() == 1, 60.0, "a learner")
    peer.send(0, 30)
    peer.until_acknowledged(30)
    peer.send(30, 15)  # whether it is stored before the end, nobody knows
    kill(program)
    peer.status = LearnerStatus()
    program = learner(start, **with_demonstrations)
    program.wait_for(r"Resumes run: learner step 0, (30|45) transitions of 1 actor sessions")
    spin_until(observer, lambda: bool(peer.status.learner_session), 60.0, "its status")
    assert peer.status.transitions in (30, 45)
    assert peer.status.human_steps == peer.status.transitions // 3
    peer.send(30, 30)  # what was not acknowledged comes again
    peer.until_acknowledged(60)
    peer.until("every row once", transitions=60, human_steps=20, demonstrations=220)
    assert peer.status.human_share == pytest.approx(1 / 3, abs=0.1)
    assert program.interrupt() == 0
    for name, every in ((REPLAY, 1), (INTERVENTIONS, 3)):
        found = read_replay_file(tmp_path / "run" / name)
        assert found.rows[:, found.layout.reward].tolist() == list(range(0, 60, every))


def test_a_person_who_takes_over_is_seen_and_learnt_from(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    peer, statuses = Peer(observer), [ActorStatus()]
    observer.create_subscription(ActorStatus, "sac/actor/status", statuses.append, qos.STATUS)
    wishes = observer.create_publisher(TeleopAction, "sac/teleop_action", qos.TELEOP_ACTION)
    wish = TeleopAction(operator_name="ann", teleop_session=1, engaged=True)
    wish.action = array.array("f", [0.25])
    observer.create_timer(0.05, lambda: wishes.publish(wish))
    program = learner(start, training_starts="100", log_period="0.5")
    acting = start(
        "ros2", "run", "sac_actor", "actor", "--ros-args", "-p", "env_id:=Pendulum-v1",
        "-p", "step_rate:=100.0", "-p", "eval_period:=0", "-p", "random_steps:=0",
    )  # fmt: skip
    spin_until(observer, lambda: statuses[-1].human_steps > 200, 60.0, "a person acts")
    wish.engaged = False
    spin_until(observer, lambda: not statuses[-1].human_acts, 60.0, "the policy acts again")
    spin_until(observer, lambda: peer.status.state == "training", 60.0, "training")
    assert acting.interrupt() == 0
    made = int(acting.wait_for(r"Stopped after (\d+) steps")[1])
    peer.until("all that was made", transitions=made)
    steps = peer.status.human_steps
    assert steps == peer.status.demonstrations >= statuses[-1].human_steps
    assert peer.status.demo_ratio == 0.5
    assert 0.0 < peer.status.human_share < 1.0
    program.wait_for(rf"{LOG}step \d.*, \d+% of the steps a person's")
    assert program.interrupt() == 0
    found = read_replay_file(tmp_path / "run" / INTERVENTIONS)
    actions = found.rows[:, found.layout.action]
    # Who has taken over still has when an episode begins, and asks for nothing until the next wish.
    assert ((actions == 0.25) | (actions == 0.0)).all()
    assert (actions == 0.25).sum() > len(actions) / 2
    assert len(found.rows) == steps


def test_a_person_alone_is_learnt_from_as_well(start: Start, observer: Node) -> None:
    peer = Peer(observer)
    program = learner(start, training_starts="60")
    program.wait_for("Run folder")
    spin_until(observer, lambda: peer.batches.get_subscription_count() == 1, 60.0, "a learner")
    peer.send(0, 61)
    peer.until("a few of a batch", state="training", human_steps=21, demo_ratio=21 / 256)
    program.wait_for(rf"{LOG}step \d.*, 34% of the steps a person's")
    assert program.interrupt() == 0


def test_demonstrations_that_do_not_fit_are_refused_with_both_named(
    start: Start, tmp_path: Path
) -> None:
    of_reach = demonstrations(tmp_path / "reach", task="reach")
    larger = demonstrations(tmp_path / "larger", observation_size=4)
    for changes, both in (
        ({"preload_rlds_path": str(of_reach)}, "its task is 'reach', this learner's is 'Pendulum"),
        (
            {"preload_rlds_path": str(larger), "observation_size": "3"},
            "expected one observation of 3 numbers, found steps/observation/state of 4",
        ),
        ({"preload_rlds_path": "nowhere"}, "preload_rlds_path nowhere: expected an RLDS dataset"),
        ({"demo_ratio": "1.5"}, r"demo_ratio: expected a float.*at most 1.*got 1.5"),
    ):
        program = learner(start, **changes)
        assert program.wait() == 1
        program.wait_for(both)
        assert "Traceback" not in program.output


def test_an_actor_of_other_sizes_than_the_demonstrations_is_refused(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    larger = demonstrations(tmp_path, observation_size=4)
    program, peer = learner(start, preload_rlds_path=str(larger)), Peer(observer)
    program.wait_for("Run folder")
    spin_until(observer, lambda: peer.batches.get_subscription_count() == 1, 60.0, "a learner")
    peer.send(0, 5)
    program.wait_for(
        "it has 3 observations and 1 actions, this learner has 4 and 1 .from the demonstrations"
    )
    assert program.interrupt() == 0
