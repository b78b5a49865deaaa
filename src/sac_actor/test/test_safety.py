"""The safety filter: nothing leaves it that the robot should not do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_actor.safety import DISTANCE, JOINT_BOX, JOINT_VELOCITY, REFUSED, WORKSPACE, SafetyFilter
from sac_envs.kinematics import TOOL_DOWN, forward, inverse
from sac_envs.robots import FR3, HOME, Float64
from sac_envs.task import Command, Pose, RobotState
from sac_envs.tasks.pick_cube import PickCube
from sac_ros.parameters import UserError

PERIOD = 0.1


def at(tool: list[float]) -> tuple[RobotState, Float64, Float64]:
    """A state with the tool there, its joint positions and Jacobian."""
    q, error = inverse(FR3, np.array(tool), TOOL_DOWN, np.array(HOME))
    assert error < 1e-3
    position, rotation, jacobian = forward(q)
    cube = Pose(np.array([0.45, 0.0, 0.02]))
    state = RobotState(0.0, position, rotation, np.zeros(6), 0.08, False, {"cube": cube})
    return state, q, jacobian


def make(**changes: object) -> SafetyFilter:
    task = PickCube()
    for name, value in changes.items():
        setattr(task, name, value)
    return SafetyFilter(FR3, task, max_distance=0.05, period=PERIOD)


def ask(safety: SafetyFilter, tool: list[float], target: list[float]) -> tuple[Command, Float64]:
    state, q, jacobian = at(tool)
    return safety.filter(Command(np.array(target), TOOL_DOWN, False), state, q, jacobian)


def test_a_harmless_command_passes_unchanged() -> None:
    safety = make()
    command, _ = ask(safety, [0.52, 0.0, 0.25], [0.54, 0.01, 0.24])
    np.testing.assert_allclose(command.position, [0.54, 0.01, 0.24])
    assert not any(safety.clips.values())


def test_a_far_target_is_brought_near_and_counted() -> None:
    safety = make()
    command, _ = ask(safety, [0.52, 0.0, 0.25], [0.52, 0.2, 0.25])
    assert np.abs(command.position - [0.52, 0.0, 0.25]).max() <= 0.05 + 1e-6
    assert safety.clips[DISTANCE] == 1


def test_the_workspace_bounds_every_target_also_with_a_bound_of_exactly_zero() -> None:
    safety = make(workspace_low=np.array([0.40, 0.0, 0.01]))
    command, _ = ask(safety, [0.52, 0.01, 0.25], [0.52, -0.03, 0.25])
    assert command.position[1] >= 0.0
    assert safety.clips[WORKSPACE] == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_becomes_stay_where_you_are(bad: float) -> None:
    safety = make()
    command, displacement = ask(safety, [0.52, 0.0, 0.25], [bad, 0.0, 0.25])
    np.testing.assert_allclose(command.position, [0.52, 0.0, 0.25], atol=1e-3)
    assert np.abs(displacement).max() < 1e-2
    assert (safety.action(np.array([bad, 0, 0, 1], np.float32)) == 0.0).all()
    assert safety.clips[REFUSED] == 2


def test_joint_velocity_limits_shorten_the_step() -> None:
    safety = make()
    safety.period = 0.005  # 5 cm in 5 ms would be 10 m/s
    _, displacement = ask(safety, [0.52, 0.0, 0.25], [0.57, 0.05, 0.30])
    assert (np.abs(displacement) <= FR3.conservative_velocity * 0.005 + 1e-9).all()
    assert safety.clips[JOINT_VELOCITY] == 1


def test_outside_the_joint_box_only_the_way_back_is_open() -> None:
    safety = make()
    state, q, jacobian = at([0.52, 0.0, 0.25])
    q = q.copy()
    q[1] = FR3.conservative_max[1] + 0.01
    for direction in (1.0, -1.0):
        target = state.tool_position + np.array([0.0, 0.0, -0.04 * direction])
        _, displacement = safety.filter(Command(target, TOOL_DOWN, False), state, q, jacobian)
        assert displacement[1] <= 1e-9
    assert safety.clips[JOINT_BOX] == 1


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ([0.3, 0.3, 0.0], [0.2, 0.4, 0.4]),
        ([0.3, 0.0, 0.0], [0.6, 0.0, 0.4]),
        ([0.3, float("nan"), 0.0], [0.6, 0.3, 0.4]),
    ],
)
def test_an_empty_or_inverted_workspace_is_refused(low: list[float], high: list[float]) -> None:
    with pytest.raises(UserError, match="empty or inverted"):
        make(workspace_low=np.array(low), workspace_high=np.array(high))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-2, 2), min_size=3, max_size=3),
    st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3),
)
def test_whatever_is_asked_the_answer_is_inside_every_limit(
    target: list[float], offset: list[float]
) -> None:
    safety = make()
    tool = np.array([0.53, 0.0, 0.2]) + np.array(offset)
    state, q, jacobian = at(tool.tolist())
    command, displacement = safety.filter(
        Command(np.array(target), TOOL_DOWN, True), state, q, jacobian
    )
    task = safety.task
    assert (command.position >= task.workspace_low - 1e-9).all()
    assert (command.position <= task.workspace_high + 1e-9).all()
    assert np.abs(command.position - state.tool_position).max() <= 0.05 + 1e-9
    assert (np.abs(displacement) <= FR3.conservative_velocity * PERIOD + 1e-9).all()
    after = q + displacement
    assert (after <= np.maximum(FR3.conservative_max, q) + 1e-9).all()
    assert (after >= np.minimum(FR3.conservative_min, q) - 1e-9).all()
