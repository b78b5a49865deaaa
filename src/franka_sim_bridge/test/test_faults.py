"""Faults: what stops the robot, what it reports then, and the order in which it comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from franka_sim_bridge import faults as module
from franka_sim_bridge.controllers import ControllerManager
from franka_sim_bridge.faults import (
    AUTOMATIC_ERROR_RECOVERY,
    FRANKA,
    GUIDING,
    IDLE,
    KINDS,
    LEARNING,
    MOVE,
    PRESETS,
    RECOVERY_TIME,
    REFLEX,
    USER_STOPPED,
    Faults,
)
from franka_sim_bridge.readings import ExternalTorques
from sac_envs.environment import FrankaEnv
from sac_envs.kinematics import TOOL_DOWN
from sac_envs.robots import FR3, HAND, HOME, Float64
from sac_envs.world import World

CARTESIAN = "cartesian_impedance_controller"
EFFORT = "joint_effort_controller"
VELOCITY = "joint_velocity_controller"
BROADCASTERS = ["joint_state_broadcaster", "franka_robot_state_broadcaster"]
STRICT = 2
ERRORS = {
    line.split()[1]
    for line in (Path(__file__).parents[3] / "pip_underlay/franka_msgs/msg/Errors.msg")
    .read_text()
    .splitlines()
    if line.startswith("bool ")
}


class Robot:
    """World, manager and faults, wired as the bridge does it."""

    def __init__(self, active: str = CARTESIAN, preset: str = "franka") -> None:
        self.world = World(FR3)
        self.world.reset(np.array(HOME), HAND.width_max, {})
        self.manager = ControllerManager(self.world, FR3, active=active)
        self.external = ExternalTorques(self.world)
        self.faults = Faults(self.world, FR3, self.external, preset)
        self.manager.may_activate = lambda: self.faults.clear
        self.manager.raise_error = self.faults.raise_error
        self.faults.moving = lambda: self.manager.moving
        self.faults.on_fault.append(self.manager.fault)
        self.steps = 0

    @property
    def time(self) -> float:
        return self.steps * self.world.physics_step

    def step(self) -> None:
        self.world.step(self.manager.torques(self.time))
        self.faults.check(self.time)
        self.steps += 1

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / self.world.physics_step)):
            self.step()

    def run_until_fault(self, seconds: float) -> None:
        for _ in range(round(seconds / self.world.physics_step)):
            self.step()
            if not self.faults.clear:
                return
        raise AssertionError("the robot did not stop")

    def states(self) -> set[str]:
        return {controller.state for controller in self.manager.controllers.values()}

    def press(self, torque: float) -> None:
        """Push a joint from outside: what the external torques show, without a contact."""
        pushed = np.zeros(7)
        pushed[1] = torque
        self.external.torques = pushed
        self.external.update = lambda: None  # type: ignore[method-assign]

    def push(self, wrench: Float64) -> None:
        """Push the tool from outside."""
        self.external.torques = wrench @ self.world.jacobian()
        self.external.update = lambda: None  # type: ignore[method-assign]


# A robot that is well.


def test_a_robot_that_moves_freely_has_no_errors() -> None:
    robot = Robot()
    robot.manager.controllers[CARTESIAN].target([0.5, 0.2, 0.3], TOOL_DOWN)
    robot.run(2.0)
    assert robot.faults.clear
    assert robot.faults.current_errors == robot.faults.last_motion_errors == frozenset()
    assert robot.faults.robot_mode == MOVE
    assert not robot.faults.joint_contact.any()
    assert not robot.faults.cartesian_contact.any()


def test_it_is_idle_without_a_motion_controller_and_moves_with_a_native_motion() -> None:
    robot = Robot()
    robot.manager.switch([], [CARTESIAN], STRICT)
    assert robot.faults.robot_mode == IDLE
    robot.manager.move_to(np.array(HOME) + 0.1, np.ones(7), 0.01)
    assert robot.faults.robot_mode == MOVE
    robot.run(2.0)
    assert robot.faults.robot_mode == IDLE


# Errors that arise.


@pytest.mark.parametrize("kind", KINDS)
def test_an_injected_error_stops_everything(kind: str) -> None:
    robot = Robot()
    robot.run(0.1)
    robot.faults.inject(kind)
    assert robot.faults.current_errors == robot.faults.last_motion_errors == {KINDS[kind]}
    assert robot.faults.robot_mode == REFLEX
    assert not robot.faults.clear
    assert robot.manager.hardware_state == "unconfigured"
    assert robot.states() == {"inactive"}


def test_every_error_that_is_raised_is_one_of_the_robots() -> None:
    source = Path(module.__file__).parent
    text = (source / "faults.py").read_text() + (source / "motion_controllers.py").read_text()
    raised = {
        word
        for word in text.replace('"', " ").split()
        if word.endswith(("_violation", "_reflex", "_discontinuity"))
        and word.startswith(("joint_", "cartesian_", "communication_"))
    }
    assert {"joint_reflex", "joint_motion_generator_velocity_discontinuity"} <= raised
    assert raised <= ERRORS
    assert set(KINDS.values()) <= ERRORS


def test_a_second_error_is_added_to_the_first() -> None:
    robot = Robot()
    robot.faults.inject("reflex")
    robot.faults.raise_error("cartesian_reflex")
    assert robot.faults.current_errors == {"joint_reflex", "cartesian_reflex"}


def test_an_unknown_kind_of_fault_is_refused_and_the_known_ones_are_named() -> None:
    robot = Robot()
    for kind in ("earthquake", "release_reflex", ""):
        with pytest.raises(ValueError, match=r"reflex.*user_stop.*guiding.*release_user_stop"):
            robot.faults.inject(kind)
    assert robot.faults.clear


@pytest.mark.parametrize("velocity", [0.8, -0.8])
def test_a_joint_at_its_limit_stops_the_robot(velocity: float) -> None:
    robot = Robot(VELOCITY)
    robot.manager.controllers[VELOCITY].command([velocity, *[0.0] * 6])
    robot.faults.set_thresholds([1e4] * 7, [1e4] * 6)
    robot.run_until_fault(6.0)
    assert robot.faults.current_errors == {"joint_position_limits_violation"}
    assert abs(robot.world.q[0]) == pytest.approx(FR3.position_max[0], abs=0.05)


def test_a_joint_that_is_too_fast_stops_the_robot() -> None:
    robot = Robot(EFFORT)
    robot.manager.controllers[EFFORT].command([0.0] * 6 + [12.0])
    robot.run_until_fault(2.0)
    assert robot.faults.current_errors == {"joint_velocity_violation"}
    robot.run(1.0)
    assert np.abs(robot.world.dq).max() < 0.01, "it brakes and holds"


def test_an_arm_driven_into_the_table_stops_the_robot() -> None:
    robot = Robot()
    robot.manager.controllers[CARTESIAN].target([0.5, 0.0, -0.2], TOOL_DOWN)
    robot.run_until_fault(3.0)
    assert robot.faults.current_errors <= {"joint_reflex", "cartesian_reflex"}
    assert robot.manager.active_motion is None


def test_thresholds_for_learning_let_the_fingers_press_on_the_table() -> None:
    robot = Robot(preset="learning")
    start = robot.world.tcp_position
    controller = robot.manager.controllers[CARTESIAN]
    for depth in np.linspace(start[2], -0.05, 40):
        controller.target([0.5, 0.0, depth], TOOL_DOWN)
        robot.run(0.1)
    assert robot.faults.clear
    assert robot.faults.cartesian_contact[2], "which is a contact all the same"
    assert np.abs(robot.external.wrench()[2]) == pytest.approx(60.0, rel=0.2)


def test_bumps_of_learning_stop_a_robot_with_frankas_thresholds_and_not_one_for_learning() -> None:
    env = FrankaEnv("pick_cube")
    world, random = env.world, np.random.default_rng(1)
    presets = [Faults(world, FR3, ExternalTorques(world), preset) for preset in PRESETS]
    stops = dict.fromkeys(PRESETS, 0)
    advance = world.step

    def step(torques: Float64) -> None:
        advance(torques)
        for faults in presets:
            faults.check(0.0)

    world.step = step  # type: ignore[method-assign]
    for seed in range(12):
        env.reset(seed=seed)
        for i in range(40):
            if i % 5 == 0:
                action = np.sign(random.uniform(-1.0, 1.0, 4)).astype(np.float32)
            env.step(action)
        for preset, faults in zip(PRESETS, presets, strict=True):
            stops[preset] += not faults.clear
            faults.recover(-1.0)
    assert stops["franka"] >= 4
    assert stops["learning"] == 0


# Thresholds.


def test_a_torque_beyond_the_upper_threshold_is_a_joint_reflex() -> None:
    robot = Robot()
    robot.faults.set_thresholds([20.0] * 7, [1e4] * 6)
    robot.press(19.0)
    robot.run(0.1)
    assert robot.faults.clear
    robot.press(-21.0)
    robot.run(0.1)
    assert robot.faults.current_errors == {"joint_reflex"}
    assert robot.faults.joint_collision.tolist() == [False, True] + [False] * 5


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_force_beyond_the_upper_threshold_is_a_cartesian_reflex(axis: int, sign: float) -> None:
    robot = Robot()
    robot.faults.set_thresholds([1e4] * 7, [20.0] * 6)
    robot.push(19.0 * sign * np.eye(6)[axis])
    robot.run(0.1)
    assert robot.faults.clear
    robot.push(21.0 * sign * np.eye(6)[axis])
    robot.run(0.1)
    assert robot.faults.current_errors == {"cartesian_reflex"}
    assert robot.faults.cartesian_collision.tolist() == (np.arange(6) == axis).tolist()


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("threshold", [2.0, 20.0])
def test_contacts_begin_at_the_lower_threshold_and_stop_nothing(
    axis: int, threshold: float
) -> None:
    robot = Robot()
    robot.faults.set_thresholds([1e4] * 7, [1e4] * 6, [1e4] * 7, [threshold] * 6)
    robot.push(0.9 * threshold * np.eye(6)[axis])
    robot.run(0.1)
    assert not robot.faults.cartesian_contact.any()
    robot.push(1.1 * threshold * np.eye(6)[axis])
    robot.run(0.1)
    assert robot.faults.cartesian_contact.tolist() == (np.arange(6) == axis).tolist()
    assert robot.faults.clear
    robot.push(np.zeros(6))
    robot.run(0.1)
    assert not robot.faults.cartesian_contact.any()


def test_joint_contacts_come_and_go_with_the_torque() -> None:
    robot = Robot()
    robot.faults.set_thresholds([1e4] * 7, [1e4] * 6, [10.0] * 7, [1e4] * 6)
    for torque, contact in ((9.0, False), (11.0, True), (0.0, False), (-11.0, True)):
        robot.press(torque)
        robot.run(0.1)
        assert robot.faults.joint_contact.tolist() == [False, contact] + [False] * 5
    assert not robot.faults.joint_collision.any()


def test_a_collision_is_shown_until_the_recovery() -> None:
    robot = Robot()
    robot.press(50.0)
    robot.run(0.1)
    robot.press(0.0)
    robot.run(0.1)
    assert robot.faults.joint_collision[1]
    assert not robot.faults.joint_contact[1]
    robot.faults.recover(robot.time)
    assert not robot.faults.joint_collision.any()


@pytest.mark.parametrize("preset", PRESETS)
def test_contacts_begin_before_collisions_in_every_preset(preset: str) -> None:
    thresholds = PRESETS[preset]
    assert (thresholds.lower_forces < thresholds.upper_forces).all()
    assert (thresholds.lower_torques < thresholds.upper_torques).all()


def test_learning_tolerates_more_than_franka_does() -> None:
    assert (LEARNING.upper_torques > FRANKA.upper_torques).all()
    assert (LEARNING.upper_forces > FRANKA.upper_forces).all()


@pytest.mark.parametrize(
    ("torques", "forces", "reason"),
    [
        ([1.0] * 6, [1.0] * 6, "upper torque thresholds: expected 7 positive numbers"),
        ([1.0] * 7, [1.0] * 5, "upper force thresholds: expected 6 positive numbers"),
        ([0.0] * 7, [1.0] * 6, "upper torque"),
        ([1.0] * 7, [np.nan] * 6, "upper force"),
        ([1.0] * 7, [-1.0] * 6, "upper force"),
    ],
)
def test_impossible_thresholds_are_refused_and_the_old_ones_stay(
    torques: list[float], forces: list[float], reason: str
) -> None:
    robot = Robot()
    with pytest.raises(ValueError, match=reason):
        robot.faults.set_thresholds(torques, forces)
    with pytest.raises(ValueError, match=reason.replace("upper", "lower")):
        robot.faults.set_thresholds([1.0] * 7, [1.0] * 6, torques, forces)
    assert robot.faults.thresholds is FRANKA


# Recovery.


def test_the_robot_comes_back_in_three_steps_and_in_no_other_order() -> None:
    robot = Robot()
    robot.faults.inject("reflex")
    manager = robot.manager
    assert not manager.switch([CARTESIAN], [], STRICT)[0]
    assert not manager.set_hardware_state("active")[0]

    assert robot.faults.recover(robot.time) == (True, "")
    assert robot.faults.robot_mode == AUTOMATIC_ERROR_RECOVERY
    assert not manager.set_hardware_state("active")[0], "not before it is done"
    robot.run(RECOVERY_TIME + 0.02)
    assert robot.faults.robot_mode == IDLE
    assert robot.faults.current_errors == frozenset()
    assert robot.faults.last_motion_errors == {"joint_reflex"}, "what stopped it stays known"
    assert robot.states() == {"inactive"}
    assert not manager.switch([CARTESIAN], [], STRICT)[0], "the hardware is still down"

    assert manager.set_hardware_state("active") == (True, "")
    assert robot.states() == {"inactive"}
    assert manager.switch([*BROADCASTERS, CARTESIAN], [], STRICT) == (True, "")
    assert robot.faults.robot_mode == MOVE


def test_recovery_takes_its_simulated_time() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.faults.inject("reflex")
    robot.faults.recover(robot.time)
    robot.run(RECOVERY_TIME - 0.02)
    assert robot.faults.robot_mode == AUTOMATIC_ERROR_RECOVERY
    robot.run(0.04)
    assert robot.faults.robot_mode == IDLE


def test_a_cause_that_is_still_there_raises_its_error_again() -> None:
    robot = Robot()
    robot.press(50.0)
    robot.run(0.1)
    assert robot.faults.robot_mode == REFLEX
    robot.faults.recover(robot.time)
    robot.run(RECOVERY_TIME - 0.02)
    assert robot.faults.robot_mode == AUTOMATIC_ERROR_RECOVERY
    robot.run(0.1)
    assert robot.faults.robot_mode == REFLEX
    assert robot.faults.current_errors == {"joint_reflex"}


def test_an_error_during_recovery_ends_it() -> None:
    robot = Robot()
    robot.faults.inject("reflex")
    robot.faults.recover(robot.time)
    robot.faults.inject("communication")
    robot.run(1.0)
    assert robot.faults.robot_mode == REFLEX


def test_recovery_of_a_robot_that_is_well_changes_nothing() -> None:
    robot = Robot()
    assert robot.faults.recover(robot.time) == (True, "")
    assert robot.faults.clear
    assert robot.faults.robot_mode == MOVE
    assert robot.manager.active_motion is not None


@pytest.mark.parametrize(
    ("kind", "mode", "reason"),
    [("user_stop", USER_STOPPED, "user stop"), ("guiding", GUIDING, "guided")],
)
def test_what_a_person_began_only_a_person_ends(kind: str, mode: int, reason: str) -> None:
    robot = Robot()
    robot.faults.inject(kind)
    assert robot.faults.robot_mode == mode
    assert robot.states() == {"inactive"}
    ok, message = robot.faults.recover(robot.time)
    assert not ok
    assert reason in message
    robot.run(1.0)
    assert robot.faults.robot_mode == mode
    assert not robot.manager.set_hardware_state("active")[0]
    robot.faults.inject({"user_stop": "release_guiding", "guiding": "release_user_stop"}[kind])
    assert robot.faults.robot_mode == mode, "that was not what held it"
    robot.faults.inject(f"release_{kind}")
    assert robot.faults.robot_mode == IDLE
    assert robot.manager.set_hardware_state("active") == (True, "")


@pytest.mark.parametrize("kind", ["user_stop", "guiding"])
def test_a_person_who_takes_over_during_a_recovery_ends_it(kind: str) -> None:
    robot = Robot()
    robot.faults.inject("reflex")
    robot.faults.recover(robot.time)
    robot.faults.inject(kind)
    robot.run(RECOVERY_TIME + 0.1)
    robot.faults.inject(f"release_{kind}")
    assert robot.faults.robot_mode == REFLEX
    assert robot.faults.current_errors == {"joint_reflex"}


def test_an_error_stays_when_the_user_stop_is_released() -> None:
    robot = Robot()
    robot.faults.inject("reflex")
    robot.faults.inject("user_stop")
    robot.faults.inject("release_user_stop")
    assert robot.faults.robot_mode == REFLEX
    assert robot.faults.recover(robot.time) == (True, "")
