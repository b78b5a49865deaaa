"""Episodes begun by the robot's own means, and by the hands of an operator."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatusArray
from controller_manager_msgs.srv import ConfigureController, LoadController, UnloadController
from ears import Ear
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from mujoco_ros2_control_msgs.srv import ResetWorld
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from robots import (
    BROADCASTERS,
    CARTESIAN,
    TRAJECTORY,
    Guard,
    Watch,
    acknowledge,
    actor,
    bring_back,
    controllers,
    inject,
    process_of,
    program,
    real_time,
    switch,
    watchdog,
)
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from system import Program, Start, call, spin_until
from typist import TerminalProgram

from sac_envs.task import start_positions
from sac_envs.tasks import make_task
from sac_msgs.srv import ResetEpisode

OWN = "reset_episode:=sim/reset_episode"  # the simulation leaves the service to robot_reset
FAST = "joint_velocity:=1.0"
HOMING = "franka_gripper/homing/_action/status"


def robot_reset(start: Start, *parameters: str, remap: tuple[str, ...] = ()) -> Program:
    node = program(start, "sac_actor", "robot_reset", parameters, remap)
    node.wait_for("Begins episodes of")
    return node


def begin(
    node: Node, task: str = "pick_cube", seed: int = 0, service: str = "reset_episode"
) -> Future:
    """Ask for an episode's start."""
    client = node.create_client(ResetEpisode, service)
    assert client.wait_for_service(timeout_sec=60.0)
    return client.call_async(ResetEpisode.Request(task=task, seed=seed))


def answered(node: Node, future: Future) -> Any:
    spin_until(node, future.done, 60.0, "the answer of reset_episode")
    return future.result()


@pytest.fixture(scope="module")
def robot(start_once: Start) -> Program:
    return real_time(start_once, "task:=pick_cube", remap=OWN)


@pytest.fixture(scope="module")
def resetting(robot: Program, start_once: Start) -> Program:
    """The reset node of that robot."""
    return robot_reset(start_once, "task:=pick_cube", FAST)


@pytest.fixture
def console(start_at_terminal: Callable[..., TerminalProgram]) -> Iterator[TerminalProgram]:
    operator = start_at_terminal("ros2", "run", "sac_actor", "operator")
    operator.wait_for("Enter: placed")
    yield operator
    operator.press("q\n")
    assert operator.wait() == 0


@pytest.mark.parametrize("command", ["cartesian_impedance", "joint_trajectory"])
def test_it_begins_episodes_with_nothing_but_the_robots_interface_and_is_watched_meanwhile(
    command: str, start: Start, observer: Node
) -> None:
    real_time(start, f"motion_controller:={command}_controller", remap=OWN)
    reset = robot_reset(start, "task:=reach", FAST)
    guard = watchdog(start, f"command:={command}")
    actor(start, f"command:={command}", "watchdog_timeout:=20.0", "max_episode_steps:=10")
    status = Watch(observer).until(lambda s: s.episodes >= 2, "two episodes")
    assert status.steps >= 2
    assert "No start" not in reset.output
    guard.wait_for(f"Watching {TRAJECTORY}")
    assert Guard(observer).until(lambda s: s.state, "its status").trips == 0


# What happens while nothing is controlled: ros2_control sees nothing of it.


@pytest.mark.parametrize(
    ("fault", "recovery"), [("user_stop", "automatic"), ("guiding", "acknowledge")]
)
def test_after_a_person_held_the_robot_between_episodes_nothing_moves_before_one_agrees(
    fault: str, recovery: str, start: Start, observer: Node
) -> None:
    watch, before = paused(start, observer, f"recovery:={recovery}")
    inject(observer, fault=fault)
    lifecycle(observer, "activate")
    hint = {"user_stop": "the user stop is pressed", "guiding": "the arm is guided by hand"}
    watch.until(lambda s: s.state == "waiting" and hint[fault] in s.fault, "it waits for a person")
    inject(observer, fault=f"release_{fault}")
    tried = watch.status.header.stamp.sec + 3
    watch.until(lambda s: s.header.stamp.sec > tried, "it would have begun")
    assert (watch.status.state, watch.status.steps) == ("waiting", before)
    stopped = controllers(observer)
    assert (stopped[CARTESIAN], stopped[TRAJECTORY]) == ("inactive", "inactive")
    assert acknowledge(observer)[0]
    watch.steps_beyond(before)


