"""Services and actions of the simulated robot, called as a Franka's clients call them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration, Time
from control_msgs.action import FollowJointTrajectory, GripperCommand
from control_msgs.msg import GripperCommand as Command
from control_msgs.msg import JointTolerance
from control_msgs.srv import QueryTrajectoryState
from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import (
    ConfigureController,
    ListControllers,
    ListHardwareComponents,
    ListHardwareInterfaces,
    LoadController,
    SetHardwareComponentState,
    SwitchController,
    UnloadController,
)
from franka_msgs.action import ErrorRecovery, Grasp, Homing, Move, PTPMotion
from franka_msgs.msg import GraspEpsilon, TargetStatus
from franka_msgs.srv import (
    SetCartesianStiffness,
    SetForceTorqueCollisionBehavior,
    SetFullCollisionBehavior,
    SetJointStiffness,
    SetLoad,
    SetStiffnessFrame,
    SetTCPFrame,
)
from lifecycle_msgs.msg import State
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from franka_sim_bridge.controllers import HARDWARE
from franka_sim_bridge.interface import Interface
from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import FR3, HAND
from sac_envs.tasks import make_task

TIMEOUT = 30.0  # s, for whatever never comes
CARTESIAN, TRAJECTORY = "cartesian_impedance_controller", "joint_trajectory_controller"
BROADCASTERS = ["joint_state_broadcaster", "franka_robot_state_broadcaster"]
SUCCEEDED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_ABORTED
CANCELED = GoalStatus.STATUS_CANCELED
STRICT = SwitchController.Request.STRICT
IDENTITY = np.eye(4).ravel()


class Robot:
    """A simulation on a thread, its interface on another, and a client."""

    def __init__(self, node: Node, observer: Node) -> None:
        self.simulation = Simulation(make_task("pick_cube"), FR3)
        self.simulation.reset_episode(0)
        self.failures: list[object] = []
        self.interface = Interface(node, self.simulation, self.failures.append)
        self._server = SingleThreadedExecutor(context=node.context)
        self._server.add_node(node)
        self._client = SingleThreadedExecutor(context=observer.context)
        self._client.add_node(observer)
        self._observer = observer
        self._clients: dict[str, Any] = {}
        self._ended = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._wake = threading.Event()
        self.simulation.wake = self._wake.set
        self._threads = [threading.Thread(target=t) for t in (self._simulate, self._serve)]
        for thread in self._threads:
            thread.start()

    def _simulate(self) -> None:
        while not self._ended.is_set():
            self.simulation.run_jobs()
            if self._running.is_set():
                for _ in range(8):
                    self.simulation.step()
            self._wake.wait(0.0005 if self._running.is_set() else 0.05)
            self._wake.clear()
        self.simulation.end()

    def _serve(self) -> None:
        try:
            self._server.spin()
        except ExternalShutdownException:
            pass
        except BaseException as error:
            self.failures.append(error)

    def end(self) -> None:
        self._ended.set()
        self._wake.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        for client in self._clients.values():
            if isinstance(client, ActionClient):
                client.destroy()
        self._client.shutdown()
        self.interface.destroy()
        assert not self.failures

    def pause(self) -> None:
        """Let simulated time stand still; jobs are done."""
        self._running.clear()
        self.simulation.call(lambda: None)

    def go_on(self) -> None:
        self._running.set()
        self._wake.set()

    def renew(self) -> None:
        """Back to how it began."""

        def job() -> None:
            simulation, manager, faults = (
                self.simulation,
                self.simulation.manager,
                self.simulation.faults,
            )
            for fault in ("release_user_stop", "release_guiding"):
                faults.inject(fault)
            faults.recover(simulation.time)
            while not faults.clear:
                simulation.step()
            manager.set_hardware_state("inactive")
            manager.set_hardware_state("active")
            for name in manager.controllers:
                manager.load(name)
                manager.configure(name)
            assert manager.switch([*BROADCASTERS, CARTESIAN], [], STRICT) == (True, "")
            simulation.reset_episode(0)

        self.simulation.call(job)
        self.go_on()

    # The client.

    def wait(self, future: Any) -> Any:
        self._client.spin_until_future_complete(future, TIMEOUT)
        assert future.done()
        return future.result()

    def listen(
        self, kind: Any, name: str, callback: Callable[[Any], None], how: QoSProfile
    ) -> None:
        self._observer.create_subscription(kind, name, callback, how)

    def until(self, condition: Callable[[], bool]) -> None:
        """Take messages until this holds."""
        deadline = self._observer.get_clock().now().nanoseconds + TIMEOUT * 1e9
        while not condition():
            assert self._observer.get_clock().now().nanoseconds < deadline
            self._client.spin_once(timeout_sec=1.0)

    def call(self, kind: Any, service: str, /, **request: Any) -> Any:
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self._observer.create_client(kind, service)
            assert client.wait_for_service(TIMEOUT)
        return self.wait(client.call_async(kind.Request(**request)))

    def send(self, kind: Any, name: str, feedback: Any = None, **goal: Any) -> Any:
        """Send a goal; its handle once it is accepted."""
        handle = self.wait(self.send_async(kind, name, feedback, **goal))
        assert handle.accepted
        return handle

    def send_async(self, kind: Any, name: str, feedback: Any = None, **goal: Any) -> Any:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = ActionClient(self._observer, kind, name)
            assert client.wait_for_server(TIMEOUT)
        return client.send_goal_async(kind.Goal(**goal), feedback_callback=feedback)

    def result(self, handle: Any) -> tuple[int, Any]:
        """Status and result of a goal."""
        answer = self.wait(handle.get_result_async())
        return answer.status, answer.result

    def do(self, kind: Any, name: str, **goal: Any) -> tuple[int, Any]:
        return self.result(self.send(kind, name, **goal))

    def states(self) -> dict[str, str]:
        answer = self.call(ListControllers, "controller_manager/list_controllers")
        return {controller.name: controller.state for controller in answer.controller}

    def switch(self, on: list[str], off: list[str] | None = None, strictness: int = STRICT) -> Any:
        return self.call(
            SwitchController,
            "controller_manager/switch_controller",
            activate_controllers=on,
            deactivate_controllers=off or [],
            strictness=strictness,
        )

    def set_hardware(self, label: str = "", number: int = 0, name: str = HARDWARE) -> Any:
        return self.call(
            SetHardwareComponentState,
            "controller_manager/set_hardware_component_state",
            name=name,
            target_state=State(id=number, label=label),
        )

    def inject(self, fault: str) -> None:
        self.simulation.call(lambda: self.simulation.faults.inject(fault))

    def recover(self) -> int:
        return self.do(ErrorRecovery, "action_server/error_recovery")[0]

    def set_up(self, kind: Any, name: str, **request: Any) -> tuple[bool, str]:
        answer = self.call(kind, f"service_server/{name}", **request)
        return answer.success, answer.error


@pytest.fixture(scope="module")
def everybodys() -> Iterator[Robot]:
    """One robot for all: a hundred endpoints take their time to find each other."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node, observer = Node("bridge", context=context), Node("observer", context=context)
    robot = Robot(node, observer)
    yield robot
    robot.end()
    node.destroy_node()
    observer.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def robot(everybodys: Robot) -> Robot:
    """A healthy robot with its controllers as at the start."""
    everybodys.renew()
    return everybodys


