"""Every fault of the robot against the actor and its watchdog, as processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from ears import Ear
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robots import (
    BROADCASTERS,
    CARTESIAN,
    HARDWARE,
    Guard,
    Recorder,
    Watch,
    actor,
    controllers,
    inject,
    real_time,
    switch,
    watchdog,
)
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from system import Start, call, spin_until

from sac_msgs.msg import TransitionBatch
from sac_ros import qos

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LONG = "max_episode_steps:=100000"  # an episode ends by success or fault only
ALL = [*BROADCASTERS, CARTESIAN]


def acknowledge(node: Node) -> tuple[bool, str]:
    answer: Any = call(node, Trigger, "sac_actor/acknowledge", Trigger.Request())
    return answer.success, answer.message


class Scene:
    """A robot at its own pace with actor and watchdog, and everything that is said of it."""

    def __init__(self, start: Start, observer: Node, *parameters: str) -> None:
        self.node = observer
        self.simulation = real_time(start)
        self.guard = watchdog(start)
        self.watch, self.status = Watch(observer), Guard(observer)
        self.actor = actor(start, *parameters)
        self.recorder = Recorder(observer.context)
        self.acts()

    def acts(self, more: int = 5) -> Any:
        """Wait until more steps are made."""
        return self.watch.steps_beyond(self.watch.status.steps + more)

    def until(self, state: str, fault: str) -> Any:
        return self.watch.until(
            lambda s: s.state == state and fault in s.fault, f"actor {state}: {fault}"
        )

    def close(self) -> None:
        self.recorder.close()


@pytest.fixture
def scene(start: Start, observer: Node) -> Iterator[Any]:
    scenes: list[Scene] = []

    def make(*parameters: str) -> Scene:
        scenes.append(Scene(start, observer, *parameters))
        return scenes[-1]

    yield make
    for one in scenes:
        one.close()


# Reflexes.


@pytest.mark.parametrize("kind", ["reflex", "cartesian_reflex", "communication", "discontinuity"])
def test_after_a_reflex_no_command_goes_out_until_the_robot_is_back_in_three_steps(
    kind: str, scene: Any
) -> None:
    robot = scene("recovery:=automatic")
    inject(robot.node, "fault", kind)
    robot.actor.wait_for(r"Episode stopped: the robot has stopped \(FrankaHardwareInterface is")
    robot.actor.wait_for("Recovered in")
    robot.actor.wait_for("Acting again")
    status = robot.acts()
    tape = robot.recorder.tape()
    stopped = tape.when(HARDWARE, "unconfigured")
    back = tape.when(CARTESIAN, "active", stopped)
    late = [when for when in tape.commands if stopped < when < back]
    # One may be on its way: it answers the last state that came before the fault.
    assert len(late) <= 1
    last = max(when for when in tape.commands if when < back)
    print(f"\n{kind}: last command {(last - stopped) / 1e6:+.1f} ms from the fault")
    assert tape.after(stopped) == ["error_recovery", HARDWARE, *BROADCASTERS, CARTESIAN]
    assert controllers(robot.node).items() >= dict.fromkeys(ALL, "active").items()
    assert (status.episodes_cut, status.recoveries) == (1, 1)
    assert "the robot has stopped" in status.last_fault
    assert status.last_fault_stamp.sec > 0
    assert robot.status.status.trips == 0


def test_the_transition_that_a_fault_cuts_is_truncated(scene: Any) -> None:
    # Rows wait for the end: nothing but the last of an episode can be truncated.
    robot = scene("recovery:=automatic", "flush_period:=5000", LONG)
    truncated: dict[int, int] = {}  # by sequence number: what is not acknowledged comes again

    def take(batch: TransitionBatch) -> None:
        truncated.update(enumerate(batch.truncated, start=batch.first_sequence))

    robot.node.create_subscription(TransitionBatch, "sac/transitions", take, qos.TRANSITIONS)
    inject(robot.node, "fault", "reflex")
    robot.actor.wait_for("Recovered in")
    robot.acts()
    robot.actor.process.send_signal(2)
    spin_until(robot.node, lambda: robot.actor.process.poll() is not None, 30.0, "the end")
    # The fault's, and that of the end.
    assert len(truncated) > 5
    assert sum(truncated.values()) == 2
    assert truncated[max(truncated)] == 1


def test_without_being_told_otherwise_a_person_agrees_to_each_recovery(scene: Any) -> None:
    robot = scene()
    assert acknowledge(robot.node) == (False, "nothing waits for an acknowledgement")
    inject(robot.node, "fault", "reflex")
    waiting = robot.until("waiting", "ros2 service call /sac_actor/acknowledge")
    assert waiting.strikes == waiting.recoveries == 0
    assert robot.recorder.tape().recoveries == []
    done, message = acknowledge(robot.node)
    assert done and message.startswith("acknowledged: the robot has stopped")
    robot.actor.wait_for("Recovered in")
    assert robot.acts().recoveries == 1


def test_after_too_many_recoveries_without_a_whole_episode_a_person_is_asked(scene: Any) -> None:
    robot = scene("recovery:=automatic", "max_strikes:=2", LONG, "reward_from:=human")
    for strike in (1, 2):
        inject(robot.node, "fault", "reflex")
        robot.watch.until(lambda s, n=strike: s.recoveries == n, f"recovery {strike}")
        assert robot.acts().strikes == strike
    inject(robot.node, "fault", "reflex")
    robot.until("waiting", "2 recoveries and no whole episode since")
    assert acknowledge(robot.node)[0]
    robot.watch.until(lambda s: s.recoveries == 3, "a third recovery")
    assert robot.acts().strikes == 1


def test_a_whole_episode_forgives(scene: Any) -> None:
    robot = scene("recovery:=automatic", "max_episode_steps:=10")
    inject(robot.node, "fault", "reflex")
    robot.watch.until(lambda s: s.strikes == 1, "a strike")
    robot.watch.until(lambda s: s.strikes == 0 and s.recoveries == 1, "it is forgiven")


def test_a_robot_that_stops_again_at_once_is_said_to_be_in_contact(scene: Any) -> None:
    robot = scene("recovery:=automatic", LONG)
    inject(robot.node, "fault", "reflex")
    robot.actor.wait_for(f"step 3 of 3, {CARTESIAN} active")
    inject(robot.node, "fault", "reflex")
    robot.actor.wait_for(
        "recovery failed at step 3 of 3, .*the robot has stopped again at once: is it in contact"
    )
    robot.actor.wait_for("Recovery in [12] s")
    robot.actor.wait_for("Recovered in")
    robot.acts()


def test_a_hardware_that_does_not_come_back_is_given_up_after_a_time(scene: Any) -> None:
    robot = scene("recovery:=automatic", LONG)
    inject(robot.node, "reactivation_delay", 12.0)
    inject(robot.node, "fault", "reflex")
    robot.actor.wait_for(
        "recovery failed at step 2 of 3, hardware active: no answer of "
        "/controller_manager/set_hardware_component_state within 10 s; franka_ros2 is known"
    )
    inject(robot.node, "reactivation_delay", 0.0)
    robot.actor.wait_for("Recovered in")
    robot.acts()


def test_with_manual_recovery_a_person_recovers_and_says_so(scene: Any) -> None:
    robot = scene("recovery:=manual")
    inject(robot.node, "fault", "reflex")
    robot.until("waiting", "recovery is manual: bring it back")
    assert robot.recorder.tape().recoveries == []


# What a person does.


@pytest.mark.parametrize("kind", ["user_stop", "guiding"])
def test_what_a_person_holds_is_never_cleared_by_software(kind: str, scene: Any) -> None:
    robot = scene("recovery:=acknowledge")
    inject(robot.node, "fault", kind)
    robot.until("waiting", "acknowledge")
    assert robot.recorder.tape().recoveries == [], "nothing is tried unasked"
    assert acknowledge(robot.node)[0]
    robot.until("waiting", "the robot refuses error_recovery: release the user stop")
    stopped = robot.recorder.tape().when(HARDWARE, "unconfigured")
    assert robot.recorder.tape().after(stopped) == []
    assert controllers(robot.node)[CARTESIAN] == "inactive"
    inject(robot.node, "fault", f"release_{kind}")
    assert acknowledge(robot.node)[0]
    robot.actor.wait_for("Recovered in")
    status = robot.acts()
    assert (status.recoveries, status.strikes) == (1, 1)


def test_when_recovery_is_automatic_it_goes_on_once_the_user_stop_is_released(scene: Any) -> None:
    robot = scene("recovery:=automatic")
    inject(robot.node, "fault", "user_stop")
    robot.until("waiting", "release the user stop")
    robot.simulation.wait_for("error_recovery: the user stop is pressed")
    assert controllers(robot.node)[CARTESIAN] == "inactive"
    inject(robot.node, "fault", "release_user_stop")
    robot.actor.wait_for("Recovered in")
    robot.acts()


def test_a_controller_that_somebody_takes_away_is_not_taken_back_unasked(scene: Any) -> None:
    robot = scene()
    assert switch(robot.node, [], [CARTESIAN])
    robot.until("waiting", f"{CARTESIAN} was deactivated; make it safe")
    tape = robot.recorder.tape()
    taken = tape.when(CARTESIAN, "inactive")
    assert len([when for when in tape.commands if when > taken]) <= 1
    assert tape.recoveries == []
    assert acknowledge(robot.node)[0]
    robot.acts()
    assert controllers(robot.node)[CARTESIAN] == "active"


# State that is missing, frozen, late or hostile.


def test_without_joint_states_the_arm_is_held_and_control_given_back(scene: Any) -> None:
    robot = scene()
    inject(robot.node, "drop_joint_states", True)
    robot.until("fault", "no joint state on /franka/joint_states")
    spin_until(
        robot.node,
        lambda: controllers(robot.node)[CARTESIAN] == "inactive",
        30.0,
        "the motion controller is inactive",
    )
    assert robot.status.status.state != "watching"
    inject(robot.node, "drop_joint_states", False)
    if robot.status.status.state == "tripped":
        spin_until(robot.node, lambda: robot.status.ask("clear")[0], 30.0, "cleared")
    robot.acts()


def test_frozen_joint_states_under_fresh_stamps_stop_the_actor_within_a_second_of_robot_time(
    scene: Any,
) -> None:
    robot = scene()
    ear = Ear(robot.recorder.node)
    ear.listen("franka/joint_states", JointState)
    inject(robot.node, "freeze_joint_states", True)
    robot.until("fault", "joint states are frozen: fresh stamps and the same values for")
    messages = [heard.message for heard in ear.take("franka/joint_states")]
    same = [m for m in messages if m.position == messages[-1].position]
    stopped = robot.recorder.tape().when(CARTESIAN, "inactive")
    commands = [when for when in robot.recorder.tape().commands if when > stopped]
    assert commands == [], "it does not begin again with frozen states"
    assert len({m.header.stamp.nanosec for m in same}) > 10, "stamps went on"
    inject(robot.node, "freeze_joint_states", False)
    robot.acts()


def test_a_peer_that_sends_joint_states_of_nan_and_nonsense_moves_nothing(scene: Any) -> None:
    robot = scene()
    names = [f"fr3_joint{i}" for i in range(1, 8)]
    publisher = robot.node.create_publisher(JointState, "franka/joint_states", RELIABLE)
    hostile = [
        JointState(name=names, position=[float("nan")] * 7, velocity=[0.0] * 7),
        JointState(name=names[:3], position=[0.0] * 3, velocity=[0.0] * 3),
        JointState(name=names, position=[0.0] * 7, velocity=[float("inf")] * 7),
    ]
    target = robot.watch.status.steps + 20

    def send() -> bool:
        for message in hostile:
            publisher.publish(message)
        return bool(robot.watch.status.steps > target)

    spin_until(robot.node, send, 60.0, "it acts on")
    assert robot.watch.status.fault == ""
    assert robot.watch.status.episodes_cut == 0


def test_the_watchdog_stops_an_actor_whose_state_is_late_until_it_is_cleared(
    start: Start, observer: Node
) -> None:
    real_time(start)
    watchdog(start, "max_state_latency:=0.5", "state_timeout:=5.0", "use_sim_time:=true")
    watch, status = Watch(observer), Guard(observer)
    program = actor(start)
    watch.steps_beyond(5)
    inject(observer, "state_latency", 1.0)
    status.until_state("tripped", "after their stamps")
    program.wait_for(
        "the watchdog has stopped the robot: joint states come .*; when it is safe: ros2 service "
        "call /sac_watchdog/clear std_srvs/srv/Trigger"
    )
    inject(observer, "state_latency", 0.0)
    spin_until(observer, lambda: status.ask("clear")[0], 30.0, "cleared")
    watch.steps_beyond(watch.status.steps + 5)


def test_an_actor_that_needs_a_watchdog_does_nothing_without_one(
    start: Start, observer: Node
) -> None:
    real_time(start)
    program = actor(start, "watchdog_timeout:=3.0")
    program.wait_for("Episode stopped: no watchdog on /watchdog/status for 3 s: start it")
    watch = Watch(observer)
    guard = watchdog(start)
    watch.steps_beyond(5)
    guard.end()
    program.wait_for("Episode stopped: no watchdog on /watchdog/status for 3 s(?s:.*)")
    watch.until(lambda s: s.state == "fault" and "no watchdog" in s.fault, "it stops again")
    assert controllers(observer)[CARTESIAN] == "inactive"


# Perception.


def test_an_object_that_is_not_seen_any_more_stops_the_episode_visibly(
    start: Start, observer: Node
) -> None:
    real_time(start)
    watch = Watch(observer)
    program = actor(start)
    watch.steps_beyond(5)
    messages: list[str] = []

    def diagnosed(message: DiagnosticArray) -> None:
        messages.extend(s.message for s in message.status if s.name == "/sac_actor")

    observer.create_subscription(DiagnosticArray, "/diagnostics", diagnosed, 10)
    inject(observer, "drop_object_poses", True)
    program.wait_for(r"Episode stopped: the pose on /objects/target/pose is 0\.\d+ s old")
    watch.until(lambda s: s.state == "fault" and "objects/target/pose" in s.fault, "status")
    spin_until(
        observer, lambda: any("objects/target/pose" in m for m in messages), 30.0, "diagnostics"
    )
    assert controllers(observer)[CARTESIAN] == "inactive"
    inject(observer, "drop_object_poses", False)
    watch.steps_beyond(watch.status.steps + 5)
