"""A MuJoCo world with a Franka arm and hand, a table, and the objects of a task.

The arm's frames, inertias and limits are those of `robots`; the shapes that collide are few and
simple, so that physics is fast, and other than those that are seen. Torques are commanded without
gravity, as at the robot's own interface: the simulated robot adds it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from sac_envs.looks import PRIMITIVE, VISUALS, Looks, numbers
from sac_envs.robots import (
    FR3,
    HAND,
    HAND_TCP,
    HAND_YAW,
    HOME,
    JOINT_ORIGINS,
    Float64,
    Inertial,
    Robot,
)
from sac_envs.task import Box, Pose

if TYPE_CHECKING:
    from collections.abc import Iterator

PHYSICS_STEP = 0.0025  # s; from 4 ms on the fingers lose what they hold
ARMATURE = 0.1  # kg·m², the rotors' inertia as the joints feel it (as in the menagerie's model)
JOINT_DAMPING = 1.0  # N·m·s/rad, stands for the friction that is left (franka_description: D = 1)
FINGER_STIFFNESS = 3000.0  # N/m of the hand's own position control
FINGER_DAMPING = 120.0  # N·s/m
FINGER_ARMATURE = 0.2  # kg, spindle and motor

CAMERA = (1.58, -0.95, 0.80)  # m
CAMERA_LOOKS_AT = (0.33, -0.02, 0.24)  # m

# Where a link's body runs, in its own frame: capsules (from, to, radius).
LINK_CAPSULES: Mapping[int, Sequence[tuple[Sequence[float], Sequence[float], float]]] = {
    0: [((-0.08, 0, 0.05), (0.0, 0, 0.05), 0.07), ((0, 0, 0.06), (0, 0, 0.14), 0.065)],
    1: [((0, 0, -0.17), (0, 0, -0.02), 0.062), ((0, -0.05, 0), (0, 0.05, 0), 0.062)],
    2: [((0, -0.02, 0), (0, -0.17, 0), 0.062), ((0, 0, -0.05), (0, 0, 0.05), 0.062)],
    3: [((0, 0, -0.12), (0, 0, -0.03), 0.058), ((0.0825, -0.045, 0), (0.0825, 0.045, 0), 0.056)],
    4: [((0, 0, -0.045), (0, 0, 0.045), 0.056), ((-0.0825, 0.03, 0), (-0.0825, 0.1, 0), 0.055)],
    5: [((0, 0.02, -0.24), (0, 0.06, -0.1), 0.052), ((0, 0, -0.06), (0, 0.05, -0.02), 0.05)],
    6: [((0, 0, -0.02), (0, 0, 0.04), 0.05), ((0.088, 0, -0.05), (0.088, 0, 0.03), 0.045)],
    7: [((0, 0, 0.0), (0, 0, 0.075), 0.043)],
}
UNSEEN = 3  # geom group that MuJoCo does not draw: shapes that only collide
TOUCHING_LINKS = (5, 6, 7)  # only these can reach the table before the hand does


def _inertial(link: Inertial) -> str:
    return (
        f'<inertial mass="{link.mass:.12g}" pos="{numbers(link.center)}" '
        f'fullinertia="{numbers(link.inertia)}"/>'
    )


def _finger(side: int, looks: Looks) -> str:
    """One finger; `side` is 1 for the left one, which opens along +y, −1 for the right one."""
    name = "leftfinger" if side > 0 else "rightfinger"
    yaw = "0" if side > 0 else "3.141592653589793"
    return f"""
      <body name="{name}" pos="0 0 {HAND.finger_origin}" euler="0 0 {yaw}" gravcomp="1">
        {_inertial(HAND.finger)}
        <joint name="finger_joint{1 if side > 0 else 2}" type="slide" axis="0 1 0" range="0 0.04"
               armature="{FINGER_ARMATURE}" damping="2" solreflimit="0.01 1"/>
        <geom name="{name}_tip" type="box" size="0.00875 0.0076 0.00925" pos="0 0.0076 0.04525"
              class="grip" group="{UNSEEN}"/>
        {looks.shapes[name]}
      </body>"""


def _arm(robot: Robot, looks: Looks) -> str:
    """The chain of bodies from link 0 to the fingers."""
    opening, closing = "", ""
    for i in range(8):
        if i == 0:
            opening += '<body name="link0" gravcomp="1">'
        else:
            (xyz, roll) = JOINT_ORIGINS[i - 1]
            opening += (
                f'<body name="link{i}" pos="{numbers(xyz)}" euler="{roll:.12g} 0 0" gravcomp="1">'
            )
            low, high = robot.position_min[i - 1], robot.position_max[i - 1]
            opening += f'<joint name="joint{i}" range="{low} {high}"/>'
        opening += _inertial(robot.links[i])
        if i in TOUCHING_LINKS:
            for start, end, radius in LINK_CAPSULES[i]:
                opening += (
                    f'<geom type="capsule" fromto="{numbers(start)} {numbers(end)}" '
                    f'size="{radius}" class="touch"/>'
                )
        opening += looks.shapes[f"link{i}"]
        closing += "</body>"
    flange, _ = JOINT_ORIGINS[7]
    hand = f"""
    <body name="hand" pos="{numbers(flange)}" euler="0 0 {HAND_YAW:.12g}" gravcomp="1">
      {_inertial(HAND.body)}
      <geom type="box" size="0.03 0.1 0.03" pos="0 0 0.033" class="touch"/>
      {looks.shapes["hand"]}
      <site name="tcp" pos="{numbers(HAND_TCP)}" size="0.005" rgba="0 0 0 0"/>
      {_finger(1, looks)}
      {_finger(-1, looks)}
    </body>"""
    return opening + hand + closing


def _object(box: Box) -> str:
    return f"""
    <body name="{box.name}" pos="{numbers(box.position)}">
      <freejoint name="{box.name}"/>
      <geom name="{box.name}" type="box" size="{numbers([s / 2 for s in box.size])}"
            mass="{box.mass}" class="grip" rgba="{numbers(box.color)}"/>
    </body>"""


def _view(position: Sequence[float], looks_at: Sequence[float]) -> str:
    """Attributes of a camera at `position` that looks at a point, upright."""
    forward = np.subtract(looks_at, position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    axes = numbers([*right, *np.cross(right, forward)])
    return f'pos="{numbers(position)}" xyaxes="{axes}"'


def _looks(robot: Robot, visuals: str) -> Looks:
    if visuals == "primitive":
        return PRIMITIVE
    if visuals == "menagerie":
        from sac_envs.menagerie import menagerie_looks

        return menagerie_looks(robot.robot_type)
    raise ValueError(f"visuals {visuals!r}: expected one of {', '.join(VISUALS)}")


def make_mjcf(
    robot: Robot, objects: Sequence[Box], physics_step: float, visuals: str = "primitive"
) -> str:
    """The world as MuJoCo XML. `visuals` is one of `VISUALS` and changes nothing but looks.

    Raises `menagerie.MenagerieUnavailable` when Menagerie's meshes are wanted and not to be had.
    """
    looks = _looks(robot, visuals)
    motors = "".join(
        f'<motor name="joint{i}" joint="joint{i}" ctrllimited="true" ctrlrange="{-t} {t}"/>'
        for i, t in enumerate(robot.torque_max, start=1)
    )
    # With ten iterations of the line search a held cube may jump out of the fingers.
    # The published inertia of the Panda's link 4 is no body's (its least two moments are together
    # less than the third): balanceinertia replaces such moments, and only these, by their mean.
    return f"""