@pytest.fixture
def idle(robot: Robot) -> Robot:
    """A robot without a motion controller."""
    assert robot.switch([], [CARTESIAN]).ok
    return robot


# The controller manager.


def test_controllers_are_listed_with_what_they_claim(robot: Robot) -> None:
    answer = robot.call(ListControllers, "controller_manager/list_controllers")
    listed = {controller.name: controller for controller in answer.controller}
    assert listed[CARTESIAN].state == "active"
    assert listed[CARTESIAN].claimed_interfaces == [f"fr3_joint{i}/effort" for i in range(1, 8)]
    assert listed[TRAJECTORY].state == "inactive"
    assert listed[TRAJECTORY].type == "joint_trajectory_controller/JointTrajectoryController"
    assert not listed[TRAJECTORY].claimed_interfaces
    assert len(listed[TRAJECTORY].required_command_interfaces) == 7
    assert all(listed[name].state == "active" for name in BROADCASTERS)


def test_controllers_are_switched_together_or_not_at_all(robot: Robot) -> None:
    refused = robot.switch([TRAJECTORY])
    assert not refused.ok
    assert CARTESIAN in refused.message
    assert robot.states()[CARTESIAN] == "active"
    assert robot.switch([TRAJECTORY], [CARTESIAN]).ok
    assert robot.states()[TRAJECTORY] == "active"
    assert robot.states()[CARTESIAN] == "inactive"


def test_best_effort_switches_what_it_can(robot: Robot) -> None:
    best_effort = SwitchController.Request.BEST_EFFORT
    answer = robot.switch(["nonsense", TRAJECTORY], [CARTESIAN], best_effort)
    assert answer.ok
    assert "nonsense" in answer.message
    assert robot.states()[TRAJECTORY] == "active"


