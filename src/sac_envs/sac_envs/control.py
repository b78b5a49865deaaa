"""Control laws at the physics rate: what the robot's real-time controllers compute, in torques.

All of them command torques without gravity, as on the robot. Units: N·m, rad, m, s.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sac_envs.gains import JOINT_DAMPING, JOINT_STIFFNESS, CartesianGains
from sac_envs.robots import Float64
from sac_envs.world import World

VELOCITY_GAIN = np.array([60.0, 60.0, 60.0, 60.0, 20.0, 15.0, 8.0])  # N·m·s/rad


class Law:
    """Torques from the world's state; `start` is called when the law takes over."""

    def start(self, world: World) -> None:
        """Begin from the current state, without a jump."""

    def torques(self, world: World) -> Float64:
        """Joint torques `(7,)` for the next physics step."""
        raise NotImplementedError


class JointImpedance(Law):
    """τ = K (q_d − q) + D (dq_d − dq): follows `target` and `target_velocity`, `(7,)` each."""

    def __init__(
        self, stiffness: Float64 = JOINT_STIFFNESS, damping: Float64 = JOINT_DAMPING
    ) -> None:
        self.stiffness, self.damping = stiffness, damping
        self.target = np.zeros(7)
        self.target_velocity = np.zeros(7)

    def start(self, world: World) -> None:
        self.target = world.q.copy()
        self.target_velocity = np.zeros(7)

    def torques(self, world: World) -> Float64:
        return self.stiffness * (self.target - world.q) + self.damping * (
            self.target_velocity - world.dq
        )


class JointVelocity(Law):
    """τ = D (dq_d − dq) + K ∫(dq_d − dq): the robot's own velocity control, in short."""

    def __init__(self) -> None:
        self.target_velocity = np.zeros(7)
        self._position = np.zeros(7)

    def start(self, world: World) -> None:
        self.target_velocity = np.zeros(7)
        self._position = world.q.copy()

    def torques(self, world: World) -> Float64:
        self._position = self._position + self.target_velocity * world.physics_step
        return JOINT_STIFFNESS * (self._position - world.q) + VELOCITY_GAIN * (
            self.target_velocity - world.dq
        )


class JointEffort(Law):
    """τ as commanded."""

    def __init__(self) -> None:
        self.target = np.zeros(7)

    def start(self, world: World) -> None:
        self.target = np.zeros(7)

    def torques(self, world: World) -> Float64:
        return self.target


class CartesianImpedance(Law):
    """Spring and damper between the tool and a target pose, with a posture in the null space.

    τ = Jᵀ (K clip(e) − D J dq) + (I − Jᵀ J⁺ᵀ) (k_n (q_n − q) − d_n dq)     (Khatib 1987)

    The position error is clipped per axis, so that the force stays bounded wherever the target is,
    and the torque's rate is limited. `target_position` `(3,)` and `target_quaternion` (w, x, y, z).
    """

    PROJECTOR_PERIOD = 8  # steps between two evaluations of the null space, which changes slowly

    def __init__(self, gains: CartesianGains | None = None) -> None:
        self.set_gains(gains or CartesianGains())
        self.target_position = np.zeros(3)
        self.target_quaternion = np.array([1.0, 0.0, 0.0, 0.0])
        self.posture = np.zeros(7)
        self._last = np.zeros(7)
        self._error = np.zeros(6)
        self._rotation_part = self._error[3:]
        self._tool = np.zeros(4)
        self._projector = np.eye(7)
        self._age = 0

    def set_gains(self, gains: CartesianGains) -> None:
        """Take other gains from the next step on."""
        self.gains = gains
        self._stiffness = np.array([gains.k_pos] * 3 + [gains.k_rot] * 3)
        self._damping = np.array([gains.d_pos] * 3 + [gains.d_rot] * 3)
        self._clip = np.array([gains.clip_pos] * 3 + [gains.clip_rot] * 3)
        self._minus_clip = -self._clip

    def set_target(self, position: Float64, rotation: Float64) -> None:
        """New target: position `(3,)` in m and rotation `(3, 3)` in the base frame."""
        self.target_position = np.array(position, np.float64)
        mujoco.mju_mat2Quat(self.target_quaternion, np.ravel(rotation))

    def start(self, world: World) -> None:
        self.set_target(world.tcp_position, world.tcp_rotation)
        self.posture = world.q.copy()
        self._last = np.zeros(7)
        self._age = 0

    def torques(self, world: World) -> Float64:
        gains = self.gains
        jacobian = world.jacobian()
        error = self._error
        np.subtract(self.target_position, world.tcp_position, out=error[:3])
        mujoco.mju_mat2Quat(self._tool, world._tcp_rotation)
        # In the tool's frame; turned into the base frame below.
        mujoco.mju_subQuat(self._rotation_part, self.target_quaternion, self._tool)
        error[3:] = world.tcp_rotation @ error[3:]
        np.minimum(error, self._clip, out=error)
        np.maximum(error, self._minus_clip, out=error)
        dq = world.dq
        wrench = self._stiffness * error - self._damping * (jacobian @ dq)
        if self._age % self.PROJECTOR_PERIOD == 0:
            inertia = jacobian @ jacobian.T
            inertia.flat[::7] += 1e-4
            self._projector = np.eye(7) - jacobian.T @ np.linalg.solve(inertia, jacobian)
        self._age += 1
        posture = gains.k_null * (self.posture - world.q) - gains.d_null * dq
        torques = wrench @ jacobian + self._projector @ posture
        step = gains.torque_rate * world.physics_step
        change = torques - self._last
        np.minimum(change, step, out=change)
        np.maximum(change, -step, out=change)
        self._last = self._last + change
        return self._last
