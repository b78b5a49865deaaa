"""The robot's own services and actions, and the actions of joint_trajectory_controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from control_msgs.srv import QueryTrajectoryState
from franka_msgs.action import ErrorRecovery, PTPMotion
from franka_msgs.msg import TargetStatus
from franka_msgs.srv import (
    SetCartesianStiffness,
    SetForceTorqueCollisionBehavior,
    SetFullCollisionBehavior,
    SetJointStiffness,
    SetLoad,
    SetStiffnessFrame,
    SetTCPFrame,
)
from rclpy.node import Node

from franka_sim_bridge.commands import TRAJECTORY, points_of
from franka_sim_bridge.controllers import GOAL_TOLERANCE
from franka_sim_bridge.deferred import ABORTED, SUCCEEDED, Course, DeferredServer, Outcome
from franka_sim_bridge.faults import IDLE
from franka_sim_bridge.simulation import Simulation
from franka_sim_bridge.trajectory import INVALID_GOAL, SUCCESSFUL, Rejected
from sac_envs.robots import Float64

MOST_LOAD = 3.0  # kg, the arm's payload


class RobotServices:
    """Offers `service_server/…`, `action_server/…` and the trajectory controller's actions."""

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._node = node
        self._simulation = simulation
        self._names = simulation.robot.joint_names
        self._controller = simulation.manager.controllers[TRAJECTORY]

        def server(
            kind: Any, name: str, begin: Callable[[Any], Course | Outcome]
        ) -> DeferredServer:
            return DeferredServer(node, simulation, kind, name, begin)

        self._servers = [
            server(ErrorRecovery, "action_server/error_recovery", self._recover),
            server(PTPMotion, "action_server/ptp_motion", self._drive),
            server(FollowJointTrajectory, f"{TRAJECTORY}/follow_joint_trajectory", self._follow),
        ]
        settings = {
            "set_load": (SetLoad, self._check_load),
            "set_full_collision_behavior": (SetFullCollisionBehavior, self._set_full_thresholds),
            "set_force_torque_collision_behavior": (
                SetForceTorqueCollisionBehavior,
                self._set_thresholds,
            ),
            "set_cartesian_stiffness": (SetCartesianStiffness, self._check_stiffness),
            "set_joint_stiffness": (SetJointStiffness, self._check_stiffness),
            "set_tcp_frame": (SetTCPFrame, self._refuse_frame),
            "set_stiffness_frame": (SetStiffnessFrame, self._refuse_frame),
        }
        self._services = [
            node.create_service(kind, f"service_server/{name}", self._while_idle(apply))
            for name, (kind, apply) in settings.items()
        ]
        self._services.append(
            node.create_service(QueryTrajectoryState, f"{TRAJECTORY}/query_state", self._query)
        )

    def destroy(self) -> None:
        """Give everything back."""
        for server in self._servers:
            server.destroy()
        for service in self._services:
            self._node.destroy_service(service)

    # Settings: only while the robot is idle.

    def _while_idle(self, apply: Callable[[Any], None]) -> Callable[[Any, Any], Any]:
        def serve(request: Any, response: Any) -> Any:
            def job() -> None:
                if self._simulation.faults.robot_mode != IDLE:
                    raise ValueError(
                        "the robot is not idle: deactivate the motion controller first"
                    )
                apply(request)

            try:
                self._simulation.call(job)
            except ValueError as error:
                response.success, response.error = False, str(error)
            else:
                response.success = True
            return response

        return serve

    @staticmethod
    def _check_load(request: Any) -> None:
        """Accepted and without effect: the simulation knows its own masses."""
        values = [request.mass, *request.center_of_mass, *request.load_inertia]
        if not np.isfinite(values).all() or not 0.0 <= request.mass <= MOST_LOAD:
            raise ValueError(f"expected finite values and a mass of 0 to {MOST_LOAD} kg")

    def _set_full_thresholds(self, request: Any) -> None:
        for name in ("torque", "force"):
            for bound in ("lower", "upper"):
                field = f"{bound}_{name}_thresholds_acceleration"
                values = np.array(getattr(request, field))
                if not np.isfinite(values).all() or (values <= 0.0).any():
                    raise ValueError(f"{field}: expected positive numbers")
        self._set_thresholds(request)

    def _set_thresholds(self, request: Any) -> None:
        self._simulation.faults.set_thresholds(
            request.upper_torque_thresholds_nominal, request.upper_force_thresholds_nominal
        )

    @staticmethod
    def _check_stiffness(request: Any) -> None:
        """Accepted and without effect: it belongs to the robot's internal controllers."""
        values = getattr(request, "cartesian_stiffness", None)
        if values is None:
            values = request.joint_stiffness
        if not np.isfinite(values).all() or (np.array(values) < 0.0).any():
            raise ValueError("stiffness: expected finite numbers, not negative")

    @staticmethod
    def _refuse_frame(request: Any) -> None:
        if not np.allclose(request.transformation, np.eye(4).ravel()):
            raise ValueError("this simulation has the Franka Hand's frames only: expected identity")

    # Actions of the robot.

    def _recover(self, _goal: Any) -> Course | Outcome:
        faults = self._simulation.faults
        ok, reason = faults.recover(self._simulation.time)
        if not ok:
            self._node.get_logger().error(f"error_recovery: {reason}")
            return Outcome(ABORTED, ErrorRecovery.Result())

        def poll() -> Outcome | None:
            if faults.clear:
                return Outcome(SUCCEEDED, ErrorRecovery.Result())
            recovering = faults.robot_mode == 6
            return None if recovering else Outcome(ABORTED, ErrorRecovery.Result())

        return Course(poll)

    def _drive(self, goal: Any) -> Course | Outcome:
        def result(status: int, text: str = "") -> Any:
            return PTPMotion.Result(target_status=TargetStatus(status=status), error_message=text)

        try:
            motion = self._simulation.manager.move_to(
                np.array(goal.goal_joint_configuration),
                np.array(goal.maximum_joint_velocities),
                goal.goal_tolerance,
            )
        except ValueError as error:
            return Outcome(ABORTED, result(TargetStatus.ABORTED, str(error)))

        def poll() -> Outcome | None:
            if motion.state == "executing":
                return None
            if motion.state == "reached":
                return Outcome(SUCCEEDED, result(TargetStatus.TARGET_REACHED))
            return Outcome(ABORTED, result(TargetStatus.ABORTED, "the motion was aborted"))

        feedback = PTPMotion.Feedback(target_status=TargetStatus(status=TargetStatus.EXECUTING))
        return Course(poll, self._simulation.manager.reset, lambda: feedback)

    # Actions of joint_trajectory_controller.

    def _tolerances(self, tolerances: Any, default: float) -> Float64:
        """`(7,)` rad by joint name: 0 is the default, negative is none. Raises Rejected."""
        out = np.full(7, default)
        for tolerance in tolerances:
            if tolerance.name not in self._names:
                raise Rejected(INVALID_GOAL, f"tolerance of unknown joint {tolerance.name[:32]!r}")
            if tolerance.position:
                value = tolerance.position if tolerance.position > 0.0 else np.inf
                out[self._names.index(tolerance.name)] = value
        return out

    def _follow(self, request: Any) -> Course | Outcome:
        def result(code: int, text: str) -> Any:
            return FollowJointTrajectory.Result(error_code=code, error_string=text)

        limit = request.goal_time_tolerance
        try:
            goal = self._controller.goal(
                **points_of(request.trajectory),
                path_tolerance=self._tolerances(request.path_tolerance, np.inf),
                goal_tolerance=self._tolerances(request.goal_tolerance, GOAL_TOLERANCE),
                goal_time_tolerance=limit.sec + limit.nanosec * 1e-9,
            )
        except Rejected as rejected:
            return Outcome(ABORTED, result(rejected.code, str(rejected)))
        except ValueError as error:
            return Outcome(ABORTED, result(INVALID_GOAL, str(error)))

        def poll() -> Outcome | None:
            if not goal.done:
                return None
            status = SUCCEEDED if goal.error_code == SUCCESSFUL else ABORTED
            return Outcome(status, result(goal.error_code, goal.error_string))

        def feedback() -> Any:
            message = FollowJointTrajectory.Feedback(joint_names=list(self._names))
            world = self._simulation.world
            reference = self._controller.reference_position
            message.desired.positions = reference.tolist()
            message.actual.positions = world.q.tolist()
            message.error.positions = (reference - world.q).tolist()
            return message

        return Course(poll, lambda: self._controller.cancel(goal), feedback)

    def _query(self, request: Any, response: Any) -> Any:
        time = request.time.sec + request.time.nanosec * 1e-9

        def query() -> tuple[Float64, Float64]:
            at = time or self._simulation.time
            position, velocity = self._controller.query(at)
            return position.copy(), velocity.copy()

        position, velocity = self._simulation.call(query)
        response.success = self._controller.state == "active"
        response.name = list(self._names)
        response.position, response.velocity = position.tolist(), velocity.tolist()
        return response