def test_a_controller_is_unloaded_loaded_and_configured(robot: Robot) -> None:
    def ask(kind: Any, name: str, controller: str = TRAJECTORY) -> bool:
        return bool(robot.call(kind, f"controller_manager/{name}", name=controller).ok)

    assert not ask(LoadController, "load_controller"), "it is loaded"
    assert not ask(UnloadController, "unload_controller", CARTESIAN), "it is active"
    assert ask(UnloadController, "unload_controller")
    assert robot.states()[TRAJECTORY] == "unconfigured"
    assert ask(LoadController, "load_controller")
    assert ask(ConfigureController, "configure_controller")
    assert robot.states()[TRAJECTORY] == "inactive"
    assert not ask(ConfigureController, "configure_controller")
    for kind, name in (
        (LoadController, "load_controller"),
        (ConfigureController, "configure_controller"),
        (UnloadController, "unload_controller"),
    ):
        assert not ask(kind, name, "nonsense")


def test_hardware_is_listed_with_its_interfaces(robot: Robot) -> None:
    answer = robot.call(ListHardwareComponents, "controller_manager/list_hardware_components")
    (component,) = answer.component
    assert (component.name, component.type, component.state.label) == (HARDWARE, "system", "active")
    assert len(component.command_interfaces) == len(component.state_interfaces) == 21
    answer = robot.call(ListHardwareInterfaces, "controller_manager/list_hardware_interfaces")
    claimed = {each.name for each in answer.command_interfaces if each.is_claimed}
    assert claimed == {f"fr3_joint{i}/effort" for i in range(1, 8)}
    assert all(each.is_available for each in answer.command_interfaces)


def test_hardware_is_set_by_number_or_label_and_takes_controllers_with_it(robot: Robot) -> None:
    answer = robot.set_hardware(number=State.PRIMARY_STATE_INACTIVE)
    assert answer.ok
    assert answer.state.label == "inactive"
    assert set(robot.states().values()) == {"inactive"}
    assert robot.set_hardware("active").state.id == State.PRIMARY_STATE_ACTIVE
    assert not robot.set_hardware("nonsense").ok
    assert not robot.set_hardware("active", name="nonsense").ok


def test_activity_is_published_on_change_and_told_to_whoever_comes_late(robot: Robot) -> None:
    heard: list[ControllerManagerActivity] = []

    def active() -> set[str]:
        return {c.name for c in heard[-1].controllers if c.state.label == "active"}

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.listen(ControllerManagerActivity, "controller_manager/activity", heard.append, latched)
    robot.until(lambda: bool(heard))
    assert active() == {*BROADCASTERS, CARTESIAN}
    robot.switch([TRAJECTORY], [CARTESIAN])
    robot.until(lambda: active() == {*BROADCASTERS, TRAJECTORY})
    assert robot.set_hardware("inactive").ok
    robot.until(lambda: not active())
    assert heard[-1].hardware_components[0].name == HARDWARE
    assert heard[-1].hardware_components[0].state.label == "inactive"


def test_activity_is_not_published_when_the_robot_stops_and_whoever_asks_hears_of_it(
    robot: Robot,
) -> None:
    heard: list[ControllerManagerActivity] = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.listen(ControllerManagerActivity, "controller_manager/activity", heard.append, latched)
    robot.until(lambda: bool(heard))
    before = len(heard)
    robot.inject("reflex")
    assert set(robot.states().values()) == {"inactive"}
    (component,) = robot.call(
        ListHardwareComponents, "controller_manager/list_hardware_components"
    ).component
    assert component.state.label == "unconfigured"
    robot.recover()
    assert robot.set_hardware("active").ok
    robot.until(lambda: len(heard) > before)
    states = [c.state.label for message in heard[before:] for c in message.hardware_components]
    assert states == ["active"], "the first that is heard is its return"


# Faults and recovery.


def test_recovery_takes_three_steps_in_their_order(robot: Robot) -> None:
    robot.inject("reflex")
    assert set(robot.states().values()) == {"inactive"}
    assert not robot.set_hardware("active").ok, "the robot is still in error"
    assert robot.recover() == SUCCEEDED
    assert not robot.switch([CARTESIAN]).ok, "the hardware is not active yet"
    assert robot.set_hardware("active").ok
    assert set(robot.states().values()) == {"inactive"}, "nothing comes back by itself"
    assert robot.switch([*BROADCASTERS, CARTESIAN]).ok
    assert robot.states()[CARTESIAN] == "active"


def test_recovery_is_aborted_while_the_user_stop_is_pressed(robot: Robot) -> None:
    robot.inject("user_stop")
    assert robot.recover() == ABORTED
    robot.inject("release_user_stop")
    assert robot.recover() == SUCCEEDED


