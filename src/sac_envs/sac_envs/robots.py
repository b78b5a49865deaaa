"""Published figures of the Franka arms: kinematics, inertias, limits, and of the Franka Hand.

Sources: frankarobotics/franka_description 1.0.1 (`kinematics.yaml`, `inertials.yaml` and
`joint_limits.yaml` of `robots/<type>`, and `end_effectors/franka_hand`), libfranka
`rate_limiting.h`, and franka_ros (conservative box).
Lengths in m, masses in kg, inertias in kg·m² about the centre of mass, angles in rad.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

HALF_PI = np.pi / 2

# Origin of each joint in the frame of the link before it: xyz, then roll about x (pitch and yaw are
# 0); joint 8 is the flange. The same for both arms.
JOINT_ORIGINS: tuple[tuple[tuple[float, float, float], float], ...] = (
    ((0.0, 0.0, 0.333), 0.0),
    ((0.0, 0.0, 0.0), -HALF_PI),
    ((0.0, -0.316, 0.0), HALF_PI),
    ((0.0825, 0.0, 0.0), HALF_PI),
    ((-0.0825, 0.384, 0.0), -HALF_PI),
    ((0.0, 0.0, 0.0), HALF_PI),
    ((0.088, 0.0, 0.0), HALF_PI),
    ((0.0, 0.0, 0.107), 0.0),
)
HAND_YAW = -np.pi / 4  # of the hand on the flange
HAND_TCP = (0.0, 0.0, 0.1034)  # tool centre point in the frame of the hand
HOME = (0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, HALF_PI, np.pi / 4)  # the URDF's initial values


@dataclass(frozen=True)
class Inertial:
    """Mass, centre of mass `(x, y, z)`, and inertia `(xx, yy, zz, xy, xz, yz)` of one link."""

    mass: float
    center: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Robot:
    """One arm. Arrays of limits have shape `(7,)`."""

    robot_type: str
    position_min: Float64
    position_max: Float64
    velocity_max: Float64
    acceleration_max: Float64
    jerk_max: Float64
    torque_max: Float64
    torque_rate_max: float
    conservative_min: Float64  # inside this box the flat velocity limits hold everywhere
    conservative_max: Float64
    conservative_velocity: Float64
    cartesian_velocity_max: tuple[float, float]  # m/s, rad/s
    links: tuple[Inertial, ...]  # 0 (base) to 7
    arm_prefix: str = ""  # before every name of this arm, one of several, and an underscore

    def prefixed(self, arm_prefix: str) -> Robot:
        """The same arm under names that begin with `arm_prefix`."""
        return replace(self, arm_prefix=arm_prefix)

    @property
    def name(self) -> str:
        """What the names of joints and links begin with."""
        prefix = f"{self.arm_prefix}_" if self.arm_prefix else ""
        return f"{prefix}{self.robot_type}"

    @property
    def joint_names(self) -> tuple[str, ...]:
        """`<robot_type>_joint1` to `…7`."""
        return tuple(f"{self.name}_joint{i}" for i in range(1, 8))

    @property
    def finger_joint_names(self) -> tuple[str, str]:
        """The two fingers of the Franka Hand, as the gripper node names them: without a prefix.

        Source: franka_gripper 3.4.0, `gripper.launch.py`.
        """
        return f"{self.robot_type}_finger_joint1", f"{self.robot_type}_finger_joint2"


def _seven(*values: float) -> Float64:
    array = np.array(values if len(values) == 7 else values * 7, dtype=np.float64)
    array.setflags(write=False)
    return array


_BASE = Inertial(2.3966, (-0.0172, 0.0004, 0.0745), (0.0090, 0.0115, 0.0085, 0.0, 0.0020, 0.0))

FR3 = Robot(
    robot_type="fr3",
    position_min=_seven(-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159),
    position_max=_seven(2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159),
    velocity_max=_seven(2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26),
    acceleration_max=_seven(10.0),
    jerk_max=_seven(5000.0),
    torque_max=_seven(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
    torque_rate_max=1000.0,
    conservative_min=_seven(-2.3093, -1.5133, -2.4937, -2.7478, -2.48, 0.8521, -2.6895),
    conservative_max=_seven(2.3093, 1.5133, 2.4937, -0.4461, 2.48, 4.2094, 2.6895),
    conservative_velocity=_seven(2.0, 1.0, 1.5, 1.25, 3.0, 1.5, 3.0),
    cartesian_velocity_max=(3.0, 2.5),
    links=(
        _BASE,
        Inertial(
            2.9274653454,
            (0.0000004128, -0.0181251324, -0.0386035970),
            (0.0239273165, 0.0224821613, 0.0063500983, 0.0000133179, -0.0001140477, -0.0019950321),
        ),
        Inertial(
            2.9355370338,
            (0.0031828864, -0.0743221644, 0.0088146084),
            (0.0419389463, 0.0251451489, 0.0617021447, 0.0002025733, 0.0040777842, -0.0042252158),
        ),
        Inertial(
            2.2449013699,
            (0.0407015686, -0.0048200565, -0.0289730823),
            (0.0241014255, 0.0197405327, 0.0190444945, 0.0024046946, -0.0028562693, -0.0021042127),
        ),
        Inertial(
            2.6155955791,
            (-0.0459100965, 0.0630492960, -0.0085187868),
            (0.0345299832, 0.0288816219, 0.0412547117, 0.0132255227, 0.0101514300, -0.0009762834),
        ),
        Inertial(
            2.3271207594,
            (-0.0016039605, 0.0292536262, -0.0972965990),
            (0.0516102785, 0.0478772971, 0.0164236256, -0.0057151734, -0.0035673168, 0.0106739851),
        ),
        Inertial(
            1.8170376524,
            (0.0597131221, -0.0410294666, -0.0101692726),
            (0.0054123336, 0.0140583295, 0.0160808179, 0.0061934564, 0.0014219289, -0.0013140754),
        ),
        Inertial(
            0.6271432862,
            (0.0045225817, 0.0086261921, -0.0161633251),
            (0.0002109239, 0.0001771857, 0.0000599319, -0.0000243330, 0.0000456456, 0.0000874407),
        ),
    ),
)

FER = Robot(
    robot_type="fer",
    position_min=_seven(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
    position_max=_seven(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    velocity_max=_seven(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
    acceleration_max=_seven(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
    jerk_max=_seven(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
    torque_max=_seven(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
    torque_rate_max=1000.0,
    # No such box is published for the Panda: its limits, drawn in by a tenth of their range.
    conservative_min=_seven(-2.3178, -1.4102, -2.3178, -2.7716, -2.3178, 0.3595, -2.3178),
    conservative_max=_seven(2.3178, 1.4102, 2.3178, -0.3700, 2.3178, 3.3755, 2.3178),
    conservative_velocity=_seven(1.74, 1.0, 1.5, 1.25, 2.088, 1.5, 2.088),
    cartesian_velocity_max=(1.7, 2.5),
    links=(
        _BASE,
        Inertial(
            2.7907,
            (0.00033, -0.02204, -0.04762),
            (
                0.01564782655,
                0.01439883526,
                0.00500443991,
                0.00000531236,
                -0.00003676721,
                -0.0024848,
            ),
        ),
        Inertial(
            2.5420,
            (0.00038, -0.09211, 0.01908),
            (
                0.01662427728,
                0.00462501261,
                0.01545124526,
                0.00003086077,
                0.0000083594,
                0.0035589983,
            ),
        ),
        Inertial(
            2.2513,
            (0.05152, 0.01696, -0.02971),
            (
                0.00631741992,
                0.00866285493,
                0.00657804051,
                0.00097309955,
                0.0029252583,
                0.0009346922,
            ),
        ),
        Inertial(
            2.2037,
            (-0.05113, 0.05825, 0.01698),
            (
                0.00784585566,
                0.00649543136,
                0.01003079917,
                -0.0033959196,
                0.0015870407,
                -0.0018147788,
            ),
        ),
        Inertial(
            2.2855,
            (-0.00005, 0.03730, -0.09280),
            (
                0.02297014781,
                0.02095060919,
                0.00430606551,
                -0.0000094935,
                -0.0000206316,
                0.0038234578,
            ),
        ),
        Inertial(
            1.353,
            (0.06572, -0.00371, 0.00153),
            (
                0.00087964522,
                0.00277796968,
                0.00286701969,
                -0.0002148781,
                -0.0001191166,
                0.0000127432,
            ),
        ),
        Inertial(
            0.35973,
            (0.00089, -0.00044, 0.05491),
            (
                0.00019541063,
                0.00019210361,
                0.00017936256,
                0.0000016523,
                0.0000014883,
                -0.0000013113,
            ),
        ),
    ),
)

ROBOTS = {robot.robot_type: robot for robot in (FR3, FER)}


@dataclass(frozen=True)
class Hand:
    """The Franka Hand (datasheet and URDF)."""

    width_max: float = 0.08  # m between the fingers
    speed_max: float = 0.2  # m/s of each finger, the URDF's velocity limit
    default_speed: float = 0.1  # m/s of the width, the gripper node's default
    default_force: float = 20.0  # N of a grasp
    force_max: float = 70.0  # N continuous; the gripper's own limit
    body: Inertial = Inertial(
        0.6544, (-0.0000376, 0.0119128, 0.0207260), (0.00186, 0.00030, 0.00174, 0.0, 0.0, -0.00002)
    )
    finger: Inertial = Inertial(
        0.0291, (0.0, 0.0152850, 0.0219675), (8.49e-6, 8.53e-6, 1.77e-6, 0.0, 0.0, -1.06e-6)
    )
    finger_origin: float = 0.0584  # m, of the finger frames along the hand's z


HAND = Hand()
