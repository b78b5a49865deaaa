"""Robots that are set up otherwise, wrongly or in part, and what is said of them."""

from __future__ import annotations

import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from robots import (
    CARTESIAN,
    Guard,
    Watch,
    actor,
    bridge,
    controllers,
    inject,
    program,
    real_time,
    switch,
    watchdog,
)
from sensor_msgs.msg import JointState
from system import Start, spin_until

from sac_ros.robot_input import JOINT_STATES, TOOL_POSE

COMMANDS = "target_pose"
# What joint_state_publisher says of a robot that it has not heard of: 0, or the middle of a range
# that 0 is not in.
DEFAULT_POSITIONS = [0.0, 0.0, 0.0, -1.5708, 0.0, 1.8675, 0.0]


def commands(node: Node) -> list[PoseStamped]:
    """Every command from now on, of an actor that is there already."""
    heard: list[PoseStamped] = []
    subscription = node.create_subscription(PoseStamped, COMMANDS, heard.append, 100)
    spin_until(node, lambda: subscription.get_publisher_count() > 0, 60.0, "an actor")
    return heard


def test_a_task_that_needs_no_hand_runs_without_one(start: Start, observer: Node) -> None:
    bridge(start, "load_gripper:=false")
    actor(start)
    assert Watch(observer).steps_beyond(20).fault == ""


def test_a_task_that_needs_the_hand_says_that_it_is_not_there(start: Start, observer: Node) -> None:
    bridge(start, "task:=pick_cube", "load_gripper:=false")
    program = actor(start, "task:=pick_cube")
    program.wait_for(
        "Episode stopped: no width on /franka_gripper/joint_states: task pick_cube needs the "
        r"Franka Hand \(franka.launch.py load_gripper:=true\)"
    )
    assert Watch(observer).until(lambda s: s.state == "fault", "fault").steps == 0


def test_without_the_state_broadcaster_the_actor_names_it(start: Start, observer: Node) -> None:
    bridge(start, "load_franka_robot_state_broadcaster:=false")
    program = actor(start)
    program.wait_for(
        f"Episode stopped: no tool pose on /{TOOL_POSE}: is franka_robot_state_broadcaster active?"
    )
    assert Watch(observer).until(lambda s: s.state == "fault", "fault").steps == 0


@pytest.mark.parametrize(
    ("of_robot", "of_actor", "wanted", "got"),
    [
        ("arm_prefix:=left", "arm_prefix:=", "fr3_joint1", "left_fr3_joint1"),
        ("arm_prefix:=left", "arm_prefix:=right", "right_fr3_joint1", "left_fr3_joint1"),
        ("robot_type:=fer", "robot_type:=fr3", "fr3_joint1", "fer_joint1"),
    ],
)
def test_joints_of_other_names_are_refused_with_both(
    of_robot: str, of_actor: str, wanted: str, got: str, start: Start, observer: Node
) -> None:
    bridge(start, of_robot)
    given = [] if of_actor.endswith("=") else [of_actor]
    program = actor(start, *given)
    heard = commands(observer)
    program.wait_for(
        f"Episode stopped: no joint state .*refused: .*expected joints {wanted}, .*; got {got}, "
    )
    assert Watch(observer).until(lambda s: s.state == "fault", "fault").steps == 0
    assert heard == [], "nothing was commanded"


def test_with_a_prefix_everybody_finds_joints_hand_and_what_franka_ros2_offers(
    start: Start, observer: Node
) -> None:
    prefix, task = "arm_prefix:=left", "task:=pick_cube"
    real_time(start, prefix, task, remap="reset_episode:=sim/reset_episode")
    assert switch(observer, [], [CARTESIAN])
    setup = program(start, "sac_actor", "robot_setup", (prefix,), ())
    assert setup.wait() == 0
    setup.wait_for("Load 0 kg")
    watchdog(start, prefix)
    own = ("ask_operator:=false", "home_gripper:=false", "joint_velocity:=1.0")
    program(start, "sac_actor", "robot_reset", (prefix, task, *own), ())
    actor(start, prefix, task, "state_timeout:=10.0", "recovery:=automatic")
    watch = Watch(observer)
    assert watch.steps_beyond(20).fault == ""
    assert Guard(observer).until_state("watching").trips == 0
    inject(observer, fault="reflex")
    watch.until(lambda s: s.recoveries == 1, "recovered")


def test_two_robots_in_namespaces_have_nothing_in_common(start: Start, observer: Node) -> None:
    one, two = "robot_1/", "robot_2/"
    programs = {}
    for name in (one, two):
        namespace = f"__ns:=/{name[:-1]}"
        real_time(start, remap=namespace)
        watchdog(start, "state_timeout:=10.0", "command_timeout:=10.0", remap=namespace)
        programs[name] = actor(start, "state_timeout:=10.0", remap=namespace)
    watches = {name: Watch(observer, name) for name in (one, two)}
    guards = {name: Guard(observer, name) for name in (one, two)}
    for name in (one, two):
        watches[name].steps_beyond(5)
        guards[name].until_state("watching")
    assert guards[one].ask("stop")[0]
    guards[one].until_state("tripped")
    watches[one].until(lambda s: "the watchdog has stopped the robot" in s.fault, "it says why")
    assert controllers(observer, one)[CARTESIAN] == "inactive"
    assert watches[two].steps_beyond(watches[two].status.steps + 20).fault == ""
    assert controllers(observer, two)[CARTESIAN] == "active"
    assert (guards[two].status.state, guards[two].status.trips) == ("watching", 0)
    assert "Episode stopped" not in programs[two].output


@pytest.mark.parametrize("topic", ["joint_states", JOINT_STATES])
def test_default_positions_before_the_robot_is_there_command_nothing(
    topic: str, start: Start, observer: Node
) -> None:
    """The trap of franka_ros2's /joint_states, and the same on the topic that is listened to."""
    program = actor(start, "state_timeout:=0.5")
    watch, heard = Watch(observer), commands(observer)
    publisher = observer.create_publisher(JointState, topic, 10)
    names = [f"fr3_joint{i}" for i in range(1, 8)]

    def publish() -> None:
        message = JointState(name=names, position=DEFAULT_POSITIONS, velocity=[0.0] * 7)
        message.header.stamp = observer.get_clock().now().to_msg()
        publisher.publish(message)

    timer = observer.create_timer(0.03, publish)
    watch.until(lambda s: s.state == "fault", "nobody begins an episode")
    simulation = bridge(start, "drop_joint_states:=true")
    faults: set[str] = set()

    def tried() -> bool:
        faults.add(watch.status.fault)
        return any("joint" in fault or "tool pose" in fault for fault in faults)

    spin_until(observer, tried, 60.0, "an episode that begins is stopped")
    assert watch.status.steps == 0
    assert heard == [], "nothing was commanded"
    observer.destroy_timer(timer)
    observer.destroy_publisher(publisher)
    inject(observer, "drop_joint_states", False)
    assert watch.steps_beyond(5).fault == ""
    assert simulation.process.poll() is None and program.process.poll() is None
    spin_until(observer, lambda: bool(heard), 60.0, "it acts now")
