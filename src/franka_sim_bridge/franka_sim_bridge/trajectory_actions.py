"""What joint_trajectory_controller serves: follow_joint_trajectory and query_state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from control_msgs.srv import QueryTrajectoryState
from rclpy.node import Node

from franka_sim_bridge.actions import Ended, Ongoing, SimulatedActions
from franka_sim_bridge.commands import TRAJECTORY, points_of
from franka_sim_bridge.motion_controllers import GOAL_TOLERANCE, JointTrajectoryController
from franka_sim_bridge.simulation import Simulation
from franka_sim_bridge.trajectory import INVALID_GOAL, INVALID_JOINTS, SUCCESSFUL, Rejected
from sac_envs.robots import Float64

Result = FollowJointTrajectory.Result


class TrajectoryActions:
    """Action and service of the trajectory controller on a node."""

    def __init__(self, node: Node, simulation: Simulation, actions: SimulatedActions) -> None:
        self._node = node
        self._simulation = simulation
        self._controller: JointTrajectoryController = simulation.manager.controllers[TRAJECTORY]
        self._joint_names = simulation.robot.joint_names
        name = f"{TRAJECTORY}/follow_joint_trajectory"
        actions.serve(FollowJointTrajectory, name, self._follow)
        self._service = node.create_service(
            QueryTrajectoryState, f"{TRAJECTORY}/query_state", self._on_query
        )

    def destroy(self) -> None:
        """Give the service back."""
        self._node.destroy_service(self._service)

    def _follow(self, request: FollowJointTrajectory.Goal) -> Ongoing | Ended:
        late = request.goal_time_tolerance
        try:
            if request.multi_dof_trajectory.points or request.component_path_tolerance:
                raise Rejected(INVALID_GOAL, "joints only: expected no multi_dof parts")
            goal = self._controller.goal(
                **points_of(request.trajectory),
                path_tolerance=self._tolerances("path", request.path_tolerance, np.inf),
                goal_tolerance=self._tolerances("goal", request.goal_tolerance, GOAL_TOLERANCE),
                goal_time_tolerance=late.sec + late.nanosec * 1e-9,
            )
        except Rejected as rejected:
            return _ended(rejected.code, str(rejected))
        except ValueError as error:
            return _ended(INVALID_GOAL, str(error))

        def poll() -> Ended | None:
            return _ended(goal.error_code, goal.error_string) if goal.done else None

        return poll() or Ongoing(poll, self._feedback, goal.cancel)

    def _tolerances(self, what: str, messages: Sequence[JointTolerance], default: float) -> Float64:
        """Tolerances `(7,)` in rad: 0 means the default, a negative number none at all."""
        tolerances = np.full(7, default)
        for message in messages:
            if message.name not in self._joint_names:
                raise Rejected(INVALID_JOINTS, f"{what}_tolerance: no joint {message.name[:32]!r}")
            if message.velocity > 0.0 or message.acceleration > 0.0:
                raise Rejected(INVALID_GOAL, f"{what}_tolerance: only positions are watched")
            if not np.isfinite(message.position):
                raise Rejected(INVALID_GOAL, f"{what}_tolerance: {message.position} rad")
            if message.position != 0.0:
                joint = self._joint_names.index(message.name)
                tolerances[joint] = message.position if message.position > 0.0 else np.inf
        return tolerances

    def _feedback(self) -> FollowJointTrajectory.Feedback:
        message = FollowJointTrajectory.Feedback(joint_names=self._joint_names)
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = divmod(self._simulation.time_ns, 10**9)
        world, controller = self._simulation.world, self._controller
        position, velocity = controller.reference_position, controller.reference_velocity
        message.desired.positions, message.desired.velocities = position, velocity
        message.actual.positions, message.actual.velocities = world.q, world.dq
        message.error.positions, message.error.velocities = position - world.q, velocity - world.dq
        return message

    def _on_query(self, request: Any, response: Any) -> Any:
        when = request.time.sec + request.time.nanosec * 1e-9

        def query() -> tuple[Float64, Float64] | None:
            if self._controller.state != "active":
                return None
            position, velocity = self._controller.query(when)
            return position.copy(), velocity.copy()

        reference = self._simulation.call(query)
        if reference is None:
            response.message = f"{TRAJECTORY} is not active"
            return response
        response.success, response.name = True, self._joint_names
        response.position, response.velocity = reference
        response.acceleration = np.zeros(7)
        return response


def _ended(code: int, reason: str) -> Ended:
    return Ended(Result(error_code=code, error_string=reason), code == SUCCESSFUL)
