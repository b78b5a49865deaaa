"""What a learner has accepted stays: over restarts, broken files and full disks."""

from __future__ import annotations

import resource
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from system import Program, Start, Statuses, call, spin_until

from sac_core.replay_file import read_replay_file
from sac_msgs.msg import TransitionBatch
from sac_ros import qos

SMALL = {
    "run_directory": "run",
    "task": "Pendulum-v1",
    "observation_size": "3",
    "action_size": "1",
    "training_starts": "60",
    "checkpoint_period": "20",
    "replay_capacity": "50000",
    "hidden_units": "16",
    "torch_threads": "1",
    "log_period": "1.0",
}


def learner(start: Start, **changes: str) -> Program:
    arguments = [f"{name}:={value}" for name, value in (SMALL | changes).items()]
    command = ["ros2", "run", "sac_learner", "learner", "--ros-args"]
    return start(*command, *(word for argument in arguments for word in ("-p", argument)))


def actor(start: Start, **changes: str) -> Program:
    parameters = {"env_id": "Pendulum-v1", "step_rate": "200.0", "eval_period": "0"} | changes
    arguments = [f"{name}:={value}" for name, value in parameters.items()]
    command = ["ros2", "run", "sac_actor", "actor", "--ros-args"]
    return start(*command, *(word for argument in arguments for word in ("-p", argument)))


def processes(program: Program) -> list[psutil.Process]:
    return [psutil.Process(program.process.pid), *program.descendants()]


def kill(program: Program) -> None:
    for process in processes(program):
        process.send_signal(signal.SIGKILL)
    program.wait()