def test_recovery_of_a_healthy_robot_succeeds(robot: Robot) -> None:
    assert robot.recover() == SUCCEEDED
    assert robot.states()[CARTESIAN] == "active"


def test_an_error_during_recovery_aborts_it(robot: Robot) -> None:
    robot.inject("reflex")
    robot.pause()
    handle = robot.send(ErrorRecovery, "action_server/error_recovery")
    robot.inject("communication")
    robot.go_on()
    assert robot.result(handle)[0] == ABORTED


def test_recovery_cannot_be_cancelled(robot: Robot) -> None:
    robot.inject("reflex")
    robot.pause()
    handle = robot.send(ErrorRecovery, "action_server/error_recovery")
    assert not robot.wait(handle.cancel_goal_async()).goals_canceling
    robot.go_on()
    assert robot.result(handle)[0] == SUCCEEDED


# Joint motions.


def drive(robot: Robot, offset: float = 0.3) -> dict[str, Any]:
    """A goal of ptp_motion with the last joint turned."""
    goal = robot.simulation.call(lambda: robot.simulation.world.q.copy())
    goal[6] += offset
    return {
        "goal_joint_configuration": goal,
        "maximum_joint_velocities": np.full(7, 0.5),
        "goal_tolerance": 0.01,
    }


def test_the_arm_drives_to_joint_positions(idle: Robot) -> None:
    goal = drive(idle)
    told: list[int] = []
    handle = idle.send(
        PTPMotion,
        "action_server/ptp_motion",
        lambda m: told.append(m.feedback.target_status.status),
        **goal,
    )
    status, result = idle.result(handle)
    assert status == SUCCEEDED
    assert result.target_status.status == TargetStatus.TARGET_REACHED
    assert idle.simulation.world.q == pytest.approx(goal["goal_joint_configuration"], abs=0.01)
    assert set(told) <= {TargetStatus.EXECUTING}


def test_the_arm_does_not_drive_against_a_controller(robot: Robot) -> None:
    status, result = robot.do(PTPMotion, "action_server/ptp_motion", **drive(robot))
    assert status == ABORTED
    assert result.target_status.status == TargetStatus.ABORTED
    assert CARTESIAN in result.error_message


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("goal_joint_configuration", [0.0] * 6, "7"),
        ("goal_joint_configuration", [float("nan")] * 7, "finite"),
        ("goal_joint_configuration", [9.0] * 7, "limits"),
        ("maximum_joint_velocities", [0.0] * 7, "positive"),
        ("goal_tolerance", -1.0, "tolerance"),
    ],
)
def test_an_impossible_drive_is_aborted_with_its_reason(
    idle: Robot, field: str, value: Any, why: str
) -> None:
    status, result = idle.do(PTPMotion, "action_server/ptp_motion", **{**drive(idle), field: value})
    assert status == ABORTED
    assert why in result.error_message


def test_a_cancelled_drive_stops(idle: Robot) -> None:
    idle.pause()
    handle = idle.send(PTPMotion, "action_server/ptp_motion", **drive(idle))
    assert idle.wait(handle.cancel_goal_async()).goals_canceling
    assert idle.result(handle)[0] == CANCELED
    assert not idle.simulation.manager.moving


def test_a_fault_aborts_a_drive(idle: Robot) -> None:
    idle.pause()
    handle = idle.send(PTPMotion, "action_server/ptp_motion", **drive(idle))
    idle.inject("reflex")
    idle.go_on()
    assert idle.result(handle)[0] == ABORTED


# The robot's set-up.

