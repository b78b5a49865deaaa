"""The policy alone: it acts with its mean action, and nothing else is left of the learning."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from rclpy.node import Node
from system import Program, Start, spin_until

from sac_core.checkpoint import save_checkpoint
from sac_envs.tasks import make_task
from sac_msgs.msg import ActorStatus, EpisodeEvent, TransitionBatch
from sac_ros import qos

GAIN = 4.0  # metres of the way to the target become this share of a full displacement


def reaching() -> dict[str, np.ndarray]:
    """A policy for `reach` that goes to the target: tanh(mean) is linear in the way that is left.

    Two units for each axis carry the positive and the negative part of it.
    """
    task = make_task("reach")
    first = [one.name for one in task.observations].index("target_from_tool_far_x")
    hidden = np.zeros((6, task.observation_size), np.float32)
    mean = np.zeros((3, 6), np.float32)
    for axis in range(3):
        for sign, unit in ((1.0, 2 * axis), (-1.0, 2 * axis + 1)):
            hidden[unit, first + axis] = sign
            mean[axis, unit] = sign * GAIN
    weights = {"hidden.0": hidden, "mean": mean, "log_std": np.zeros((3, 6), np.float32)}
    tensors = {f"{name}.weight": weight for name, weight in weights.items()}
    return tensors | {f"{name}.bias": np.zeros(len(w), np.float32) for name, w in weights.items()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    metadata = {"task": "reach", "config": {}}
    return save_checkpoint(tmp_path / "run/checkpoints", 1431, reaching(), {}, metadata, keep=1)


def deploy(start: Start, *arguments: str) -> Program:
    return start("ros2", "launch", "sac_bringup", "deploy.launch.py", "sim:=true", *arguments)


def test_an_exported_policy_acts_in_simulation_without_a_learner_and_without_pytorch(
    start: Start, checkpoint: Path, tmp_path: Path, observer: Node
) -> None:
    exported = start("ros2", "run", "sac_actor", "export_policy", str(checkpoint), "reach.st")
    assert exported.wait() == 0, exported.output
    statuses: list[ActorStatus] = []
    ended: list[EpisodeEvent] = []
    batches: list[TransitionBatch] = []
    observer.create_subscription(ActorStatus, "sac/actor/status", statuses.append, qos.STATUS)
    observer.create_subscription(EpisodeEvent, "sac/episode", ended.append, qos.EPISODE)
    observer.create_subscription(
        TransitionBatch, "sac/transitions", batches.append, qos.TRANSITIONS
    )
    program = deploy(start, "task:=reach", f"checkpoint:={tmp_path}/reach.st", "episodes:=0")
    program.wait_for(r"With the mean action of \S+reach.st, learner step 1431; nothing is learnt")
    program.wait_for(r"Episode 5: return -?\d+\.\d in \d+ steps, success")
    (actor,) = [p for p in program.descendants() if p.cmdline()[1:2] and "actor" in p.name()]
    assert "torch" not in Path(f"/proc/{actor.pid}/maps").read_text()
    acting = lambda: [one for one in statuses if one.state == "policy"]  # noqa: E731
    spin_until(observer, lambda: bool(acting()) and len(ended) > 5, 60.0, "its status")
    status = acting()[-1]
    assert (status.policy_version, status.queued) == (1431, 0)
    assert (status.learner_connected, status.dropped, status.evaluations) == (False, 0, 0)
    assert status.policy_age < 600.0
    assert not batches
    assert not observer.get_publishers_info_by_topic("/sac/transitions")
    assert not observer.get_subscriptions_info_by_topic("/sac/policy")
    assert program.interrupt() == 0
    assert "No learner listens" not in program.output
    stopped = program.wait_for(
        r"Stopped after \d+ steps and \d+ episodes, (\d+) of (\d+) succeeded$"
    )
    assert int(stopped[1]) >= 5
    assert int(stopped[1]) >= 0.8 * int(stopped[2])


def test_it_ends_after_so_many_episodes_and_the_same_seed_gives_the_same_ones(
    start: Start, checkpoint: Path
) -> None:
    returns = []
    for _ in range(2):
        program = deploy(
            start, "task:=reach", f"checkpoint:={checkpoint}", "episodes:=3", "seed:=5"
        )
        program.wait_for("Complete: 3 episodes")
        assert program.wait() == 0
        returns.append([line.split("]: ")[1] for line in program.lines if "]: Episode " in line])
    assert len(returns[0]) == 3
    assert returns[0] == returns[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["task:=pick_cube"], r"was trained in 'reach', not 'pick_cube'"),
        (["task:=reach", "checkpoint:=no/where"], r"no/where: expected a checkpoint or run folder"),
    ],
)
def test_another_task_or_no_policy_is_one_line_and_ends_everything(
    arguments: list[str], reason: str, start: Start, checkpoint: Path
) -> None:
    program = deploy(start, f"checkpoint:={checkpoint}", *arguments)
    assert program.wait() == 1
    program.wait_for(reason)
    # The robot is told to end while it may still be starting.
    assert not [line for line in program.lines if "actor" in line and "Traceback" in line]


def test_another_shape_is_refused_with_both_named(start: Start, tmp_path: Path) -> None:
    tensors = reaching()
    tensors["hidden.0.weight"] = tensors["hidden.0.weight"][:, :7]
    metadata = {"task": "reach", "config": {}}
    path = save_checkpoint(tmp_path / "odd", 1, tensors, {}, metadata, keep=1)
    program = deploy(start, "task:=reach", f"checkpoint:={path}")
    assert program.wait() == 1
    program.wait_for(r"has 7 observations and 3 actions; 'reach' has 12 and 3")


def test_a_policy_in_a_gymnasium_environment_is_deployed_by_the_actor_itself(
    start: Start, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in {"hidden.0": (8, 3), "mean": (1, 8), "log_std": (1, 8)}.items():
        tensors[f"{name}.weight"] = rng.normal(0, 1, shape).astype(np.float32)
        tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    metadata = {"task": "Pendulum-v1", "config": {}}
    path = save_checkpoint(tmp_path / "pendulum", 9, tensors, {}, metadata, keep=1)
    program = start(
        "ros2", "run", "sac_actor", "actor", "--ros-args", "-p", "env_id:=Pendulum-v1",
        "-p", f"checkpoint:={path}", "-p", "max_episodes:=2", "-p", "step_rate:=0.0",
    )  # fmt: skip
    assert program.wait() == 0
    found = program.wait_for(r"Episode 2: return (-\d+\.\d) in 200 steps$")
    assert math.isfinite(float(found[1]))
    program.wait_for("Stopped after 400 steps and 2 episodes$")


def test_a_person_may_not_take_the_place_of_the_policy_by_mistake(
    start: Start, checkpoint: Path
) -> None:
    program = start(
        "ros2", "run", "sac_actor", "actor", "--ros-args", "-p", "task:=reach",
        "-p", f"checkpoint:={checkpoint}", "-p", "behaviour:=teleop",
    )  # fmt: skip
    assert program.wait() == 1
    program.wait_for("is for behaviour 'policy', not 'teleop': leave one of the two out")


def test_this_process_is_not_the_one_that_is_looked_at() -> None:
    """The search for PyTorch in a process's memory finds it where it is."""
    code = "import torch, os; print(os.getpid(), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        assert "torch" in Path(f"/proc/{child.pid}/maps").read_text()
        assert psutil.pid_exists(child.pid)
    finally:
        child.communicate("\n")
