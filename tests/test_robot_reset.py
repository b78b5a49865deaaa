"""Episodes begun by the robot's own means, and by the hands of an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from action_msgs.msg import GoalStatusArray
from ears import Ear
from rclpy.node import Node
from rclpy.task import Future
from robots import CARTESIAN, Watch, actor, controllers, program, real_time
from std_srvs.srv import Trigger
from system import Program, Start, call, spin_until
from typist import TerminalProgram

from sac_msgs.srv import ResetEpisode

OWN = "reset_episode:=sim/reset_episode"  # the simulation leaves the service to robot_reset
FAST = "joint_velocity:=1.0"
HOMING = "franka_gripper/homing/_action/status"


def robot_reset(start: Start, *parameters: str) -> Program:
    node = program(start, "sac_actor", "robot_reset", parameters, ())
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


def test_it_begins_episodes_with_nothing_but_the_robots_interface(
    start: Start, observer: Node
) -> None:
    real_time(start, remap=OWN)
    reset = robot_reset(start, "task:=reach", FAST)
    actor(start)
    status = Watch(observer).until(lambda s: s.episodes >= 2, "two episodes")
    assert status.steps >= 2
    assert "No start" not in reset.output


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
    first = begin(observer)
    asked = len(resetting.lines)
    second = answered(observer, begin(observer))
    assert not second.success and second.message.startswith("another reset is under way: ")
    third = answered(observer, begin(observer, task="reach"))
    assert (third.success, third.message) == (False, "this robot runs 'pick_cube', not 'reach'")
    resetting.wait_for("Place cube on the table, then: ros2 service call", after=asked - 1)

    def placed() -> bool:
        service = "robot_reset/objects_placed"
        return bool(call(observer, Trigger, service, Trigger.Request()).success)  # type: ignore[attr-defined]

    spin_until(observer, placed, 60.0, "the answer is taken")
    assert answered(observer, first).success


ALONE = ("__ns:=/alone",)  # beside the robot of the other tests


def answer_of_a_robot_alone(
    start: Start, observer: Node, of_robot: tuple[str, ...], of_reset: tuple[str, ...]
) -> Any:
    real_time(start, "task:=pick_cube", *of_robot, remap=ALONE[0])
    own = (*ALONE, "reset_episode:=own_reset_episode")
    reset = program(start, "sac_actor", "robot_reset", ("task:=pick_cube", FAST, *of_reset), own)
    reset.wait_for("Begins episodes of")
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