THRESHOLDS = {
    "lower_torque_thresholds_nominal": [20.0] * 7,
    "upper_torque_thresholds_nominal": [30.0] * 7,
    "lower_force_thresholds_nominal": [20.0] * 6,
    "upper_force_thresholds_nominal": [30.0] * 6,
}
ALL_THRESHOLDS = THRESHOLDS | {
    name.replace("nominal", "acceleration"): values for name, values in THRESHOLDS.items()
}
SHIFTED = np.eye(4)
SHIFTED[2, 3] = 0.1
GOOD = [
    (SetLoad, "set_load", {"mass": 0.0}),
    (SetFullCollisionBehavior, "set_full_collision_behavior", ALL_THRESHOLDS),
    (SetForceTorqueCollisionBehavior, "set_force_torque_collision_behavior", THRESHOLDS),
    (SetJointStiffness, "set_joint_stiffness", {"joint_stiffness": [100.0] * 7}),
    (SetTCPFrame, "set_tcp_frame", {"transformation": IDENTITY}),
    (SetStiffnessFrame, "set_stiffness_frame", {"transformation": IDENTITY}),
]
BAD = [
    (SetLoad, "set_load", {"mass": 0.5}, "not simulated"),
    (SetLoad, "set_load", {"mass": -1.0}, "negative"),
    (SetLoad, "set_load", {"mass": float("nan")}, "negative"),
    (SetLoad, "set_load", {"center_of_mass": [float("inf")] * 3}, "finite"),
    (
        SetFullCollisionBehavior,
        "set_full_collision_behavior",
        ALL_THRESHOLDS | {"upper_force_thresholds_acceleration": [99.0] * 6},
        "the same as",
    ),
    (
        SetFullCollisionBehavior,
        "set_full_collision_behavior",
        {name: [-value for value in values] for name, values in ALL_THRESHOLDS.items()},
        "above",
    ),
    (
        SetForceTorqueCollisionBehavior,
        "set_force_torque_collision_behavior",
        THRESHOLDS | {"upper_torque_thresholds_nominal": [float("nan")] * 7},
        "finite",
    ),
    (
        SetForceTorqueCollisionBehavior,
        "set_force_torque_collision_behavior",
        THRESHOLDS | {"lower_torque_thresholds_nominal": [0.0] * 7},
        "positive",
    ),
    (
        SetCartesianStiffness,
        "set_cartesian_stiffness",
        {"cartesian_stiffness": [100.0] * 6},
        "not simulated",
    ),
    (SetJointStiffness, "set_joint_stiffness", {"joint_stiffness": [0.0] * 7}, "more than 0"),
    (SetJointStiffness, "set_joint_stiffness", {"joint_stiffness": [1e5] * 7}, "up to"),
    (SetTCPFrame, "set_tcp_frame", {"transformation": SHIFTED.T.ravel()}, "fr3_hand_tcp"),
    (SetTCPFrame, "set_tcp_frame", {"transformation": SHIFTED.ravel()}, "rigid"),
    (SetStiffnessFrame, "set_stiffness_frame", {"transformation": 2 * IDENTITY}, "rigid"),
    (SetStiffnessFrame, "set_stiffness_frame", {"transformation": IDENTITY * np.nan}, "finite"),
]


@pytest.mark.parametrize(("kind", "name", "request_"), GOOD)
def test_an_idle_robot_is_set_up(
    idle: Robot, kind: Any, name: str, request_: dict[str, Any]
) -> None:
    assert idle.set_up(kind, name, **request_) == (True, "")


@pytest.mark.parametrize(("kind", "name", "request_", "why"), BAD)
def test_what_cannot_be_set_is_refused_with_its_reason(
    idle: Robot, kind: Any, name: str, request_: dict[str, Any], why: str
) -> None:
    success, error = idle.set_up(kind, name, **request_)
    assert not success
    assert why in error


@pytest.mark.parametrize(("kind", "name", "request_"), GOOD)
def test_nothing_is_set_up_under_a_controller(
    robot: Robot, kind: Any, name: str, request_: dict[str, Any]
) -> None:
    success, error = robot.set_up(kind, name, **request_)
    assert not success
    assert CARTESIAN in error


def test_nothing_is_set_up_in_error_or_motion(idle: Robot) -> None:
    idle.pause()
    handle = idle.send(PTPMotion, "action_server/ptp_motion", **drive(idle))
    assert "moving" in idle.set_up(SetLoad, "set_load")[1]
    idle.inject("reflex")
    assert "reflex" in idle.set_up(SetLoad, "set_load")[1]
    idle.go_on()
    idle.result(handle)


def test_collision_thresholds_take_effect(idle: Robot) -> None:
    name = "set_force_torque_collision_behavior"
    assert idle.set_up(SetForceTorqueCollisionBehavior, name, **THRESHOLDS) == (True, "")
    thresholds = idle.simulation.faults.thresholds
    assert thresholds.lower_torques == pytest.approx([20.0] * 7)
    assert thresholds.upper_forces == pytest.approx([30.0] * 6)


# The hand.


def width(robot: Robot) -> float:
    return robot.simulation.call(lambda: robot.simulation.world.width)


def test_the_hand_moves_to_a_width_and_tells_where_it_is(robot: Robot) -> None:
    told: list[float] = []
    robot.do(Move, "franka_gripper/move", width=HAND.width_max, speed=0.1)
    handle = robot.send(
        Move,
        "franka_gripper/move",
        lambda message: told.append(message.feedback.current_width),
        width=0.02,
        speed=0.02,
    )
    status, result = robot.result(handle)
    assert (status, result.success, result.error) == (SUCCEEDED, True, "")
    assert width(robot) == pytest.approx(0.02, abs=0.002)
    assert told, "it took 3 s of simulated time"
    assert len(told) <= 3.5 * 30
    assert all(0.015 < value < 0.085 for value in told)


