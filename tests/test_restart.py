"""Killed nodes come back and nothing is lost; a node that ends by itself ends the launch."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from rclpy.node import Node
from sac_bringup.restart import PERIOD, RESTARTS
from system import LOG, Program, Start, Statuses, gym_train, spin_until

from sac_core.replay_file import read_replay_file

QUICK = (
    "env_id:=Pendulum-v1", "run_name:=run", "step_rate:=200.0", "eval_period:=0",
    "torch_threads:=1",
)  # fmt: skip


def process_of(program: Program, executable: str) -> psutil.Process:
    """The only process of an executable that runs below a launch."""

    def runs(process: psutil.Process) -> bool:
        try:
            return any(Path(word).name == executable for word in process.cmdline())
        except psutil.Error:  # it is just ending
            return False

    (found,) = [process for process in program.descendants() if runs(process)]
    return found


def test_a_killed_learner_comes_back_resumes_and_trains_on(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    statuses = Statuses(observer)
    program = gym_train(start, *QUICK)
    statuses.train_on(10)
    before, actor = statuses.learner, process_of(program, "actor")
    process_of(program, "learner").kill()
    program.wait_for("learner-1 was killed by SIGKILL: starting it again")
    program.wait_for(rf"{LOG}Resumes runs/run: learner step")
    spin_until(
        observer, lambda: statuses.learner.learner_session != before.learner_session, 30.0, "status"
    )
    assert statuses.learner.transitions >= before.transitions
    statuses.train_on(10)
    assert actor == process_of(program, "actor")  # it went on
    assert program.interrupt() == 0
    assert program.descendants() == []
    assert program.output.count("starting it again") == 1  # nothing is restarted by Ctrl-C
    (session,) = read_replay_file(tmp_path / "runs/run/replay.bin").state["sessions"]
    assert session["missed"] == session["dropped"] == session["rejected"] == 0


def test_a_killed_actor_comes_back_with_a_session_of_its_own(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    statuses = Statuses(observer)
    program = gym_train(start, *QUICK)
    statuses.train_on(10)
    before, learner = statuses.actor, process_of(program, "learner")
    process_of(program, "actor").kill()
    program.wait_for("actor-2 was killed by SIGKILL: starting it again")
    spin_until(
        observer,
        lambda: (
            statuses.actor.actor_session != before.actor_session
            and statuses.actor.state in ("random", "policy")
        ),
        60.0,
        "the new actor acts",
    )
    statuses.train_on(10)
    assert learner == process_of(program, "learner")
    assert program.interrupt() == 0
    sessions = read_replay_file(tmp_path / "runs/run/replay.bin").state["sessions"]
    assert len(sessions) == 2
    assert all(session["missed"] == session["rejected"] == 0 for session in sessions)


def test_a_killed_simulation_comes_back_and_its_actor_acts_again(
    start: Start, observer: Node
) -> None:
    statuses = Statuses(observer)
    program = start(
        "ros2", "launch", "sac_bringup", "sim_train.launch.py", "task:=reach", "run_name:=run",
        "stop_at_success:=0.0", "video:=false", "torch_threads:=1",
    )  # fmt: skip
    statuses.train_on(10)
    actor = process_of(program, "actor")
    process_of(program, "franka_sim_bridge").kill()
    program.wait_for("franka_sim_bridge-1 was killed by SIGKILL: starting it again")
    spin_until(observer, lambda: statuses.actor.state == "fault", 60.0, "the actor notices")
    steps = statuses.actor.steps
    spin_until(observer, lambda: statuses.actor.steps > steps, 120.0, "the actor acts again")
    assert actor == process_of(program, "actor")
    assert program.interrupt() == 0


LAUNCH_FILE = """
from launch.actions import ExecuteProcess, Shutdown
from sac_bringup.restart import restarted

from launch import LaunchDescription


def run(command, **options):
    return ExecuteProcess(cmd=["sh", "-c", command], output="screen", **options)


def generate_launch_description():
    video = run("echo rendering", on_exit=Shutdown())
    return LaunchDescription(
        [run({command!r}, **restarted({when_complete})), run("exec sleep 1000", **restarted())]
    )
"""


@pytest.fixture
def launch(start: Start, tmp_path: Path) -> Start:
    """Launch a shell command as a node is launched, beside another that has no end."""

    def launch_command(command: str, when_complete: str = "") -> Program:
        path = tmp_path / "test.launch.py"
        path.write_text(LAUNCH_FILE.format(command=command, when_complete=when_complete))
        return start("ros2", "launch", str(path))

    return launch_command


def starts(program: Program, label: str) -> int:
    return program.output.count(f"[{label}]: process started")


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 3", 1), ("kill -TERM $$", 1), ("kill -INT $$", 1)],
)
def test_what_ends_by_itself_or_is_asked_to_ends_the_launch(
    command: str, status: int, launch: Start
) -> None:
    program = launch(command)
    assert program.wait() == status
    assert starts(program, "sh-1") == starts(program, "sh-2") == 1


def test_a_crash_loop_ends_the_launch(launch: Start) -> None:
    program = launch("kill -SEGV $$")
    assert program.wait() == 1
    program.wait_for(rf"sh-1 died {RESTARTS + 1} times within {PERIOD:g} s, now by SIGSEGV")
    assert starts(program, "sh-1") == RESTARTS + 1
    assert starts(program, "sh-2") == 1


def test_the_video_follows_a_complete_training_and_no_other(launch: Start) -> None:
    died_once = "test -e died || { touch died; kill -9 $$; }"
    program = launch(died_once, when_complete="video")
    assert program.wait() == 0
    program.wait_for(r"\[sh-3\] rendering")
    assert starts(program, "sh-1") == 2
    program = launch("exit 1", when_complete="video")
    assert program.wait() == 1
    assert "rendering" not in program.output


def test_ctrl_c_ends_the_wait_for_a_restart(launch: Start) -> None:
    program = launch("kill -9 $$")
    program.wait_for("starting it again")
    assert program.interrupt() == 0
    assert starts(program, "sh-1") == starts(program, "sh-2") == 1
