"""What people look at: the robot's description, transforms, markers and a camera."""

from __future__ import annotations

import array
import math
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from franka_sim_bridge.description import BASE, fixed_joints, urdf
from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import HAND, JOINT_ORIGINS
from sac_envs.task import Pose
from sac_ros import qos

Stamp = tuple[int, int]  # s, ns
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
TRANSFORMS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
GOAL_SIZE = 0.03  # m, of the balls that show goals


def set_stamp(header: Any, stamp: Stamp) -> None:
    """Write (s, ns) into a std_msgs/Header."""
    header.stamp.sec, header.stamp.nanosec = stamp


class Transforms:
    """`tf`, `tf_static` and `robot_description`, as robot_state_publisher has them."""

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._world = simulation.world
        robot = simulation.robot
        prefix = robot.name
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        self._description = node.create_publisher(String, "robot_description", LATCHED, **options)
        self._description.publish(String(data=urdf(robot)))
        self._static = node.create_publisher(TFMessage, "tf_static", LATCHED, **options)
        fixed = [(BASE, f"{prefix}_link0", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))]
        fixed += [joint[1:] for joint in fixed_joints(robot)]  # type: ignore[misc]
        self._static.publish(
            TFMessage(
                transforms=[
                    _transform(parent, child, xyz, rpy[0], rpy[2])
                    for parent, child, xyz, rpy in fixed
                ]
            )
        )
        self.publisher = node.create_publisher(TFMessage, "tf", TRANSFORMS, **options)
        arm = [
            _transform(f"{prefix}_link{i}", f"{prefix}_link{i + 1}", *JOINT_ORIGINS[i], 0.0)
            for i in range(7)
        ]
        origin = (0.0, 0.0, HAND.finger_origin)
        fingers = [
            _transform(f"{prefix}_hand", f"{prefix}_{side}finger", origin, 0.0, yaw)
            for side, yaw in (("left", 0.0), ("right", math.pi))
        ]
        self._message = TFMessage(transforms=arm + fingers)

    def publish(self, stamp: Stamp) -> None:
        """Publish where the moving links are, while somebody listens."""
        if self.publisher.get_subscription_count() == 0:
            return
        transforms = self._message.transforms
        for transform in transforms:
            set_stamp(transform.header, stamp)
        for i, angle in enumerate(self._world.q.tolist()):
            _turn(transforms[i], JOINT_ORIGINS[i][1], angle)
        left, right = self._world.fingers.tolist()
        transforms[7].transform.translation.y = left
        transforms[8].transform.translation.y = -right
        self.publisher.publish(self._message)


def _transform(parent: str, child: str, xyz: Any, roll: float, yaw: float) -> TransformStamped:
    out = TransformStamped(child_frame_id=child)
    out.header.frame_id = parent
    translation = out.transform.translation
    translation.x, translation.y, translation.z = (float(value) for value in xyz)
    _turn(out, roll, yaw)
    return out


def _turn(transform: TransformStamped, roll: float, angle: float) -> None:
    """Set the rotation: `roll` about x, then `angle` about the new z."""
    cx, sx = math.cos(roll / 2), math.sin(roll / 2)
    cz, sz = math.cos(angle / 2), math.sin(angle / 2)
    rotation = transform.transform.rotation
    rotation.w, rotation.x, rotation.y, rotation.z = cx * cz, sx * cz, -sx * sz, cx * sz


class Markers:
    """`markers`: the table, the task's objects and its goals."""

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._simulation = simulation
        self.publisher = node.create_publisher(
            MarkerArray, "markers", NEWEST, qos_overriding_options=qos.OVERRIDABLE
        )
        geom = simulation.world.model.geom("table")
        table = _marker("table", Marker.CUBE, 2 * geom.size, (0.80, 0.70, 0.56, 1.0))
        p = table.pose.position
        p.x, p.y, p.z = geom.pos.tolist()
        task = simulation.task
        self._moving = {
            box.name: _marker(box.name, Marker.CUBE, box.size, box.color) for box in task.objects
        }
        for name in task.goals:
            size = (GOAL_SIZE,) * 3
            self._moving[name] = _marker(name, Marker.SPHERE, size, (0.2, 0.8, 0.3, 0.6))
        self._message = MarkerArray(markers=[table, *self._moving.values()])

    def publish(self, stamp: Stamp) -> None:
        """Publish where everything is, while somebody listens."""
        if self.publisher.get_subscription_count() == 0:
            return
        poses = self._simulation.object_poses()
        for name, marker in self._moving.items():
            if name in poses:
                _place(marker, poses[name])
        for marker in self._message.markers:
            set_stamp(marker.header, stamp)
        self.publisher.publish(self._message)


def _marker(name: str, kind: int, size: Any, color: tuple[float, ...]) -> Marker:
    marker = Marker(ns=name, id=0, type=kind, action=Marker.ADD)
    marker.header.frame_id = BASE
    marker.scale.x, marker.scale.y, marker.scale.z = (float(value) for value in size)
    c = marker.color
    c.r, c.g, c.b, c.a = color
    marker.pose.orientation.w = 1.0
    return marker


def _place(marker: Marker, pose: Pose) -> None:
    p, o = marker.pose.position, marker.pose.orientation
    p.x, p.y, p.z = pose.position.tolist()
    o.x, o.y, o.z, o.w = pose.quaternion.tolist()


class Camera:
    """`camera/image_raw`: the scene, drawn without a display."""

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._world = simulation.world
        self._logger = node.get_logger()
        self._renderer: Any = None
        self._broken = False
        self.publisher = node.create_publisher(
            Image, "camera/image_raw", NEWEST, qos_overriding_options=qos.OVERRIDABLE
        )

    def publish(self, stamp: Stamp) -> None:
        """Draw and publish an image; without OpenGL only a warning, once."""
        if self._broken:
            return
        try:
            if self._renderer is None:
                from sac_envs.rendering import Renderer

                self._renderer = Renderer(self._world)
            pixels = self._renderer.render()
        except (ImportError, RuntimeError, OSError) as error:
            self._broken = True
            self._logger.warning(f"No images on {self.publisher.topic_name}: {error}")
            return
        height, width, channels = pixels.shape
        message = Image(height=height, width=width, encoding="rgb8", step=width * channels)
        message.header.frame_id = "scene_camera"
        set_stamp(message.header, stamp)
        data = array.array("B")
        data.frombytes(pixels.tobytes())
        message.data = data
        self.publisher.publish(message)

    def close(self) -> None:
        """Give the renderer back."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
