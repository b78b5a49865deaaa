"""franka_sim_bridge as a process, driven over its topics and services alone."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from controller_manager_msgs.srv import (
    ListControllers,
    ListHardwareComponents,
    SetHardwareComponentState,
    SwitchController,
)
from ears import Ear, wait_until
from franka_msgs.msg import FrankaRobotState
from franka_msgs.srv import SetLoad
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State
from mujoco_ros2_control_msgs.srv import ResetWorld, SetPause, StepSimulation
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from system import Program, Start, call
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sac_msgs.srv import ResetEpisode

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
TICK = 100_000_000  # ns
STEP = 2_500_000  # ns
JOINTS = "franka/joint_states"
ROBOT_STATE = "franka_robot_state_broadcaster/robot_state"
CARTESIAN, TRAJECTORY = "cartesian_impedance_controller", "joint_trajectory_controller"
VELOCITY = "joint_velocity_controller"


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def pose(x: float = 0.45, y: float = 0.0, z: float = 0.25) -> PoseStamped:
    """The tool at a place, pointing down."""
    message = PoseStamped()
    p, o = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = x, y, z
    o.x, o.w = 1.0, 0.0
    return message


class Robot:
    """A bridge's client: publishes commands, calls services, hears joint states."""

    def __init__(self, bridge: Program, caller: Node, prefix: str = "") -> None:
        self.bridge = bridge
        self.caller = caller
        self.prefix = prefix
        self.node = Node("client", context=caller.context)  # no executor spins it
        self.ear = Ear(self.node)
        self.ear.listen(prefix + JOINTS, JointState)
        self._publishers: dict[str, Any] = {}
        self.first = JointState()  # of the running episode

    def close(self) -> None:
        self.node.destroy_node()

    def call(self, kind: Any, service: str, /, **request: Any) -> Any:
        return call(self.caller, kind, self.prefix + service, kind.Request(**request))

    def set(self, **parameters: Any) -> bool:
        wanted = [
            Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()
        ]
        answer = self.call(SetParameters, "franka_sim_bridge/set_parameters", parameters=wanted)
        return all(result.successful for result in answer.results)

    def reset(self, seed: int = 0) -> int:
        """Begin an episode; its stamp (ns), that of the first joint state."""
        answer = self.call(ResetEpisode, "reset_episode", task="pick_cube", seed=seed)
        assert answer.success, answer.message
        stamp = answer.stamp.sec * 10**9 + answer.stamp.nanosec
        self.first = self.state_from(stamp)
        assert stamp_of(self.first) == stamp
        return stamp

    def state_from(self, stamp: int) -> JointState:
        """The first joint state with at least this stamp."""
        found: list[JointState] = []

        def arrived() -> bool:
            messages = [heard.message for heard in self.ear.take(self.prefix + JOINTS)]
            found.extend(m for m in messages if stamp_of(m) >= stamp)
            return bool(found)

        wait_until(arrived, f"joint state of {stamp} ns")
        return found[0]

    def now(self) -> int:
        """The newest joint state's stamp that comes in from now on."""
        self.ear.take(self.prefix + JOINTS)
        return stamp_of(self.ear.next(self.prefix + JOINTS))

    def pace(self, seconds: float) -> float:
        """Simulated seconds that pass in one of the wall, over this many simulated ones."""
        began, simulated = time.monotonic(), self.now()
        end = stamp_of(self.state_from(simulated + round(1e9 * seconds)))
        return (end - simulated) / 1e9 / (time.monotonic() - began)

    def publisher(self, kind: type, topic: str) -> Any:
        if topic not in self._publishers:
            publisher = self.node.create_publisher(kind, self.prefix + topic, RELIABLE)
            wait_until(lambda: publisher.get_subscription_count() > 0, f"subscriber of {topic}")
            self._publishers[topic] = publisher
        return self._publishers[topic]

    def send(self, topic: str, message: Any) -> None:
        self.publisher(type(message), topic).publish(message)

    def send_until(self, topic: str, message: Any, done: Callable[[], bool]) -> None:
        """Send over and over: a best-effort reader may find a new publisher late."""

        def sent() -> bool:
            self.send(topic, message)
            return done()

        wait_until(sent, f"effect of a message on {topic}")

    def meet(self, topic: str, message: Any) -> None:
        """Have the bridge find our publisher; in lockstep, and some ticks pass."""
        self.reset()
        self.send_until(topic, message, lambda: bool(self.ear.take(self.prefix + JOINTS)))

    def says(self, text: str) -> bool:
        return any(text in line for line in self.bridge.lines)

    def tick(self, stamp: int, message: Any = None, topic: str = "target_pose") -> JointState:
        """Send a command in lockstep at `stamp`, and return the state one control period later."""
        self.send(topic, message or pose())
        state = self.state_from(stamp + 1)
        assert stamp_of(state) == stamp + TICK
        return state

    def controllers(self) -> dict[str, str]:
        answer = self.call(ListControllers, "controller_manager/list_controllers")
        return {controller.name: controller.state for controller in answer.controller}

    def switch(self, on: list[str], off: list[str]) -> bool:
        return self.call(
            SwitchController,
            "controller_manager/switch_controller",
            activate_controllers=on,
            deactivate_controllers=off,
            strictness=SwitchController.Request.STRICT,
            timeout=Duration(sec=1),
        ).ok


