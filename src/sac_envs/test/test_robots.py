"""The arms' figures: as published, and consistent with each other."""

from __future__ import annotations

import numpy as np
import pytest

from sac_envs.robots import FER, FR3, HAND, HOME, ROBOTS, Robot
from sac_envs.world import World

# Columns: joints 1 to 7. frankarobotics/franka_description 1.0.1 (joint_limits.yaml of fr3 and
# fer), libfranka rate_limiting.h (acceleration, jerk); franka_ros, fr3 (conservative).
FR3_FIGURES = {
    "position_min": [-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159],
    "position_max": [2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159],
    "velocity_max": [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26],
    "acceleration_max": [10.0] * 7,
    "jerk_max": [5000.0] * 7,
    "torque_max": [87.0] * 4 + [12.0] * 3,
    "conservative_min": [-2.3093, -1.5133, -2.4937, -2.7478, -2.48, 0.8521, -2.6895],
    "conservative_max": [2.3093, 1.5133, 2.4937, -0.4461, 2.48, 4.2094, 2.6895],
    "conservative_velocity": [2.0, 1.0, 1.5, 1.25, 3.0, 1.5, 3.0],
}
FER_FIGURES = {
    "position_min": [-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973],
    "position_max": [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973],
    "velocity_max": [2.175] * 4 + [2.61] * 3,
    "acceleration_max": [15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0],
    "jerk_max": [7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0],
    "torque_max": [87.0] * 4 + [12.0] * 3,
}
both = pytest.mark.parametrize("robot", ROBOTS.values(), ids=ROBOTS)


@pytest.mark.parametrize(("robot", "figures"), [(FR3, FR3_FIGURES), (FER, FER_FIGURES)])
def test_limits_are_those_published(robot: Robot, figures: dict[str, list[float]]) -> None:
    for name, values in figures.items():
        np.testing.assert_array_equal(getattr(robot, name), values, err_msg=name)
    assert robot.torque_rate_max == 1000.0


def test_cartesian_velocities_are_those_of_libfranka() -> None:
    assert FR3.cartesian_velocity_max == (3.0, 2.5)
    assert FER.cartesian_velocity_max == (1.7, 2.5)


def test_home_is_the_initial_position_of_the_description() -> None:
    pi = np.pi
    np.testing.assert_allclose(HOME, [0, -pi / 4, 0, -3 * pi / 4, 0, pi / 2, pi / 4])


@both
def test_the_conservative_box_lies_within_the_limits_and_holds_home(robot: Robot) -> None:
    assert np.all(robot.position_min < robot.conservative_min)
    assert np.all(robot.conservative_max < robot.position_max)
    assert np.all(robot.conservative_min < HOME)
    assert np.all(robot.conservative_max > HOME)
    assert np.all(robot.conservative_velocity <= robot.velocity_max)


@both
def test_joints_are_named_after_the_robot_type(robot: Robot) -> None:
    assert robot.joint_names[0] == f"{robot.robot_type}_joint1"
    assert robot.joint_names[6] == f"{robot.robot_type}_joint7"
    assert robot.finger_joint_names[1] == f"{robot.robot_type}_finger_joint2"


@both
def test_nobody_can_change_the_limits_by_accident(robot: Robot) -> None:
    with pytest.raises(ValueError, match="read-only"):
        robot.position_max[0] = 0.0


@pytest.mark.parametrize(("robot", "mass"), [(FR3, 18.6), (FER, 16.9)])
def test_the_simulated_arm_weighs_what_its_links_and_hand_do(robot: Robot, mass: float) -> None:
    figures = sum(link.mass for link in robot.links) + HAND.body.mass + 2 * HAND.finger.mass
    assert figures == pytest.approx(mass, abs=0.05)  # the datasheets say about 18 kg
    assert float(World(robot).model.body_subtreemass[0]) == pytest.approx(figures, rel=1e-9)


@both
def test_the_simulated_arm_has_the_figures_of_the_robot(robot: Robot) -> None:
    model = World(robot).model
    np.testing.assert_allclose(model.jnt_range[:7, 0], robot.position_min)
    np.testing.assert_allclose(model.jnt_range[:7, 1], robot.position_max)
    np.testing.assert_allclose(model.actuator_ctrlrange[:7, 1], robot.torque_max)
    np.testing.assert_allclose(model.actuator_ctrlrange[:7, 0], -robot.torque_max)
    for i, link in enumerate(robot.links):
        np.testing.assert_allclose(model.body(f"link{i}").mass, link.mass)
        np.testing.assert_allclose(model.body(f"link{i}").ipos, link.center)
