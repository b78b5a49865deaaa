"""What the robot reports of itself, computed from the simulated world. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from sac_envs.robots import Float64
from sac_envs.world import World


@dataclass(frozen=True)
class Desired:
    """What the active controller wants of the joints `(7,)` and of the tool `(7,)`."""

    position: Float64
    velocity: Float64
    effort: Float64
    pose: Float64  # position and quaternion (x, y, z, w)


class ExternalTorques:
    """Torques `(7,)` with which the robot pushes on its environment: tau_ext_hat_filtered.

    The robot reports and judges filtered values: an impact in rigid contact is a spike of one
    physics step, which no joint sensor would show. Positive is what the robot applies (libfranka
    `robot_state.h`).
    """

    PERIOD = 4  # physics steps between two samples
    TIME_CONSTANT = 0.02  # s, of the first-order filter

    def __init__(self, world: World) -> None:
        self._world = world
        period = self.PERIOD * world.physics_step
        self._weight = period / (self.TIME_CONSTANT + period)
        self.torques: Float64 = np.zeros(7)

    def update(self) -> None:
        """Take the next sample; every `PERIOD` physics steps."""
        self.torques = self.torques - self._weight * (self._world.external_torques() + self.torques)

    def reset(self) -> None:
        """The world was put elsewhere."""
        self.torques = np.zeros(7)

    def wrench(self) -> Float64:
        """Force and torque `(6,)` at the tool, in the base's axes, that explain the torques.

        O_F_ext_hat_K. Least squares over the joints, damped where the arm is singular.
        """
        jacobian = self._world.jacobian()
        gram = jacobian @ jacobian.T
        gram.flat[::7] += 1e-6
        return np.asarray(np.linalg.solve(gram, jacobian @ self.torques), np.float64)


def rotated(rotation: Float64, vector: Float64) -> Float64:
    """A wrench or twist `(6,)` in other axes."""
    return np.concatenate((rotation @ vector[:3], rotation @ vector[3:]))


def pose_of(position: Float64, rotation: Float64) -> Float64:
    """Position and quaternion (x, y, z, w), `(7,)`, of a pose with rotation `(3, 3)`."""
    out, quaternion = np.empty(7), np.empty(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    out[:3] = position
    out[3:6], out[6] = quaternion[1:], quaternion[0]
    return out


def tool_pose(world: World) -> Float64:
    """Position and quaternion (x, y, z, w), `(7,)`, of the tool."""
    return pose_of(world.tcp_position, world.tcp_rotation)