def test_a_killed_learner_goes_on_where_it_was_and_nothing_is_missing(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    statuses = Statuses(observer)
    first, acting = learner(start), actor(start)
    spin_until(observer, lambda: statuses.learner.step > 60, 120.0, "some training")
    before = statuses.learner
    kill(first)
    second = learner(start)
    resumed = second.wait_for(
        r"Resumes run: learner step ([\d,]+), ([\d,]+) transitions of 1 actor"
    )
    step, transitions = (int(number.replace(",", "")) for number in resumed.groups())
    assert before.step - 20 <= step
    assert before.transitions <= transitions
    spin_until(
        observer, lambda: statuses.learner.learner_session != before.learner_session, 30.0, "status"
    )
    statuses.train_on()
    acting.wait_for("A new learner: sending it")
    assert acting.interrupt() == 0
    made = acting.wait_for(r"Stopped after (\d+) steps and \d+ episodes$")
    contents = read_replay_file(tmp_path / "run" / "replay.bin")
    (session,) = contents.state["sessions"]
    assert contents.inserted == session["next_sequence"] == int(made[1])
    assert session["missed"] == session["dropped"] == session["rejected"] == 0
    # Each observation leads to the next: no row is there twice, or in another's place.
    layout, rows = contents.layout, contents.rows
    joined = (rows[:-1, layout.next_observation] == rows[1:, layout.observation]).all(axis=1)
    assert (~joined).sum() == (len(rows) - 1) // 200  # an episode has 200 steps
    assert second.interrupt() == 0


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_actor_that_comes_back_acts_on_the_newest_weights_in_a_session_of_its_own(
    end: signal.Signals, start: Start, observer: Node, tmp_path: Path
) -> None:
    statuses = Statuses(observer)
    batches: list[TransitionBatch] = []
    observer.create_subscription(
        TransitionBatch, "sac/transitions", batches.append, qos.TRANSITIONS
    )
    program, first = learner(start), actor(start)
    spin_until(
        observer, lambda: statuses.learner.step > 20 and bool(batches), 120.0, "some training"
    )
    version = statuses.learner.published_version
    for process in processes(first):
        process.send_signal(end)
    first.wait()
    (old,) = {batch.actor_session for batch in batches}
    second = actor(start, random_steps="0")
    spin_until(
        observer,
        lambda: any(
            batch.actor_session != old and TransitionBatch.SOURCE_POLICY in batch.source
            for batch in batches
        ),
        60.0,
        "actions of the policy",
    )
    statuses.train_on()
    assert second.interrupt() == 0
    made = second.wait_for(r"Stopped after (\d+) steps and \d+ episodes$")
    mine = [batch for batch in batches if batch.actor_session != old]
    assert all(
        used >= version
        for batch in mine
        for used, source in zip(batch.policy_version, batch.source, strict=True)
        if source == TransitionBatch.SOURCE_POLICY
    )
    assert program.interrupt() == 0
    sessions = {
        one["session"]: one
        for one in read_replay_file(tmp_path / "run" / "replay.bin").state["sessions"]
    }
    assert sessions.keys() == {old, mine[0].actor_session}
    assert sessions[mine[0].actor_session]["received"] == int(made[1])
    if end is not signal.SIGKILL:
        stopped = first.wait_for(r"Stopped after (\d+) steps and \d+ episodes$")
        assert sessions[old]["received"] == int(stopped[1])


def test_a_paused_actor_sends_again_what_was_lost_on_the_way(start: Start, observer: Node) -> None:
    batches: list[TransitionBatch] = []
    observer.create_subscription(
        TransitionBatch, "sac/transitions", batches.append, qos.TRANSITIONS
    )  # a learner that never answers: for the actor, all of it was lost
    program = actor(start)
    spin_until(observer, lambda: len(batches) >= 2, 60.0, "the first batches")
    pause = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert call(observer, ChangeState, "/sac_actor/change_state", pause).success
    before = len(batches)
    spin_until(
        observer,
        lambda: any(batch.first_sequence == 0 for batch in batches[before:]),
        60.0,
        "the first rows once more",
    )
    assert program.interrupt() == 0


def test_a_simulation_as_fast_as_it_can_waits_for_its_learner_and_loses_nothing(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    statuses = Statuses(observer)
    acting = actor(start, step_rate="0.0", queue_capacity="300")
    acting.wait_for(r"No learner listens on /sac/transitions: waiting for one, \d+ of 300 rows")
    spin_until(observer, lambda: statuses.actor.state == "waiting", 60.0, "its status says so")
    assert 270 < statuses.actor.queued == statuses.actor.steps <= 300
    assert statuses.actor.dropped == 0
    training = learner(start)
    spin_until(observer, lambda: statuses.learner.transitions > 2_000, 120.0, "transitions")
    assert acting.interrupt() == 0
    made = acting.wait_for(r"Stopped after (\d+) steps and \d+ episodes$")
    assert training.interrupt() == 0
    (session,) = read_replay_file(tmp_path / "run" / "replay.bin").state["sessions"]
    assert session["received"] == int(made[1])
    assert session["dropped"] == session["missed"] == 0


def test_a_run_has_one_learner(start: Start) -> None:
    first = learner(start)
    first.wait_for("Run folder")
    second = learner(start)
    assert second.wait() == 1
    second.wait_for(r"run_directory run is in use by another learner \(process \d+\)")
    assert first.interrupt() == 0


def test_a_run_of_something_else_is_refused_with_both_named(start: Start) -> None:
    first = learner(start)
    first.wait_for("Run folder")
    assert first.interrupt() == 0
    for changes, both in (
        ({"task": "reach"}, "its task is 'Pendulum-v1', this learner's is 'reach'"),
        ({"observation_size": "4"}, "its observation size is 3, this learner's is 4"),
        ({"replay_capacity": "70000"}, "its capacity is 50000 .*, this learner's is 70000"),
        ({"resume": "false"}, "already holds a run.*resume:=true"),
    ):
        program = learner(start, **changes)
        assert program.wait() == 1
        program.wait_for(both)
        assert "Traceback" not in program.output


def test_what_was_half_written_is_left_out_with_a_line_that_says_so(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    statuses = Statuses(observer)
    first, acting = learner(start), actor(start)
    spin_until(observer, lambda: statuses.learner.step > 100, 120.0, "some training")
    kill(first)
    assert acting.interrupt() == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    newest, older = sorted(checkpoints.glob("step_*"), reverse=True)[:2]
    (newest / "learner.safetensors").write_bytes(
        (newest / "learner.safetensors").read_bytes()[:1000]
    )
    shutil.copytree(older, checkpoints / ".partial-step_000009999-x")
    replay = tmp_path / "run" / "replay.bin"
    place = replay.stat().st_size - 50_000 * 9 * 4  # rows are at the end, of 9 numbers
    with replay.open("r+b") as file:
        file.seek(place + 30 * 36)
        file.write(b"torn")
    second = learner(start)
    second.wait_for(rf"Left out: .*{newest.name}/learner.safetensors")
    second.wait_for(r"Left out: .*partial-step_000009999-x: was not finished")
    second.wait_for(r"Left out: 1 half-written rows")
    second.wait_for(rf"Begins from .*{older.name}")
    assert second.interrupt() == 0


def test_on_a_full_disk_training_goes_on_and_when_there_is_room_again_nothing_is_missing(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    statuses = Statuses(observer)
    program, acting = learner(start), actor(start)
    spin_until(observer, lambda: statuses.learner.step > 20, 120.0, "some training")
    limits = {}
    for process in processes(program):  # no file may grow, which is what a full disk does
        limits[process.pid] = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, limits[process.pid][1]))
    spin_until(observer, lambda: bool(statuses.learner.fault), 60.0, "the status says so")
    assert "cannot be written" in statuses.learner.fault
    step, transitions = statuses.learner.step, statuses.learner.transitions
    spin_until(observer, lambda: statuses.learner.step > step + 50, 120.0, "training goes on")
    assert statuses.learner.transitions == transitions
    assert statuses.actor.queued > 0
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    program.wait_for("The replay file can be written again")
    spin_until(observer, lambda: not statuses.learner.fault, 60.0, "the status says so")
    statuses.train_on()
    assert acting.interrupt() == 0
    made = acting.wait_for(r"Stopped after (\d+) steps and \d+ episodes$")
    contents = read_replay_file(tmp_path / "run" / "replay.bin")
    assert contents.inserted == int(made[1]) == len(contents.rows)
    assert program.interrupt() == 0