@pytest.mark.parametrize(
    ("expected", "inner", "outer", "success"),
    [(0.0, 0.005, 0.005, True), (0.04, 0.005, 0.005, False), (0.04, 0.05, 0.05, True)],
)
def test_a_grasp_succeeds_by_libfrankas_rule(
    robot: Robot, expected: float, inner: float, outer: float, success: bool
) -> None:
    status, result = robot.do(
        Grasp,
        "franka_gripper/grasp",
        width=expected,
        epsilon=GraspEpsilon(inner=inner, outer=outer),
        speed=0.1,
        force=20.0,
    )
    assert (status, result.success) == (SUCCEEDED if success else ABORTED, success)
    assert bool(result.error) is not success


def test_homing_closes_and_opens_the_hand(robot: Robot) -> None:
    status, result = robot.do(Homing, "franka_gripper/homing")
    assert (status, result.success) == (SUCCEEDED, True)
    assert width(robot) == pytest.approx(HAND.width_max, abs=0.002)


NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "name", "goal"),
    [
        (Move, "move", {"width": 0.2, "speed": 0.1}),
        (Move, "move", {"width": -0.01, "speed": 0.1}),
        (Move, "move", {"width": NAN, "speed": 0.1}),
        (Move, "move", {"width": 0.04, "speed": 0.0}),
        (Grasp, "grasp", {"width": 0.0, "speed": 0.1, "force": 0.0}),
        (Grasp, "grasp", {"width": 0.0, "speed": 0.1, "force": NAN}),
        (
            Grasp,
            "grasp",
            {"width": 0.0, "speed": 0.1, "force": 9.0, "epsilon": GraspEpsilon(inner=NAN)},
        ),
    ],
)
def test_what_the_hand_cannot_do_fails_with_its_reason(
    robot: Robot, kind: Any, name: str, goal: dict[str, Any]
) -> None:
    status, result = robot.do(kind, f"franka_gripper/{name}", **goal)
    assert (status, result.success) == (ABORTED, False)
    assert "expected" in result.error


def test_a_newer_goal_replaces_the_older_one(robot: Robot) -> None:
    robot.pause()
    older = robot.send(Move, "franka_gripper/move", width=0.01, speed=0.05)
    newer = robot.send(Grasp, "franka_gripper/grasp", width=0.0, speed=0.1, force=20.0)
    robot.go_on()
    status, result = robot.result(older)
    assert (status, result.success) == (ABORTED, False)
    assert "replaced" in result.error
    assert robot.result(newer)[0] == SUCCEEDED


def test_a_goal_that_is_impossible_replaces_nothing(robot: Robot) -> None:
    robot.pause()
    good = robot.send(Move, "franka_gripper/move", width=0.01, speed=0.1)
    bad = robot.send(Move, "franka_gripper/move", width=9.0, speed=0.1)
    assert robot.result(bad)[0] == ABORTED
    robot.go_on()
    assert robot.result(good)[0] == SUCCEEDED


def test_of_many_goals_at_once_each_gets_its_result_and_the_last_succeeds(robot: Robot) -> None:
    goals = [
        robot.send_async(Move, "franka_gripper/move", width=0.001 * i, speed=0.1) for i in range(8)
    ]
    results = [robot.wait(goal).get_result_async() for goal in goals]
    outcomes = [robot.wait(result).result for result in results]
    assert outcomes[-1].success
    assert all(outcome.success or "replaced" in outcome.error for outcome in outcomes)
    assert width(robot) == pytest.approx(0.007, abs=0.002)


def test_cancelling_stops_the_hand_even_while_time_stands_still(robot: Robot) -> None:
    robot.do(Move, "franka_gripper/move", width=HAND.width_max, speed=0.1)
    robot.pause()
    handle = robot.send(Homing, "franka_gripper/homing")
    assert robot.wait(handle.cancel_goal_async()).goals_canceling
    status, result = robot.result(handle)
    assert (status, result.success, result.error) == (CANCELED, False, "stopped")
    assert robot.simulation.gripper.motion is None


def test_the_stop_service_ends_a_goal(robot: Robot) -> None:
    robot.pause()
    handle = robot.send(Move, "franka_gripper/move", width=0.0, speed=0.1)
    assert robot.call(Trigger, "franka_gripper/stop").success
    robot.go_on()
    status, result = robot.result(handle)
    assert (status, result.success, result.error) == (ABORTED, False, "stopped")