def test_a_reflex_between_episodes_is_recovered_from(start: Start, observer: Node) -> None:
    watch, before = paused(start, observer, "recovery:=automatic")
    inject(observer, fault="reflex")
    lifecycle(observer, "activate")
    watch.until(lambda s: s.recoveries == 1, "a recovery")
    watch.steps_beyond(before)


def paused(start: Start, observer: Node, *parameters: str) -> tuple[Watch, int]:
    """A robot that nobody controls, its actor having paused; its status and steps."""
    real_time(start, remap=OWN)
    robot_reset(start, "task:=reach", FAST)
    actor(start, *parameters)
    watch = Watch(observer)
    watch.steps_beyond(5)
    lifecycle(observer, "deactivate")
    watch.until(lambda s: s.state == "paused", "it has paused")
    return watch, watch.status.steps


def lifecycle(node: Node, transition: str) -> None:
    request = ChangeState.Request(transition=Transition(label=transition))
    answer: Any = call(node, ChangeState, "sac_actor/change_state", request)
    assert answer.success


# The operator.


def test_the_operator_is_asked_once_the_arm_stands_at_the_start_and_presses_enter(
    resetting: Program, console: TerminalProgram, observer: Node
) -> None:
    ear = Ear(Node("ear", context=observer.context))
    ear.listen(HOMING, GoalStatusArray, latched=True)
    for times in (1, 2):
        asked = len(console.lines)
        future = begin(observer, seed=times)
        spin_until(
            observer,
            lambda shown=asked: any("Place cube on the table" in x for x in console.lines[shown:]),
            60.0,
            "the console asks",
        )
        assert not future.done()
        assert set(controllers(observer).values()) & {"active"}
        assert controllers(observer)[CARTESIAN] == "inactive"
        console.press("\n")
        answer = answered(observer, future)
        assert answer.success, answer.message
        assert answer.stamp.sec + answer.stamp.nanosec > 0
        goals = {
            bytes(status.goal_info.goal_id.uuid)
            for heard in ear.take(HOMING)
            for status in heard.message.status_list
        }
        assert len(goals) <= 1, "the hand is homed once"
        if times == 1:
            assert len(goals) == 1
    console.press("\n")
    console.wait_for("refused: nothing was asked for")
    ear.node.destroy_node()


def test_an_operator_who_cannot_place_the_objects_says_so(
    resetting: Program, console: TerminalProgram, observer: Node
) -> None:
    future = begin(observer)
    console.wait_for("robot_reset asks: Place cube on the table")
    console.press("n\n")
    answer = answered(observer, future)
    assert (answer.success, answer.message) == (False, "the operator could not place cube")
    resetting.wait_for("No start: the operator could not place cube")


def test_two_resets_at_a_time_and_those_of_another_task_are_refused(
    resetting: Program, observer: Node
) -> None:
    before = len(resetting.lines)
    first = begin(observer)
    second = answered(observer, begin(observer))
    assert not second.success and second.message.startswith("another reset is under way: ")
    third = answered(observer, begin(observer, task="reach"))
    assert (third.success, third.message) == (False, "this robot runs 'pick_cube', not 'reach'")
    resetting.wait_for("Place cube on the table, then: ros2 service call", after=before)

    def placed() -> bool:
        service = "robot_reset/objects_placed"
        return bool(call(observer, Trigger, service, Trigger.Request()).success)  # type: ignore[attr-defined]

    spin_until(observer, placed, 60.0, "the answer is taken")
    assert answered(observer, first).success