<mujoco model="{robot.robot_type}">
  <compiler angle="radian" autolimits="true" balanceinertia="true"/>
  <option timestep="{physics_step}" integrator="implicitfast" cone="elliptic" impratio="10"
          iterations="20" ls_iterations="20"/>
  <size memory="4M"/>
  <visual>
    <headlight ambient="0.4 0.4 0.4" diffuse="0.3 0.3 0.3" specular="0.1 0.1 0.1"/>
    <quality shadowsize="4096" numslices="20" numstacks="10"/>
  </visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.72 0.80 0.89" rgb2="0.95 0.96 0.98"
             width="32" height="192"/>
    <texture name="floor" type="2d" builtin="checker" rgb1="0.80 0.82 0.85" rgb2="0.74 0.76 0.79"
             width="256" height="256"/>
    <material name="floor" texture="floor" texrepeat="8 8" specular="0"/>
    <material name="table" rgba="0.78 0.67 0.52 1" specular="0"/>
    <material name="stand" rgba="0.45 0.47 0.50 1" specular="0.1"/>
    <material name="white" rgba="0.95 0.95 0.96 1" specular="0.3" shininess="0.4"/>
    <material name="grey" rgba="0.62 0.64 0.67 1" specular="0.3" shininess="0.4"/>
    <material name="dark" rgba="0.17 0.18 0.20 1" specular="0.3"/>
    {looks.assets}
  </asset>
  <default>
    <joint armature="{ARMATURE}" damping="{JOINT_DAMPING}"/>
    <geom solref="0.01 1"/>
    <default class="look"><geom contype="0" conaffinity="0" group="2" mass="0"/></default>
    <default class="touch">
      <geom contype="2" conaffinity="1" group="{UNSEEN}" mass="0"/>
    </default>
    <default class="grip">
      <geom contype="1" conaffinity="3" condim="4" friction="1.5 0.02 0.0001" group="2"
            material="dark"/>
    </default>
  </default>
  <worldbody>
    <light pos="1.0 -1.1 2.6" dir="-0.7 1.1 -2.4" cutoff="60" exponent="0" diffuse="0.5 0.5 0.5"/>
    <camera name="scene" {_view(CAMERA, CAMERA_LOOKS_AT)} fovy="40"/>
    <geom name="floor" type="plane" pos="0 0 -0.75" size="3 3 0.1" material="floor"
          contype="1" conaffinity="1" group="2"/>
    <geom name="table" type="box" pos="0.3 0 -0.02" size="0.55 0.6 0.02" material="table"
          contype="1" conaffinity="3" condim="4" friction="1 0.005 0.0001" group="2"/>
    <geom type="box" pos="0.3 0 -0.395" size="0.45 0.5 0.355" material="stand"
          class="look"/>
    {_arm(robot, looks)}
    {"".join(_object(box) for box in objects)}
  </worldbody>
  <contact><exclude body1="leftfinger" body2="hand"/><exclude body1="rightfinger" body2="hand"/>
    <exclude body1="link7" body2="hand"/><exclude body1="link6" body2="hand"/>
    <exclude body1="link5" body2="link7"/><exclude body1="link5" body2="hand"/></contact>
  <equality>
    <joint joint1="finger_joint1" joint2="finger_joint2" polycoef="0 1 0 0 0" solref="0.005 1"/>
  </equality>
  <tendon><fixed name="width"><joint joint="finger_joint1" coef="1"/>
    <joint joint="finger_joint2" coef="1"/></fixed></tendon>
  <actuator>
    {motors}
    <general name="hand" tendon="width" biastype="affine" ctrlrange="0 {HAND.width_max}"
             gainprm="{FINGER_STIFFNESS / 2}"
             biasprm="0 {-FINGER_STIFFNESS / 2} {-FINGER_DAMPING / 2}" forcerange="-70 70"/>
  </actuator>
