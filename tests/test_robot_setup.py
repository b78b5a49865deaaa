"""Load and thresholds are set while nothing moves the robot, and never otherwise."""

from __future__ import annotations

import re

import pytest
from controller_manager_msgs.srv import SwitchController
from geometry_msgs.msg import Point, PoseStamped, Quaternion
from rclpy.node import Node
from system import Program, Start, call, spin_until

from sac_ros import qos

CONTROLLER = "cartesian_impedance_controller"


def setup(start: Start, *parameters: str) -> Program:
    command = ["ros2", "run", "sac_actor", "robot_setup", "--ros-args"]
    return start(*command, *(word for one in parameters for word in ("-p", one)))


@pytest.fixture
def robot(start: Start) -> Program:
    program = start("ros2", "run", "franka_sim_bridge", "franka_sim_bridge")
    program.wait_for("Simulating")
    return program


def stop_controller(observer: Node) -> None:
    request = SwitchController.Request(
        deactivate_controllers=[CONTROLLER], strictness=SwitchController.Request.STRICT
    )
    answer = call(observer, SwitchController, "/controller_manager/switch_controller", request)
    assert answer.ok  # type: ignore[attr-defined]


def test_it_refuses_while_a_controller_moves_the_robot_and_says_how_to_go_on(
    start: Start, robot: Program
) -> None:
    program = setup(start)
    assert program.wait() == 1
    program.wait_for(
        f"{CONTROLLER} is active, and load and thresholds can only be set while no motion "
        f"controller is: ros2 control switch_controllers --deactivate {CONTROLLER}"
    )
    assert "Traceback" not in program.output


def test_an_idle_robot_gets_load_and_thresholds_and_stops_at_them(
    start: Start, robot: Program, observer: Node
) -> None:
    stop_controller(observer)
    program = setup(
        start, "force_contact:=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]",
        "force_collision:=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]",
    )  # fmt: skip
    assert program.wait() == 0, program.output
    program.wait_for(r"Load 0 kg; the robot stops at 24 to 35 N m of a joint, and at 1 N on the")
    request = SwitchController.Request(
        activate_controllers=[CONTROLLER], strictness=SwitchController.Request.STRICT
    )
    call(observer, SwitchController, "/controller_manager/switch_controller", request)
    # Into the table: the controller presses with 60 N at most, which the robot endured before.
    target = PoseStamped()
    target.header.frame_id = "base"
    target.pose.position = Point(x=0.5, y=0.0, z=-0.2)
    target.pose.orientation = Quaternion(x=1.0, w=0.0)
    commands = observer.create_publisher(PoseStamped, "/target_pose", qos.ROBOT_COMMAND)
    observer.create_timer(0.05, lambda: commands.publish(target))
    stopped = re.compile(r"Robot stopped .*(cartesian|joint)_reflex")
    spin_until(observer, lambda: bool(stopped.search(robot.output)), 60.0, "the robot stops")


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("mass:=-1.0", r"mass: expected a float such as 1.0, at least 0.0"),
        ("center_of_mass:=[0.0, 0.1]", r"center_of_mass: expected 3 numbers such as 1.0"),
        (
            "force_contact:=[41.0, 30.0, 30.0, 25.0, 25.0, 25.0]",
            r"force_contact must nowhere be above force_collision, got \(41.0, 30.0",
        ),
    ],
)
def test_values_that_make_no_sense_are_one_line(parameter: str, reason: str, start: Start) -> None:
    program = setup(start, parameter)
    assert program.wait() == 1
    program.wait_for(reason)
    assert "Traceback" not in program.output


def test_without_a_robot_it_says_what_it_waited_for(start: Start) -> None:
    program = setup(start, "patience:=1.0")
    assert program.wait() == 1
    program.wait_for(
        "no service /controller_manager/list_controllers within 1 s: is franka_ros2 running, and "
        "the robot reachable"
    )


def test_it_can_be_told_to_stop_while_it_waits(start: Start) -> None:
    program = setup(start)
    program.wait_for("Setting up the robot")
    assert program.interrupt() == 0
    assert "Load" not in program.output