OWN_RESET = "reset_episode:=own_reset_episode"  # beside that of the simulation
ALONE = ("__ns:=/alone",)  # beside the robot of the other tests


def answer_of_a_robot_alone(
    start: Start, observer: Node, of_robot: tuple[str, ...], of_reset: tuple[str, ...]
) -> Any:
    real_time(start, "task:=pick_cube", *of_robot, remap=ALONE[0])
    robot_reset(start, "task:=pick_cube", FAST, *of_reset, remap=(*ALONE, OWN_RESET))
    return answered(observer, begin(observer, service="alone/own_reset_episode"))


def test_who_never_answers_is_not_waited_for_for_ever(start: Start, observer: Node) -> None:
    answer = answer_of_a_robot_alone(
        start, observer, (), ("operator_timeout:=1.0", "home_gripper:=false")
    )
    assert not answer.success
    assert answer.message == "nobody called /alone/robot_reset/objects_placed within 1 s"


def test_without_a_hand_a_task_that_needs_it_does_not_begin(start: Start, observer: Node) -> None:
    answer = answer_of_a_robot_alone(start, observer, ("load_gripper:=false",), ())
    assert not answer.success
    assert answer.message == (
        "no action /alone/franka_gripper/homing within 5 s; task pick_cube needs the Franka Hand "
        "(franka.launch.py load_gripper:=true)"
    )


def test_without_the_controller_that_drives_it_says_which(
    robot: Program, resetting: Program, observer: Node
) -> None:
    """Which may be missing from controllers of one's own."""

    def change(kind: Any, what: str) -> bool:
        request = kind.Request(name=TRAJECTORY)
        answer: Any = call(observer, kind, f"controller_manager/{what}_controller", request)
        return bool(answer.ok)

    assert change(UnloadController, "unload")
    answer = answered(observer, begin(observer))
    assert change(LoadController, "load")
    assert change(ConfigureController, "configure")
    assert (answer.success, answer.message) == (
        False,
        f"{TRAJECTORY} drives the arm to its start, and is unconfigured: ros2 run "
        f"controller_manager spawner {TRAJECTORY} --inactive",
    )


@pytest.mark.parametrize(
    ("fault", "stopped_by", "reason"),
    [
        ("user_stop", ResetEpisode.Response.PERSON, "the user stop is pressed: release it"),
        ("guiding", ResetEpisode.Response.PERSON, "the arm is guided by hand: let go of it"),
        ("reflex", ResetEpisode.Response.ROBOT, "the robot has stopped in a reflex: joint_reflex"),
    ],
)
def test_a_robot_that_was_stopped_meanwhile_is_not_driven(
    fault: str, stopped_by: int, reason: str, robot: Program, resetting: Program, observer: Node
) -> None:
    stand_still(observer)
    inject(observer, fault=fault)
    answer = answered(observer, begin(observer))
    states = controllers(observer)
    bring_back(observer)
    assert (answer.success, answer.stopped_by, answer.message) == (False, stopped_by, reason)
    assert states[TRAJECTORY] == "inactive"
    assert states[BROADCASTERS[0]] == "active", "it was seen by asking the robot"


def stand_still(node: Node) -> None:
    """No motion controller is active."""
    active = [name for name, state in controllers(node).items() if state == "active"]
    moving = [name for name in active if name not in BROADCASTERS]
    assert not moving or switch(node, [], moving)


# Somebody stops it in the middle.

SLOW = "slow/"  # the namespace of a robot whose way to a start takes long


