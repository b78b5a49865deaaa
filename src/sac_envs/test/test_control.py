"""The control laws: where they bring the arm, and what they never do."""

from __future__ import annotations

import numpy as np
import pytest

from sac_envs.control import CartesianImpedance, JointEffort, JointImpedance, JointVelocity, Law
from sac_envs.kinematics import TOOL_DOWN, rotation_error
from sac_envs.robots import HOME, ROBOTS, Float64
from sac_envs.world import World


def run(world: World, law: Law, seconds: float) -> None:
    for _ in range(round(seconds / world.physics_step)):
        world.step(law.torques(world))


def impedance(world: World) -> CartesianImpedance:
    law = CartesianImpedance()
    law.start(world)
    return law


@pytest.mark.parametrize("robot_type", ROBOTS)
@pytest.mark.parametrize("target", [(0.40, -0.20, 0.10), (0.60, 0.20, 0.40), (0.50, 0.0, 0.02)])
def test_impedance_brings_the_tool_to_its_target(
    robot_type: str, target: tuple[float, float, float]
) -> None:
    world = World(ROBOTS[robot_type])
    law = impedance(world)
    law.set_target(np.array(target), TOOL_DOWN)
    run(world, law, 3.0)
    assert np.linalg.norm(world.tcp_position - target) < 0.002
    assert np.linalg.norm(rotation_error(TOOL_DOWN, world.tcp_rotation)) < 0.02
    assert np.abs(world.dq).max() < 0.01


def test_impedance_starts_without_a_jump() -> None:
    world = World()
    law = impedance(world)
    before = world.tcp_position.copy()
    assert np.abs(law.torques(world)).max() < 1e-6
    run(world, law, 1.0)
    np.testing.assert_allclose(world.tcp_position, before, atol=1e-4)


@pytest.mark.parametrize("depth", [0.05, 0.3, 10.0])
def test_impedance_pushes_no_harder_than_stiffness_times_clip(depth: float) -> None:
    world = World()
    law = impedance(world)
    law.set_target(np.array([0.5, 0.0, 0.02]), TOOL_DOWN)
    run(world, law, 2.0)
    law.set_target(np.array([0.5, 0.0, -depth]), TOOL_DOWN)
    run(world, law, 3.0)
    assert 0.0 < world.tcp_position[2] < 0.02  # the fingertips rest on the table
    force = np.linalg.lstsq(world.jacobian().T, world.external_torques(), rcond=None)[0]
    limit = law.gains.k_pos * law.gains.clip_pos
    assert 0.9 * min(limit, law.gains.k_pos * depth) < force[2] < 1.05 * limit


def test_impedance_never_changes_torques_faster_than_the_robot_allows() -> None:
    world = World()
    law = impedance(world)
    random = np.random.default_rng(0)
    torques: list[Float64] = [np.zeros(7)]
    for _ in range(20):  # targets that jump across the workspace
        law.set_target(random.uniform([0.25, -0.3, 0.05], [0.65, 0.3, 0.45]), TOOL_DOWN)
        for _ in range(40):
            torques.append(law.torques(world).copy())
            world.step(torques[-1])
    rates = np.abs(np.diff(torques, axis=0)) / world.physics_step
    assert law.gains.torque_rate < world.robot.torque_rate_max
    assert rates.max() <= law.gains.torque_rate * (1 + 1e-9)
    assert rates.max() > 0.99 * law.gains.torque_rate  # so the limit was tried


def test_jumping_targets_ask_for_no_more_than_the_robot_has() -> None:
    world = World()
    law = impedance(world)
    random = np.random.default_rng(1)
    for _ in range(20):
        law.set_target(random.uniform([0.40, -0.3, 0.05], [0.65, 0.3, 0.45]), TOOL_DOWN)
        for _ in range(80):
            world.step(law.torques(world))
            assert np.all(np.abs(world.data.qfrc_actuator[:7]) <= world.robot.torque_max)
            assert np.all(np.abs(world.dq) < world.robot.velocity_max)


def test_joint_impedance_follows_its_target() -> None:
    world, law = World(), JointImpedance()
    law.start(world)
    assert not law.torques(world).any()
    law.target = np.array(HOME) + np.array([0.3, 0.2, -0.2, 0.3, 0.2, 0.2, -0.3])
    run(world, law, 3.0)
    np.testing.assert_allclose(world.q, law.target, atol=1e-3)


def test_joint_velocity_follows_its_target() -> None:
    world, law = World(), JointVelocity()
    law.start(world)
    law.target_velocity = np.array([0.3, 0.1, -0.2, 0.1, 0.2, -0.1, 0.3])
    run(world, law, 1.0)
    np.testing.assert_allclose(world.dq, law.target_velocity, atol=0.02)


def test_without_torques_the_arm_floats_as_the_robot_s_does() -> None:
    world, law = World(), JointEffort()
    law.start(world)
    run(world, law, 2.0)
    np.testing.assert_allclose(world.q, HOME, atol=1e-3)  # gravity is compensated for
    assert np.abs(world.measured_torques()[:4]).max() > 10.0  # and shows in the joint sensors
