"""What the actor's adapters send, in the hands of the bridge's controllers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from system import ROOT

from franka_sim_bridge.commands import points_of
from franka_sim_bridge.simulation import Simulation
from sac_actor.commands import ADAPTERS, SECOND, JointTrajectoryAdapter, Target
from sac_actor.safety import SafetyFilter, Workspace
from sac_actor.stream import Stream
from sac_envs.gains import JOINT_DAMPING, JOINT_STIFFNESS, CartesianGains
from sac_envs.kinematics import forward
from sac_envs.robots import FR3, Float64
from sac_envs.task import RobotState
from sac_envs.tasks.reach import Reach
from sac_ros.robot_input import Joints

PERIOD = 100_000_000  # ns
RATE = 500.0  # Hz
PHYSICS_STEP = 0.001  # s: as the robot's own interface
ACTIONS = ([1, 1, 1], [-1, -1, 1], [1, -1, -1], [0, 0, 0], [-1, 1, 0], [1, 0, 0])


class Robot:
    """A simulated robot under one controller, with the actor's filter and stream before it."""

    def __init__(self, adapter: str) -> None:
        self.task = Reach()
        name = f"{adapter}_controller"
        self.simulation = Simulation(
            self.task,
            FR3,
            PHYSICS_STEP,
            motion_controller=name,
            thresholds="learning",
            strict_motion_generators=True,
        )
        self.simulation.reset_episode(1)
        self.controller = self.simulation.manager.controllers[name]
        workspace = Workspace.of(self.task, (-1.0,) * 3, (1.0,) * 3)
        self.safety = SafetyFilter(FR3, workspace, self.task.action_scale, PERIOD / SECOND)
        self.refusals: list[str] = []
        made = ADAPTERS[adapter](self._take, FR3, workspace, RATE)
        self.stream = Stream(made, PERIOD, RATE, lambda: self.simulation.time, threaded=False)
        self.stream.begin(*self._state())

    def _take(self, message: Any) -> None:
        if hasattr(message, "points"):
            refusal = self.controller.trajectory(**points_of(message))
        elif hasattr(message, "data"):
            refusal = self.controller.command(message.data)
        else:
            p = message.pose.position
            rotation = self.simulation.world.tcp_rotation
            refusal = self.controller.target([p.x, p.y, p.z], rotation)
        if refusal is not None:
            self.refusals.append(refusal)

    def _state(self) -> tuple[RobotState, Joints]:
        world, now = self.simulation.world, self.simulation.time_ns
        position, rotation = world.tcp_position.copy(), world.tcp_rotation.copy()
        state = RobotState(now / SECOND, position, rotation, np.zeros(6), 0.0, False, {})
        return state, Joints(now, world.q.copy(), world.dq.copy())

    def act(self, action: list[float], late: int = 0) -> None:
        """One control period, `late` ns longer than it should be."""
        state, joints = self._state()
        wanted = self.task.command(state, self.safety.action(np.array(action, np.float32)))
        jacobian = forward(joints.q)[2]
        command, displacement = self.safety.filter(wanted, state, joints.q, jacobian)
        self.stream.send(Target(command, displacement, joints))
        self.go_on(PERIOD + late)

    def go_on(self, duration: int) -> None:
        """Time goes on; the stream says what it has to."""
        end, interval = self.simulation.time_ns + duration, round(SECOND / RATE)
        while self.simulation.time_ns < end:
            self.simulation.step()
            self.stream.time_passed(self.simulation.time_ns)
            if self.simulation.time_ns % interval == 0:
                self.stream.advance()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_strict_motion_generators_accept_what_the_adapters_send(adapter: str) -> None:
    robot = Robot(adapter)
    for late in (0, 0, 300_000_000):
        for action in ACTIONS:
            robot.act(action, late)
    robot.stream.hold()
    robot.go_on(SECOND)
    assert robot.refusals == []
    assert robot.simulation.faults.clear
    assert robot.controller.state == "active"
    assert np.abs(robot.simulation.world.dq).max() < 0.02  # it has come to rest


