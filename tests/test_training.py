"""The whole system as processes over real DDS: it learns, it ends cleanly, it explains itself."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from rclpy.node import Node
from system import LOG, Start, gym_train, spin_until

from sac_msgs.msg import ActorStatus, LearnerStatus
from sac_ros import qos


def test_pendulum_is_learnt_through_ros_within_three_minutes(start: Start, tmp_path: Path) -> None:
    started = time.monotonic()
    program = gym_train(
        start, "env_id:=Pendulum-v1", "run_name:=pendulum", "step_rate:=100.0", "eval_period:=1000"
    )
    for count in range(31, 302, 30):
        program.wait_for(rf"{LOG}Filling up replay buffer: {count}/300$")
    program.wait_for(rf"{LOG}Sent initial policy to actors$")
    returns: list[float] = []
    while not returns or returns[-1] < -250.0:
        number = len(returns) + 1
        match = program.wait_for(rf"Evaluation {number}: mean return (-?[\d.]+) ±", timeout=60.0)
        returns.append(float(match[1]))
        assert time.monotonic() - started < 180.0, returns
    assert returns[0] < -800.0  # it was not good from the start
    children = program.descendants()
    assert program.interrupt() == 0
    assert not [child for child in children if child.is_running()]

    run = tmp_path / "runs" / "pendulum"
    configuration = json.loads((run / "configuration.json").read_text())
    assert configuration["configuration"]["seed"] == 0
    assert configuration["versions"]["torch"]
    assert (run / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").glob("events.*"))
    with (run / "evaluations.csv").open() as file:
        assert max(float(row["return_mean"]) for row in csv.DictReader(file)) > -250.0

    best = start(
        "ros2", "launch", "sac_bringup", "evaluate.launch.py",
        f"checkpoint:={run}/checkpoints/best", "env_id:=Pendulum-v1", "episodes:=20",
    )  # fmt: skip
    match = best.wait_for(r"Mean return (-?[\d.]+) ± [\d.]+ .* over 20 episodes")
    assert float(match[1]) > -600.0  # five others were what it was chosen by
    assert best.wait() == 0


def test_several_actors_are_kept_apart_and_a_run_ends_by_itself(
    start: Start, tmp_path: Path, observer: Node
) -> None:
    actors: dict[str, ActorStatus] = {}
    learner: list[LearnerStatus] = []
    observer.create_subscription(
        ActorStatus,
        "sac/actor/status",
        lambda status: actors.update({status.actor_id: status}),
        qos.STATUS_OF_MANY,
    )
    observer.create_subscription(LearnerStatus, "sac/learner/status", learner.append, qos.STATUS)
    program = gym_train(
        start, "env_id:=Pendulum-v1", "num_actors:=3", "run_name:=three", "max_steps:=3000",
        "step_rate:=200.0",
    )  # fmt: skip
    spin_until(observer, lambda: len(actors) == 3, 60.0, "three actors")
    spin_until(observer, lambda: bool(learner) and learner[-1].actors == 3, 60.0, "all are heard")
    assert learner[-1].observation_size == 3
    assert learner[-1].action_size == 1
    complete = program.wait_for(rf"{LOG}Complete: ([\d,]+) environment steps")
    assert int(complete[1].replace(",", "")) >= 3000
    assert program.wait() == 0
    assert all(status.rejected == 0 and status.dropped == 0 for status in actors.values())
    assert len({status.actor_session for status in actors.values()}) == 3
    assert list((tmp_path / "runs/three/checkpoints").glob("step_*"))


def test_a_learner_without_actors_says_what_it_waits_for(start: Start) -> None:
    learner = start("ros2", "run", "sac_learner", "learner")
    learner.wait_for(r"Waiting for transitions on /sac/transitions \(0/300.*no actor publishes")
    assert learner.interrupt() == 0


def test_an_actor_without_a_learner_acts_on_queues_and_counts_what_it_drops(start: Start) -> None:
    actor = start(
        "ros2", "run", "sac_actor", "actor", "--ros-args", "-p", "env_id:=Pendulum-v1",
        "-p", "queue_capacity:=50", "-p", "step_rate:=100.0",
    )  # fmt: skip
    actor.wait_for(r"No learner listens on /sac/transitions.*random actions, 50 of 50 rows queued")
    assert actor.interrupt() == 0
    actor.wait_for(r"50 rows not acknowledged")


def test_sizes_that_do_not_match_name_both_sides(start: Start) -> None:
    learner = start(
        "ros2", "run", "sac_learner", "learner", "--ros-args", "-p", "observation_size:=17",
        "-p", "action_size:=6",
    )  # fmt: skip
    actor = start("ros2", "run", "sac_actor", "actor", "--ros-args", "-p", "env_id:=Pendulum-v1")
    learner.wait_for(
        r"batch of actor 'sac_actor' refused: it has 3 observations and 1 actions, "
        r"this learner has 17 and 6"
    )
    actor.wait_for(r"The learner refused \d+ rows")


@pytest.mark.parametrize(
    ("package", "executable", "parameters", "explanation"),
    [
        ("sac_actor", "actor", ["env_id:=NoSuchThing-v0"], r"'NoSuchThing-v0' cannot be made"),
        ("sac_actor", "actor", ["env_id:=CartPole-v1"], r"expected a bounded continuous action"),
        ("sac_actor", "actor", ["step_rate:=-1.0"], r"step_rate: expected a float.*at least 0.*-1"),
        ("sac_actor", "actor", ["step_rate:=fast"], r"step_rate: expected a float.*got 'fast'"),
        ("sac_actor", "actor", ["apply_policy_at:=noon"], r"expected one of flush, step, episode"),
        (
            "sac_actor",
            "actor",
            ["speed:=1"],
            r"unknown parameter speed; this node has: .*step_rate",
        ),
        ("sac_learner", "learner", ["discount:=1.5"], r"discount: expected .*at most 1.*got 1.5"),
        ("sac_learner", "learner", ["device:=abacus"], r"device 'abacus' cannot be used"),
        ("sac_learner", "learner", ["checkpoint:=nowhere"], r"nowhere"),
        ("sac_actor", "evaluate", ["checkpoint:=nowhere"], r"nowhere"),
        ("sac_actor", "evaluate", [], r"which checkpoint\?"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_a_failure(
    package: str, executable: str, parameters: list[str], explanation: str, start: Start
) -> None:
    arguments = [word for value in parameters for word in ("-p", value)]
    program = start("ros2", "run", package, executable, "--ros-args", *arguments)
    assert program.wait() == 1
    program.wait_for(explanation)
    assert "Traceback" not in program.output


def test_a_launch_fails_when_one_of_its_nodes_does(start: Start) -> None:
    program = gym_train(start, "env_id:=NoSuchThing-v0", "run_name:=fails")
    assert program.wait() != 0
    program.wait_for(r"\[actor-2\].*'NoSuchThing-v0' cannot be made")
    assert program.descendants() == []
