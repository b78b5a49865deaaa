"""The watchdog beside a simulated robot: when it stops the robot, and that it stays stopped."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from typing import Any

import psutil
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robots import (
    BROADCASTERS,
    CARTESIAN,
    TRAJECTORY,
    Guard,
    Watch,
    actor,
    bridge,
    controllers,
    inject,
    real_time,
    switch,
    watchdog,
)
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from system import Program, Start, call, spin_until

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)

# Somebody who sends commands as fast as one core can.
FLOOD = """
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
rclpy.init()
publisher = rclpy.create_node("flood").create_publisher(PoseStamped, "target_pose", 1)
message = PoseStamped()
message.pose.orientation.x, message.pose.orientation.w = 1.0, 0.0
message.pose.position.x, message.pose.position.z = 0.5, 0.3
data = serialize_message(message)
print("flooding", flush=True)
while True:
    publisher.publish(data)
"""


def process_of(program: Program) -> psutil.Process:
    """The node itself, below the `ros2 run` that started it."""
    nodes = [p for p in program.descendants() if "sac_actor" in " ".join(p.cmdline())]
    return nodes[-1] if nodes else psutil.Process(program.process.pid)


@pytest.fixture
def acting(start: Start, observer: Node) -> tuple[Program, Program, Guard]:
    """A robot at its own pace, an actor that moves it, and a watchdog; actor, watchdog, status."""
    real_time(start)
    guard = watchdog(start)
    program = actor(start)
    watch = Watch(observer)
    status = Guard(observer)
    watch.steps_beyond(5)
    status.until_state("watching")
    return program, guard, status


def stays_stopped(observer: Node, guard: Guard) -> None:
    """No motion controller is active, and one that is activated is deactivated again."""
    for name in (CARTESIAN, TRAJECTORY):
        # It may be deactivated before the answer comes.
        switch(observer, [name], [])
        spin_until(
            observer,
            lambda: {controllers(observer)[c] for c in (CARTESIAN, TRAJECTORY)} == {"inactive"},
            30.0,
            f"{name} is inactive again",
        )
    assert guard.status.state == "tripped"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_it_holds_when_the_actor_is_killed_or_stopped(
    end: signal.Signals, acting: tuple[Program, Program, Guard], observer: Node
) -> None:
    program, guard, status = acting
    process = process_of(program)
    process.send_signal(end)
    took = guard.wait_for(r"No motion controller is active, (\d+) ms later")
    print(f"\n{end.name}: motion controller inactive {took[1]} ms after the trip")
    status.until_state("tripped", "the newest command is")
    stays_stopped(observer, status)
    if end == signal.SIGSTOP:
        process.send_signal(signal.SIGCONT)
        # What it had to say comes too late, and it sees that the robot was stopped.
        program.wait_for("Episode stopped: ")
        assert set(controllers(observer)[c] for c in BROADCASTERS) == {"active"}
    cleared, message = status.ask("clear")
    assert cleared, message
    if end == signal.SIGKILL:
        status.until_state("waiting")
        return

    def goes_on() -> bool:
        """A request of before it was stopped may arrive late, and takes the controller away."""
        call(observer, Trigger, "sac_actor/acknowledge", Trigger.Request())
        return bool(status.status.state == "watching")

    spin_until(observer, goes_on, 60.0, "the actor controls the robot again")


def test_an_actor_that_sends_too_much_is_stopped(start: Start, observer: Node) -> None:
    bridge(start)  # as fast as it goes: hundreds of commands in a second
    guard = watchdog(start, "max_command_rate:=20.0")
    status = Guard(observer)
    actor(start)
    guard.wait_for(r"Tripped: \d+ commands in a second: expected at most 20")
    status.until_state("tripped", "commands in a second")
    guard.wait_for("No motion controller is active")


def test_it_holds_under_a_flood_of_commands(
    acting: tuple[Program, Program, Guard], start: Start, observer: Node
) -> None:
    _, guard, status = acting
    flood = start(sys.executable, "-c", FLOOD)
    guard.wait_for(r"Tripped: \d+ commands in a second: expected at most 1000")
    took = guard.wait_for(r"No motion controller is active, (\d+) ms later")
    print(f"\nflood: motion controller inactive {took[1]} ms after the trip")
    stays_stopped(observer, status)
    refused, message = status.ask("clear")
    assert not refused
    assert "not cleared: " in message and "commands in a second" in message
    flood.process.kill()
    flood.process.wait()
    spin_until(observer, lambda: status.ask("clear")[0], 30.0, "cleared after the flood")


@pytest.mark.parametrize("profile", [BEST_EFFORT, RELIABLE], ids=["best effort", "reliable"])
def test_an_emergency_stop_is_latched_until_it_is_released_and_cleared(
    profile: QoSProfile, start: Start, observer: Node
) -> None:
    real_time(start)
    guard = watchdog(start)
    status = Guard(observer)
    button = observer.create_publisher(Bool, "emergency_stop", profile)

    def press(value: bool, state: str) -> None:
        def there() -> bool:
            button.publish(Bool(data=value))
            return status.status.state == state

        spin_until(observer, there, 30.0, f"emergency_stop {value}: {state}")

    status.until_state("watching")
    press(False, "watching")
    press(True, "tripped")
    guard.wait_for("Tripped: emergency_stop is true. Active: cartesian_impedance_controller")
    stays_stopped(observer, status)
    refused, message = status.ask("clear")
    assert not refused
    assert "emergency_stop is still true" in message
    press(False, "tripped")
    spin_until(observer, lambda: status.ask("clear")[0], 30.0, "cleared after the release")
    assert switch(observer, [CARTESIAN], [])
    status.until_state("watching")


def test_a_person_can_stop_it_by_service_and_clear_it(start: Start, observer: Node) -> None:
    real_time(start)
    watchdog(start)
    status = Guard(observer)
    status.until_state("watching")
    assert status.ask("stop") == (True, "tripped: stopped through ~/stop")
    stays_stopped(observer, status)
    status.until(lambda s: s.trips == 1 and s.last_trip.sec > 0, "the trip is counted")
    spin_until(observer, lambda: status.ask("clear")[0], 30.0, "cleared")
    assert status.ask("clear") == (False, "not tripped")


@pytest.mark.parametrize(
    ("name", "value", "limits", "reason"),
    [
        ("drop_joint_states", True, ["state_timeout:=0.5"], "joint states are 0."),
        (
            "state_latency",
            1.0,
            ["max_state_latency:=0.5", "state_timeout:=5.0", "use_sim_time:=true"],
            "after their stamps",
        ),
        ("fault", "nan_joint_states", ["state_timeout:=2.0"], ""),
    ],
)
def test_state_that_is_missing_or_late_is_a_reason_and_one_bad_message_is_none(
    name: str,
    value: bool | float | str,
    limits: list[str],
    reason: str,
    start: Start,
    observer: Node,
) -> None:
    real_time(start)
    watchdog(start, *limits)
    watch, status = Watch(observer), Guard(observer)
    actor(start, "state_timeout:=10.0")
    watch.steps_beyond(5)
    inject(observer, name, value)
    if not reason:
        watch.steps_beyond(watch.status.steps + 10)
        assert status.status.state == "watching"
        return
    status.until_state("tripped", reason)
    if name != "state_latency":
        spin_until(observer, lambda: not status.ask("clear")[0], 30.0, "clear is refused")
    off = "none" if name == "fault" else type(value)(0)
    inject(observer, name, off)
    spin_until(observer, lambda: status.ask("clear")[0], 30.0, "cleared")


def test_an_active_controller_that_nobody_commands_is_a_reason_and_an_idle_robot_is_none(
    start: Start, observer: Node
) -> None:
    real_time(start)
    watchdog(start, "first_command_timeout:=1.0", "actor_timeout:=0.0", "state_timeout:=1.0")
    status = Guard(observer)
    status.until_state("tripped", "no command since the motion controller became active")
    spin_until(observer, lambda: status.ask("clear")[0], 30.0, "cleared")
    inject(observer, "drop_joint_states", True)
    passes(observer, 3.0)
    assert status.until_state("waiting").trips == 1


def test_a_paused_actor_gives_control_back_and_is_no_reason(start: Start, observer: Node) -> None:
    real_time(start)
    watchdog(start, "command_timeout:=1.0")
    watch, status = Watch(observer), Guard(observer)
    actor(start)
    watch.steps_beyond(5)
    for transition, state in (("deactivate", "waiting"), ("activate", "watching")):
        change(observer, "sac_actor", transition)
        status.until_state(state)
        passes(observer, 2.0)
        assert status.status.trips == 0
    watch.steps_beyond(watch.status.steps + 5)


def test_an_actor_that_ends_leaves_the_motion_controller_inactive(
    start: Start, observer: Node
) -> None:
    real_time(start)
    watchdog(start, "command_timeout:=1.0")
    watch, status = Watch(observer), Guard(observer)
    program = actor(start)
    watch.steps_beyond(5)
    os.killpg(program.process.pid, signal.SIGINT)
    program.wait_for("Stopped after")
    assert program.wait() == 0
    assert controllers(observer)[CARTESIAN] == "inactive"
    passes(observer, 2.0)
    assert status.until_state("waiting").trips == 0


def passes(node: Node, seconds: float) -> None:
    """Let time pass in which nothing is to happen."""
    end = time.monotonic() + seconds
    spin_until(node, lambda: time.monotonic() > end, seconds + 5.0, "time passes")


def change(node: Node, name: str, transition: str) -> None:
    request = ChangeState.Request(transition=Transition(label=transition))
    answer: Any = call(node, ChangeState, f"{name}/change_state", request)
    assert answer.success


def test_another_motion_controller_than_the_guarded_one_is_a_reason(
    start: Start, observer: Node
) -> None:
    real_time(start, f"motion_controller:={TRAJECTORY}")
    guard = watchdog(start)
    guard.wait_for(
        f"Tripped: {TRAJECTORY} is active, and this watchdog guards {CARTESIAN}: give it"
    )
    Guard(observer).until_state("tripped")
    spin_until(
        observer,
        lambda: controllers(observer)[TRAJECTORY] == "inactive",
        30.0,
        "it is deactivated",
    )


def test_without_a_controller_manager_that_answers_it_asks_for_the_user_stop(
    start: Start, observer: Node
) -> None:
    simulation = real_time(start)
    guard = watchdog(start)
    status = Guard(observer)
    status.until_state("watching")
    (node,) = [p for p in simulation.descendants() if "franka_sim_bridge" in p.cmdline()[1]] or [
        psutil.Process(simulation.process.pid)
    ]
    os.kill(node.pid, signal.SIGSTOP)
    guard.wait_for("Tripped: joint states are")
    guard.wait_for(r"is not confirmed inactive after .* s of calling .*: PRESS THE USER STOP")
    refused, message = status.ask("clear")
    assert not refused and "not confirmed inactive" in message
    os.kill(node.pid, signal.SIGCONT)
    guard.wait_for("No motion controller is active")
    spin_until(observer, lambda: status.ask("clear")[0], 30.0, "cleared")


def test_malformed_commands_and_states_end_nothing(start: Start, observer: Node) -> None:
    from geometry_msgs.msg import PoseStamped
    from sensor_msgs.msg import JointState

    real_time(start, "drop_joint_states:=true")
    guard = watchdog(start, "frozen_timeout:=0.1", "state_timeout:=10.0")
    status = Guard(observer)
    status.until_state("watching")
    commands = observer.create_publisher(PoseStamped, "target_pose", RELIABLE)
    states = observer.create_publisher(JointState, "franka/joint_states", RELIABLE)
    names = [f"fr3_joint{i}" for i in range(1, 8)]
    hostile = [
        JointState(),
        JointState(name=names, position=[0.0] * 7),
        JointState(name=names, position=[float("nan")] * 7, velocity=[0.0] * 7),
        JointState(name=["x"] * 1000, position=[0.0] * 1000, velocity=[0.0] * 1000),
    ]
    sound = JointState(name=names, position=[0.1] * 7, velocity=[0.0] * 7)

    def send() -> bool:
        sound.header.stamp.nanosec += 1
        for message in (*hostile, sound):
            states.publish(message)
        commands.publish(b"\x00\x01\x00\x00")
        return status.status.command_rate > 0.0 and status.status.state_age < 0.1

    spin_until(observer, send, 30.0, "they are heard")
    assert guard.process.poll() is None
    assert not re.search("Traceback", guard.output)


@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        ("command:=joint_effort", "parameter command: expected one of cartesian_impedance"),
        ("command_timeout:=0.0", "parameter command_timeout"),
        ("robot_type:=ur5", "parameter robot_type: expected one of fr3, fer"),
    ],
)
def test_a_wrong_parameter_is_one_line_and_status_1(parameter: str, why: str, start: Start) -> None:
    command = ["ros2", "run", "sac_actor", "watchdog", "--ros-args", "-p", parameter]
    program = start(*command)
    assert program.wait() == 1
    program.wait_for(why)
    assert "Traceback" not in program.output
