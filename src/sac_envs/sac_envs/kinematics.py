"""Kinematics of a Franka arm with its hand, in NumPy: a robot PC needs no simulator for it."""

from __future__ import annotations

import numpy as np

from sac_envs.robots import HAND_TCP, HAND_YAW, JOINT_ORIGINS, Float64, Robot


def rotation_x(angle: float) -> Float64:
    """Rotation about x, `(3, 3)`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rotation_z(angle: float) -> Float64:
    """Rotation about z, `(3, 3)`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_to_quaternion(rotation: Float64) -> Float64:
    """Unit quaternion `(x, y, z, w)`, w >= 0, of a rotation matrix (Shepperd's method)."""
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    choices = (r[0, 0], r[1, 1], r[2, 2], trace)
    largest = int(np.argmax(choices))
    q = np.empty(4)
    if largest == 3:
        q[3] = 1.0 + trace
        q[0], q[1], q[2] = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q[i] = 1.0 - trace + 2.0 * r[i, i]
        q[j], q[k], q[3] = r[j, i] + r[i, j], r[k, i] + r[i, k], r[k, j] - r[j, k]
    q /= np.sqrt(q @ q)
    return -q if q[3] < 0.0 else q


def quaternion_to_rotation(quaternion: Float64) -> Float64:
    """Rotation matrix `(3, 3)` of a quaternion `(x, y, z, w)`; it is normalised first.

    Raises ValueError when its norm is 0 or not finite.
    """
    norm = float(np.linalg.norm(quaternion))
    if not (np.isfinite(norm) and norm > 1e-6):
        raise ValueError(f"a quaternion of norm {norm} is no orientation")
    x, y, z, w = np.asarray(quaternion, np.float64) / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_error(target: Float64, current: Float64) -> Float64:
    """Rotation vector `(3,)` in rad, in the base frame, that turns `current` into `target`."""
    x, y, z, w = rotation_to_quaternion(target @ current.T)
    sine = np.sqrt(x * x + y * y + z * z)
    if sine < 1e-9:
        return np.array([2.0 * x, 2.0 * y, 2.0 * z])
    return 2.0 * np.arctan2(sine, w) / sine * np.array([x, y, z])


def rotation_of(vector: Float64) -> Float64:
    """Rotation matrix `(3, 3)` of a rotation vector `(3,)` in rad (Rodrigues' formula)."""
    x, y, z = vector
    angle = np.sqrt(x * x + y * y + z * z)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-9:
        return np.eye(3) + cross
    half = np.sin(angle / 2) / angle
    return np.eye(3) + np.sin(angle) / angle * cross + 2.0 * half * half * (cross @ cross)


# Tool pointing straight down, fingers opening along y: the orientation at the home position.
TOOL_DOWN = np.diag([1.0, -1.0, -1.0])

LARGEST_STEP = 0.5  # rad of any joint in one iteration of `inverse`


def _transform(rotation: Float64, position: Float64) -> Float64:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation, position
    return out


# Each joint's frame in that of the one before, at angle 0; then the tool's in the flange's.
_FIXED = np.array([_transform(rotation_x(roll), np.array(xyz)) for xyz, roll in JOINT_ORIGINS])
_TOOL = _FIXED[7] @ _transform(rotation_z(HAND_YAW), np.array(HAND_TCP))
_X, _Y = _FIXED[:7, :3, 0], _FIXED[:7, :3, 1]


def forward(q: Float64) -> tuple[Float64, Float64, Float64]:
    """Tool position `(3,)`, rotation `(3, 3)` and geometric Jacobian `(6, 7)` in the base frame.

    The tool is `<robot_type>_hand_tcp`. The Jacobian's rows are linear, then angular velocity.
    """
    frames = _FIXED[:7].copy()
    c, s = np.cos(q)[:, None], np.sin(q)[:, None]
    frames[:, :3, 0] = c * _X + s * _Y
    frames[:, :3, 1] = c * _Y - s * _X
    for i in range(1, 7):
        frames[i] = frames[i - 1] @ frames[i]
    tool = frames[6] @ _TOOL
    position = tool[:3, 3]
    x, y, z = axes = frames[:, :3, 2].T
    dx, dy, dz = position[:, None] - frames[:, :3, 3].T
    jacobian = np.empty((6, 7))
    jacobian[0] = y * dz - z * dy
    jacobian[1] = z * dx - x * dz
    jacobian[2] = x * dy - y * dx
    jacobian[3:] = axes
    return position.copy(), tool[:3, :3].copy(), jacobian


def tool_positions(q: Float64) -> Float64:
    """Tool positions `(n, 3)` of many joint positions `(n, 7)` at once."""
    frames = np.repeat(_FIXED[np.newaxis, :7], len(q), axis=0)
    c, s = np.cos(q)[..., np.newaxis], np.sin(q)[..., np.newaxis]
    frames[:, :, :3, 0] = c * _X + s * _Y
    frames[:, :, :3, 1] = c * _Y - s * _X
    # From the tool backwards it takes one product of a matrix with a vector for each joint.
    points = np.broadcast_to(_TOOL[:, 3], (len(q), 4))[..., np.newaxis]
    for i in range(6, -1, -1):
        points = frames[:, i] @ points
    return points[:, :3, 0]


def inverse(
    robot: Robot,
    position: Float64,
    rotation: Float64,
    start: Float64,
    iterations: int = 50,
    tolerance: float = 1e-4,
) -> tuple[Float64, float]:
    """Joint positions `(7,)` that bring the tool to a pose, and the error left (m, rad, largest).

    Damped least squares from `start`, inside the robot's conservative joint box (Nakamura and
    Hanafusa 1986). A pose out of reach ends at the nearest the iteration found.
    """
    q = np.clip(np.asarray(start, np.float64), robot.conservative_min, robot.conservative_max)
    error = np.empty(6)
    for _ in range(iterations):
        here, orientation, jacobian = forward(q)
        error[:3] = position - here
        error[3:] = rotation_error(rotation, orientation)
        if np.abs(error).max() < tolerance:
            break
        damped = jacobian @ jacobian.T + 1e-4 * np.eye(6)
        step = jacobian.T @ np.linalg.solve(damped, error)
        # A longer step leaves where the Jacobian holds, and may end with another elbow for good.
        step *= min(1.0, LARGEST_STEP / np.abs(step).max())
        q = np.clip(q + step, robot.conservative_min, robot.conservative_max)
    here, orientation, _ = forward(q)
    left = max(
        float(np.abs(position - here).max()),
        float(np.abs(rotation_error(rotation, orientation)).max()),
    )
    return q, left
