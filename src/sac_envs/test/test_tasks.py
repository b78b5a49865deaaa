"""The tasks: documented as they are, and usable without a simulator."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest

from sac_envs.robots import ROBOTS
from sac_envs.task import Gripping, Pose, RobotState, Task, start_positions
from sac_envs.tasks import TASKS, make_task

every_task = pytest.mark.parametrize("name", TASKS)
ROW = re.compile(r"^\| *(\d+)(?:-(\d+))? *\|.*\|(.+)\|$", re.MULTILINE)


def documented_observations(task: type[Task]) -> list[tuple[int, int, str]]:
    """First index, last index and bounds of each row of the docstring's observation table."""
    source = next(cls for cls in task.__mro__ if "### Observation" in (cls.__doc__ or ""))
    table = inspect.cleandoc(source.__doc__ or "").split("### Observation")[1].split("###")[0]
    return [(int(first), int(last or first), bounds) for first, last, bounds in ROW.findall(table)]


@every_task
def test_the_table_of_observations_covers_each_index_once(name: str) -> None:
    task = TASKS[name]
    rows = documented_observations(task)
    indices = [i for first, last, _ in rows for i in range(first, last + 1)]
    assert indices == list(range(make_task(name).observation_size))


@every_task
def test_the_table_of_observations_shows_the_declared_bounds(name: str) -> None:
    observations = make_task(name).observations
    for first, last, bounds in documented_observations(TASKS[name]):
        low, high = (float(value) for value in re.split(r"\.\.|or", bounds))
        for component in observations[first : last + 1]:
            assert (component.low, component.high) == (low, high), component.name


@every_task
def test_actions_are_between_minus_one_and_one(name: str) -> None:
    task = make_task(name)
    assert task.action_size == (4 if task.uses_gripper else 3)
    assert all((component.low, component.high) == (-1.0, 1.0) for component in task.actions)


@every_task
def test_scale_and_offset_say_what_the_numbers_mean(name: str) -> None:
    """For what every task observes and asks for, and for what its bounds do not cut."""
    task, random = make_task(name), np.random.default_rng(1)
    named = {place: Pose(random.uniform(-0.01, 0.01, 3)) for place in task.start(random).objects}
    tool = task.tool_start + random.uniform(-0.01, 0.01, 3)  # type: ignore[attr-defined]
    state = RobotState(0.0, tool, task.rotation, random.uniform(-1, 1, 6), 0.05, True, named)
    numbers = dict(zip([one.name for one in task.observations], task.observe(state), strict=True))
    meant = {one.name: one.offset + one.scale * numbers[one.name] for one in task.observations}
    for index, axis in enumerate("xyz"):
        assert meant[f"tool_position_{axis}"] == pytest.approx(tool[index], abs=1e-6)
        assert meant[f"tool_velocity_{axis}"] == pytest.approx(state.tool_velocity[index], abs=1e-6)
        if task.objects:
            cube = named["cube"].position
            assert meant[f"cube_position_{axis}"] == pytest.approx(cube[index], abs=1e-6)
    if task.uses_gripper:
        assert meant["gripper_width"] == pytest.approx(0.05)
    action = random.uniform(-0.1, 0.1, task.action_size).astype(np.float32)
    moved = task.command(state, action).position - tool
    asked = [one.scale * value for one, value in zip(task.actions, action, strict=True)]
    np.testing.assert_allclose(moved, asked[:3], atol=1e-9)


@every_task
@pytest.mark.parametrize("robot_type", ROBOTS)
def test_every_start_is_within_the_reach_of_both_arms(name: str, robot_type: str) -> None:
    task, random = make_task(name), np.random.default_rng(0)
    robot = ROBOTS[robot_type]
    for _ in range(100):
        start = task.start(random)
        assert set(start.objects) == {box.name for box in task.objects} | set(task.goals)
        q = start_positions(task, start, robot_type)
        assert np.all((robot.conservative_min <= q) & (q <= robot.conservative_max))


@every_task
def test_the_target_of_the_tool_stays_in_the_workspace(name: str) -> None:
    task, random = make_task(name), np.random.default_rng(1)
    start = task.start(random)
    for _ in range(100):
        state = RobotState(
            time=0.0,
            tool_position=random.uniform(-1.0, 1.0, 3),
            tool_rotation=task.rotation,
            tool_velocity=np.zeros(6),
            gripper_width=0.08,
            gripper_closed=False,
            objects=start.objects,
        )
        action = random.uniform(-1.0, 1.0, task.action_size).astype(np.float32)
        target = task.command(state, action).position
        assert np.all((task.workspace_low <= target) & (target <= task.workspace_high))


def state_with(closed: bool) -> RobotState:
    return RobotState(
        time=0.0,
        tool_position=np.array([0.45, 0.0, 0.2]),
        tool_rotation=np.eye(3),
        tool_velocity=np.zeros(6),
        gripper_width=0.08,
        gripper_closed=closed,
        objects={"cube": Pose(np.array([0.45, 0.0, 0.02]))},
    )


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("value", [-1.0, -0.51, -0.49, 0.0, 0.49, 0.51, 1.0])
def test_the_gripper_keeps_its_state_between_the_thresholds(closed: bool, value: float) -> None:
    action = np.array([0.0, 0.0, 0.0, value], np.float32)
    wanted = value > 0.5 or (closed and value > -0.5)
    assert make_task("pick_cube").command(state_with(closed), action).close_gripper is wanted


def test_the_gripper_moves_only_when_the_wish_changes_and_has_dwelt() -> None:
    gripping = Gripping(dwell=0.3)
    gripping.reset(False, now=0.0)
    assert not gripping.decide(False, 0.0)
    assert gripping.decide(True, 0.1)  # the first change need not wait
    assert not gripping.decide(True, 0.2)
    assert not gripping.decide(False, 0.3)  # 0.2 s after the last change
    assert gripping.decide(False, 0.4)
    assert not gripping.closed


def test_an_unknown_task_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no task 'fold_laundry'; there are: reach, pick_cube"):
        make_task("fold_laundry")


def test_tasks_are_usable_without_mujoco_opengl_and_ros() -> None:
    code = (
        "import sys, sac_envs, sac_envs.tasks, sac_envs.kinematics\n"
        "task = sac_envs.tasks.make_task('pick_cube')\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(' '.join(loaded & {'mujoco', 'OpenGL', 'rclpy', 'torch', 'imageio'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
