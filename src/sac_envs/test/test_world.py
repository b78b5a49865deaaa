"""The simulated world: what the robot's own interface would show."""

from __future__ import annotations

import numpy as np
import pytest

from sac_envs.robots import FR3, HOME
from sac_envs.task import Box, Pose
from sac_envs.tasks.pick_cube import PickCube
from sac_envs.world import World

FLOOR = -0.75  # m, below the table
STILL = np.zeros(7)


def fall(world: World, seconds: float) -> None:
    for _ in range(round(seconds / world.physics_step)):
        world.step(STILL)


@pytest.mark.parametrize("start", [(0.95, 0.0, 0.1), (0.3, -0.8, 0.5), (4.0, 3.0, 0.5)])
def test_what_falls_from_the_table_comes_to_rest_on_the_floor(
    start: tuple[float, float, float],
) -> None:
    world = World(FR3, PickCube.objects)
    world.reset(np.array(HOME), 0.08, {"cube": Pose(np.array(start))})
    fall(world, 3.0)
    assert world.object_pose("cube").position[2] == pytest.approx(FLOOR + 0.02, abs=0.005)
    assert np.abs(world.data.qvel[9:15]).max() < 0.05


def test_a_cube_on_the_table_stays_where_it_is() -> None:
    world = World(FR3, PickCube.objects)
    before = world.object_pose("cube").position
    fall(world, 2.0)
    np.testing.assert_allclose(world.object_pose("cube").position, before, atol=5e-4)


def test_a_reset_puts_everything_where_it_was_asked_for_and_at_rest() -> None:
    world = World(FR3, PickCube.objects)
    cube = Pose(np.array([0.5, 0.1, 0.02]), np.array([0.0, 0.0, np.sin(0.2), np.cos(0.2)]))
    q = np.array(HOME) + 0.1
    fall(world, 0.1)
    world.reset(q, 0.05, {"cube": cube})
    np.testing.assert_array_equal(world.q, q)
    assert world.width == pytest.approx(0.05)
    assert world.width_target == pytest.approx(0.05)
    np.testing.assert_allclose(world.object_pose("cube").position, cube.position)
    np.testing.assert_allclose(world.object_pose("cube").quaternion, cube.quaternion)
    assert not world.dq.any()


def test_objects_that_a_reset_does_not_name_go_to_where_the_task_has_them() -> None:
    world = World(FR3, PickCube.objects)
    world.reset(np.array(HOME), 0.08, {"cube": Pose(np.array([0.5, 0.1, 0.02]))})
    world.reset(np.array(HOME), 0.08, {})
    np.testing.assert_allclose(
        world.object_pose("cube").position, PickCube.objects[0].position, atol=1e-9
    )


def test_torques_beyond_the_robot_s_limits_do_not_act() -> None:
    world = World()
    world.step(np.full(7, 1000.0))
    np.testing.assert_allclose(world.data.qfrc_actuator[:7], world.robot.torque_max)


def test_measured_torques_show_gravity_and_external_torques_do_not() -> None:
    world = World()
    assert np.abs(world.external_torques()).max() < 1e-6
    assert 10.0 < abs(world.measured_torques()[3]) < 40.0  # the elbow carries the forearm


def test_several_objects_have_poses_by_name() -> None:
    boxes = [
        Box(name, (0.03,) * 3, 0.05, (x, 0.0, 0.015))
        for name, x in (("left", 0.4), ("middle", 0.5), ("right", 0.6))
    ]
    world = World(FR3, boxes)
    assert world.object_names == ("left", "middle", "right")
    assert world.object_poses()["right"].position[0] == pytest.approx(0.6)
    assert world.fingers_touching("left") == 0


def test_visuals_that_there_are_not_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="expected one of primitive, menagerie"):
        World(visuals="photographic")