def test_a_reset_ends_a_goal(robot: Robot) -> None:
    robot.pause()
    handle = robot.send(Move, "franka_gripper/move", width=0.0, speed=0.1)
    robot.simulation.call(robot.simulation.reset_world)
    robot.go_on()
    status, result = robot.result(handle)
    assert status == ABORTED
    assert "put back" in result.error


def command(robot: Robot, position: float, effort: float = 0.0) -> tuple[int, Any]:
    goal = Command(position=position, max_effort=effort)
    return robot.do(GripperCommand, "franka_gripper/gripper_action", command=goal)


def test_gripper_action_takes_half_of_the_width_and_tells_the_whole(robot: Robot) -> None:
    status, result = command(robot, 0.0, 30.0)
    assert (status, result.reached_goal) == (SUCCEEDED, True)
    assert result.position == pytest.approx(0.0, abs=0.002)
    status, result = command(robot, 0.03)
    assert (status, result.reached_goal) == (SUCCEEDED, True)
    assert result.position == pytest.approx(0.06, abs=0.002)
    assert width(robot) == pytest.approx(0.06, abs=0.002)


def test_gripper_action_is_done_where_it_is(robot: Robot) -> None:
    robot.pause()
    status, result = command(robot, width(robot) / 2)
    assert (status, result.reached_goal) == (SUCCEEDED, True)


def test_gripper_action_that_closes_is_a_grasp(robot: Robot) -> None:
    command(robot, 0.04)
    status, result = command(robot, 0.02, 30.0)  # nothing that is 0.04 m wide
    assert (status, result.reached_goal) == (ABORTED, False)
    assert result.position == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize(
    ("position", "effort"), [(0.05, 0.0), (-0.01, 0.0), (NAN, 0.0), (0.0, 999.0)]
)
def test_gripper_action_out_of_range_is_aborted(
    robot: Robot, position: float, effort: float
) -> None:
    status, result = command(robot, position, effort)
    assert (status, result.reached_goal) == (ABORTED, False)


# Trajectories.

Follow = FollowJointTrajectory


def trajectory(robot: Robot, offset: float, seconds: float = 0.5, **fields: Any) -> JointTrajectory:
    """Turn the last joint within some time."""
    goal = robot.simulation.call(lambda: robot.simulation.world.q.copy())
    goal[6] += offset
    whole = int(seconds)
    after = Duration(sec=whole, nanosec=int((seconds - whole) * 1e9))
    point = JointTrajectoryPoint(positions=goal, time_from_start=after)
    message = JointTrajectory(joint_names=FR3.joint_names, points=[point])
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.fixture
def follower(robot: Robot) -> Robot:
    """A robot with its trajectory controller active."""
    assert robot.switch([TRAJECTORY], [CARTESIAN]).ok
    return robot


def follow(robot: Robot, message: JointTrajectory, **goal: Any) -> tuple[int, int]:
    """Status of the goal and its error code."""
    name = f"{TRAJECTORY}/follow_joint_trajectory"
    status, result = robot.do(Follow, name, trajectory=message, **goal)
    assert bool(result.error_string) is (result.error_code != 0)
    return status, result.error_code


def test_a_trajectory_is_followed_to_its_end(follower: Robot) -> None:
    message = trajectory(follower, 0.2)
    assert follow(follower, message) == (SUCCEEDED, Follow.Result.SUCCESSFUL)
    assert follower.simulation.world.q == pytest.approx(message.points[0].positions, abs=0.02)


def test_feedback_tells_of_desired_and_actual_positions(follower: Robot) -> None:
    told: list[Any] = []
    handle = follower.send(
        Follow,
        f"{TRAJECTORY}/follow_joint_trajectory",
        told.append,
        trajectory=trajectory(follower, 0.5, 3.0),
    )
    follower.result(handle)
    feedback = told[-1].feedback
    assert feedback.joint_names == list(FR3.joint_names)
    desired, actual = np.array(feedback.desired.positions), np.array(feedback.actual.positions)
    assert desired == pytest.approx(actual, abs=0.1)
    assert np.array(feedback.error.positions) == pytest.approx(desired - actual)


