"""The simulated Franka Hand: times, results and grip as the real one's."""

from __future__ import annotations

import numpy as np
import pytest

from sac_envs.control import CartesianImpedance
from sac_envs.gripper import Gripper
from sac_envs.kinematics import TOOL_DOWN, inverse
from sac_envs.robots import FR3, HOME, Float64
from sac_envs.task import Pose
from sac_envs.tasks.pick_cube import CUBE_SIZE, PickCube
from sac_envs.world import World


def turned(yaw: float, x: float, y: float) -> Pose:
    """A cube on the table."""
    quaternion = np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return Pose(np.array([x, y, CUBE_SIZE / 2]), quaternion)


class Bench:
    """A world with a cube (below the tool), the arm under impedance control, and the hand."""

    def __init__(self, tool: Float64, cube: Pose | None = None) -> None:
        self.world = World(FR3, PickCube.objects)
        q, error = inverse(FR3, tool, TOOL_DOWN, np.array(HOME))
        assert error < 1e-3
        self.world.reset(q, 0.08, {"cube": cube or turned(0.0, tool[0], tool[1])})
        self.gripper = Gripper(self.world)
        self.gripper.reset()
        self.law = CartesianImpedance()
        self.law.start(self.world)
        self.tool = tool

    def step(self) -> None:
        self.gripper.update()
        self.world.step(self.law.torques(self.world))

    def finish(self, limit: float = 5.0) -> float:
        """Step until the motion has ended; the simulated seconds that it took."""
        start = self.world.data.time
        while self.gripper.motion is not None:
            assert self.world.data.time - start < limit, "the motion does not end"
            self.step()
        return float(self.world.data.time - start)

    def go(self, seconds: float, offset: Float64) -> None:
        """Keep the tool's target at `offset` from where the tool began."""
        self.law.set_target(self.tool + offset, TOOL_DOWN)
        for _ in range(round(seconds / self.world.physics_step)):
            self.step()

    def cube_in_tool(self) -> Float64:
        """Where the cube is, in the frame of the tool."""
        apart = self.world.object_pose("cube").position - self.world.tcp_position
        return self.world.tcp_rotation.T @ apart


ABOVE = np.array([0.45, 0.0, 0.30])


@pytest.mark.parametrize("speed", [0.05, 0.1, 0.2])
def test_a_move_takes_the_width_over_the_speed(speed: float) -> None:
    bench = Bench(ABOVE)
    for width, way in ((0.02, 0.06), (0.08, 0.06), (0.0, 0.08), (0.08, 0.08)):
        bench.gripper.move(width, speed)
        assert bench.finish() == pytest.approx(way / speed, abs=0.12)
        assert bench.gripper.result is True
        assert bench.world.width == pytest.approx(width, abs=0.002)
        assert not bench.gripper.grasped


def test_fingers_stay_where_a_move_brought_them() -> None:
    bench = Bench(ABOVE)
    bench.gripper.move(0.03, 0.1)
    bench.finish()
    bench.go(2.0, np.zeros(3))
    assert bench.world.width == pytest.approx(0.03, abs=0.001)


def test_a_move_onto_something_fails() -> None:
    bench = Bench(np.array([0.45, 0.0, 0.02]))
    bench.gripper.move(0.0, 0.1)
    bench.finish()
    assert bench.gripper.result is False
    assert bench.world.width == pytest.approx(CUBE_SIZE, abs=0.006)  # contacts give a little


def test_a_grasp_of_nothing_fails_at_closed_fingers() -> None:
    bench = Bench(ABOVE)
    bench.gripper.grasp(width=CUBE_SIZE)
    bench.finish()
    assert bench.gripper.result is False
    assert not bench.gripper.grasped
    assert bench.world.width == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize(
    ("width", "inner", "outer", "succeeds"),
    [
        (CUBE_SIZE, 0.005, 0.005, True),
        (0.0, 0.005, 0.08, True),  # anything up to 0.08 m
        (0.0, 0.005, 0.005, False),  # nothing was expected
        (0.06, 0.005, 0.005, False),  # something wider was expected
        (0.06, 0.03, 0.005, True),
        (0.03, 0.005, 0.005, False),
    ],
)
def test_a_grasp_succeeds_when_the_width_is_within_the_tolerances(
    width: float, inner: float, outer: float, succeeds: bool
) -> None:
    bench = Bench(np.array([0.45, 0.0, 0.02]))
    bench.gripper.grasp(width, epsilon_inner=inner, epsilon_outer=outer)
    bench.finish()
    assert bench.gripper.result is succeeds
    assert bench.gripper.grasped is succeeds
    assert bench.world.fingers_touching("cube") == 2


