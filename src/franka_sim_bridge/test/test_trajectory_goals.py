"""Goals of joint_trajectory_controller: how each of them ends, and what the robot does then."""

from __future__ import annotations

import numpy as np
import pytest

from franka_sim_bridge.motion_controllers import JointTrajectoryController
from franka_sim_bridge.simulation import Simulation
from franka_sim_bridge.trajectory import (
    GOAL_TOLERANCE_VIOLATED,
    INVALID_GOAL,
    INVALID_JOINTS,
    OLD_HEADER_TIMESTAMP,
    PATH_TOLERANCE_VIOLATED,
    SUCCESSFUL,
)
from sac_envs.robots import FR3, Float64
from sac_envs.tasks import make_task

NAME = "joint_trajectory_controller"
JOINTS = FR3.joint_names


@pytest.fixture
def simulation() -> Simulation:
    """A robot whose trajectory controller is active."""
    return Simulation(make_task("pick_cube"), FR3, motion_controller=NAME)


@pytest.fixture
def controller(simulation: Simulation) -> JointTrajectoryController:
    controller = simulation.manager.controllers[NAME]
    assert isinstance(controller, JointTrajectoryController)
    return controller


def run(simulation: Simulation, seconds: float) -> None:
    for _ in range(round(seconds / simulation.world.physics_step)):
        simulation.step()


def turned(simulation: Simulation, joint: int, angle: float) -> Float64:
    """The present joint positions with one joint turned."""
    q = simulation.world.q.copy()
    q[joint - 1] += angle
    return q


def test_a_goal_succeeds_once_the_joints_rest_at_its_last_point(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    target = turned(simulation, 7, 0.2)
    goal = controller.goal(JOINTS, [0.5], [target])
    run(simulation, 0.4)
    assert not goal.done
    run(simulation, 1.0)
    assert goal.done
    assert goal.error_code == SUCCESSFUL
    assert simulation.world.q == pytest.approx(target, abs=0.02)


def test_leaving_the_path_ends_a_goal_and_the_robot_holds_where_it_is(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    goal = controller.goal(JOINTS, [0.1], [turned(simulation, 1, 0.8)], path_tolerance=0.01)
    run(simulation, 0.3)
    assert goal.done
    assert goal.error_code == PATH_TOLERANCE_VIOLATED
    assert "joint 1" in goal.error_string
    run(simulation, 1.0)
    where = simulation.world.q.copy()
    assert where[0] < 0.4, "it has not gone on to the target"
    run(simulation, 1.0)
    assert simulation.world.q == pytest.approx(where, abs=1e-3)


def test_a_goal_that_is_not_reached_in_time_fails(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    goal = controller.goal(
        JOINTS,
        [0.1],
        [turned(simulation, 1, 0.1)],
        goal_tolerance=1e-6,
        goal_time_tolerance=0.1,
    )
    run(simulation, 0.5)
    assert goal.done
    assert goal.error_code == GOAL_TOLERANCE_VIOLATED
    assert "in time" in goal.error_string


def test_without_a_time_limit_a_goal_waits_for_the_joints(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    goal = controller.goal(JOINTS, [0.1], [turned(simulation, 1, 0.1)], goal_tolerance=0.02)
    run(simulation, 0.12)
    assert not goal.done
    run(simulation, 3.0)
    assert goal.error_code == SUCCESSFUL


@pytest.mark.parametrize(
    "change, code",
    [
        ({"joint_names": JOINTS[:6]}, INVALID_JOINTS),
        ({"joint_names": (*JOINTS[:6], JOINTS[0])}, INVALID_JOINTS),
        ({"joint_names": (*JOINTS[:6], "elbow")}, INVALID_JOINTS),
        ({"times": [-1.0]}, INVALID_GOAL),
        ({"times": [float("nan")]}, INVALID_GOAL),
        ({"times": [], "positions": []}, INVALID_GOAL),
        ({"positions": [np.zeros(6)]}, INVALID_GOAL),
        ({"positions": [np.full(7, np.inf)]}, INVALID_GOAL),
        ({"velocities": [np.full(7, 0.1)]}, INVALID_GOAL),
        ({"velocities": [np.zeros(3)]}, INVALID_GOAL),
        ({"start": 0.1}, OLD_HEADER_TIMESTAMP),
    ],
)
def test_what_cannot_be_followed_is_refused_with_a_reason_and_the_running_goal_goes_on(
    simulation: Simulation,
    controller: JointTrajectoryController,
    change: dict[str, object],
    code: int,
) -> None:
    run(simulation, 1.0)
    target = turned(simulation, 7, 0.2)
    running = controller.goal(JOINTS, [0.5], [target])
    arguments: dict[str, object] = {
        "joint_names": JOINTS,
        "times": [0.5],
        "positions": [np.zeros(7)],
        **change,
    }
    refused = controller.goal(**arguments)  # type: ignore[arg-type]
    assert refused.done
    assert refused.error_code == code
    assert refused.error_string
    run(simulation, 1.5)
    assert running.error_code == SUCCESSFUL
    assert simulation.world.q == pytest.approx(target, abs=0.02)


def test_a_newer_goal_replaces_the_one_that_runs(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    first = controller.goal(JOINTS, [1.0], [turned(simulation, 7, 0.5)])
    run(simulation, 0.2)
    target = turned(simulation, 7, -0.2)
    second = controller.goal(JOINTS, [0.5], [target])
    assert first.done
    assert first.error_code == INVALID_GOAL
    run(simulation, 1.5)
    assert second.error_code == SUCCESSFUL
    assert simulation.world.q == pytest.approx(target, abs=0.02)


def test_a_cancelled_goal_leaves_the_robot_where_it_is(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    start = float(simulation.world.q[6])
    goal = controller.goal(JOINTS, [1.0], [turned(simulation, 7, 1.0)])
    run(simulation, 0.5)
    goal.cancel()
    assert goal.canceled
    run(simulation, 1.5)
    assert 0.3 < simulation.world.q[6] - start < 0.7


def test_deactivating_the_controller_ends_its_goal(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    goal = controller.goal(JOINTS, [1.0], [turned(simulation, 7, 0.5)])
    simulation.manager.switch([], [NAME], 2)
    assert goal.done
    assert goal.error_code == INVALID_GOAL


def test_a_reset_of_the_world_ends_a_goal_without_a_jump(
    simulation: Simulation, controller: JointTrajectoryController
) -> None:
    goal = controller.goal(JOINTS, [1.0], [turned(simulation, 7, 0.5)])
    run(simulation, 0.3)
    simulation.reset_world()
    assert goal.done
    where = simulation.world.q.copy()
    run(simulation, 0.5)
    assert simulation.world.q == pytest.approx(where, abs=5e-3)
