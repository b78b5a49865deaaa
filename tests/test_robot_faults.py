"""Every fault of the robot against the actor and its watchdog, as processes.

Robot and watchdog are the same for all tests of this file, and so is the actor of those that want
the same of it; each test begins and ends with an actor that acts.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from time import time_ns
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from ears import Ear
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robots import (
    BROADCASTERS,
    CARTESIAN,
    HARDWARE,
    INJECTED,
    Guard,
    Recorder,
    Watch,
    acknowledge,
    actor,
    bring_back,
    controllers,
    inject,
    process_of,
    real_time,
    switch,
    watchdog,
)
from sensor_msgs.msg import JointState
from system import Program, Start, spin_until

from sac_msgs.msg import TransitionBatch
from sac_ros import qos

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LONG = "max_episode_steps:=100000"  # an episode ends by success or fault only
ALL = [*BROADCASTERS, CARTESIAN]
# So long that a loaded machine keeps them.
LIMITS = ("command_timeout:=10.0", "state_timeout:=10.0", "frozen_timeout:=5.0")
PATIENT = "state_timeout:=5.0"


@pytest.fixture(scope="module")
def simulation(start_once: Start) -> Program:
    """A robot at its own pace."""
    return real_time(start_once)


@pytest.fixture(scope="module")
def guard(simulation: Program, start_once: Start) -> Program:
    """Its watchdog."""
    return watchdog(start_once, *LIMITS)


class Scene:
    """Robot, actor and watchdog, and everything that is said of them."""

    def __init__(self, node: Node, program: Program) -> None:
        self.node, self.actor = node, program
        self.watch, self.status = Watch(node), Guard(node)
        self.before = self.watch.acts_again()  # the status that it began with
        self.trips = self.status.until(lambda s: s.state != "", "a watchdog").trips
        self.recorder = Recorder(node.context)
        spin_until(node, lambda: bool(self.recorder.tape().commands), 60.0, "commands are heard")
        self._lines = len(program.lines)

    def says(self, pattern: str) -> int:
        """Wait until the actor has said something since the test began; when (ns) that was."""
        stamped = r"\[(\d+)\.(\d{9})\] \[\w+\]: .*"
        said = self.actor.wait_for(f"{stamped}(?:{pattern})", after=self._lines)
        return int(said[1]) * 10**9 + int(said[2])

    def acts(self, more: int = 5) -> Any:
        """Wait until more steps are made."""
        return self.watch.steps_beyond(self.watch.status.steps + more)

    def until(self, state: str, fault: str) -> Any:
        return self.watch.until(
            lambda s: s.state == state and fault in s.fault, f"actor {state}: {fault}"
        )

    def recovered(self, times: int = 1) -> Any:
        return self.watch.until(
            lambda s: s.recoveries == self.before.recoveries + times, f"{times} recoveries"
        )

    def cut_by(self, kind: str) -> int:
        """Have a fault come in mid-episode, where it cuts one; from when (ns) on it may have come.

        One that comes between two episodes is recovered from before the next.
        """
        while True:
            self.before, self._lines = self.watch.acts_again(), len(self.actor.lines)
            since = time_ns()
            inject(self.node, "fault", kind)
            self.says(r"Recovery \d+: step 1 of 3")
            if any(
                "Episode stopped: the robot" in line for line in self.actor.lines[self._lines :]
            ):
                return since
            self.recovered()

    def close(self) -> None:
        """As it was."""
        self.recorder.close()
        inject(self.node, **INJECTED)
        bring_back(self.node)
        if self.status.status.state == "tripped":
            self.status.clear()


@pytest.fixture(scope="module")
def acting(request: pytest.FixtureRequest, guard: Program, tmp_path_factory: Any) -> Iterator[Any]:
    """An actor with the parameters that a test names."""
    program = actor(
        lambda *command: Program(list(command), tmp_path_factory.mktemp("actor")), *request.param
    )
    yield program
    program.end()


@pytest.fixture
def scene(acting: Program, observer: Node) -> Iterator[Scene]:
    made = Scene(observer, acting)
    yield made
    made.close()


def acts_as(name: str, *parameters: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("acting", [(PATIENT, *parameters)], indirect=True, ids=[name])


asking = acts_as("asking", LONG, "reward_from:=human")
automatic = acts_as("automatic", "recovery:=automatic", "max_episode_steps:=20", "max_strikes:=100")


# Reflexes.


@automatic
@pytest.mark.parametrize("kind", ["reflex", "cartesian_reflex", "communication", "discontinuity"])
def test_after_a_reflex_no_command_goes_out_until_the_robot_is_back_in_three_steps(
    kind: str, scene: Scene
) -> None:
    since = scene.cut_by(kind)
    noticed = scene.says(r"Episode stopped: the robot has stopped \(FrankaHardwareInterface is")
    scene.says("Recovered in")
    scene.says("Acting again")
    scene.recovered()
    status = scene.acts()
    tape = scene.recorder.tape()
    back = tape.when(HARDWARE, "active", since)
    acting = tape.when(CARTESIAN, "active", since)
    assert [when for when in tape.commands if noticed < when < back] == []
    # CRISP goes where it was told last as soon as it is active: it is told to stay.
    assert len([when for when in tape.commands if back < when < acting]) == 1
    last = max(when for when in tape.commands if when < back)
    print(f"\n{kind}: last command {(last - since) / 1e6:+.1f} ms from the fault")
    assert tape.after(since) == ["error_recovery", HARDWARE, *BROADCASTERS, CARTESIAN]
    assert status.episodes_cut == scene.before.episodes_cut + 1
    assert status.recoveries == scene.before.recoveries + 1
    assert "the robot has stopped" in status.last_fault
    assert status.last_fault_stamp.sec > 0
    scene.watch.until(lambda s: s.strikes == 0, "a whole episode forgives")
    assert scene.status.status.trips == scene.trips


@automatic
def test_a_robot_that_stops_again_at_once_is_said_to_be_in_contact(scene: Scene) -> None:
    ended = "is it in contact|Recovered in"
    begun = len(scene.actor.lines)
    while True:  # until the second reflex comes before the recovery counts
        inject(scene.node, "fault", "reflex")
        scene.actor.wait_for("step 3 of 3, .* active", after=begun)
        inject(scene.node, "fault", "reflex")
        if scene.actor.wait_for(ended, after=begun)[0] != "Recovered in":
            break
        begun = len(scene.actor.lines)
        scene.acts()
    scene.says("recovery failed at step 3 of 3, .*: the robot has stopped again at once")
    scene.says(r"Recovery in \d+ s")
    scene.says("Recovered in")
    scene.acts()


@automatic
def test_a_hardware_that_does_not_come_back_is_given_up_after_a_time(scene: Scene) -> None:
    inject(scene.node, "reactivation_delay", 12.0)
    inject(scene.node, "fault", "reflex")
    scene.says(
        "recovery failed at step 2 of 3, hardware active: no answer of "
        "/controller_manager/set_hardware_component_state within 10 s; franka_ros2 is known"
    )
    inject(scene.node, "reactivation_delay", 0.0)
    scene.says("Recovered in")
    scene.acts()


@automatic
def test_a_stop_during_a_recovery_ends_it(scene: Scene) -> None:
    inject(scene.node, "reactivation_delay", 5.0)
    inject(scene.node, "fault", "reflex")
    scene.says("step 2 of 3, hardware active")
    assert scene.status.ask("stop")[0]
    scene.says("the watchdog has stopped the robot: stopped through ~/stop")
    inject(scene.node, "reactivation_delay", 0.0)
    scene.until("waiting", "the watchdog has stopped the robot")
    assert scene.watch.status.recoveries == scene.before.recoveries
    assert controllers(scene.node)[CARTESIAN] == "inactive"
    scene.status.clear()
    scene.says("Recovered in")
    scene.acts()


@automatic
def test_when_recovery_is_automatic_it_goes_on_once_the_user_stop_is_released(
    scene: Scene, simulation: Program
) -> None:
    before = len(simulation.lines)
    inject(scene.node, "fault", "user_stop")
    scene.until("waiting", "release the user stop")
    simulation.wait_for("error_recovery: the user stop is pressed", after=before)
    assert controllers(scene.node)[CARTESIAN] == "inactive"
    inject(scene.node, "fault", "release_user_stop")
    scene.says("Recovered in")
    scene.acts()


# Rows wait for the end: nothing but the last of an episode can be truncated.
@acts_as(
    "thrice", LONG, "reward_from:=human", "recovery:=automatic", "max_strikes:=2",
    "flush_period:=5000",
)  # fmt: skip
def test_a_transition_that_a_fault_cuts_is_truncated_and_a_person_asked_after_too_many_strikes(
    scene: Scene,
) -> None:
    truncated: dict[int, int] = {}  # by sequence number: what is not acknowledged comes again

    def take(batch: TransitionBatch) -> None:
        truncated.update(enumerate(batch.truncated, start=batch.first_sequence))

    scene.node.create_subscription(TransitionBatch, "sac/transitions", take, qos.TRANSITIONS)
    for strike in (1, 2):
        inject(scene.node, "fault", "reflex")
        scene.recovered(strike)
        assert scene.acts().strikes == strike
    inject(scene.node, "fault", "reflex")
    scene.until("waiting", "2 recoveries and no whole episode since")
    assert acknowledge(scene.node)[0]
    scene.recovered(3)
    assert scene.acts().strikes == 1
    scene.actor.process.send_signal(signal.SIGINT)
    spin_until(scene.node, lambda: scene.actor.process.poll() is not None, 60.0, "the end")
    # The faults', and that of the end.
    assert len(truncated) > 15
    assert sum(truncated.values()) == 4
    assert truncated[max(truncated)] == 1


@acts_as("manual", LONG, "recovery:=manual")
def test_with_manual_recovery_a_person_recovers_and_says_so(scene: Scene) -> None:
    inject(scene.node, "fault", "reflex")
    scene.until("waiting", "recovery is manual: bring it back")
    assert scene.recorder.tape().recoveries == []
    done, message = acknowledge(scene.node)
    assert not done and message.startswith("not yet: the robot has stopped"), "nothing is agreed to"
    bring_back(scene.node)
    assert scene.watch.acts_again().recoveries == 0


# What a person does.


@asking
def test_without_being_told_otherwise_a_person_agrees_to_each_recovery(scene: Scene) -> None:
    assert acknowledge(scene.node) == (False, "nothing waits for an acknowledgement")
    inject(scene.node, "fault", "reflex")
    scene.until("waiting", "ros2 service call /sac_actor/acknowledge")
    assert scene.recorder.tape().recoveries == []
    done, message = acknowledge(scene.node)
    assert done and message.startswith("acknowledged: the robot has stopped")
    scene.says("Recovered in")
    scene.recovered()
    scene.acts()
    # One agreement is for one recovery.
    tried = scene.recorder.tape().recoveries[:]
    inject(scene.node, "fault", "reflex")
    scene.until("waiting", "ros2 service call /sac_actor/acknowledge")
    assert scene.recorder.tape().recoveries == tried
    assert acknowledge(scene.node)[0]
    scene.recovered(2)
    scene.acts()


@asking
@pytest.mark.parametrize("kind", ["user_stop", "guiding"])
def test_what_a_person_holds_is_never_cleared_by_software(kind: str, scene: Scene) -> None:
    since = time_ns()
    inject(scene.node, "fault", kind)
    scene.until("waiting", "acknowledge")
    assert scene.recorder.tape().recoveries == [], "nothing is tried unasked"
    assert acknowledge(scene.node)[0]
    scene.until("waiting", "the robot refuses error_recovery: release the user stop")
    tape = scene.recorder.tape()
    assert tape.after(since) == []
    assert controllers(scene.node)[CARTESIAN] == "inactive"
    inject(scene.node, "fault", f"release_{kind}")
    assert acknowledge(scene.node)[0]
    scene.says("Recovered in")
    scene.recovered()
    scene.acts()


@asking
def test_a_controller_that_somebody_takes_away_is_not_taken_back_unasked(scene: Scene) -> None:
    assert switch(scene.node, [], [CARTESIAN])
    noticed = scene.says(f"Episode stopped: {CARTESIAN} was deactivated")
    scene.until("waiting", f"{CARTESIAN} was deactivated; make it safe")
    tape = scene.recorder.tape()
    assert [when for when in tape.commands if when > noticed] == []
    assert tape.recoveries == []
    assert acknowledge(scene.node)[0]
    scene.acts()
    assert controllers(scene.node)[CARTESIAN] == "active"


# State that is missing, frozen or hostile.


@asking
def test_without_joint_states_the_arm_is_held_and_control_given_back(scene: Scene) -> None:
    inject(scene.node, "drop_joint_states", True)
    scene.until("fault", "no joint state on /franka/joint_states")
    spin_until(
        scene.node,
        lambda: controllers(scene.node)[CARTESIAN] == "inactive",
        60.0,
        "the motion controller is inactive",
    )
    scene.status.until_state("waiting")
    inject(scene.node, "drop_joint_states", False)
    scene.acts()
    assert scene.status.status.trips == scene.trips


@asking
def test_frozen_joint_states_under_fresh_stamps_stop_the_actor(scene: Scene) -> None:
    ear = Ear(scene.recorder.node)
    ear.listen("franka/joint_states", JointState)
    inject(scene.node, "freeze_joint_states", True)
    scene.until("fault", "joint states are frozen: fresh stamps and the same values for")
    messages = [heard.message for heard in ear.take("franka/joint_states")]
    same = [m for m in messages if m.position == messages[-1].position]
    scene.status.until_state("waiting")
    scene.until("fault", "joint states are frozen still: not a value has changed")
    tape = scene.recorder.tape()
    stopped = tape.when(CARTESIAN, "inactive")
    assert [when for when in tape.commands if when > stopped] == []
    assert len({m.header.stamp.nanosec for m in same}) > 10, "stamps went on"
    inject(scene.node, "freeze_joint_states", False)
    scene.acts()


@asking
def test_a_peer_that_sends_joint_states_of_nan_and_nonsense_moves_nothing(scene: Scene) -> None:
    names = [f"fr3_joint{i}" for i in range(1, 8)]
    publisher = scene.node.create_publisher(JointState, "franka/joint_states", RELIABLE)
    hostile = [
        JointState(name=names, position=[float("nan")] * 7, velocity=[0.0] * 7),
        JointState(name=names[:3], position=[0.0] * 3, velocity=[0.0] * 3),
        JointState(name=names, position=[0.0] * 7, velocity=[float("inf")] * 7),
    ]
    target = scene.watch.status.steps + 20

    def send() -> bool:
        for message in hostile:
            publisher.publish(message)
        return bool(scene.watch.status.steps > target)

    spin_until(scene.node, send, 60.0, "it acts on")
    assert scene.watch.status.fault == ""
    assert scene.watch.status.episodes_cut == scene.before.episodes_cut


@asking
def test_an_object_that_is_not_seen_any_more_stops_the_episode_visibly(scene: Scene) -> None:
    messages: list[str] = []

    def diagnosed(message: DiagnosticArray) -> None:
        messages.extend(s.message for s in message.status if s.name == "/sac_actor")

    scene.node.create_subscription(DiagnosticArray, "/diagnostics", diagnosed, 10)
    inject(scene.node, "drop_object_poses", True)
    scene.says(r"Episode stopped: the pose on /objects/target/pose is 0\.\d+ s old")
    scene.until("fault", "objects/target/pose")
    spin_until(
        scene.node, lambda: any("objects/target/pose" in m for m in messages), 60.0, "diagnostics"
    )
    assert controllers(scene.node)[CARTESIAN] == "inactive"
    # Nor is it found where another frame has it.
    elsewhere = PoseStamped()
    elsewhere.header.frame_id = "camera"
    elsewhere.pose.orientation.w = 1.0
    publisher = scene.node.create_publisher(PoseStamped, "objects/target/pose", RELIABLE)

    def noticed() -> bool:
        publisher.publish(elsewhere)
        return "refused: frame 'camera', expected base or fr3_link0" in scene.watch.status.fault

    spin_until(scene.node, noticed, 60.0, "the frame is refused")
    elsewhere.header.frame_id = "base"
    elsewhere.header.stamp.sec = 10**6  # of another clock

    def stamped() -> bool:
        publisher.publish(elsewhere)
        return "after the robot's state: expected the same clock" in scene.watch.status.fault

    spin_until(scene.node, stamped, 60.0, "a pose from the future is refused")
    scene.node.destroy_publisher(publisher)
    inject(scene.node, "drop_object_poses", False)
    scene.acts()


@acts_as("watched", LONG, "reward_from:=human", "watchdog_timeout:=3.0")
def test_an_actor_that_needs_a_watchdog_does_nothing_without_one(
    scene: Scene, guard: Program
) -> None:
    process = process_of(guard)
    process.send_signal(signal.SIGSTOP)
    try:
        scene.says("Episode stopped: no watchdog on /watchdog/status for 3 s: start it")
        scene.until("fault", "no watchdog")
        spin_until(
            scene.node,
            lambda: controllers(scene.node)[CARTESIAN] == "inactive",
            60.0,
            "the motion controller is inactive",
        )
    finally:
        process.send_signal(signal.SIGCONT)
    scene.watch.acts_again()
