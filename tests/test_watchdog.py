"""The watchdog beside a simulated robot: when it stops the robot, and that it stays stopped.

Robot and watchdog are the same for all tests of this file; each begins and ends with every motion
controller inactive, and a watchdog that is not tripped.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robots import (
    BROADCASTERS,
    CARTESIAN,
    TRAJECTORY,
    VELOCITY,
    Commander,
    Guard,
    Watch,
    actor,
    bring_back,
    controllers,
    inject,
    process_of,
    real_time,
    set_hardware,
    switch,
    watchdog,
)
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from system import Program, Start, call, spin_until
from typist import TerminalProgram

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
# So long that a loaded machine keeps them; a latency is silence at first, so that it is shorter.
LIMITS = (
    "command_timeout:=3.0",
    "first_command_timeout:=5.0",
    "state_timeout:=4.0",
    "max_state_latency:=1.0",
    "use_sim_time:=true",
    "actor_timeout:=0.0",  # most tests have no actor
)
STEADY = ("state_timeout:=10.0", "max_episode_steps:=100000")  # no episode ends by itself

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


@pytest.fixture(scope="module")
def robot(start_once: Start) -> Program:
    """A robot at its own pace."""
    return real_time(start_once)


@pytest.fixture(scope="module")
def guard(robot: Program, start_once: Start) -> Program:
    """Its watchdog."""
    return watchdog(start_once, *LIMITS)


@pytest.fixture
def status(guard: Program, observer: Node) -> Iterator[Guard]:
    """What the watchdog says; the robot stands, and does so again afterwards."""
    guarded = Guard(observer)
    guarded.stop_motion()
    yield guarded
    guarded.stop_motion()


@pytest.fixture
def commander(status: Guard) -> Iterator[Commander]:
    """Commands that never end, by nobody's actor."""
    commands = Commander(status.node)
    yield commands
    commands.close()


@pytest.fixture
def commanded(status: Guard, commander: Commander) -> Guard:
    """What the watchdog says of a robot that is commanded."""
    assert switch(status.node, [CARTESIAN], [])
    status.until_state("watching")
    return status


def stays_stopped(status: Guard) -> None:
    """No motion controller is active, and one that is activated is deactivated again."""
    node = status.node
    for name in (CARTESIAN, TRAJECTORY):
        # It may be deactivated before the answer comes.
        switch(node, [name], [])
        spin_until(
            node,
            lambda: {controllers(node)[c] for c in (CARTESIAN, TRAJECTORY)} == {"inactive"},
            60.0,
            f"{name} is inactive again",
        )
    assert status.status.state == "tripped"


def test_it_holds_when_the_actor_is_stopped_and_when_it_is_killed(
    status: Guard, guard: Program, start: Start
) -> None:
    program, watch = actor(start, *STEADY), Watch(status.node)
    watch.steps_beyond(5)
    status.until_commanded()
    process = process_of(program)
    for end in (signal.SIGSTOP, signal.SIGKILL):
        before = len(guard.lines)
        process.send_signal(end)
        took = guard.wait_for(r"No motion controller is active, (\d+) ms later", after=before)
        print(f"\n{end.name}: motion controller inactive {took[1]} ms after the trip")
        status.until_state("tripped", "the newest command is")
        stays_stopped(status)
        if end == signal.SIGKILL:
            break
        process.send_signal(signal.SIGCONT)
        # What it had to say comes too late, and it sees that the robot was stopped.
        program.wait_for("Episode stopped: ")
        watch.until(lambda s: "the watchdog has stopped the robot: the newest" in s.fault, "why")
        assert {controllers(status.node)[c] for c in BROADCASTERS} == {"active"}
        status.clear()
        watch.acts_again()
        status.until_commanded()
    status.clear()
    status.until_state("waiting")


def test_it_holds_under_a_flood_of_commands(commanded: Guard, guard: Program, start: Start) -> None:
    before = len(guard.lines)
    flood = start(sys.executable, "-c", FLOOD)
    guard.wait_for(r"Tripped: \d+ commands in a second: expected at most 1000", after=before)
    took = guard.wait_for(r"No motion controller is active, (\d+) ms later", after=before)
    print(f"\nflood: motion controller inactive {took[1]} ms after the trip")
    stays_stopped(commanded)
    done, message = commanded.ask("clear")
    assert not done
    assert "not cleared: " in message and "commands in a second" in message
    flood.process.kill()
    flood.process.wait()
    commanded.clear()


