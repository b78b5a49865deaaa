"""Kinematics in NumPy agree with MuJoCo's and with themselves."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from sac_envs import kinematics
from sac_envs.robots import FR3, HOME, ROBOTS, Float64, Robot
from sac_envs.task import Task
from sac_envs.world import World

both = pytest.mark.parametrize("robot", ROBOTS.values(), ids=ROBOTS)


def random_positions(robot: Robot, count: int, seed: int) -> Float64:
    return np.random.default_rng(seed).uniform(
        robot.conservative_min, robot.conservative_max, (count, 7)
    )


@both
def test_pose_and_jacobian_of_the_tool_are_those_of_mujoco(robot: Robot) -> None:
    world = World(robot)
    for q in random_positions(robot, 50, seed=1):
        world.reset(q, 0.08, {})
        position, rotation, jacobian = kinematics.forward(q)
        np.testing.assert_allclose(position, world.tcp_position, atol=1e-9)
        np.testing.assert_allclose(rotation, world.tcp_rotation, atol=1e-9)
        np.testing.assert_allclose(jacobian, world.jacobian(), atol=1e-9)


def test_the_jacobian_is_the_derivative_of_the_pose() -> None:
    (q,) = random_positions(FR3, 1, seed=2)
    position, rotation, jacobian = kinematics.forward(q)
    step = 1e-6
    for joint in range(7):
        moved, turned, _ = kinematics.forward(q + step * np.eye(7)[joint])
        np.testing.assert_allclose((moved - position) / step, jacobian[:3, joint], atol=1e-5)
        angular = kinematics.rotation_error(turned, rotation) / step
        np.testing.assert_allclose(angular, jacobian[3:, joint], atol=1e-5)


def test_at_home_the_tool_points_down_in_front_of_the_base() -> None:
    position, rotation, _ = kinematics.forward(np.array(HOME))
    np.testing.assert_allclose(position, [0.3069, 0.0, 0.4869], atol=1e-3)
    np.testing.assert_allclose(rotation, kinematics.TOOL_DOWN, atol=1e-9)


@both
def test_inverse_returns_to_the_pose_that_forward_gives(robot: Robot) -> None:
    random = np.random.default_rng(3)
    middle = (robot.conservative_min + robot.conservative_max) / 2
    for q in middle + 0.8 * (random_positions(robot, 50, seed=3) - middle):
        position, rotation, _ = kinematics.forward(q)
        near = q + random.uniform(-0.1, 0.1, 7)
        found, error = kinematics.inverse(robot, position, rotation, near)
        again, turned, _ = kinematics.forward(found)
        assert error < 1e-3
        np.testing.assert_allclose(again, position, atol=1e-3)
        np.testing.assert_allclose(turned, rotation, atol=1e-3)
        assert np.all((robot.conservative_min <= found) & (found <= robot.conservative_max))


@both
def test_inverse_reaches_the_whole_workspace_of_the_tasks_from_home(robot: Robot) -> None:
    sides = zip(Task.workspace_low, Task.workspace_high, strict=True)
    for place in product(*(np.linspace(low, high, 5) for low, high in sides)):
        _, error = kinematics.inverse(robot, np.array(place), Task.rotation, np.array(HOME))
        assert error < 1e-3, place


def test_inverse_says_how_far_a_pose_out_of_reach_is() -> None:
    _, error = kinematics.inverse(
        FR3, np.array([2.0, 0.0, 0.3]), kinematics.TOOL_DOWN, np.array(HOME)
    )
    assert error > 0.5


def test_a_rotation_survives_the_way_through_a_quaternion() -> None:
    random = np.random.default_rng(4)
    for _ in range(200):
        quaternion = random.normal(size=4)
        rotation = kinematics.quaternion_to_rotation(quaternion)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        back = kinematics.rotation_to_quaternion(rotation)
        assert back[3] >= 0.0
        np.testing.assert_allclose(kinematics.quaternion_to_rotation(back), rotation, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_a_turn_survives_too(axis: int) -> None:
    rotation = -np.eye(3)
    rotation[axis, axis] = 1.0
    quaternion = kinematics.rotation_to_quaternion(rotation)
    np.testing.assert_allclose(kinematics.quaternion_to_rotation(quaternion), rotation, atol=1e-12)
    assert np.linalg.norm(kinematics.rotation_error(rotation, np.eye(3))) == pytest.approx(np.pi)


@pytest.mark.parametrize("quaternion", [[0.0] * 4, [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_what_is_no_orientation_is_refused(quaternion: list[float]) -> None:
    with pytest.raises(ValueError, match="no orientation"):
        kinematics.quaternion_to_rotation(np.array(quaternion))


def test_rotation_error_turns_the_current_into_the_target() -> None:
    error = kinematics.rotation_error(kinematics.rotation_z(0.3), np.eye(3))
    np.testing.assert_allclose(error, [0.0, 0.0, 0.3], atol=1e-12)
    assert not kinematics.rotation_error(np.eye(3), np.eye(3)).any()
