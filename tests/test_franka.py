"""The actor on a Franka: learning over the robot's topics, and what it does when they fail."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robots import Watch, actor, bridge, inject
from std_msgs.msg import Float64MultiArray
from system import Program, spin_until

Start = Callable[..., Program]


def test_sim_train_learns_a_task_over_the_topics_and_leaves_a_policy_that_evaluates(
    start: Start, tmp_path: Path
) -> None:
    training = start(
        "ros2", "launch", "sac_bringup", "sim_train.launch.py", "task:=reach", "run_name:=r"
    )
    training.wait_for(r"Complete: \d+\.\d% of 50 evaluation episodes succeeded", 300.0)
    assert training.wait(120.0) == 0
    run = tmp_path / "runs" / "r"
    assert (run / "learning_curve.png").stat().st_size > 0
    video = list(run.glob("evaluation.*4")) + list(run.glob("evaluation.gif"))
    assert video or "No video:" in training.output
    evaluation = start(
        "ros2",
        "launch",
        "sac_bringup",
        "evaluate.launch.py",
        "task:=reach",
        "episodes:=20",
        f"checkpoint:={run / 'checkpoints' / 'best'}",
    )
    rate = evaluation.wait_for(r"Success rate (\d+\.\d)% .* 95 % interval", 120.0)
    assert float(rate[1]) >= 80.0
    assert evaluation.wait() == 0


@pytest.mark.parametrize("command", ["joint_trajectory", "joint_velocity"])
def test_every_command_adapter_drives_its_controller(
    command: str, start: Start, observer: Node
) -> None:
    simulation = bridge(start, f"motion_controller:={command}_controller", "lockstep_timeout:=5.0")
    watch = Watch(observer)
    program = actor(start, f"command:={command}")
    status = watch.steps_beyond(150)
    assert status.fault == ""
    topic = {
        "joint_trajectory": "/joint_trajectory_controller/joint_trajectory",
        "joint_velocity": "/joint_velocity_controller/commands",
    }[command]
    (publisher,) = observer.get_publishers_info_by_topic(topic)
    assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert "no command came" not in simulation.output
    assert "Episode stopped" not in program.output


def test_where_time_goes_on_velocities_are_streamed_between_ticks_and_end_at_zero(
    start: Start, observer: Node
) -> None:
    velocities: list[list[float]] = []
    observer.create_subscription(
        Float64MultiArray,
        "/joint_velocity_controller/commands",
        lambda message: velocities.append(list(message.data)),
        QoSProfile(depth=1000),
    )
    simulation = bridge(  # in its own time, as a robot
        start,
        "motion_controller:=joint_velocity_controller",
        "lockstep:=false",
        "speed_factor:=1.0",
        "joint_state_rate:=200.0",
        "convenience_publish_rate:=200.0",
    )
    watch = Watch(observer)
    program = actor(start, "command:=joint_velocity")
    steps = watch.steps_beyond(60).steps
    assert watch.status.fault == ""
    assert len(velocities) > 5 * steps
    assert max(abs(value) for sent in velocities for value in sent) > 0.02
    assert program.interrupt() == 0
    spin_until(observer, lambda: velocities[-1] == [0.0] * 7, 60.0, "the last velocity is zero")
    assert "Robot stopped" not in simulation.output
    assert "nanobind" not in program.output


def test_commands_are_reliable_and_state_is_read_best_effort(start: Start, observer: Node) -> None:
    bridge(start)
    actor(start)
    Watch(observer).steps_beyond(10)
    (publisher,) = observer.get_publishers_info_by_topic("/target_pose")
    assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    readers = observer.get_subscriptions_info_by_topic("/franka/joint_states")
    assert [r.qos_profile.reliability for r in readers] == [ReliabilityPolicy.BEST_EFFORT]


def test_what_the_safety_filter_changes_is_counted_by_reason_in_the_status(
    start: Start, observer: Node
) -> None:
    bridge(start)
    # A slice of the task's workspace, at rest within which no policy stays; 0.0 is a bound.
    actor(start, "workspace_low:=[0.4,0.0,0.2]", "workspace_high:=[0.6,0.02,0.3]")
    status = Watch(observer).until(lambda s: "workspace" in s.clips, "a clip at the workspace")
    counts = dict(part.split() for part in status.clips.split(", "))
    assert 0 < status.clipped <= sum(int(count) for count in counts.values())
    assert status.fault == ""


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("workspace_high:=[0.3,1.0,1.0]", "task reach within .* empty, inverted or not finite"),
        ("workspace_low:=[0.5,0.0]", r"workspace_low: expected 3 numbers .*, got \[0.5, 0.0\]"),
        ("workspace_low:=[.nan,0.0,0.0]", "workspace_low: expected 3 numbers"),
        ("max_force:=.nan", "max_force: expected a float"),
    ],
)
def test_a_box_that_is_none_is_refused_at_the_start(
    parameter: str, message: str, start: Start
) -> None:
    program = actor(start, parameter)
    assert program.wait() == 1
    assert re.search(message, program.output)
    assert "Traceback" not in program.output


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("drop_joint_states", True, "no joint state on /franka/joint_states"),
        ("freeze_joint_states", True, "joint states are frozen"),
    ],
)
def test_missing_or_frozen_state_stops_the_episode_and_it_goes_on_when_it_is_back(
    name: str, value: bool, reason: str, start: Start, observer: Node
) -> None:
    bridge(start)
    program = actor(start)
    watch = Watch(observer)
    watch.steps_beyond(20)
    inject(observer, name, value)
    program.wait_for(f"Episode stopped: {reason}")
    steps = watch.until(lambda s: s.state == "fault", "the status says so").steps
    assert reason in watch.status.fault
    inject(observer, name, False)
    program.wait_for("Acting again")
    assert watch.steps_beyond(steps + 20).fault == ""


def test_one_state_that_is_not_finite_is_left_out_and_counted(start: Start, observer: Node) -> None:
    bridge(start)
    program = actor(start)
    watch = Watch(observer)
    steps = watch.steps_beyond(20).steps
    inject(observer, "fault", "nan_joint_states")
    watch.steps_beyond(steps + 60)
    assert program.process.poll() is None
    assert "nan" not in watch.status.fault


def test_a_reflex_stops_the_episode_with_its_transition_truncated(
    start: Start, observer: Node
) -> None:
    simulation = bridge(start)
    program = actor(start)
    watch = Watch(observer)
    watch.steps_beyond(20)
    inject(observer, "fault", "reflex")
    simulation.wait_for("Robot stopped .*joint_reflex")
    program.wait_for("Episode stopped: ")
    stopped = watch.until(lambda s: s.state == "fault", "the status says so")
    assert stopped.episodes >= 1


def test_without_a_robot_the_actor_says_what_is_missing_and_ends_on_request(start: Start) -> None:
    program = actor(start)
    program.wait_for(r"Episode stopped: no service /reset_episode: start franka_sim_bridge")
    os.killpg(program.process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    program.wait_for("Stopped after 0 steps")
    assert program.wait() == 0


def test_a_task_that_does_not_exist_is_one_line_with_those_that_do(start: Start) -> None:
    program = start("ros2", "run", "sac_actor", "actor", "--ros-args", "-p", "task:=juggle")
    assert program.wait() == 1
    assert re.search(r"no task 'juggle'; there are: reach, pick_cube", program.output)
    assert "Traceback" not in program.output
