"""The robot's description as URDF, with the link and joint names of franka_description.

Shapes are the simulated world's own capsules; on a robot, franka_description has the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from sac_envs.robots import HAND, HAND_TCP, HAND_YAW, JOINT_ORIGINS, Inertial, Robot
from sac_envs.world import LINK_CAPSULES

BASE = "base"  # the root link
FINGER_FORCE = 100.0  # N, the URDF's effort limit of a finger
Point = Sequence[float]


def urdf(robot: Robot) -> str:
    """The arm with its hand as URDF text."""
    prefix = robot.name
    root = Element("robot", name=prefix)
    for name, rgba in (("white", "0.93 0.93 0.94 1"), ("dark", "0.2 0.21 0.23 1")):
        SubElement(SubElement(root, "material", name=name), "color", rgba=rgba)
    SubElement(root, "link", name=BASE)
    for i in range(8):
        link = SubElement(root, "link", name=f"{prefix}_link{i}")
        _inertial(link, robot.links[i])
        for start, end, radius in LINK_CAPSULES[i]:
            _capsule(link, start, end, radius)
    SubElement(root, "link", name=f"{prefix}_link8")
    hand = SubElement(root, "link", name=f"{prefix}_hand")
    _inertial(hand, HAND.body)
    _box(hand, (0.06, 0.2, 0.06), (0.0, 0.0, 0.033), "white")
    SubElement(root, "link", name=f"{prefix}_hand_tcp")
    for side in ("left", "right"):
        finger = SubElement(root, "link", name=f"{prefix}_{side}finger")
        _inertial(finger, HAND.finger)
        _box(finger, (0.0175, 0.0152, 0.0535), (0.0, 0.0076, 0.027), "dark")

    _joint(root, f"{prefix}_base_joint", "fixed", BASE, f"{prefix}_link0", (0, 0, 0), (0, 0, 0))
    for i, name in enumerate(robot.joint_names):
        xyz, roll = JOINT_ORIGINS[i]
        parent, child = f"{prefix}_link{i}", f"{prefix}_link{i + 1}"
        joint = _joint(root, name, "revolute", parent, child, xyz, (roll, 0, 0))
        SubElement(joint, "axis", xyz="0 0 1")
        _limit(
            joint,
            robot.position_min[i],
            robot.position_max[i],
            robot.velocity_max[i],
            robot.torque_max[i],
        )
    for name, parent, child, offset, rpy in fixed_joints(robot):
        _joint(root, name, "fixed", parent, child, offset, rpy)
    for name, side, yaw in zip(
        robot.finger_joint_names, ("left", "right"), (0.0, math.pi), strict=True
    ):
        origin = (0.0, 0.0, HAND.finger_origin)
        child = f"{prefix}_{side}finger"
        joint = _joint(root, name, "prismatic", f"{prefix}_hand", child, origin, (0, 0, yaw))
        SubElement(joint, "axis", xyz="0 1 0")
        _limit(joint, 0.0, HAND.width_max / 2, HAND.speed_max, FINGER_FORCE)
        if side == "right":
            SubElement(joint, "mimic", joint=robot.finger_joint_names[0])
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def fixed_joints(robot: Robot) -> list[tuple[str, str, str, Point, Point]]:
    """Name, parent, child, xyz and rpy of the fixed joints from the last link to the tool."""
    prefix = robot.name
    flange, hand, tool = f"{prefix}_link8", f"{prefix}_hand", f"{prefix}_hand_tcp"
    xyz, roll = JOINT_ORIGINS[7]
    return [
        (f"{prefix}_joint8", f"{prefix}_link7", flange, xyz, (roll, 0.0, 0.0)),
        (f"{prefix}_hand_joint", flange, hand, (0.0, 0.0, 0.0), (0.0, 0.0, HAND_YAW)),
        (f"{prefix}_hand_tcp_joint", hand, tool, HAND_TCP, (0.0, 0.0, 0.0)),
    ]


def _numbers(values: Point) -> str:
    return " ".join(f"{float(value):.9g}" for value in values)


def _joint(
    root: Element, name: str, kind: str, parent: str, child: str, xyz: Point, rpy: Point
) -> Element:
    joint = SubElement(root, "joint", name=name, type=kind)
    SubElement(joint, "parent", link=parent)
    SubElement(joint, "child", link=child)
    SubElement(joint, "origin", xyz=_numbers(xyz), rpy=_numbers(rpy))
    return joint


def _limit(joint: Element, lower: float, upper: float, velocity: float, effort: float) -> None:
    numbers = {"lower": lower, "upper": upper, "velocity": velocity, "effort": effort}
    SubElement(joint, "limit", {name: f"{value:.9g}" for name, value in numbers.items()})


def _inertial(link: Element, body: Inertial) -> None:
    inertial = SubElement(link, "inertial")
    SubElement(inertial, "origin", xyz=_numbers(body.center), rpy="0 0 0")
    SubElement(inertial, "mass", value=f"{body.mass:.9g}")
    names = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
    moments = {name: f"{value:.9g}" for name, value in zip(names, body.inertia, strict=True)}
    SubElement(inertial, "inertia", moments)


def _visual(link: Element, xyz: Point, rpy: Point, material: str) -> Element:
    visual = SubElement(link, "visual")
    SubElement(visual, "origin", xyz=_numbers(xyz), rpy=_numbers(rpy))
    geometry = SubElement(visual, "geometry")
    SubElement(visual, "material", name=material)
    return geometry


def _box(link: Element, size: Point, center: Point, material: str) -> None:
    SubElement(_visual(link, center, (0, 0, 0), material), "box", size=_numbers(size))


def _capsule(link: Element, start: Point, end: Point, radius: float) -> None:
    """URDF has no capsules: a cylinder between two spheres."""
    along = [b - a for a, b in zip(start, end, strict=True)]
    length = math.hypot(*along)
    # Turning about y, then z, brings the cylinder's z axis to where the capsule points.
    rpy = (0.0, math.acos(along[2] / length), math.atan2(along[1], along[0]))
    center = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
    cylinder = _visual(link, center, rpy, "white")
    SubElement(cylinder, "cylinder", radius=f"{radius:.9g}", length=f"{length:.9g}")
    for point in (start, end):
        SubElement(_visual(link, point, (0, 0, 0), "white"), "sphere", radius=f"{radius:.9g}")