</mujoco>"""


@dataclass(frozen=True)
class _Place:
    """Where an object's free joint is in qpos and qvel."""

    position: int
    velocity: int


class World:
    """The simulated arm, hand and objects; every array it shows is a view of the current state.

    `step(torques)` advances by one `physics_step`. Torques `(7,)` are without gravity, in N·m.
    """

    def __init__(
        self,
        robot: Robot = FR3,
        objects: Sequence[Box] = (),
        physics_step: float = PHYSICS_STEP,
        visuals: str = "primitive",
    ) -> None:
        self.robot = robot
        self.physics_step = physics_step
        self.model = mujoco.MjModel.from_xml_string(
            make_mjcf(robot, objects, physics_step, visuals)
        )
        self.data = mujoco.MjData(self.model)
        self._tcp = self.model.site("tcp").id
        self._hand_actuator = self.model.actuator("hand").id
        self._places = {}
        for box in objects:
            joint = self.model.joint(box.name)
            self._places[box.name] = _Place(int(joint.qposadr[0]), int(joint.dofadr[0]))
        self.object_names = tuple(self._places)
        data = self.data
        self.q: Float64 = data.qpos[:7]
        self.dq: Float64 = data.qvel[:7]
        self.fingers: Float64 = data.qpos[7:9]
        self.tcp_position: Float64 = data.site_xpos[self._tcp]
        self._tcp_rotation: Float64 = data.site_xmat[self._tcp]
        self._torques: Float64 = data.ctrl[:7]
        # Linear rows first: mj_jacSite writes into the halves of one array.
        self._jacobian = np.zeros((6, self.model.nv))
        self._jacobian_linear, self._jacobian_angular = self._jacobian[:3], self._jacobian[3:]
        self.reset(np.array(HOME), HAND.width_max, {})

    def reset(self, q: Float64, width: float, objects: Mapping[str, Pose]) -> None:
        """Put the arm to `q`, the fingers `width` apart, and objects to their poses, all at rest.

        Objects that are not named go to where the task describes them. Time goes on from 0.
        """
        mujoco.mj_resetData(self.model, self.data)
        self.q[:] = q
        self.fingers[:] = width / 2
        self.width_target = width
        for name, pose in objects.items():
            at = self._places[name].position
            self.data.qpos[at : at + 3] = pose.position
            x, y, z, w = pose.quaternion
            self.data.qpos[at + 3 : at + 7] = (w, x, y, z)
        mujoco.mj_forward(self.model, self.data)

    def step(self, torques: Float64) -> None:
        """Advance by one physics step under joint torques `(7,)`, clipped to the robot's limits."""
        self._torques[:] = torques
        # Positions and velocities are always evaluated: the second half of a step, then the first.
        mujoco.mj_step2(self.model, self.data)
        mujoco.mj_step1(self.model, self.data)

    @property
    def width(self) -> float:
        """Distance between the fingers in m."""
        return float(self.fingers[0] + self.fingers[1])

    @property
    def width_target(self) -> float:
        """Where the hand's own control wants the fingers, m."""
        return float(self.data.ctrl[self._hand_actuator])

    @width_target.setter
    def width_target(self, width: float) -> None:
        self.data.ctrl[self._hand_actuator] = width

    def limit_grip(self, force: float) -> None:
        """Let the hand push with at most `force` newtons."""
        self.model.actuator_forcerange[self._hand_actuator] = (-force, force)

    @property
    def tcp_rotation(self) -> Float64:
        """Orientation of the tool, `(3, 3)`."""
        return self._tcp_rotation.reshape(3, 3)

    def jacobian(self) -> Float64:
        """Geometric Jacobian of the tool `(6, 7)`: linear, then angular rows, in the base frame."""
        mujoco.mj_jacSite(
            self.model, self.data, self._jacobian_linear, self._jacobian_angular, self._tcp
        )
        return self._jacobian[:, :7]

    def external_torques(self) -> Float64:
        """Torques `(7,)` on the joints from contacts (what the robot calls tau_ext), N·m."""
        return self.data.qfrc_constraint[:7]

    def measured_torques(self) -> Float64:
        """Torques `(7,)` that the joint sensors show (tau_J): commanded and gravity, N·m."""
        return self.data.qfrc_actuator[:7] + self.data.qfrc_gravcomp[:7]

    def object_pose(self, name: str) -> Pose:
        """Pose of an object in the base frame."""
        at = self._places[name].position
        w, x, y, z = self.data.qpos[at + 3 : at + 7]
        return Pose(self.data.qpos[at : at + 3].copy(), np.array([x, y, z, w]))

    def object_poses(self) -> dict[str, Pose]:
        """Poses of all objects by name."""
        return {name: self.object_pose(name) for name in self._places}

    def fingers_touching(self, name: str) -> int:
        """How many fingers touch an object: 0, 1 or 2."""
        return sum(1 for _ in self._touching(name))

    def _touching(self, name: str) -> Iterator[int]:
        target = self.model.geom(name).id
        for finger in ("leftfinger_tip", "rightfinger_tip"):
            tip = self.model.geom(finger).id
            pairs = self.data.contact.geom
            if ((pairs == (tip, target)) | (pairs == (target, tip))).all(axis=1).any():
                yield tip
