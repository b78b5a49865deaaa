"""What franka_hardware serves beside ros2_control: recovery, joint motions, and the robot's set-up.

Set-up is for an idle robot only. What this simulation does not model is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
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

from franka_sim_bridge.actions import Ended, Ongoing, SimulatedActions
from franka_sim_bridge.faults import AUTOMATIC_ERROR_RECOVERY, IDLE
from franka_sim_bridge.motion_controllers import STIFF_DAMPING, STIFF_STIFFNESS
from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import Float64
from sac_ros.robot_input import of_franka_ros2

MODES = ("other", "idle", "move", "guiding", "reflex", "user stopped", "recovering")
RIGID = 1e-5  # how far a rotation may be from orthonormal


class RobotServices:
    """`action_server/...` and `service_server/...` on a node, named as by franka_ros2."""

    def __init__(self, node: Node, simulation: Simulation, actions: SimulatedActions) -> None:
        self._node = node
        self._simulation = simulation
        actions.serve(ErrorRecovery, self._named("action_server/error_recovery"), self._recover)
        actions.serve(PTPMotion, self._named("action_server/ptp_motion"), self._drive)
        self._services = [
            node.create_service(kind, self._named(f"service_server/{name}"), self._when_idle(apply))
            for kind, name, apply in (
                (SetLoad, "set_load", self._set_load),
                (SetFullCollisionBehavior, "set_full_collision_behavior", self._set_full),
                (
                    SetForceTorqueCollisionBehavior,
                    "set_force_torque_collision_behavior",
                    self._set_nominal,
                ),
                (SetCartesianStiffness, "set_cartesian_stiffness", self._set_cartesian_stiffness),
                (SetJointStiffness, "set_joint_stiffness", self._set_joint_stiffness),
                (SetTCPFrame, "set_tcp_frame", self._set_frame),
                (SetStiffnessFrame, "set_stiffness_frame", self._set_frame),
            )
        ]

    def _named(self, name: str) -> str:
        prefix, namespace = self._simulation.robot.arm_prefix, self._node.get_namespace()
        return of_franka_ros2(name, prefix, namespace)

    def destroy(self) -> None:
        """Give the services back."""
        for service in self._services:
            self._node.destroy_service(service)

    # Actions, on the simulation's thread.

    def _recover(self, request: ErrorRecovery.Goal) -> Ongoing | Ended:
        faults = self._simulation.faults
        possible, reason = faults.recover(self._simulation.time)
        if not possible:
            self._node.get_logger().error(f"error_recovery: {reason}")
            return Ended(ErrorRecovery.Result(), False)

        def poll() -> Ended | None:
            if faults.clear:
                return Ended(ErrorRecovery.Result(), True)
            if faults.robot_mode != AUTOMATIC_ERROR_RECOVERY:
                self._node.get_logger().error(f"error_recovery: {MODES[faults.robot_mode]} anew")
                return Ended(ErrorRecovery.Result(), False)
            return None

        return poll() or Ongoing(poll)

    def _drive(self, request: PTPMotion.Goal) -> Ongoing | Ended:
        manager = self._simulation.manager
        try:
            motion = manager.move_to(
                request.goal_joint_configuration,
                request.maximum_joint_velocities,
                request.goal_tolerance,
            )
        except ValueError as error:
            return _arrived(TargetStatus.ABORTED, str(error))

        def poll() -> Ended | None:
            if motion.state == "executing":
                return None
            if motion.state == "reached":
                return _arrived(TargetStatus.TARGET_REACHED, "")
            return _arrived(TargetStatus.ABORTED, "the motion was stopped, or did not arrive")

        def feedback() -> PTPMotion.Feedback:
            status = TargetStatus(status=TargetStatus.EXECUTING)
            return PTPMotion.Feedback(target_status=status)

        return Ongoing(poll, feedback, manager.abort_motion)

    # The robot's set-up, on the simulation's thread; ValueError says why not.

    def _when_idle(self, apply: Callable[[Any], None]) -> Callable[[Any, Any], Any]:
        simulation = self._simulation

        def job(request: Any) -> None:
            controller = simulation.manager.active_motion
            if controller is not None:
                raise ValueError(f"the robot is not idle: deactivate {controller.name} first")
            if simulation.manager.moving or simulation.faults.robot_mode != IDLE:
                mode = (
                    "moving" if simulation.manager.moving else MODES[simulation.faults.robot_mode]
                )
                raise ValueError(f"the robot is not idle but {mode}")
            apply(request)

        def serve(request: Any, response: Any) -> Any:
            try:
                simulation.call(lambda: job(request))
            except ValueError as error:
                response.error = str(error)
            else:
                response.success = True
            return response

        return serve

    def _set_load(self, request: SetLoad.Request) -> None:
        mass, center = request.mass, _finite("center_of_mass", request.center_of_mass)
        inertia = _finite("load_inertia", request.load_inertia)
        if not (np.isfinite(mass) and mass >= 0.0):
            raise ValueError(f"mass {mass} kg: expected a number that is not negative")
        if mass > 0.0 or center.any() or inertia.any():
            raise ValueError(
                "loads are not simulated: expected 0 (an object in the hand weighs what it weighs)"
            )

    def _set_full(self, request: SetFullCollisionBehavior.Request) -> None:
        for what in ("torque", "force"):
            for bound in ("lower", "upper"):
                name = f"{bound}_{what}_thresholds"
                accelerating = getattr(request, f"{name}_acceleration")
                if not np.array_equal(accelerating, getattr(request, f"{name}_nominal")):
                    raise ValueError(f"{name}_acceleration: expected the same as {name}_nominal")
        self._set_nominal(request)

    def _set_nominal(self, request: Any) -> None:
        torques = _ordered("torque", request)
        forces = _ordered("force", request)
        self._simulation.faults.set_thresholds(torques[1], forces[1], torques[0], forces[0])

    def _set_cartesian_stiffness(self, request: SetCartesianStiffness.Request) -> None:
        _finite("cartesian_stiffness", request.cartesian_stiffness)
        raise ValueError("the robot's own Cartesian impedance is not simulated")

    def _set_joint_stiffness(self, request: SetJointStiffness.Request) -> None:
        """Of the robot's own position control."""
        stiffness = _finite("joint_stiffness", request.joint_stiffness)
        if (stiffness <= 0.0).any() or (stiffness > STIFF_STIFFNESS).any():
            most = ", ".join(f"{value:g}" for value in STIFF_STIFFNESS)
            raise ValueError(f"joint_stiffness: expected more than 0 and up to {most} N·m/rad")
        law = self._simulation.manager.controllers["joint_position_controller"].law
        law.stiffness = stiffness
        law.damping = STIFF_DAMPING * np.sqrt(stiffness / STIFF_STIFFNESS)

    def _set_frame(self, request: Any) -> None:
        matrix = _finite("transformation", request.transformation).reshape(4, 4).T
        rotation = matrix[:3, :3]
        if (
            not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0), rtol=0.0, atol=RIGID)
            or not np.allclose(rotation @ rotation.T, np.eye(3), rtol=0.0, atol=RIGID)
            or np.linalg.det(rotation) < 0.0
        ):
            raise ValueError("transformation: expected a rigid one, 16 numbers column by column")
        if not np.allclose(matrix, np.eye(4), rtol=0.0, atol=RIGID):
            robot = self._simulation.robot.name
            raise ValueError(f"the frame is fixed at {robot}_hand_tcp: expected the identity")


def _arrived(status: int, error: str) -> Ended:
    result = PTPMotion.Result(target_status=TargetStatus(status=status), error_message=error)
    return Ended(result, status == TargetStatus.TARGET_REACHED)


def _finite(what: str, values: npt.ArrayLike) -> Float64:
    array = np.array(values, np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: expected finite numbers")
    return array


def _ordered(what: str, request: Any) -> tuple[Float64, Float64]:
    """Lower and upper thresholds."""
    lower, upper = (
        _finite(name, getattr(request, name))
        for name in (f"lower_{what}_thresholds_nominal", f"upper_{what}_thresholds_nominal")
    )
    if (lower > upper).any():
        raise ValueError(f"lower_{what}_thresholds_nominal: expected none above the upper one")
    return lower, upper
