"""`franka_robot_state_broadcaster/robot_state`: the robot's whole state as franka_msgs has it."""

from __future__ import annotations

from typing import Any

from franka_msgs.msg import Errors, FrankaRobotState
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message

from franka_sim_bridge.description import BASE
from franka_sim_bridge.outbox import Outbox
from franka_sim_bridge.readings import (
    Desired,
    rotated,
    tool_pose,
)
from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import HAND, Float64
from sac_ros import qos

Stamp = tuple[int, int]  # s, ns
ROBOT_STATE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class RobotStatePublisher:
    """Fills and publishes FrankaRobotState; what this simulation does not model stays 0."""

    def __init__(self, node: Node, simulation: Simulation, outbox: Outbox) -> None:
        self._simulation = simulation
        self._outbox = outbox
        self._publisher: Publisher = node.create_publisher(
            FrankaRobotState,
            "franka_robot_state_broadcaster/robot_state",
            ROBOT_STATE,
            qos_overriding_options=qos.OVERRIDABLE,
        )
        self._message = message = FrankaRobotState()
        tool = f"{simulation.robot.name}_hand_tcp"
        names = list(simulation.robot.joint_names)
        self._headers = [message.header]
        for field in message.get_fields_and_field_types():
            part = getattr(message, field)
            if hasattr(part, "header"):
                part.header.frame_id = BASE
                self._headers.append(part.header)
            if hasattr(part, "name"):
                part.name = names
        message.k_f_ext_hat_k.header.frame_id = message.ee_t_k.header.frame_id = tool
        message.inertia_ee.inertia.m = HAND.body.mass + 2 * HAND.finger.mass
        for pose in (message.ee_t_k, message.f_t_ee):
            pose.pose.orientation.w = 1.0
        message.control_command_success_rate = 1.0

    def publish(self, stamp: Stamp, desired: Desired) -> None:
        """Publish the state of this instant, if anybody listens."""
        if self._publisher.get_subscription_count() == 0:
            return
        message, simulation = self._message, self._simulation
        world = simulation.world
        for header in self._headers:
            header.stamp.sec, header.stamp.nanosec = stamp
        _set_joints(message.measured_joint_state, world.q, world.dq, world.measured_torques())
        _set_joints(message.desired_joint_state, desired.position, desired.velocity, desired.effort)
        _set_joints(message.measured_joint_motor_state, world.q, world.dq)
        message.tau_ext_hat_filtered.effort = simulation.external.torques.tolist()
        wrench = simulation.external.wrench()
        _set_vectors(message.o_f_ext_hat_k.wrench, "force", "torque", wrench)
        in_tool = rotated(world.tcp_rotation.T, wrench)
        _set_vectors(message.k_f_ext_hat_k.wrench, "force", "torque", in_tool)
        _set_pose(message.o_t_ee.pose, tool_pose(world))
        _set_pose(message.o_t_ee_d.pose, desired.pose)
        _set_pose(message.o_t_ee_c.pose, desired.pose)
        twist = world.jacobian() @ desired.velocity
        _set_vectors(message.o_dp_ee_d.twist, "linear", "angular", twist)
        _set_vectors(message.o_dp_ee_c.twist, "linear", "angular", twist)
        message.elbow.position = [float(world.q[2]), 1.0 if world.q[3] > 0.0 else -1.0]
        message.time = simulation.time
        message.robot_mode = int(simulation.faults.robot_mode)
        message.current_errors = _errors(simulation.faults.current_errors)
        message.last_motion_errors = _errors(simulation.faults.last_motion_errors)
        now = stamp[0] * 10**9 + stamp[1]
        self._outbox.send(self._publisher, serialize_message(message), now)


def _errors(names: Any) -> Errors:
    return Errors(**{name: True for name in names})


def _set_joints(state: Any, *values: Float64) -> None:
    for field, value in zip(("position", "velocity", "effort"), values, strict=False):
        setattr(state, field, value.tolist())


def _set_vectors(message: Any, first: str, second: str, values: Float64) -> None:
    numbers = values.tolist()
    for part, (x, y, z) in ((first, numbers[:3]), (second, numbers[3:])):
        vector = getattr(message, part)
        vector.x, vector.y, vector.z = x, y, z


def _set_pose(pose: Any, values: Float64) -> None:
    p, o = pose.position, pose.orientation
    p.x, p.y, p.z, o.x, o.y, o.z, o.w = values.tolist()