@pytest.mark.parametrize("profile", [BEST_EFFORT, RELIABLE], ids=["best effort", "reliable"])
def test_an_emergency_stop_is_latched_until_it_is_released_and_cleared(
    profile: QoSProfile, commanded: Guard, guard: Program
) -> None:
    node, before = commanded.node, len(guard.lines)
    button = node.create_publisher(Bool, "emergency_stop", profile)

    def press(value: bool, state: str) -> None:
        def there() -> bool:
            button.publish(Bool(data=value))
            return bool(commanded.status.state == state)

        spin_until(node, there, 60.0, f"emergency_stop {value}: {state}")

    press(False, "watching")
    press(True, "tripped")
    guard.wait_for("Tripped: emergency_stop is true. Active: cartesian_imped", after=before)
    stays_stopped(commanded)
    done, message = commanded.ask("clear")
    assert not done
    assert "emergency_stop is still true" in message

    def released() -> bool:
        button.publish(Bool(data=False))
        return commanded.ask("clear")[0]

    spin_until(node, released, 60.0, "cleared after the release")
    assert switch(node, [CARTESIAN], [])
    commanded.until_state("watching")


def test_a_person_stops_it_by_service_and_clears_it(commanded: Guard) -> None:
    trips = commanded.status.trips
    assert commanded.ask("stop") == (True, "tripped: stopped through ~/stop")
    stays_stopped(commanded)
    commanded.until(lambda s: s.trips == trips + 1 and s.last_trip.sec > 0, "the trip is counted")
    commanded.clear()
    assert commanded.ask("clear") == (False, "not tripped")


def test_a_person_stops_it_at_the_console_and_clears_it(
    commanded: Guard, start_at_terminal: Callable[..., TerminalProgram]
) -> None:
    console = start_at_terminal("ros2", "run", "sac_actor", "operator")
    console.wait_for("s: STOP")

    def type_until(key: str, shown: str) -> None:
        def there() -> bool:
            console.press(f"{key}\n")
            return shown in console.output

        spin_until(commanded.node, there, 60.0, f"{key}: {shown}")

    type_until("s", "done: tripped: stopped through ~/stop")
    console.wait_for("watchdog tripped: stopped through ~/stop")
    commanded.until_state("tripped")
    type_until("c", "done: cleared")
    commanded.until_state("waiting")
    console.press("a\n")
    console.wait_for("nobody offers /sac_actor/acknowledge")
    console.press("q\n")
    assert console.wait() == 0


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("drop_joint_states", True, "joint states are [4-9]"),
        ("freeze_joint_states", True, "joint states are frozen: fresh stamps and the same values"),
        ("state_latency", 2.0, "joint states come .* s after their stamps"),
    ],
)
def test_state_that_is_missing_frozen_or_late_is_a_reason_until_it_is_sound_again(
    name: str,
    value: bool | float,
    reason: str,
    commanded: Guard,
    commander: Commander,
    guard: Program,
) -> None:
    before = len(guard.lines)
    inject(commanded.node, name, value)
    commander.raise_target()  # what is frozen counts while motion is asked for
    guard.wait_for(f"Tripped: {reason}", after=before)
    guard.wait_for("No motion controller is active", after=before)
    commanded.until_state("tripped")
    done, message = commanded.ask("clear")
    assert not done and message.startswith("not cleared: joint ")
    inject(commanded.node, name, type(value)(0))
    commanded.clear()


def test_a_robot_that_stops_by_itself_is_no_reason_although_nobody_says_so(
    commanded: Guard,
) -> None:
    node, trips = commanded.node, commanded.status.trips
    inject(node, "fault", "reflex")
    commanded.until_state("waiting")
    # Longer than its joint states may be old: they come back with its recovery only.
    commanded.until(lambda s: s.state_age > 5.0, "joint states are older than their limit")
    assert (commanded.status.state, commanded.status.trips) == ("waiting", trips)
    bring_back(node)


def test_the_silence_of_a_robot_that_has_stopped_does_not_keep_a_watchdog_tripped(
    commanded: Guard, guard: Program
) -> None:
    node, before = commanded.node, len(guard.lines)
    inject(node, "drop_joint_states", True)
    commanded.until_state("tripped", "joint states are")
    guard.wait_for("No motion controller is active", after=before)
    done, message = commanded.ask("clear")
    assert not done and message.startswith("not cleared: joint states are"), "a link that is broken"
    set_hardware(node, State(id=State.PRIMARY_STATE_INACTIVE, label="inactive"))
    commanded.clear()
    inject(node, "drop_joint_states", False)
    bring_back(node)


def test_a_robot_that_need_not_move_may_be_still(commanded: Guard, commander: Commander) -> None:
    trips = commanded.status.trips
    inject(commanded.node, "freeze_joint_states", True)
    # Until after the limit: only then is looked at what commands ask for.
    commanded.until_later(2.0)
    assert (commanded.status.state, commanded.status.trips) == ("watching", trips)
    commander.raise_target()
    commanded.until_state("tripped", "joint states are frozen")