class Way:
    """An arm on its way to a start."""

    def __init__(self, node: Node, program: Program) -> None:
        self.node, self.program, self.guard = node, program, Guard(node, SLOW)
        self._joints = JointState()
        node.create_subscription(JointState, f"{SLOW}franka/joint_states", self._take, 1)
        home: Any = call(node, ResetWorld, f"{SLOW}sim/reset_world", ResetWorld.Request())
        assert home.success
        self.answer = begin(node, "reach", seed=1, service=f"{SLOW}own_reset_episode")
        task = make_task("reach")
        start = task.start(np.random.default_rng(1))
        self._goal = start_positions(task, start, "fr3")
        spin_until(node, lambda: self.speed > 0.05, 60.0, "it moves")
        assert controllers(node, SLOW)[TRAJECTORY] == "active"
        # The watchdog hears robot_reset from when it watches: what was before does not count.
        self.guard.until_state("watching")
        self.guard.until_later(0.5)

    def _take(self, message: JointState) -> None:
        self._joints = message

    @property
    def speed(self) -> float:
        return max(map(abs, self._joints.velocity), default=0.0)

    def ends(self) -> float:
        """Wait until nothing drives the arm and it stands; how far from its start, in rad."""
        spin_until(
            self.node,
            lambda: controllers(self.node, SLOW)[TRAJECTORY] == "inactive",
            60.0,
            "nothing drives it",
        )
        spin_until(self.node, lambda: self.speed < 0.01, 60.0, "it stands")
        return float(np.abs(np.array(self._joints.position) - self._goal).max())


@pytest.fixture(scope="module")
def slow(start_once: Start) -> Program:
    """A robot and its watchdog."""
    namespace = f"__ns:=/{SLOW[:-1]}"
    real_time(start_once, remap=namespace)
    return watchdog(start_once, "actor_timeout:=0.0", remap=namespace)


@pytest.fixture
def way(slow: Program, start: Start, observer: Node) -> Way:
    remap = (f"__ns:=/{SLOW[:-1]}", OWN_RESET)
    return Way(observer, robot_reset(start, "task:=reach", "joint_velocity:=0.1", remap=remap))


def test_an_emergency_stop_stops_the_arm_on_its_way(way: Way) -> None:
    button = way.node.create_publisher(Bool, f"{SLOW}emergency_stop", 1)

    def pressed() -> bool:
        button.publish(Bool(data=True))
        return bool(way.guard.status.state == "tripped")

    spin_until(way.node, pressed, 60.0, "the watchdog has tripped")
    answer = answered(way.node, way.answer)
    assert (answer.success, answer.message) == (
        False,
        "the watchdog has stopped the robot: emergency_stop is true",
    )
    assert way.ends() > 0.2

    def released() -> bool:
        button.publish(Bool(data=False))
        return way.guard.ask("clear")[0]

    spin_until(way.node, released, 60.0, "cleared")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reset_node_that_is_told_to_end_stops_the_arm_on_its_way(number: int, way: Way) -> None:
    trips = way.guard.until_state("watching").trips
    process_of(way.program).send_signal(number)
    assert way.ends() > 0.2
    way.program.wait()
    assert way.guard.until_state("waiting").trips == trips


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_reset_node_that_is_gone_is_noticed_and_the_arm_stopped(number: int, way: Way) -> None:
    process = process_of(way.program)
    process.send_signal(number)
    way.guard.until_state("tripped", "the newest word of robot_reset is")
    assert way.ends() > 0.2
    if number == signal.SIGSTOP:
        process.send_signal(signal.SIGCONT)
        assert not answered(way.node, way.answer).success
    way.guard.clear()


def test_a_user_stop_on_the_way_is_noticed_by_asking(way: Way) -> None:
    fault = Parameter("fault", value="user_stop").to_parameter_msg()
    request = SetParameters.Request(parameters=[fault])
    call(way.node, SetParameters, f"{SLOW}franka_sim_bridge/set_parameters", request)
    answer = answered(way.node, way.answer)
    assert not answer.success
    # The watchdog may come first: joint states are silent.
    assert re.match("the (robot has stopped [(]|watchdog has stopped the robot)", answer.message)
    assert controllers(way.node, SLOW)[TRAJECTORY] == "inactive"