def test_trajectories_that_cannot_be_followed_end_with_their_code(follower: Robot) -> None:
    result = Follow.Result
    message = trajectory(follower, 0.2)
    empty = JointTrajectory(joint_names=FR3.joint_names)
    assert follow(follower, empty) == (ABORTED, result.INVALID_GOAL)
    others = trajectory(follower, 0.2, joint_names=["a", "b"])
    assert follow(follower, others) == (ABORTED, result.INVALID_JOINTS)
    follower.until(lambda: follower.simulation.time > 2.0)
    late = trajectory(follower, 0.2)
    late.header.stamp = Time(sec=1)
    assert follow(follower, late) == (ABORTED, result.OLD_HEADER_TIMESTAMP)
    tight = [JointTolerance(name="fr3_joint7", position=1e-5)]
    path = follow(follower, message, path_tolerance=tight)
    assert path == (ABORTED, result.PATH_TOLERANCE_VIOLATED)
    jump = trajectory(follower, 0.5, 0.01)
    soon = Duration(nanosec=10_000_000)
    goal = follow(follower, jump, goal_tolerance=tight, goal_time_tolerance=soon)
    assert goal == (ABORTED, result.GOAL_TOLERANCE_VIOLATED)


@pytest.mark.parametrize(
    ("tolerance", "code"),
    [
        (JointTolerance(name="nonsense"), Follow.Result.INVALID_JOINTS),
        (JointTolerance(name="fr3_joint1", velocity=1.0), Follow.Result.INVALID_GOAL),
        (JointTolerance(name="fr3_joint1", position=NAN), Follow.Result.INVALID_GOAL),
    ],
)
def test_tolerances_that_are_not_watched_are_refused(
    follower: Robot, tolerance: JointTolerance, code: int
) -> None:
    message = trajectory(follower, 0.1)
    assert follow(follower, message, path_tolerance=[tolerance]) == (ABORTED, code)


def test_no_trajectory_is_followed_while_the_controller_is_inactive(robot: Robot) -> None:
    assert follow(robot, trajectory(robot, 0.2)) == (ABORTED, Follow.Result.INVALID_GOAL)


def test_a_cancelled_trajectory_holds(follower: Robot) -> None:
    message = trajectory(follower, 1.0, 5.0)
    follower.pause()
    handle = follower.send(Follow, f"{TRAJECTORY}/follow_joint_trajectory", trajectory=message)
    assert follower.wait(handle.cancel_goal_async()).goals_canceling
    assert follower.result(handle)[0] == CANCELED
    controller = follower.simulation.manager.controllers[TRAJECTORY]
    assert controller.reference_velocity == pytest.approx(np.zeros(7))


def test_deactivating_the_controller_ends_its_goal(follower: Robot) -> None:
    follower.pause()
    handle = follower.send(
        Follow,
        f"{TRAJECTORY}/follow_joint_trajectory",
        trajectory=trajectory(follower, 1.0, 5.0),
    )
    assert follower.switch([], [TRAJECTORY]).ok
    follower.go_on()
    assert follower.result(handle)[0] == ABORTED


def test_the_reference_of_a_time_can_be_asked_for(follower: Robot) -> None:
    answer = follower.call(QueryTrajectoryState, f"{TRAJECTORY}/query_state")
    assert answer.success
    assert answer.name == list(FR3.joint_names)
    assert np.array(answer.position) == pytest.approx(follower.simulation.world.q, abs=0.01)
    assert np.array(answer.velocity) == pytest.approx(np.zeros(7))
    follower.switch([], [TRAJECTORY])
    answer = follower.call(QueryTrajectoryState, f"{TRAJECTORY}/query_state")
    assert not answer.success
    assert TRAJECTORY in answer.message


# Beginning and end.


def test_names_are_in_the_nodes_namespace(context: rclpy.Context, observer: Node) -> None:
    node = Node("bridge", namespace="left", context=context)
    robot = Robot(node, observer)
    try:
        listed = robot.call(ListControllers, "left/controller_manager/list_controllers")
        assert listed.controller
        status, _ = robot.do(Homing, "left/franka_gripper/homing")
        assert status == SUCCEEDED
    finally:
        robot.end()
        node.destroy_node()


def test_it_can_be_destroyed_with_goals_under_way_and_made_again(
    node: Node, observer: Node
) -> None:
    robot = Robot(node, observer)
    try:
        destroy_and_make_again(robot, node)
    finally:
        robot.end()


def destroy_and_make_again(robot: Robot, node: Node) -> None:
    listeners = len(robot.simulation.listeners)
    robot.pause()
    handle = robot.send(Move, "franka_gripper/move", width=0.0, speed=0.1)
    handle.get_result_async()
    done = rclpy.task.Future()

    def again() -> None:
        robot.interface.destroy()
        robot.interface = Interface(node, robot.simulation, robot.failures.append)
        done.set_result(True)

    robot._server.create_task(again)
    robot.wait(done)
    assert len(robot.simulation.listeners) == listeners
    robot.go_on()
    answer = robot.call(ListControllers, "controller_manager/list_controllers")
    assert len(answer.controller) == 7
    assert robot._threads[1].is_alive(), "the executor goes on"