def test_an_active_controller_that_nobody_commands_is_a_reason_and_an_idle_robot_is_none(
    status: Guard,
) -> None:
    assert switch(status.node, [CARTESIAN], [])
    status.until_state("tripped", "no command since the motion controller became active")
    inject(status.node, "drop_joint_states", True)
    status.clear()
    trips = status.status.trips
    status.until(lambda s: s.state_age > 5.0, "joint states are older than their limit")
    assert (status.status.state, status.status.trips) == ("waiting", trips)


def test_an_actor_that_pauses_or_ends_gives_control_back_and_is_no_reason(
    status: Guard, start: Start
) -> None:
    node, trips = status.node, status.status.trips
    program, watch = actor(start, *STEADY), Watch(node)
    watch.steps_beyond(5)
    for transition, state in (("deactivate", "waiting"), ("activate", "watching")):
        change(node, "sac_actor", transition)
        status.until_state(state)
    watch.steps_beyond(watch.status.steps + 5)
    os.killpg(program.process.pid, signal.SIGINT)
    program.wait_for("Stopped after")
    assert program.wait() == 0
    assert controllers(node)[CARTESIAN] == "inactive"
    assert status.until_state("waiting").trips == trips


def change(node: Node, name: str, transition: str) -> None:
    request = ChangeState.Request(transition=Transition(label=transition))
    answer: Any = call(node, ChangeState, f"{name}/change_state", request)
    assert answer.success


def test_another_motion_controller_than_the_guarded_one_is_a_reason(
    status: Guard, guard: Program
) -> None:
    switch(status.node, [VELOCITY], [])
    status.until_state("tripped", f"{VELOCITY} is active, and this watchdog guards {CARTESIAN}:")
    stays_stopped(status)


def test_that_of_resets_without_a_reset_is_a_reason_whatever_is_commanded(
    status: Guard, commander: Commander
) -> None:
    assert switch(status.node, [TRAJECTORY], [])
    status.until_state("tripped", "no word of robot_reset since the motion controller that it")
    stays_stopped(status)


def test_without_a_controller_manager_that_answers_it_asks_for_the_user_stop(
    commanded: Guard, guard: Program, robot: Program
) -> None:
    before, process = len(guard.lines), process_of(robot)
    process.send_signal(signal.SIGSTOP)
    try:
        guard.wait_for("Tripped: joint states are", after=before)
        guard.wait_for(r"is not confirmed inactive after .*: PRESS THE USER STOP", after=before)
        done, message = commanded.ask("clear")
        assert not done and "not confirmed inactive" in message
    finally:
        process.send_signal(signal.SIGCONT)
    guard.wait_for("No motion controller is active", after=before)
    commanded.clear()


def test_malformed_commands_and_states_are_counted_and_end_nothing(
    status: Guard, guard: Program
) -> None:
    node = status.node
    commands = node.create_publisher(PoseStamped, "target_pose", RELIABLE)
    states = node.create_publisher(JointState, "franka/joint_states", RELIABLE)
    refused: list[int] = [0]

    def diagnosed(message: DiagnosticArray) -> None:
        for entry in message.status:
            if entry.name == "/sac_watchdog":
                values = {value.key: value.value for value in entry.values}
                refused.append(int(values["joint_states_refused"]))

    node.create_subscription(DiagnosticArray, "/diagnostics", diagnosed, 10)
    names = [f"fr3_joint{i}" for i in range(1, 8)]
    hostile = [
        JointState(),
        JointState(name=names, position=[0.0] * 7),
        JointState(name=names, position=[float("nan")] * 7, velocity=[0.0] * 7),
        JointState(name=["x"] * 1000, position=[0.0] * 1000, velocity=[0.0] * 1000),
    ]
    inject(node, "freeze_joint_states", True)  # commands are looked into
    assert switch(node, [CARTESIAN], [])

    def send() -> bool:
        for message in hostile:
            states.publish(message)
        commands.publish(b"\x00\x01\x00\x00")
        return status.status.command_rate > 0.0 and refused[-1] >= 10

    spin_until(node, send, 60.0, "they are heard")
    assert status.status.state == "watching"
    assert guard.process.poll() is None
    assert "Traceback" not in guard.output


def test_a_wrong_parameter_is_one_line_and_status_1(start: Start) -> None:
    wrong = {
        "command:=joint_effort": "parameter command: expected one of cartesian_impedance",
        "command_timeout:=0.0": "parameter command_timeout",
        "robot_type:=ur5": "parameter robot_type: expected one of fr3, fer",
    }
    command = ["ros2", "run", "sac_actor", "watchdog", "--ros-args", "-p"]
    programs = {parameter: start(*command, parameter) for parameter in wrong}
    for parameter, program in programs.items():
        assert program.wait() == 1
        program.wait_for(wrong[parameter])
        assert "Traceback" not in program.output
