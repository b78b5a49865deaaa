"""The safety filter: nothing leaves it that the robot should not do."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sac_actor.safety import (
    DISTANCE,
    JOINT_ACCELERATION,
    JOINT_BOX,
    JOINT_VELOCITY,
    MAX_ROTATION,
    REFUSED,
    SCALE,
    WORKSPACE,
    WRENCH,
    SafetyFilter,
    Workspace,
)
from sac_envs.kinematics import TOOL_DOWN, forward, inverse, rotation_error, rotation_of
from sac_envs.robots import FR3, HOME, Float64
from sac_envs.task import Command, Pose, RobotState
from sac_envs.tasks.pick_cube import PickCube
from sac_ros.parameters import UserError

PERIOD = 0.1
ANYWHERE = ((-1.0,) * 3, (1.0,) * 3)


def state_at(q: Float64) -> tuple[RobotState, Float64]:
    """The state of an arm with these joint positions, and its Jacobian."""
    position, rotation, jacobian = forward(q)
    cube = Pose(np.array([0.45, 0.0, 0.02]))
    state = RobotState(0.0, position, rotation, np.zeros(6), 0.08, False, {"cube": cube})
    return state, jacobian


def joints_at(tool: list[float]) -> Float64:
    """Joint positions that bring the tool there, pointing down."""
    q, error = inverse(FR3, np.array(tool), TOOL_DOWN, np.array(HOME))
    assert error < 1e-3
    return q


def make(**changes: Any) -> SafetyFilter:
    workspace = Workspace.of(PickCube(), *ANYWHERE)
    safety = SafetyFilter(FR3, workspace, max_distance=0.05, period=PERIOD)
    return dataclasses.replace(safety, **changes)


def ask(
    safety: SafetyFilter,
    tool: list[float],
    target: list[float],
    rotation: Float64 = TOOL_DOWN,
    wrench: Float64 | None = None,
) -> tuple[Command, Float64]:
    q = joints_at(tool)
    state, jacobian = state_at(q)
    command = Command(np.array(target), rotation, False)
    return safety.filter(command, state, q, jacobian, wrench)


def test_a_harmless_command_passes_unchanged() -> None:
    safety = make()
    command, _ = ask(safety, [0.52, 0.0, 0.25], [0.54, 0.01, 0.24])
    np.testing.assert_allclose(command.position, [0.54, 0.01, 0.24])
    assert not any(safety.clips.values())
    assert safety.changed == 0
    assert safety.latest == ()


def test_a_far_target_is_brought_near_and_counted() -> None:
    safety = make()
    command, _ = ask(safety, [0.52, 0.0, 0.25], [0.52, 0.2, 0.25])
    assert np.abs(command.position - [0.52, 0.0, 0.25]).max() <= 0.05 + 1e-6
    assert safety.clips[DISTANCE] == 1
    assert DISTANCE in safety.latest


def test_a_command_that_is_changed_for_two_reasons_is_one_command() -> None:
    safety = make()
    ask(safety, [0.52, 0.28, 0.25], [0.52, 0.5, 0.5])
    assert safety.clips[WORKSPACE] == safety.clips[DISTANCE] == 1
    assert safety.changed == 1
    ask(safety, [0.52, 0.0, 0.25], [0.53, 0.0, 0.25])
    assert safety.changed == 1
    assert safety.latest == ()


def test_the_workspace_bounds_every_target_also_with_a_bound_of_exactly_zero() -> None:
    safety = make(workspace=Workspace.of(PickCube(), (-1.0, 0.0, -1.0), (1.0, 1.0, 1.0)))
    command, _ = ask(safety, [0.52, 0.01, 0.25], [0.52, -0.03, 0.25])
    assert command.position[1] >= 0.0
    assert safety.clips[WORKSPACE] == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_pose_becomes_stay_where_you_are(bad: float) -> None:
    safety = make()
    assert (safety.action(np.array([bad, 0, 0, 1], np.float32)) == 0.0).all()
    command, displacement = ask(safety, [0.52, 0.0, 0.25], [bad, 0.0, 0.25])
    np.testing.assert_allclose(command.position, [0.52, 0.0, 0.25], atol=1e-3)
    assert np.abs(displacement).max() < 1e-9
    assert safety.clips[REFUSED] == 1
    turned = TOOL_DOWN.copy()
    turned[0, 0] = bad
    command, _ = ask(safety, [0.52, 0.0, 0.25], [0.54, 0.0, 0.25], rotation=turned)
    np.testing.assert_allclose(command.position, [0.52, 0.0, 0.25], atol=1e-3)
    assert np.isfinite(command.rotation).all()
    assert safety.clips[REFUSED] == 2
    ask(safety, [0.52, 0.0, 0.25], [0.54, 0.0, 0.25], rotation=np.zeros((3, 3)))
    assert safety.clips[REFUSED] == 3


def test_actions_beyond_one_are_cut_and_counted_with_their_command() -> None:
    safety = make()
    np.testing.assert_array_equal(
        safety.action(np.array([3.0, -7.0, 0.5, 1.0], np.float32)), [1.0, -1.0, 0.5, 1.0]
    )
    ask(safety, [0.52, 0.0, 0.25], [0.53, 0.0, 0.25])
    assert safety.latest == (SCALE,)
    safety.action(np.array([1.0, -1.0, 0.5, 1.0], np.float32))
    ask(safety, [0.52, 0.0, 0.25], [0.53, 0.0, 0.25])
    assert safety.latest == ()
    assert safety.clips[SCALE] == safety.changed == 1


def test_joint_velocity_limits_shorten_the_step() -> None:
    safety = make(period=0.005)  # 5 cm in 5 ms would be 10 m/s
    _, displacement = ask(safety, [0.52, 0.0, 0.25], [0.57, 0.05, 0.30])
    assert (np.abs(displacement) <= FR3.conservative_velocity * 0.005 + 1e-9).all()
    assert safety.clips[JOINT_VELOCITY] == 1


def test_velocities_that_are_asked_for_grow_as_fast_as_the_acceleration_allows() -> None:
    safety = make(period=0.02)
    asked = np.zeros(7)
    for _ in range(4):
        _, displacement = ask(safety, [0.52, 0.0, 0.25], [0.55, 0.0, 0.25])
        velocity = displacement / 0.02
        assert np.abs(velocity - asked).max() == pytest.approx(FR3.acceleration_max[0] * 0.02)
        asked = velocity
    assert safety.clips[JOINT_ACCELERATION] == 4
    safety.begin()
    _, displacement = ask(safety, [0.52, 0.0, 0.25], [0.55, 0.0, 0.25])
    assert np.abs(displacement / 0.02).max() == pytest.approx(FR3.acceleration_max[0] * 0.02)


def test_a_reversal_that_is_too_fast_passes_through_a_stop() -> None:
    safety = make(period=0.05)
    for _ in range(2):
        ask(safety, [0.52, 0.0, 0.25], [0.55, 0.0, 0.25])
    _, displacement = ask(safety, [0.52, 0.0, 0.25], [0.49, 0.0, 0.25])
    np.testing.assert_array_equal(displacement, np.zeros(7))
    assert JOINT_ACCELERATION in safety.latest
    _, displacement = ask(safety, [0.52, 0.0, 0.25], [0.49, 0.0, 0.25])
    assert np.abs(displacement).max() > 0.0


def test_half_the_speed_is_half_of_every_joint_limit() -> None:
    whole, half = make(period=0.01), make(period=0.01, speed=0.5)
    target = [0.55, 0.03, 0.28]
    _, full_step = ask(whole, [0.52, 0.0, 0.25], target)
    _, half_step = ask(half, [0.52, 0.0, 0.25], target)
    np.testing.assert_allclose(half_step, full_step / 2)


def test_a_target_that_is_turned_far_is_turned_as_far_as_allowed() -> None:
    safety = make()
    turned = rotation_of(np.array([0.0, 0.0, 1.0])) @ TOOL_DOWN
    command, _ = ask(safety, [0.52, 0.0, 0.25], [0.52, 0.0, 0.25], rotation=turned)
    turn = rotation_error(command.rotation, forward(joints_at([0.52, 0.0, 0.25]))[1])
    assert np.linalg.norm(turn) <= MAX_ROTATION + 1e-6
    assert safety.clips[DISTANCE] == 1


def test_outside_the_joint_box_only_the_way_back_is_open() -> None:
    safety = make()
    q = joints_at([0.52, 0.0, 0.25])
    state, jacobian = state_at(q)
    q = q.copy()
    q[1] = FR3.conservative_max[1] + 0.01
    for direction in (1.0, -1.0):
        target = state.tool_position + np.array([0.0, 0.0, -0.04 * direction])
        command = Command(target, TOOL_DOWN, False)
        _, displacement = safety.filter(command, state, q, jacobian)
        assert displacement[1] <= 1e-9
    assert safety.clips[JOINT_BOX] == 1


def test_from_outside_the_workspace_the_way_leads_in_and_no_farther_than_allowed() -> None:
    safety = make(workspace=Workspace(np.array([0.40, -0.3, 0.2]), np.array([0.5, 0.3, 0.4])))
    command, _ = ask(safety, [0.6, 0.0, 0.25], [0.64, 0.0, 0.25])
    assert 0.55 - 1e-3 <= command.position[0] < 0.6
    np.testing.assert_allclose(command.position[1:], [0.0, 0.25], atol=1e-3)


@pytest.mark.parametrize("limits", [{"max_force": 10.0}, {"max_torque": 1.0}, {"max_force": 0.0}])
def test_above_the_wrench_limit_the_tool_stays(limits: dict[str, float]) -> None:
    safety = make(**limits)
    assert safety.watches_wrench
    pressing = np.array([0.0, 6.0, -9.0, 0.8, 0.8, 0.0])
    command, displacement = ask(safety, [0.52, 0.0, 0.25], [0.54, 0.0, 0.22], wrench=pressing)
    np.testing.assert_allclose(command.position, [0.52, 0.0, 0.25], atol=1e-3)
    np.testing.assert_array_equal(displacement, np.zeros(7))
    assert safety.latest == (WRENCH,)
    command, _ = ask(safety, [0.52, 0.0, 0.25], [0.54, 0.0, 0.24], wrench=np.zeros(6))
    np.testing.assert_allclose(command.position, [0.54, 0.0, 0.24])


def test_without_a_limit_no_wrench_is_too_large() -> None:
    safety = make()
    assert not safety.watches_wrench
    ask(safety, [0.52, 0.0, 0.25], [0.54, 0.0, 0.25], wrench=np.full(6, 500.0))
    assert safety.changed == 0


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ((0.3, 0.3, 0.0), (0.2, 0.4, 0.4)),
        ((0.3, 0.0, 0.0), (0.6, 0.0, 0.4)),
        ((0.3, float("nan"), 0.0), (0.6, 0.3, 0.4)),
        ((0.3, -0.3, 0.0), (0.6, 0.3, float("inf"))),
        ((-0.6, -0.3, 0.0), (-0.3, 0.3, 0.4)),  # in order, and nothing in common with the task's
    ],
)
def test_an_empty_inverted_or_infinite_workspace_is_refused_with_one_line(
    low: tuple[float, ...], high: tuple[float, ...]
) -> None:
    with pytest.raises(UserError, match="empty, inverted or not finite") as refused:
        Workspace.of(PickCube(), low, high)
    assert "task pick_cube within workspace_low" in str(refused.value) or "low [" in str(
        refused.value
    )
    assert "\n" not in str(refused.value)


def test_a_labs_box_makes_the_tasks_smaller_and_never_larger() -> None:
    task = PickCube()
    box = Workspace.of(task, (-1.0, -0.1, 0.05), (1.0, 1.0, 0.2))
    np.testing.assert_allclose(box.low, [task.workspace_low[0], -0.1, 0.05])
    np.testing.assert_allclose(box.high, [*task.workspace_high[:2], 0.2])


vectors = arrays(np.float64, 3, elements=st.floats(-3.0, 3.0))
anything = arrays(np.float64, 3, elements=st.floats(width=64))  # NaN and infinities as well
rotations = vectors.map(rotation_of) | arrays(np.float64, (3, 3), elements=st.floats(width=64))
unit = arrays(np.float64, 7, elements=st.floats(-0.1, 1.1))  # joints in the box, and a bit outside
asks = st.lists(st.tuples(unit, vectors | anything, rotations, vectors), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(asks, st.floats(0.005, 0.2))
def test_whatever_is_asked_in_whatever_state_the_answer_is_inside_every_limit(
    commands: list[tuple[Float64, Float64, Float64, Float64]], period: float
) -> None:
    safety = make(period=period, max_force=4.0)
    box, asked = safety.workspace, np.zeros(7)
    for where, target, rotation, force in commands:
        q = FR3.conservative_min + where * (FR3.conservative_max - FR3.conservative_min)
        state, jacobian = state_at(q)
        here, wrench = state.tool_position, np.concatenate((force, force))
        wanted = Command(target, rotation, True)
        command, displacement = safety.filter(wanted, state, q, jacobian, wrench)
        assert np.isfinite(command.position).all()
        # In the workspace, or on the way into it; never farther out than the tool is.
        assert (command.position >= np.minimum(box.low, here) - 1e-9).all()
        assert (command.position <= np.maximum(box.high, here) + 1e-9).all()
        assert np.abs(command.position - here).max() <= 0.05 + 1e-9
        np.testing.assert_allclose(command.rotation @ command.rotation.T, np.eye(3), atol=1e-9)
        turned = np.linalg.norm(rotation_error(command.rotation, state.tool_rotation))
        assert turned <= MAX_ROTATION + 1e-6
        velocity = displacement / period
        assert (np.abs(velocity) <= FR3.conservative_velocity + 1e-9).all()
        # No faster than before by more than the acceleration gives; slower is always allowed.
        gain = FR3.acceleration_max * period
        assert (velocity <= np.maximum(asked + gain, 0.0) + 1e-9).all()
        assert (velocity >= np.minimum(asked - gain, 0.0) - 1e-9).all()
        asked = velocity
        after = q + displacement
        assert (after <= np.maximum(FR3.conservative_max, q) + 1e-9).all()
        assert (after >= np.minimum(FR3.conservative_min, q) - 1e-9).all()
        if np.linalg.norm(force) > 4.0:
            np.testing.assert_allclose(command.position, here)
            assert WRENCH in safety.latest
    assert safety.changed <= len(commands)


@given(arrays(np.float32, 4, elements=st.floats(width=32)))
def test_whatever_the_policy_says_the_action_is_finite_and_within_one(action: Any) -> None:
    assert (np.abs(make().action(action)) <= 1.0).all()