@pytest.mark.parametrize(
    ("x", "y", "yaw"),
    [
        (0.0, 0.0, 0.0),
        (0.01, 0.0, 0.0),
        (-0.01, 0.005, 0.0),
        (0.0, 0.015, 0.0),
        (0.0, -0.015, 0.0),
        (0.005, -0.005, 0.15),
        (0.0, 0.0, -0.3),
        (-0.005, 0.01, np.pi / 2 + 0.2),
    ],
)
def test_a_grasped_cube_is_held_through_lifting_and_shaking(x: float, y: float, yaw: float) -> None:
    tool = np.array([0.45, 0.0, 0.02])
    bench = Bench(tool, turned(yaw, tool[0] + x, tool[1] + y))
    world = bench.world
    bench.gripper.grasp(CUBE_SIZE, epsilon_inner=0.01, epsilon_outer=0.03)
    bench.finish()
    assert bench.gripper.grasped
    held = bench.cube_in_tool()
    bench.go(1.0, np.array([0.0, 0.0, 0.2]))
    for way in ((0, 0.1, 0.2), (0, -0.1, 0.3), (0.1, 0, 0.1), (-0.05, 0.1, 0.3)) * 2:
        bench.go(0.5, np.array(way))  # jumps of the target, as a policy makes them
    assert world.fingers_touching("cube") == 2
    assert np.linalg.norm(bench.cube_in_tool() - held) < 0.015
    assert world.object_pose("cube").position[2] > 0.15


def test_opening_lets_the_cube_go() -> None:
    bench = Bench(np.array([0.45, 0.0, 0.02]))
    bench.gripper.grasp(CUBE_SIZE)
    bench.finish()
    bench.go(1.0, np.array([0.0, 0.0, 0.1]))
    bench.gripper.move(0.08)
    bench.finish()
    bench.go(1.0, np.array([0.0, 0.0, 0.1]))
    assert bench.world.object_pose("cube").position[2] == pytest.approx(CUBE_SIZE / 2, abs=0.002)


@pytest.mark.parametrize("force", [10.0, 40.0])
def test_the_fingers_push_with_the_force_asked_for(force: float) -> None:
    bench = Bench(np.array([0.45, 0.0, 0.02]))
    bench.gripper.grasp(CUBE_SIZE, force=force)
    bench.finish()
    bench.go(0.5, np.zeros(3))
    assert -float(bench.world.data.actuator_force[7]) == pytest.approx(force, rel=0.01)


def test_a_stop_leaves_the_fingers_where_they_are() -> None:
    bench = Bench(ABOVE)
    bench.gripper.move(0.0, 0.1)
    bench.go(0.3, np.zeros(3))
    bench.gripper.stop()
    assert bench.gripper.result is False
    width = bench.world.width
    assert 0.03 < width < 0.07
    bench.go(1.0, np.zeros(3))
    assert bench.world.width == pytest.approx(width, abs=0.005)


@pytest.mark.parametrize("width", [-0.001, 0.081, float("nan")])
def test_a_width_the_hand_does_not_have_is_refused(width: float) -> None:
    gripper = Bench(ABOVE).gripper
    with pytest.raises(ValueError, match="width"):
        gripper.move(width)
    with pytest.raises(ValueError, match="width"):
        gripper.grasp(width)
    assert gripper.motion is None


@pytest.mark.parametrize("speed", [0.0, -0.1, 0.5, float("nan")])
def test_a_speed_the_hand_does_not_have_is_refused(speed: float) -> None:
    gripper = Bench(ABOVE).gripper
    with pytest.raises(ValueError, match="speed"):
        gripper.move(0.04, speed)


@pytest.mark.parametrize("force", [0.0, -20.0, 71.0, float("nan")])
def test_a_force_the_hand_does_not_have_is_refused(force: float) -> None:
    gripper = Bench(ABOVE).gripper
    with pytest.raises(ValueError, match="force"):
        gripper.grasp(0.04, force=force)