def bridge(start: Start, **parameters: Any) -> Program:
    settings = []
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        settings += ["-p", f"{name}:={text}"]
    command = ("ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args", *settings)
    return start(*command)


@pytest.fixture
def make(start: Start, observer: Node) -> Iterator[Callable[..., Robot]]:
    robots: list[Robot] = []

    def make_robot(**parameters: Any) -> Robot:
        program = bridge(start, **parameters)
        program.wait_for("Simulating")
        robots.append(Robot(program, observer))
        return robots[-1]

    yield make_robot
    for robot in robots:
        robot.close()


@pytest.fixture
def lockstep(make: Callable[..., Robot]) -> Robot:
    """A bridge in lockstep that waits patiently."""
    return make(lockstep=True, speed_factor=0.0, lockstep_timeout=30.0)


# Lockstep.


def test_lockstep_simulates_exactly_one_control_period_for_each_command(lockstep: Robot) -> None:
    stamp = lockstep.reset()
    for _ in range(50):
        stamp = stamp_of(lockstep.tick(stamp))
    assert lockstep.ear.take(JOINTS) == [], "one joint state a tick"


def test_lockstep_waits_from_the_first_command_on_even_without_a_reset(lockstep: Robot) -> None:
    before = lockstep.now()
    lockstep.send("target_pose", pose())
    # The tick's state ends a stretch of real time: nothing follows it until the next command.
    newest, sent = before, time.monotonic()

    def stands() -> bool:
        nonlocal newest, sent
        if time.monotonic() - sent > 5.0:  # that state was lost: another tick has one as well
            lockstep.send("target_pose", pose())
            sent = time.monotonic()
        stamps = [stamp_of(heard.message) for heard in lockstep.ear.take(JOINTS)]
        leaps = [b for a, b in zip([newest, *stamps], stamps, strict=False) if b - a == TICK]
        newest = stamps[-1] if stamps else newest
        return bool(leaps) and leaps[-1] == newest

    wait_until(stands, "time stands still after the first command")
    lockstep.tick(newest)


def test_without_commands_lockstep_says_so_and_runs_on_until_the_next_one(
    make: Callable[..., Robot],
) -> None:
    robot = make(lockstep=True, speed_factor=0.0, lockstep_timeout=0.3)
    stamp = robot.reset()
    began = time.monotonic()
    line = robot.bridge.wait_for("Lockstep: at simulated").string
    assert f"{stamp / 1e9:.4f} s no command came on /target_pose for 0.3 s" in line
    ran = robot.state_from(stamp + 10**9)
    assert time.monotonic() - began > 0.9, "no faster than in real time"
    assert stamp_of(ran) < stamp + 1.1e9
    robot.send("target_pose", pose())
    robot.bridge.wait_for("Lockstep: at simulated(?!.*" + f"{stamp / 1e9:.4f}" + ")")
    assert sum("Lockstep: at" in line for line in robot.bridge.lines) == 2, "it was armed again"


def test_services_are_served_while_lockstep_waits(lockstep: Robot) -> None:
    stamp = lockstep.reset()
    for _ in range(5):
        assert lockstep.controllers()[CARTESIAN] == "active"
    assert lockstep.set(speed_factor=0.0)
    assert stamp_of(lockstep.tick(stamp)) == stamp + TICK, "no time has passed meanwhile"
    assert lockstep.reset(seed=4) == stamp + TICK + STEP


