"""The controllers and their manager: the rules of ros2_control, and what the arm does by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from franka_sim_bridge.controllers import HARDWARE, ControllerManager
from franka_sim_bridge.trajectory import TrajectoryGoal
from sac_envs.control import CartesianGains
from sac_envs.kinematics import TOOL_DOWN
from sac_envs.robots import FR3, HAND, HOME, Float64
from sac_envs.world import World

BROADCASTERS = ("joint_state_broadcaster", "franka_robot_state_broadcaster")
CARTESIAN = "cartesian_impedance_controller"
TRAJECTORY = "joint_trajectory_controller"
VELOCITY = "joint_velocity_controller"
EFFORT = "joint_effort_controller"
POSITION = "joint_position_controller"
GROUPS = (VELOCITY, EFFORT, POSITION)
MOTION = (CARTESIAN, TRAJECTORY, *GROUPS)
BEST_EFFORT, STRICT, AUTO, FORCE_AUTO = 1, 2, 3, 4
NAMES = FR3.joint_names
Q0 = np.array(HOME)
STEP = np.array([0.1, 0.0, -0.1, 0.05, 0.1, 0.0, 0.2])  # rad


class Robot:
    """A world whose arm obeys a manager."""

    def __init__(self, active: str = CARTESIAN, strict: bool = False) -> None:
        self.world = World(FR3)
        self.world.reset(Q0, HAND.width_max, {})
        self.warnings: list[str] = []
        self.manager = ControllerManager(
            self.world, FR3, self.warnings.append, active, strict_motion_generators=strict
        )
        self.errors: list[str] = []
        self.manager.raise_error = self.errors.append
        self.steps = 0

    @property
    def time(self) -> float:
        return self.steps * self.world.physics_step

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / self.world.physics_step)):
            self.world.step(self.manager.torques(self.time))
            self.steps += 1

    def __getitem__(self, name: str) -> Any:
        return self.manager.controllers[name]

    def states(self) -> dict[str, str]:
        return {name: c.state for name, c in self.manager.controllers.items()}

    def activate_only(self, name: str) -> None:
        active = self.manager.active_motion
        off = [active.name] if active is not None else []
        assert self.manager.switch([name], off, STRICT) == (True, "")


def near(q: npt.ArrayLike, tolerance: float = 0.01) -> Any:
    return pytest.approx(np.array(q), abs=tolerance)


# What there is at the start.


@pytest.mark.parametrize("active", MOTION)
def test_it_starts_with_the_broadcasters_and_one_motion_controller(active: str) -> None:
    robot = Robot(active)
    expected = {name: "inactive" for name in MOTION} | {name: "active" for name in BROADCASTERS}
    assert robot.states() == expected | {active: "active"}
    assert robot.manager.active_motion is robot[active]
    assert robot.manager.hardware_state == "active"


def test_an_unknown_motion_controller_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ValueError, match=r"'gravity'.*joint_trajectory_controller"):
        Robot("gravity")


@pytest.mark.parametrize(
    ("name", "kind", "interface"),
    [
        (TRAJECTORY, "joint_trajectory_controller/JointTrajectoryController", "effort"),
        (CARTESIAN, "crisp_controllers/CartesianController", "effort"),
        (VELOCITY, "velocity_controllers/JointGroupVelocityController", "velocity"),
        (EFFORT, "effort_controllers/JointGroupEffortController", "effort"),
        (POSITION, "position_controllers/JointGroupPositionController", "position"),
    ],
)
def test_a_motion_controller_claims_one_interface_of_each_joint(
    name: str, kind: str, interface: str
) -> None:
    controller = Robot()[name]
    assert (controller.type, controller.is_motion) == (kind, True)
    assert controller.claimed == tuple(f"fr3_joint{i}/{interface}" for i in range(1, 8))


def test_broadcasters_claim_nothing_and_read_everything() -> None:
    robot = Robot()
    for name in BROADCASTERS:
        assert robot[name].claimed == ()
        assert not robot[name].is_motion
        assert len(robot[name].required_state_interfaces) == 21
        assert robot.manager.broadcasting(name)


# Switching.


@pytest.mark.parametrize("strictness", [0, BEST_EFFORT, STRICT, AUTO, FORCE_AUTO])
def test_one_controller_is_exchanged_for_another(strictness: int) -> None:
    robot = Robot(CARTESIAN)
    assert robot.manager.switch([TRAJECTORY], [CARTESIAN], strictness) == (True, "")
    assert robot[CARTESIAN].state == "inactive"
    assert robot.manager.active_motion is robot[TRAJECTORY]


IMPOSSIBLE = [
    ([], ["nobody"], "no controller 'nobody'"),
    (["nobody"], [], "no controller 'nobody'"),
    ([BROADCASTERS[0]], [], "joint_state_broadcaster is active"),
    ([], [TRAJECTORY], "joint_trajectory_controller is inactive"),
    ([TRAJECTORY], [], "cartesian_impedance_controller has the joints"),
    ([VELOCITY], [], "cartesian_impedance_controller has the joints"),
]


@pytest.mark.parametrize("strictness", [STRICT, AUTO, FORCE_AUTO])
@pytest.mark.parametrize(("activate", "deactivate", "reason"), IMPOSSIBLE)
def test_strict_refuses_as_a_whole_and_changes_nothing(
    activate: list[str], deactivate: list[str], reason: str, strictness: int
) -> None:
    robot = Robot(CARTESIAN)
    changes: list[int] = []
    robot.manager.on_change.append(lambda: changes.append(1))
    before = robot.states()
    possible = BROADCASTERS[1]
    ok, message = robot.manager.switch(activate, [*deactivate, possible], strictness)
    assert not ok
    assert reason in message
    assert robot.states() == before
    assert changes == []


@pytest.mark.parametrize("strictness", [0, BEST_EFFORT])
@pytest.mark.parametrize(("activate", "deactivate", "reason"), IMPOSSIBLE)
def test_best_effort_does_what_is_possible_and_says_what_was_not(
    activate: list[str], deactivate: list[str], reason: str, strictness: int
) -> None:
    robot = Robot(CARTESIAN)
    possible = BROADCASTERS[1]
    ok, message = robot.manager.switch(activate, [*deactivate, possible], strictness)
    assert ok
    assert reason in message
    assert robot[possible].state == "inactive"
    assert robot.manager.active_motion is robot[CARTESIAN]


@pytest.mark.parametrize("first", MOTION)
@pytest.mark.parametrize("second", MOTION)
def test_two_motion_controllers_are_never_active_at_once(first: str, second: str) -> None:
    robot = Robot(CARTESIAN)
    robot.manager.switch([], [CARTESIAN], STRICT)
    ok, _ = robot.manager.switch([first, second], [], STRICT)
    assert ok == (first == second)
    robot.manager.switch([first, second], [], BEST_EFFORT)
    assert [name for name in MOTION if robot[name].state == "active"] == [first]


def test_a_controller_in_both_lists_starts_anew() -> None:
    robot = Robot(TRAJECTORY)
    goal = move(robot, STEP, 1.0)
    robot.run(0.5)
    assert robot.manager.switch([TRAJECTORY], [TRAJECTORY], STRICT) == (True, "")
    assert robot.manager.active_motion is robot[TRAJECTORY]
    assert goal.error_code == -1
    assert robot[TRAJECTORY].reference_position == pytest.approx(robot.world.q)


def test_unconfigured_controllers_cannot_be_activated_until_they_are_configured() -> None:
    robot = Robot(CARTESIAN)
    manager = robot.manager
    assert manager.unload(TRAJECTORY)
    assert robot[TRAJECTORY].state == "unconfigured"
    ok, message = manager.switch([TRAJECTORY], [CARTESIAN], STRICT)
    assert (ok, message) == (False, "joint_trajectory_controller is unconfigured")
    assert not manager.configure(TRAJECTORY), "it is not loaded"
    assert manager.load(TRAJECTORY)
    assert not manager.load(TRAJECTORY), "it is loaded already"
    assert manager.configure(TRAJECTORY)
    assert not manager.configure(TRAJECTORY), "it is configured already"
    assert manager.switch([TRAJECTORY], [CARTESIAN], STRICT) == (True, "")


def test_what_is_active_or_unknown_cannot_be_unloaded() -> None:
    manager = Robot(CARTESIAN).manager
    assert not manager.unload(CARTESIAN)
    for change in (manager.load, manager.configure, manager.unload):
        assert not change("nobody")


def test_listeners_hear_of_every_change() -> None:
    robot = Robot(CARTESIAN)
    manager = robot.manager
    heard: list[dict[str, str]] = []
    manager.on_change.append(lambda: heard.append(robot.states()))
    manager.switch([TRAJECTORY], [CARTESIAN], STRICT)
    manager.unload(VELOCITY)
    manager.load(VELOCITY)
    manager.configure(VELOCITY)
    manager.set_hardware_state("inactive")
    assert len(heard) == 4
    assert heard[0][TRAJECTORY] == "active"
    assert heard[-1] == {name: "inactive" for name in robot.states()}


def test_listeners_hear_nothing_of_a_fault() -> None:
    robot = Robot(CARTESIAN)
    heard: list[dict[str, str]] = []
    robot.manager.on_change.append(lambda: heard.append(robot.states()))
    robot.manager.fault()
    assert not heard
    assert set(robot.states().values()) == {"inactive"}
    robot.manager.set_hardware_state("active")
    assert len(heard) == 1


# Hardware and faults.


@pytest.mark.parametrize("state", ["inactive", "unconfigured"])
def test_hardware_that_goes_down_takes_every_controller_along(state: str) -> None:
    robot = Robot(CARTESIAN)
    assert robot.manager.set_hardware_state(state) == (True, "")
    assert set(robot.states().values()) == {"inactive"}
    ok, message = robot.manager.switch([CARTESIAN], [], STRICT)
    assert (ok, message) == (False, f"{CARTESIAN}: {HARDWARE} is {state}")
    assert robot.manager.set_hardware_state("active") == (True, "")
    assert set(robot.states().values()) == {"inactive"}, "nothing comes back by itself"
    assert robot.manager.switch([CARTESIAN, *BROADCASTERS], [], STRICT) == (True, "")


def test_hardware_does_not_become_active_while_an_error_is_left() -> None:
    manager = Robot().manager
    manager.fault()
    manager.may_activate = lambda: False
    ok, message = manager.set_hardware_state("active")
    assert not ok
    assert "recover first" in message
    assert manager.hardware_state == "unconfigured"


def test_no_hardware_state_but_the_three_is_taken() -> None:
    ok, message = Robot().manager.set_hardware_state("finalized")
    assert (ok, message) == (False, f"{HARDWARE} cannot become 'finalized'")


def test_after_a_fault_nothing_is_active_and_the_arm_brakes_and_holds() -> None:
    robot = Robot(VELOCITY)
    robot[VELOCITY].command([0.5] * 7)
    robot.run(0.3)
    robot.manager.fault()
    assert robot.manager.hardware_state == "unconfigured"
    assert set(robot.states().values()) == {"inactive"}
    assert robot.manager.active_motion is None
    stopped = robot.world.q.copy()
    robot.run(1.0)
    assert robot.world.q == near(stopped, 0.02)
    assert np.abs(robot.world.dq).max() < 1e-3


def test_a_fault_while_nothing_is_controlled_deactivates_nothing() -> None:
    robot = idle()
    before = robot.states()
    robot.manager.move_to(Q0 + STEP, np.ones(7), 0.01)
    robot.manager.fault()
    assert (robot.states(), robot.manager.hardware_state) == (before, "active")
    assert not robot.manager.moving


@pytest.mark.parametrize("controller", MOTION)
def test_without_a_motion_controller_the_arm_holds_where_it_was_left(controller: str) -> None:
    robot = Robot(controller)
    robot.run(0.1)
    left = robot.world.q.copy()
    robot.manager.switch([], [controller], STRICT)
    robot.run(1.0)
    assert robot.world.q == near(left, 1e-3)
    assert not robot.manager.moving


@pytest.mark.parametrize("controller", [*MOTION, None])
def test_in_a_world_that_was_put_elsewhere_everything_begins_anew(controller: str | None) -> None:
    robot = Robot(controller or CARTESIAN)
    if controller is None:
        robot.manager.switch([], [CARTESIAN], STRICT)
    robot.run(0.1)
    elsewhere = Q0 + 0.2
    robot.world.reset(elsewhere, HAND.width_max, {})
    robot.manager.reset()
    robot.run(0.5)
    assert robot.world.q == near(elsewhere, 2e-3)


# Trajectories.


def move(robot: Robot, way: Float64, duration: float, **options: Any) -> TrajectoryGoal:
    goal = robot[TRAJECTORY].goal(NAMES, [duration], [Q0 + way], **options)
    assert isinstance(goal, TrajectoryGoal)
    return goal


def test_positions_alone_are_followed_in_a_straight_line_from_the_reference() -> None:
    robot = Robot(TRAJECTORY)
    robot.run(0.5)
    controller = robot[TRAJECTORY]
    assert controller.trajectory(NAMES, [1.0, 2.0], [Q0 + STEP, Q0]) is None
    begin = robot.time - robot.world.physics_step  # of the last look at the clock
    for share in (0.0, 0.25, 0.5, 0.999):
        q, dq = controller.query(begin + share)
        assert q == near(Q0 + share * STEP, 1e-9)
        assert dq == near(STEP, 1e-9)
    q, dq = controller.query(begin + 1.5)
    assert q == near(Q0 + 0.5 * STEP, 1e-9)
    assert dq == near(-STEP, 1e-9)


def test_with_velocities_the_way_is_a_cubic_through_all_points_without_a_jump() -> None:
    robot = Robot(TRAJECTORY)
    robot.run(0.1)
    controller = robot[TRAJECTORY]
    velocities = [STEP / 2, np.zeros(7)]
    assert controller.trajectory(NAMES, [0.5, 1.5], [Q0 + STEP, Q0 - STEP], velocities) is None
    begin = robot.time - robot.world.physics_step
    for time, q, dq in (
        (0.0, Q0, np.zeros(7)),
        (0.5 - 1e-9, Q0 + STEP, STEP / 2),
        (0.5, Q0 + STEP, STEP / 2),
        (1.5 - 1e-9, Q0 - STEP, np.zeros(7)),
    ):
        position, velocity = controller.query(begin + time)
        assert position == near(q, 1e-6)
        assert velocity == near(dq, 1e-6)
    h = 1e-5
    for time in np.linspace(0.01, 1.49, 50) + begin:
        (before, _), (_, slope), (after, _) = (controller.query(time + d) for d in (-h, 0.0, h))
        assert (after - before) / (2 * h) == pytest.approx(slope, abs=1e-4)


def test_the_arm_follows_and_holds_the_last_point() -> None:
    robot = Robot(TRAJECTORY)
    robot[TRAJECTORY].trajectory(NAMES, [1.0], [Q0 + STEP])
    robot.run(3.0)
    assert robot.world.q == near(Q0 + STEP, 2e-3)
    assert robot[TRAJECTORY].reference_position == near(Q0 + STEP, 1e-12)
    assert robot[TRAJECTORY].reference_velocity == near(np.zeros(7), 1e-12)
    assert robot[TRAJECTORY].query(robot.time + 100.0)[0] == near(Q0 + STEP, 1e-12)


def test_joints_are_matched_by_name() -> None:
    robot = Robot(TRAJECTORY)
    order = [3, 0, 6, 1, 5, 2, 4]
    names = [NAMES[i] for i in order]
    goal = (Q0 + STEP)[order]
    velocities = np.zeros((1, 7))
    assert robot[TRAJECTORY].trajectory(names, [0.5], [goal], velocities) is None
    robot.run(1.5)
    assert robot.world.q == near(Q0 + STEP, 2e-3)


def test_a_new_trajectory_replaces_the_old_from_where_the_reference_is() -> None:
    robot = Robot(TRAJECTORY)
    controller = robot[TRAJECTORY]
    controller.trajectory(NAMES, [1.0, 2.0], [Q0 + STEP, Q0 - STEP])
    robot.run(0.5)
    before = controller.reference_position.copy()
    assert before == near(Q0 + STEP / 2, 1e-3)
    controller.trajectory(NAMES, [1.0], [Q0])
    assert controller.query(robot.time)[0] == near(before, 2e-3)
    robot.run(4.0)
    assert robot.world.q == near(Q0, 2e-3)


def test_streamed_cubics_keep_the_velocity_of_the_reference() -> None:
    robot = Robot(TRAJECTORY)
    controller = robot[TRAJECTORY]
    controller.trajectory(NAMES, [1.0], [Q0 + STEP], [np.zeros(7)])
    robot.run(0.5)
    before = controller.reference_velocity.copy()
    assert np.abs(before).max() > 0.1
    controller.trajectory(NAMES, [1.0], [Q0], [np.zeros(7)])
    robot.run(robot.world.physics_step)
    assert controller.reference_velocity == near(before, 0.02)


def test_a_trajectory_in_the_future_is_approached_from_now_on() -> None:
    robot = Robot(TRAJECTORY)
    robot.run(0.1)
    now = robot.time - robot.world.physics_step
    assert robot[TRAJECTORY].trajectory(NAMES, [0.0], [Q0 + STEP], None, now + 2.0) is None
    assert robot[TRAJECTORY].query(now)[0] == near(Q0, 1e-9)
    assert robot[TRAJECTORY].query(now + 1.0)[0] == near(Q0 + STEP / 2, 1e-9)


def test_a_trajectory_that_began_in_the_past_is_joined_and_one_that_ended_is_refused() -> None:
    robot = Robot(TRAJECTORY)
    robot.run(1.0)
    controller = robot[TRAJECTORY]
    points = ([0.1, 2.0], [Q0, Q0 + STEP])
    assert "which is before now" in controller.trajectory(NAMES, *points, None, -2.0)
    assert controller.goal(NAMES, *points, None, -2.0).error_code == -3
    assert controller.trajectory(NAMES, *points, None, 0.1) is None
    assert controller.query(1.15)[0] == near(Q0 + STEP * 0.95 / 1.9, 1e-9)


GOOD: dict[str, Any] = {"joint_names": NAMES, "times": [1.0, 2.0], "positions": [Q0, Q0 + STEP]}
STILL = [np.zeros(7)] * 2


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"joint_names": NAMES[:6]}, -2, "expected each of fr3_joint1"),
        ({"joint_names": (*NAMES[:6], "elbow")}, -2, "elbow"),
        ({"joint_names": (*NAMES[:6], NAMES[0])}, -2, "once"),
        ({"joint_names": (*NAMES, "elbow")}, -2, "once"),
        ({"joint_names": ()}, -2, "got none"),
        ({"times": [], "positions": []}, -1, "no points"),
        ({"times": [1.0]}, -1, "expected 7 in each of 1 points"),
        ({"positions": [Q0, Q0[:6]]}, -1, "expected 7 in each of 2 points"),
        ({"positions": [Q0, Q0 * np.nan]}, -1, "positions are not finite"),
        ({"times": [1.0, 1.0]}, -1, "strictly increasing"),
        ({"times": [2.0, 1.0]}, -1, "strictly increasing"),
        ({"times": [-1.0, 1.0]}, -1, "not negative"),
        ({"times": [1.0, np.inf]}, -1, "finite"),
        ({"velocities": STILL[:1]}, -1, "velocities: expected 7"),
        ({"velocities": [np.zeros(7), np.zeros(3)]}, -1, "velocities: expected 7"),
        ({"velocities": [np.full(7, np.inf), np.zeros(7)]}, -1, "velocities are not finite"),
        ({"velocities": [np.zeros(7), STEP]}, -1, "the last point must have velocity 0"),
        ({"start": np.nan}, -1, "start time is not finite"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_a_reason_and_what_runs_goes_on(
    change: dict[str, Any], code: int, reason: str
) -> None:
    robot = Robot(TRAJECTORY)
    controller = robot[TRAJECTORY]
    running = move(robot, STEP, 1.0)
    refusal = controller.trajectory(**(GOOD | change))
    assert refusal is not None
    assert reason in refusal
    refused = controller.goal(**(GOOD | change))
    assert (refused.done, refused.error_code) == (True, code)
    assert reason in refused.error_string
    robot.run(3.0)
    assert (running.done, running.error_code) == (True, 0)
    assert robot.world.q == near(Q0 + STEP, 0.02)


def test_an_inactive_trajectory_controller_takes_nothing() -> None:
    robot = Robot(CARTESIAN)
    assert "not active" in robot[TRAJECTORY].trajectory(**GOOD)
    assert robot[TRAJECTORY].goal(**GOOD).error_code == -1


# Goals of the action.


def test_a_goal_succeeds_once_the_arm_stands_at_it() -> None:
    robot = Robot(TRAJECTORY)
    goal = move(robot, STEP * 3, 1.0, goal_tolerance=0.05)
    robot.run(1.0)
    assert not goal.done
    while not goal.done:
        assert robot.time < 3.0
        robot.run(robot.world.physics_step)
    assert (goal.error_code, goal.error_string) == (0, "")
    assert robot.world.q == near(Q0 + STEP * 3, 0.05)
    assert np.abs(robot.world.dq).max() < 0.02


def test_an_arm_off_the_path_ends_the_goal_and_holds() -> None:
    robot = Robot(TRAJECTORY)
    goal = move(robot, STEP * 10, 0.05, path_tolerance=0.05)
    robot.run(0.1)
    assert (goal.done, goal.error_code) == (True, -4)
    assert "joint" in goal.error_string
    robot.run(1.0)
    assert np.abs(robot.world.q - Q0).max() < 0.6 * np.abs(STEP * 10).max()
    assert np.abs(robot.world.dq).max() < 0.01


def test_an_arm_that_does_not_arrive_in_time_ends_the_goal() -> None:
    robot = Robot(TRAJECTORY)
    goal = move(robot, STEP, 1.0, goal_tolerance=1e-9, goal_time_tolerance=0.2)
    robot.run(1.15)
    assert not goal.done
    robot.run(0.15)
    assert (goal.done, goal.error_code) == (True, -5)


def test_a_cancelled_goal_leaves_the_arm_where_it_is() -> None:
    robot = Robot(TRAJECTORY)
    goal = move(robot, STEP, 1.0)
    robot.run(0.5)
    goal.cancel()
    assert (goal.done, goal.canceled, goal.error_code) == (True, True, -1)
    here = robot.world.q.copy()
    robot.run(1.0)
    assert robot.world.q == near(here, 0.02)
    goal.cancel()
    assert goal.error_string == "canceled"


@pytest.mark.parametrize(
    "interrupt",
    [
        lambda robot: robot[TRAJECTORY].trajectory(**GOOD),
        lambda robot: robot[TRAJECTORY].goal(**GOOD),
        lambda robot: robot.manager.switch([CARTESIAN], [TRAJECTORY], STRICT),
        lambda robot: robot.manager.fault(),
        lambda robot: robot.manager.reset(),
    ],
    ids=["trajectory", "goal", "switch", "fault", "reset"],
)
def test_a_goal_that_something_interrupts_is_done_and_has_failed(interrupt: Any) -> None:
    robot = Robot(TRAJECTORY)
    goal = move(robot, STEP, 1.0)
    robot.run(0.5)
    interrupt(robot)
    assert (goal.done, goal.error_code) == (True, -1)
    assert goal.error_string


def test_to_cancel_a_finished_goal_does_not_stop_its_successor() -> None:
    robot = Robot(TRAJECTORY)
    first = move(robot, STEP, 1.0)
    second = move(robot, STEP, 1.0)
    first.cancel()
    robot.run(2.0)
    assert (second.error_code, second.done) == (0, True)


# Groups of joints.


def test_velocities_are_followed_and_held_for_ever() -> None:
    robot = Robot(VELOCITY)
    robot.run(0.2)
    assert robot.world.q == near(Q0, 1e-3), "nothing moves before the first command"
    velocity = np.array([0.2, 0.0, 0.1, 0.0, -0.2, 0.0, 0.3])
    assert robot[VELOCITY].command(velocity) is None
    robot.run(0.5)
    before = robot.world.q.copy()
    robot.run(1.0)
    assert robot.world.q == near(before + velocity, 0.02)


def test_positions_are_followed_and_held_for_ever() -> None:
    robot = Robot(POSITION)
    robot.run(0.2)
    assert robot.world.q == near(Q0, 1e-3), "nothing moves before the first command"
    assert robot[POSITION].command(Q0 + STEP) is None
    robot.run(2.0)
    assert robot.world.q == near(Q0 + STEP, 1e-3)


def test_efforts_are_applied_as_they_are_and_held_for_ever() -> None:
    robot = Robot(EFFORT)
    assert robot.manager.torques(0.0) == near(np.zeros(7), 0.0), "the arm floats at first"
    effort = np.array([1.0, -2.0, 3.0, 0.0, 0.5, 0.0, -0.5])
    assert robot[EFFORT].command(effort) is None
    for time in (0.0, 1.0, 1000.0):
        assert robot.manager.torques(time) == near(effort, 0.0)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("values", [[], [0.0] * 6, [0.0] * 8])
def test_a_wrong_length_deactivates_the_controller(group: str, values: list[float]) -> None:
    robot = Robot(group)
    refusal = robot[group].command(values)
    assert refusal == f"{group}: expected 7 values, got {len(values)}: controller deactivated"
    assert robot.warnings == [refusal]
    assert robot[group].state == "inactive"
    assert robot.manager.active_motion is None
    robot.run(0.5)
    assert robot.world.q == near(Q0, 1e-3)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_are_dropped_and_the_last_ones_stay(
    group: str, wrong: float
) -> None:
    robot = Robot(group)
    robot[group].command(Q0 + 0.01)
    before = robot.manager.torques(0.0).copy()
    refusal = robot[group].command([*Q0[:6], wrong])
    assert refusal is not None
    assert "not finite" in refusal
    assert robot[group].state == "active"
    if group != VELOCITY:  # whose integral goes on
        assert robot.manager.torques(0.0) == near(before, 0.0)
    assert robot[group].desired(robot.world)[0] is not None


@pytest.mark.parametrize("group", GROUPS)
def test_an_inactive_group_takes_nothing_and_has_forgotten_when_it_starts(group: str) -> None:
    robot = Robot(group)
    robot[group].command(Q0 if group == POSITION else np.full(7, 0.1))
    robot.manager.switch([], [group], STRICT)
    assert robot[group].command(Q0 + STEP) == f"{group} is not active"
    robot.manager.switch([group], [], STRICT)
    assert np.abs(robot.manager.torques(0.0)).max() < 1e-6


# What a robot without rate limiters makes of steps.


@pytest.mark.parametrize("group", GROUPS)
def test_steps_are_taken_unless_motion_generators_are_strict(group: str) -> None:
    robot = Robot(group)
    assert robot[group].command(Q0 + STEP) is None
    assert robot.errors == []


@pytest.mark.parametrize(
    ("group", "change", "error"),
    [
        (VELOCITY, 0.004, None),
        (VELOCITY, 0.006, "joint_motion_generator_acceleration_discontinuity"),
        (VELOCITY, 0.02, "joint_motion_generator_velocity_discontinuity"),
        (VELOCITY, -0.1, "joint_motion_generator_velocity_discontinuity"),
        (VELOCITY, 3.0, "joint_motion_generator_velocity_limits_violation"),
        (POSITION, 4e-6, None),
        (POSITION, 7e-6, "joint_motion_generator_acceleration_discontinuity"),
        (POSITION, 1e-4, "joint_motion_generator_velocity_discontinuity"),
        (POSITION, -0.01, "joint_motion_generator_velocity_limits_violation"),
        (POSITION, 3.0, "joint_motion_generator_position_limits_violation"),
        (EFFORT, 20.0, None),
    ],
)
def test_strict_motion_generators_refuse_what_the_robot_cannot_do_within_a_millisecond(
    group: str, change: float, error: str | None
) -> None:
    robot = Robot(group, strict=True)
    base = Q0 if group == POSITION else np.zeros(7)
    refusal = robot[group].command(base + change * np.eye(7)[0])
    assert robot.errors == ([error] if error else [])
    assert refusal == (f"{group}: {error}" if error else None)


def test_a_small_step_counts_from_the_last_command() -> None:
    robot = Robot(VELOCITY, strict=True)
    for i in range(1, 20):
        assert robot[VELOCITY].command(np.full(7, 0.004 * i)) is None
    assert robot[VELOCITY].command(np.zeros(7)) is not None


# The Cartesian controller.


def test_the_tool_goes_to_its_target_and_stays() -> None:
    robot = Robot(CARTESIAN)
    target = np.array([0.5, 0.1, 0.3])
    assert robot[CARTESIAN].target(target, TOOL_DOWN) is None
    robot.run(3.0)
    assert robot.world.tcp_position == near(target, 2e-3)
    assert robot.manager.desired().pose[:3] == near(target, 1e-12)


def test_a_posture_moves_the_elbow_and_not_the_tool() -> None:
    robot = Robot(CARTESIAN)
    before = robot.world.tcp_position.copy()
    assert robot[CARTESIAN].target_joint(Q0 + 0.5) is None
    robot.run(3.0)
    assert np.abs(robot.world.q - Q0).max() > 0.05
    assert robot.world.tcp_position == near(before, 5e-3)


def test_gains_can_be_changed() -> None:
    robot = Robot(CARTESIAN)
    robot[CARTESIAN].set_gains(CartesianGains(k_pos=200.0))
    above = robot.world.tcp_position + np.array([0.0, 0.0, 0.01])
    robot[CARTESIAN].target(above, robot.world.tcp_rotation)
    robot.run(0.01)
    soft = np.abs(robot.manager.torques(robot.time)).max()
    robot[CARTESIAN].set_gains(CartesianGains())
    robot.run(0.01)
    assert np.abs(robot.manager.torques(robot.time)).max() > soft


@pytest.mark.parametrize(
    ("position", "rotation", "reason"),
    [
        ([0.5, 0.0], TOOL_DOWN, "expected a position (3,)"),
        ([0.5, 0.0, 0.3], np.eye(2), "a rotation (3, 3)"),
        ([0.5, 0.0, np.nan], TOOL_DOWN, "not finite"),
        ([0.5, 0.0, 0.3], np.full((3, 3), np.inf), "not finite"),
    ],
)
def test_an_impossible_target_is_refused(position: Any, rotation: Any, reason: str) -> None:
    robot = Robot(CARTESIAN)
    before = robot.manager.desired().pose.copy()
    refusal = robot[CARTESIAN].target(position, rotation)
    assert refusal is not None
    assert reason in refusal
    assert robot.manager.desired().pose == near(before, 0.0)


@pytest.mark.parametrize("positions", [[0.0] * 6, [*HOME[:6], np.nan]])
def test_an_impossible_posture_is_refused(positions: list[float]) -> None:
    refusal = Robot(CARTESIAN)[CARTESIAN].target_joint(positions)
    assert refusal == f"{CARTESIAN}: expected 7 finite joint positions"


def test_what_comes_while_the_cartesian_controller_is_inactive_counts_once_it_is_active() -> None:
    robot = Robot(TRAJECTORY)
    cartesian, here = robot[CARTESIAN], robot.world.tcp_position.copy()
    aside = here + np.array([0.0, 0.0, 0.05])
    posture = Q0 + 0.1
    assert cartesian.target(here, TOOL_DOWN) is None
    assert cartesian.target(aside, TOOL_DOWN) is None, "the newest counts"
    assert cartesian.target_joint(posture) is None
    robot.run(0.5)
    assert robot.world.tcp_position == near(here, 2e-3)
    robot.manager.switch([CARTESIAN], [TRAJECTORY], STRICT)
    assert np.array_equal(cartesian.law.target_position, aside)
    assert np.array_equal(cartesian.law.posture, posture)
    robot.manager.switch([], [CARTESIAN], STRICT)
    robot.manager.switch([CARTESIAN], [], STRICT)
    assert np.array_equal(cartesian.law.target_position, robot.world.tcp_position), "only once"


# The robot's own motions.


def idle() -> Robot:
    robot = Robot(CARTESIAN)
    robot.manager.switch([], [CARTESIAN], STRICT)
    return robot


def test_a_native_motion_reaches_its_goal_within_its_velocities() -> None:
    robot = idle()
    velocities = np.full(7, 0.4)
    motion = robot.manager.move_to(Q0 + STEP * 5, velocities, 0.01)
    assert robot.manager.moving
    fastest = np.zeros(7)
    while motion.state == "executing":
        robot.run(robot.world.physics_step)
        fastest = np.maximum(fastest, np.abs(robot.world.dq))
        assert robot.time < 10.0
    assert motion.state == "reached"
    assert robot.world.q == near(Q0 + STEP * 5, 0.01)
    assert not robot.manager.moving
    assert fastest.max() == pytest.approx(0.4, rel=0.1)
    robot.run(1.0)
    assert robot.world.q == near(Q0 + STEP * 5, 1e-3), "it stays there"


def test_a_native_motion_keeps_the_acceleration_that_the_robot_can_do() -> None:
    robot = idle()
    motion = robot.manager.move_to(Q0 + STEP, FR3.velocity_max, 0.01)
    h = 1e-4
    times = np.arange(motion.begin, motion.end, h)
    velocities = np.array([motion.at(time)[1] for time in times])
    assert np.abs(np.diff(velocities, axis=0) / h).max() <= 1.01 * FR3.acceleration_max[0]


def test_a_motion_to_where_the_arm_is_has_reached_it() -> None:
    robot = idle()
    motion = robot.manager.move_to(robot.world.q, np.ones(7), 0.01)
    robot.run(0.1)
    assert motion.state == "reached"


@pytest.mark.parametrize(
    ("goal", "velocities", "tolerance", "reason"),
    [
        (Q0[:6], np.ones(7), 0.01, "expected 7 finite joint positions"),
        (Q0 * np.nan, np.ones(7), 0.01, "expected 7 finite joint positions"),
        (Q0, np.ones(6), 0.01, "7 velocities"),
        (Q0 + 5.0, np.ones(7), 0.01, "outside the joint limits"),
        (Q0, np.zeros(7), 0.01, "velocities must be positive"),
        (Q0, np.full(7, np.nan), 0.01, "velocities must be positive"),
        (Q0, np.full(7, 50.0), 0.01, "within the robot's limits"),
        (Q0, np.ones(7), np.nan, "tolerance nan"),
        (Q0, np.ones(7), -1.0, "tolerance -1.0"),
    ],
)
def test_an_impossible_motion_is_refused(
    goal: Float64, velocities: Float64, tolerance: float, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        idle().manager.move_to(goal, velocities, tolerance)


def test_a_robot_that_is_not_idle_does_not_begin_a_motion() -> None:
    robot = Robot(CARTESIAN)
    with pytest.raises(ValueError, match=f"{CARTESIAN} is active"):
        robot.manager.move_to(Q0, np.ones(7), 0.01)
    robot = idle()
    robot.manager.move_to(Q0 + STEP, np.ones(7), 0.01)
    with pytest.raises(ValueError, match="a motion is under way"):
        robot.manager.move_to(Q0, np.ones(7), 0.01)
    robot = idle()
    robot.manager.set_hardware_state("inactive")
    with pytest.raises(ValueError, match="recover first"):
        robot.manager.move_to(Q0, np.ones(7), 0.01)
    robot = idle()
    robot.manager.may_activate = lambda: False
    with pytest.raises(ValueError, match="recover first"):
        robot.manager.move_to(Q0, np.ones(7), 0.01)


@pytest.mark.parametrize(
    "interrupt",
    [
        lambda manager: manager.fault(),
        lambda manager: manager.reset(),
        lambda manager: manager.abort_motion(),
        lambda manager: manager.switch([TRAJECTORY], [], STRICT),
        lambda manager: manager.set_hardware_state("inactive"),
    ],
    ids=["fault", "reset", "abort", "switch", "hardware"],
)
def test_a_motion_that_something_interrupts_is_aborted_and_the_arm_stops(interrupt: Any) -> None:
    robot = idle()
    motion = robot.manager.move_to(Q0 + STEP * 5, np.full(7, 0.4), 0.01)
    robot.run(0.5)
    interrupt(robot.manager)
    assert motion.state == "aborted"
    here = robot.world.q.copy()
    robot.run(1.0)
    assert robot.world.q == near(here, 0.03)
    assert np.abs(robot.world.dq).max() < 0.01


def test_a_motion_that_cannot_arrive_is_aborted_in_the_end() -> None:
    robot = idle()
    motion = robot.manager.move_to(Q0 + STEP, np.ones(7), 0.01)
    robot.world.data.qfrc_applied[0] = -60.0  # N·m: something stands in the way
    robot.run(5.0)
    assert motion.state == "aborted"
    assert not robot.manager.moving