def test_the_controllers_spline_follows_the_reference_and_does_not_jump() -> None:
    robot = Robot("joint_trajectory")
    controller = robot.controller
    rows: list[Float64] = []
    step = robot.simulation.step

    def recorded() -> None:
        step()
        rows.append(controller.reference_velocity.copy())

    robot.simulation.step = recorded  # type: ignore[method-assign]
    for action in ACTIONS:
        robot.act(action)
    acceleration = np.diff(rows, axis=0) / PHYSICS_STEP
    assert np.abs(rows).max() > 0.3
    assert (np.abs(acceleration) < FR3.acceleration_max).all()
    assert (np.abs(np.diff(acceleration, axis=0)) / PHYSICS_STEP < FR3.jerk_max).all()


def test_an_arm_whose_actor_has_died_comes_to_rest_by_its_last_trajectory() -> None:
    robot = Robot("joint_trajectory")
    for action in ACTIONS[:2]:
        robot.act(action)
    robot.go_on(2 * SECOND)  # nothing is sent any more
    assert np.abs(robot.controller.reference_velocity).max() == 0.0
    assert np.abs(robot.simulation.world.dq).max() < 0.02
    assert JointTrajectoryAdapter.LEAD < PERIOD


# config/controllers.yaml.


class NoDuplicates(yaml.SafeLoader):
    """Refuses a key that occurs twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def controllers(arm: str) -> dict[str, Any]:
    text = (ROOT / "config" / "controllers.yaml").read_text().replace("$(var arm)", arm)
    (top,) = NoDuplicates(text).get_single_data().items()
    assert top[0] == "/**"
    return {name: values["ros__parameters"] for name, values in top[1].items()}


def test_the_controllers_are_those_of_the_bridge_and_of_the_adapters() -> None:
    given = controllers("fr3")
    manager = given["controller_manager"]
    assert manager["update_rate"] == 1000
    assert manager["overruns"]["manage"] is False
    simulated = Simulation(Reach(), FR3).manager.controllers
    declared = {name: value["type"] for name, value in manager.items() if "type" in str(value)}
    for name, value in declared.items():
        kind = value if isinstance(value, str) else value["type"]
        assert simulated[name].type == kind
    assert {f"{adapter}_controller" for adapter in ADAPTERS} <= set(declared)


@pytest.mark.parametrize("arm", ["fr3", "left_fr3"])
def test_the_gains_are_those_that_are_simulated_for_whatever_arm(arm: str) -> None:
    given = controllers(arm)
    joints = [f"{arm}_joint{i}" for i in range(1, 8)]
    trajectory = given["joint_trajectory_controller"]
    assert trajectory["joints"] == given["joint_velocity_controller"]["joints"] == joints
    assert trajectory["command_interfaces"] == ["effort"]
    assert trajectory["interpolate_from_desired_state"] is True
    assert trajectory["allow_nonzero_velocity_at_trajectory_end"] is False
    gains = trajectory["gains"]
    assert [gains[joint]["p"] for joint in joints] == JOINT_STIFFNESS.tolist()
    assert [gains[joint]["d"] for joint in joints] == JOINT_DAMPING.tolist()
    cartesian, ours = given["cartesian_impedance_controller"], CartesianGains()
    task = cartesian["task"]
    assert cartesian["joints"] == joints
    for axis in "xyz":
        assert task[f"k_pos_{axis}"] == ours.k_pos
        assert task[f"k_rot_{axis}"] == ours.k_rot
        assert task[f"d_pos_{axis}"] == pytest.approx(ours.d_pos, rel=1e-4)
        assert task[f"d_rot_{axis}"] == pytest.approx(ours.d_rot, rel=1e-4)
        assert task["error_clip"][axis] == ours.clip_pos
        assert task["error_clip"][f"r{axis}"] == ours.clip_rot
    assert cartesian["nullspace"]["stiffness"] == ours.k_null
    assert cartesian["nullspace"]["damping"] == ours.d_null
    assert cartesian["max_delta_tau"] == pytest.approx(ours.torque_rate / 1e3)
    assert cartesian["max_delta_tau"] < FR3.torque_rate_max / 1e3
    assert cartesian["use_gravity_compensation"] is False