def test_a_command_of_the_last_episode_does_not_begin_the_next(lockstep: Robot) -> None:
    for seed in range(10):
        lockstep.send("target_pose", pose())
        stamp = lockstep.reset(seed)
        assert stamp_of(lockstep.tick(stamp)) == stamp + TICK


def test_the_same_seed_and_commands_repeat_bit_by_bit_in_another_process(
    start: Start, observer: Node
) -> None:
    def run() -> list[tuple[float, ...]]:
        program = bridge(start, lockstep=True, speed_factor=0.0, lockstep_timeout=30.0)
        program.wait_for("Simulating")
        robot = Robot(program, observer)
        stamp = robot.reset(seed=11)
        rng = np.random.default_rng(0)
        states = []
        for _ in range(30):
            x, y, z = rng.uniform((0.35, -0.15, 0.05), (0.55, 0.15, 0.3)).tolist()
            state = robot.tick(stamp, pose(x, y, z))
            stamp = stamp_of(state)
            states.append((*state.position, *state.velocity, *state.effort))
        robot.close()
        assert program.interrupt() == 0
        wait_until(lambda: observer.count_publishers(JOINTS) == 0, "the bridge is forgotten")
        return states

    first, second = run(), run()
    assert first == second


def test_lockstep_follows_a_controller_of_velocities(make: Callable[..., Robot]) -> None:
    robot = make(lockstep=True, speed_factor=0.0, lockstep_timeout=30.0, motion_controller=VELOCITY)
    topic = f"{VELOCITY}/commands"
    message = Float64MultiArray(data=[0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    robot.meet(topic, message)
    stamp = robot.reset()
    states = [robot.tick(stamp + i * TICK, message, topic) for i in range(5)]
    assert states[4].position[0] - states[2].position[0] == pytest.approx(0.04, abs=2e-3)


def test_lockstep_follows_trajectories_whose_joints_are_in_any_order(
    make: Callable[..., Robot],
) -> None:
    robot = make(
        lockstep=True, speed_factor=0.0, lockstep_timeout=30.0, motion_controller=TRAJECTORY
    )
    topic = f"{TRAJECTORY}/joint_trajectory"
    robot.reset()
    start = robot.first
    order = [6, 2, 0, 1, 5, 4, 3]
    point = JointTrajectoryPoint(time_from_start=Duration(nanosec=3 * TICK))
    point.positions = [start.position[i] + (0.1 if i == 6 else 0.0) for i in order]
    message = JointTrajectory(joint_names=[start.name[i] for i in order], points=[point])
    robot.meet(topic, message)
    stamp = robot.reset()
    for i in range(8):
        after = robot.tick(stamp + i * TICK, message, topic)
    moved = np.array(after.position) - np.array(start.position)
    assert moved[6] == pytest.approx(0.1, abs=0.02)
    assert moved[:6] == pytest.approx(np.zeros(6), abs=0.02)


# Commands that are wrong.

NAN, INF = float("nan"), float("inf")


def tilted(norm: float) -> PoseStamped:
    message = pose()
    message.pose.orientation.x = norm
    return message


def test_a_malformed_pose_is_refused_with_a_line_and_moves_nothing(lockstep: Robot) -> None:
    stamp = lockstep.reset()
    for message, why in (
        (pose(x=NAN), "position is not finite: .*nan"),
        (pose(z=INF), "position is not finite: .*inf"),
        (tilted(0.0), r"no unit quaternion: \[0\. "),
        (tilted(0.5), r"no unit quaternion: \[0\.5"),
        (tilted(NAN), r"no unit quaternion: \[nan"),
    ):
        pattern = f"A message on target_pose is ignored: .*{why}"
        # The line comes once a second at most.
        said = partial(any_matches, lockstep.bridge.lines, pattern)
        lockstep.send_until("target_pose", message, said)
    assert stamp_of(lockstep.tick(stamp)) == stamp + TICK, "the refused ones were no ticks"


def any_matches(lines: list[str], pattern: str) -> bool:
    return any(re.search(pattern, line) for line in list(lines))


def test_poses_of_two_publishers_are_ignored(lockstep: Robot) -> None:
    stamp = lockstep.reset()
    stamp = stamp_of(lockstep.tick(stamp))
    stray = lockstep.node.create_publisher(PoseStamped, "target_pose", RELIABLE)
    wait_until(lambda: stray.get_subscription_count() > 0, "subscriber of target_pose")
    lockstep.send("target_pose", pose())
    lockstep.bridge.wait_for("A message on target_pose is ignored: .*more than one publisher")
    lockstep.node.destroy_publisher(stray)
    wait_until(lambda: lockstep.node.count_publishers("target_pose") == 1, "one publisher is left")

    def ticked() -> bool:
        lockstep.send("target_pose", pose())
        return bool(lockstep.ear.take(JOINTS))

    wait_until(ticked, "commands are taken again")


def test_a_command_of_the_wrong_length_deactivates_its_controller(
    make: Callable[..., Robot],
) -> None:
    robot = make(motion_controller=VELOCITY)
    topic, message = f"{VELOCITY}/commands", Float64MultiArray(data=[0.1] * 6)
    robot.send_until(topic, message, lambda: robot.says("expected 7 values, got 6"))
    assert robot.controllers()[VELOCITY] == "inactive"
    assert robot.controllers()["joint_state_broadcaster"] == "active"


def test_commands_that_are_not_finite_are_dropped_and_the_last_one_stays(
    make: Callable[..., Robot],
) -> None:
    robot = make(motion_controller=VELOCITY)
    message = Float64MultiArray(data=[0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    def state() -> JointState:
        return robot.state_from(robot.now() + STEP)

    robot.send_until(f"{VELOCITY}/commands", message, lambda: state().velocity[0] > 0.09)
    robot.send(f"{VELOCITY}/commands", Float64MultiArray(data=[NAN] * 7))
    robot.bridge.wait_for("values are not finite")
    later = robot.state_from(robot.now() + 3 * TICK)
    assert later.velocity[0] == pytest.approx(0.1, abs=0.02)
    assert robot.controllers()[VELOCITY] == "active"


def hostile_trajectories() -> list[JointTrajectory]:
    names = [f"fr3_joint{i}" for i in range(1, 8)]

    def one(positions: list[float], names: list[str] = names, after: int = 1) -> JointTrajectory:
        point = JointTrajectoryPoint(positions=positions, time_from_start=Duration(sec=after))
        return JointTrajectory(joint_names=names, points=[point])

    two = one([0.0] * 7, after=2)
    two.points.append(JointTrajectoryPoint(positions=[0.0] * 7, time_from_start=Duration(sec=1)))
    return [
        JointTrajectory(),
        JointTrajectory(joint_names=names),
        one([0.0] * 6),
        one([NAN] * 7),
        one([0.0] * 7, names=names[:6]),
        one([0.0] * 7, names=[*names[:6], "fr3_joint6"]),
        one([0.0] * 7, names=["x"] * 7),
        one([0.0] * 7, names=["x" * 100_000] * 65),
        one([0.0] * 7, after=-1),
        two,
    ]


def test_hostile_messages_move_nothing_and_kill_nothing(make: Callable[..., Robot]) -> None:
    robot = make(motion_controller=TRAJECTORY)
    start = np.array(robot.state_from(robot.now()).position)
    for message in hostile_trajectories():
        robot.send(f"{TRAJECTORY}/joint_trajectory", message)
        robot.now()
    for length in (0, 1, 100_000):
        robot.send("target_joint", JointState(position=[0.1] * length))
        robot.send("joint_effort_controller/commands", Float64MultiArray(data=[1e308] * length))
        robot.now()
    robot.bridge.wait_for(f"A message on {TRAJECTORY}/joint_trajectory is ignored")
    end = np.array(robot.state_from(robot.now() + 5 * TICK).position)
    assert end == pytest.approx(start, abs=5e-3)
    assert robot.controllers()[TRAJECTORY] == "active"
    assert robot.bridge.interrupt() == 0


# Time.


def test_a_paused_simulation_stands_still_and_can_be_stepped(make: Callable[..., Robot]) -> None:
    robot = make()
    refused = robot.call(StepSimulation, "sim/step_simulation", steps=3)
    assert not refused.success and "paused" in refused.message
    assert robot.call(SetPause, "sim/set_pause", paused=True).success
    assert robot.call(StepSimulation, "sim/step_simulation", steps=1).success
    wait_until(lambda: bool(robot.ear.take(JOINTS)), "state of the step")
    robot.call(StepSimulation, "sim/step_simulation", steps=1)
    before = stamp_of(robot.ear.next(JOINTS))
    for steps in (1, 4, 400):
        assert robot.call(StepSimulation, "sim/step_simulation", steps=steps).success
        after = stamp_of(robot.ear.next(JOINTS))
        assert after - before == steps * STEP
        before = after
    assert not robot.call(StepSimulation, "sim/step_simulation", steps=0).success
    too_many = robot.call(StepSimulation, "sim/step_simulation", steps=2**31 - 1)
    assert not too_many.success and "expected" in too_many.message
    assert robot.call(SetPause, "sim/set_pause", paused=False).success
    assert robot.now() > before


def test_the_world_can_be_put_back_while_time_goes_on(make: Callable[..., Robot]) -> None:
    robot = make()
    robot.reset(seed=5)
    before = robot.now()
    assert not robot.call(ResetWorld, "sim/reset_world", keyframe="nowhere").success
    assert robot.call(ResetWorld, "sim/reset_world").success
    state = robot.state_from(before + STEP)
    assert stamp_of(state) > before
    home = [0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4]
    state = robot.state_from(robot.now())
    assert list(state.position) == pytest.approx(home, abs=0.01)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_simulated_time_runs_at_the_factor_that_is_set(
    make: Callable[..., Robot], factor: float
) -> None:
    robot = make()
    assert robot.set(speed_factor=factor)

    def keeps_pace() -> bool:
        """Over one second; a loaded machine may need a second one."""
        return robot.pace(factor) == pytest.approx(factor, rel=0.3)

    wait_until(keeps_pace, f"simulated time runs at {factor} times the wall's")


def test_without_a_factor_it_runs_as_fast_as_it_can(make: Callable[..., Robot]) -> None:
    robot = make(speed_factor=0.0)
    wait_until(lambda: robot.pace(5.0) > 2.0, "simulated time runs ahead of the wall's")


# Faults.


def test_an_injected_reflex_silences_the_robot_until_it_is_recovered(
    make: Callable[..., Robot],
) -> None:
    robot = make()
    robot.ear.listen(ROBOT_STATE, FrankaRobotState)
    assert robot.ear.next(ROBOT_STATE).robot_mode == FrankaRobotState.ROBOT_MODE_MOVE
    assert robot.set(fault="reflex")
    line = robot.bridge.wait_for("Robot stopped at simulated").string
    assert "reflex" in line and "error_recovery" in line
    assert set(robot.controllers().values()) == {"inactive"}
    robot.ear.take(JOINTS)
    robot.call(ListControllers, "controller_manager/list_controllers")
    assert robot.ear.take(JOINTS) == []
    assert not robot.switch([CARTESIAN], [])


def test_the_same_fault_can_be_injected_again(make: Callable[..., Robot]) -> None:
    robot = make()
    for count in (1, 2, 3):
        assert robot.set(fault="nan_joint_states")

        def heard_nan() -> bool:
            return any(np.isnan(heard.message.position).any() for heard in robot.ear.take(JOINTS))

        wait_until(heard_nan, f"NaN, number {count}")


def test_joint_states_can_be_dropped_frozen_and_delayed(make: Callable[..., Robot]) -> None:
    robot = make()
    assert robot.set(drop_joint_states=True)
    robot.ear.take(JOINTS)
    robot.controllers()
    assert robot.ear.take(JOINTS) == []
    assert robot.set(drop_joint_states=False, freeze_joint_states=True)
    robot.now()
    robot.send("target_pose", pose(z=0.4))
    frozen = [robot.state_from(robot.now() + TICK) for _ in range(2)]
    assert frozen[0].position == frozen[1].position
    assert robot.set(freeze_joint_states=False)
    assert robot.state_from(robot.now() + TICK).position != frozen[0].position


@pytest.mark.parametrize("value", [-1.0, 6.0, NAN])
def test_an_impossible_latency_is_refused(make: Callable[..., Robot], value: float) -> None:
    assert not make().set(state_latency=value)


def test_activating_the_hardware_may_take_long(make: Callable[..., Robot]) -> None:
    robot = make(reactivation_delay=0.5)
    began = time.monotonic()
    target = State(label="active")
    answer = robot.call(
        SetHardwareComponentState,
        "controller_manager/set_hardware_component_state",
        name="FrankaHardwareInterface",
        target_state=target,
    )
    assert answer.ok
    assert time.monotonic() - began >= 0.5


# Hardware that is set up otherwise.


def test_without_hand_and_state_broadcaster_their_names_are_not_there(
    make: Callable[..., Robot],
) -> None:
    robot = make(load_gripper=False, load_franka_robot_state_broadcaster=False)
    assert "franka_robot_state_broadcaster" not in robot.controllers()
    assert robot.now() > 0
    pose_topic = "franka_robot_state_broadcaster/current_pose"
    robot.ear.listen(pose_topic, PoseStamped)
    robot.state_from(robot.now() + 5 * TICK)
    assert robot.ear.take(pose_topic) == []
    services = [name for name, _ in robot.caller.get_service_names_and_types()]
    assert "/controller_manager/list_controllers" in services
    assert "/franka_gripper/stop" not in services


def test_a_prefix_is_before_every_name_of_the_arm(make: Callable[..., Robot]) -> None:
    robot = make(arm_prefix="left")
    state = robot.state_from(robot.now())
    assert list(state.name) == [f"left_fr3_joint{i}" for i in range(1, 8)]
    answer = robot.call(ListHardwareComponents, "controller_manager/list_hardware_components")
    (hardware,) = answer.component
    assert hardware.name == "left_FrankaHardwareInterface"
    assert hardware.command_interfaces[0].name.startswith("left_fr3_joint1/")
    robot.ear.listen("franka_gripper/joint_states", JointState)
    hand = robot.ear.next("franka_gripper/joint_states")
    assert list(hand.name) == ["fr3_finger_joint1", "fr3_finger_joint2"], "the hand's have none"
    recovery = "/left/action_server/error_recovery/_action/send_goal"
    refused = robot.call(SetLoad, "left/service_server/set_load")
    assert "the robot is not idle" in refused.error
    services = {name for name, _ in robot.caller.get_service_names_and_types()}
    assert recovery in services and recovery.removeprefix("/left") not in services


# Being a process.


def test_an_episode_of_another_task_is_refused_by_name(make: Callable[..., Robot]) -> None:
    robot = make(task="reach")
    answer = robot.call(ResetEpisode, "reset_episode", task="pick_cube", seed=0)
    assert not answer.success
    assert "'reach'" in answer.message and "'pick_cube'" in answer.message


def test_everything_but_the_clock_is_in_the_namespace(start: Start, observer: Node) -> None:
    command = ("ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args")
    program = start(*command, "-r", "__ns:=/robot_1")
    program.wait_for("Simulating")
    robot = Robot(program, observer, prefix="robot_1/")
    assert robot.now() > 0
    answer = robot.call(ResetEpisode, "reset_episode", task="pick_cube", seed=0)
    assert answer.success
    outside: set[str] = set()

    def found() -> bool:
        """Which process publishes a topic is known a little later than the topic."""
        for name, _ in observer.get_topic_names_and_types():
            publishers = observer.get_publishers_info_by_topic(name)
            if any(p.node_namespace == "/robot_1" for p in publishers):
                outside.update({name} if not name.startswith("/robot_1/") else ())
        return "/clock" in outside

    wait_until(found, "the clock")
    assert outside <= {"/clock", "/diagnostics", "/parameter_events", "/rosout"}
    robot.close()


def test_in_a_namespace_the_prefix_is_in_no_name_of_a_service(start: Start, observer: Node) -> None:
    command = ("ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args")
    start(*command, "-r", "__ns:=/robot_2", "-p", "arm_prefix:=left").wait_for("Simulating")
    answer = call(observer, SetLoad, "/robot_2/service_server/set_load", SetLoad.Request())
    assert "the robot is not idle" in answer.error  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("waiting", [False, True])
def test_a_signal_ends_it_in_order(
    make: Callable[..., Robot], end: signal.Signals, waiting: bool
) -> None:
    robot = make(lockstep=waiting, lockstep_timeout=30.0)
    if waiting:
        robot.reset()
    robot.bridge.process.send_signal(end)
    assert robot.bridge.wait() == 0
    assert "Traceback" not in robot.bridge.output


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"task": "juggle"}, "parameter task: expected one of .*pick_cube"),
        ({"robot_type": "ur5"}, "parameter robot_type: expected one of fr3, fer"),
        ({"control_rate": 7.0}, "control_rate 7 Hz: expected a period of whole physics steps"),
        ({"joint_state_rate": 401.0}, "joint_state_rate 401 Hz: expected at most one"),
        ({"physics_step": 0.1}, "parameter physics_step"),
        ({"speed": 2.0}, "unknown parameter speed"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_status_1(
    start: Start, parameters: dict[str, Any], why: str
) -> None:
    program = bridge(start, **parameters)
    assert program.wait() == 1
    program.wait_for(why)
    assert "Traceback" not in program.output
