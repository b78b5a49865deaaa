"""Every topic that the bridge publishes: its type, its profile, its rate in simulated time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
from control_msgs.msg import JointTrajectoryControllerState
from ears import Ear, Heard, wait_until
from franka_msgs.msg import FrankaRobotState
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from franka_sim_bridge.description import urdf
from franka_sim_bridge.publishers import StatePublishers
from franka_sim_bridge.simulation import Simulation
from sac_envs.kinematics import forward, quaternion_to_rotation, rotation_x, rotation_z
from sac_envs.robots import FR3, HOME
from sac_envs.tasks import make_task

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
BROADCASTER = "franka_robot_state_broadcaster"
TRAJECTORY = "joint_trajectory_controller"


class Row(NamedTuple):
    """A row of the interface's table."""

    topic: str
    kind: type
    reliability: ReliabilityPolicy
    rate: float  # Hz of simulated time, of `published`


ROWS = [
    Row("franka/joint_states", JointState, RELIABLE, 100),
    Row("joint_states", JointState, RELIABLE, 30),
    Row("franka_gripper/joint_states", JointState, RELIABLE, 15),
    Row(f"{BROADCASTER}/current_pose", PoseStamped, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/last_desired_pose", PoseStamped, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/desired_end_effector_twist", TwistStamped, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/external_wrench_in_base_frame", WrenchStamped, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/external_wrench_in_stiffness_frame", WrenchStamped, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/measured_joint_states", JointState, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/desired_joint_states", JointState, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/external_joint_torques", JointState, BEST_EFFORT, 50),
    Row(f"{BROADCASTER}/robot_state", FrankaRobotState, RELIABLE, 20),
    Row(f"{TRAJECTORY}/controller_state", JointTrajectoryControllerState, RELIABLE, 50),
    Row("objects/cube/pose", PoseStamped, BEST_EFFORT, 50),
    Row("tf", TFMessage, RELIABLE, 30),
    Row("markers", MarkerArray, RELIABLE, 5),
]
LATCHED = [("robot_description", String), ("tf_static", TFMessage)]
NAMES = [row.topic for row in ROWS]


class Published:
    """A simulation, what it publishes, and who hears it."""

    def __init__(self, node: Node, ear: Ear, task: str = "pick_cube", **rates: float) -> None:
        self.simulation = Simulation(make_task(task), FR3, motion_controller=TRAJECTORY)
        self.simulation.reset_episode(0)
        settings = {
            "joint_state_rate": 100.0,
            "convenience_publish_rate": 50.0,
            "robot_state_rate": 20.0,
            "marker_rate": 5.0,
            "camera_rate": 0.0,
        }
        self.state = StatePublishers(node, self.simulation, **(settings | rates))
        self.ear = ear

    def run(self, seconds: float) -> None:
        """Simulate, and publish what is due, as the node does it."""
        end = self.simulation.time_ns + round(seconds * 1e9)
        while self.simulation.time_ns < end:
            self.simulation.step()
            if self.simulation.time_ns >= self.state.next_ns:
                self.state.publish_due()

    def listen(self, topic: str, kind: type) -> None:
        """Listen to a topic, and let time pass until it is heard."""
        self.ear.listen(topic, kind)

        def heard() -> bool:
            self.run(0.05)
            return bool(self.ear.take(topic))

        wait_until(heard, f"first message on {topic}")

    def hear(self, topic: str, seconds: float) -> list[Heard]:
        """What is published on a topic during some simulated time."""
        self.ear.take(topic)
        self.run(seconds)
        return self.ear.take(topic)


@pytest.fixture
def make(node: Node, ear: Ear) -> Iterator[Callable[..., Published]]:
    made: list[Published] = []

    def make_published(**options: Any) -> Published:
        made.append(Published(node, ear, **options))
        return made[-1]

    yield make_published
    for published in made:
        published.state.close()


@pytest.fixture
def published(make: Callable[..., Published]) -> Published:
    return make()


def stamp_of(message: Any) -> int:
    header = message.transforms[0].header if isinstance(message, TFMessage) else None
    header = message.markers[0].header if isinstance(message, MarkerArray) else header
    stamp = (header or message.header).stamp
    return stamp.sec * 10**9 + stamp.nanosec


def vector(message: Any) -> np.ndarray:
    return np.array([message.x, message.y, message.z])


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_type_profile_and_rate_are_those_of_the_interface(published: Published, row: Row) -> None:
    published.listen(row.topic, row.kind)
    (endpoint,) = published.ear.node.get_publishers_info_by_topic(f"/{row.topic}")
    assert endpoint.qos_profile.reliability == row.reliability
    assert endpoint.qos_profile.durability == DurabilityPolicy.VOLATILE
    published.run(0.3)
    stamps = [stamp_of(heard.message) for heard in published.hear(row.topic, 2.0)]
    assert len(stamps) == pytest.approx(2.0 * row.rate, abs=1)
    assert np.diff(stamps).mean() == pytest.approx(1e9 / row.rate, rel=0.02)
    assert all(stamp % 2_500_000 == 0 for stamp in stamps), "stamps are those of physics steps"


@pytest.mark.parametrize(("topic", "kind"), LATCHED)
def test_what_never_changes_is_there_for_those_who_come_late(
    published: Published, topic: str, kind: type
) -> None:
    published.ear.listen(topic, kind, latched=True)
    (endpoint,) = published.ear.node.get_publishers_info_by_topic(f"/{topic}")
    assert endpoint.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert published.ear.next(topic)


@pytest.mark.parametrize("rate", [1.0, 30.0, 400.0])
def test_joint_states_come_as_often_as_asked_for(
    make: Callable[..., Published], rate: float
) -> None:
    published = make(joint_state_rate=rate)
    published.listen("franka/joint_states", JointState)
    published.run(1.0)
    assert len(published.hear("franka/joint_states", 4.0)) == pytest.approx(4.0 * rate, abs=1)


def test_a_joint_state_is_that_of_the_arm(published: Published) -> None:
    published.listen("franka/joint_states", JointState)
    message = published.hear("franka/joint_states", 0.05)[-1].message
    world = published.simulation.world
    assert message.header.frame_id == "base_link"
    assert tuple(message.name) == FR3.joint_names
    assert list(message.position) == pytest.approx(world.q.tolist(), abs=1e-3)
    assert list(message.velocity) == pytest.approx(world.dq.tolist(), abs=1e-2)
    gravity = world.data.qfrc_gravcomp[:7]
    assert list(message.effort) == pytest.approx(gravity.tolist(), abs=1.0), "tau_J has gravity"
    assert max(np.abs(gravity)) > 10.0


def test_joint_states_of_arm_and_hand_are_merged(published: Published) -> None:
    published.listen("joint_states", JointState)
    published.simulation.gripper.move(0.04)
    message = published.hear("joint_states", 1.5)[-1].message
    assert tuple(message.name) == FR3.joint_names + FR3.finger_joint_names
    assert list(message.position[7:]) == pytest.approx([0.02, 0.02], abs=2e-3)
    assert len(message.velocity) == len(message.effort) == 9


def test_the_hand_shows_half_its_width_for_each_finger(published: Published) -> None:
    published.listen("franka_gripper/joint_states", JointState)
    message = published.hear("franka_gripper/joint_states", 0.2)[-1].message
    assert tuple(message.name) == FR3.finger_joint_names
    assert list(message.position) == pytest.approx([0.04, 0.04], abs=1e-3)
    assert list(message.velocity) == list(message.effort) == [0.0, 0.0]


def test_all_of_one_instant_has_one_stamp_and_joint_states_come_last(published: Published) -> None:
    topics = [row for row in ROWS if row.topic not in ("tf", "markers")]
    for row in topics:
        published.listen(row.topic, row.kind)
    published.run(0.123)
    for row in topics:
        published.ear.take(row.topic)
    published.state.publish_all()
    last = {row.topic: published.ear.take(row.topic)[-1] for row in topics if row.rate >= 50}
    now = published.simulation.time_ns
    assert {stamp_of(heard.message) for heard in last.values()} == {now}
    order = sorted(last, key=lambda topic: last[topic].published)
    assert order[-1] == "franka/joint_states"


def test_time_never_goes_back_over_many_episodes(published: Published) -> None:
    published.ear.listen("/clock", Clock)
    published.ear.listen("franka/joint_states", JointState)
    for seed in range(30):
        published.simulation.reset_episode(seed)
        published.state.publish_all()
        published.run(0.02)
    clock = [heard.message.clock for heard in published.ear.take("/clock")]
    times = [time.sec * 10**9 + time.nanosec for time in clock]
    assert len(times) > 1 and times == sorted(set(times))
    stamps = [stamp_of(heard.message) for heard in published.ear.take("franka/joint_states")]
    assert len(stamps) > 30 and stamps == sorted(stamps)


def test_the_clock_ticks_at_most_100_times_a_second_of_wall_time(published: Published) -> None:
    published.ear.listen("/clock", Clock)
    (endpoint,) = published.ear.node.get_publishers_info_by_topic("/clock")
    assert endpoint.qos_profile.reliability == RELIABLE
    published.run(5.0)
    heard = published.ear.take("/clock")
    assert len(heard) > 2
    assert np.diff([h.published for h in heard]).min() > 9e6


def test_the_clock_catches_up_while_time_stands_still(published: Published) -> None:
    published.ear.listen("/clock", Clock)
    published.run(0.1)
    now = published.simulation.time_ns

    def caught_up() -> bool:
        published.state.publish_standing()
        clocks = [heard.message.clock for heard in published.ear.take("/clock")]
        return any(clock.sec * 10**9 + clock.nanosec == now for clock in clocks)

    wait_until(caught_up, "the clock shows the time at which it stands")
    assert published.state.publish_standing() == math.inf, "nothing is left to say"


def test_the_pose_is_that_of_the_tool(published: Published) -> None:
    topic = f"{BROADCASTER}/current_pose"
    published.listen(topic, PoseStamped)
    message = published.hear(topic, 0.1)[-1].message
    position, rotation, _ = forward(published.simulation.world.q)
    assert message.header.frame_id == "base"
    assert vector(message.pose.position) == pytest.approx(position, abs=1e-3)
    o = message.pose.orientation
    quaternion = np.array([o.x, o.y, o.z, o.w])
    assert quaternion_to_rotation(quaternion) == pytest.approx(rotation, abs=1e-2)


def test_the_desired_pose_is_the_controllers_target(published: Published) -> None:
    topic = f"{BROADCASTER}/last_desired_pose"
    published.listen(topic, PoseStamped)
    manager = published.simulation.manager
    assert manager.switch(["cartesian_impedance_controller"], [TRAJECTORY], 2)[0]
    target = np.array([0.5, 0.1, 0.3])
    controller = manager.controllers["cartesian_impedance_controller"]
    controller.target(target, np.diag([1.0, -1.0, -1.0]))
    message = published.hear(topic, 0.1)[-1].message
    assert vector(message.pose.position) == pytest.approx(target)


def test_pushing_on_the_table_is_felt_upwards_in_the_tool_and_downwards_in_the_base(
    published: Published,
) -> None:
    """What the robot applies is positive: down onto the table, in the tool's axes along its z."""
    base, tool = (f"{BROADCASTER}/external_wrench_in_{f}_frame" for f in ("base", "stiffness"))
    published.listen(base, WrenchStamped)
    published.listen(tool, WrenchStamped)
    manager = published.simulation.manager
    manager.switch(["cartesian_impedance_controller"], [TRAJECTORY], 2)
    controller = manager.controllers["cartesian_impedance_controller"]
    simulation = published.simulation
    for height in np.linspace(0.25, -0.01, 30):
        controller.target(np.array([0.45, -0.25, height]), np.diag([1.0, -1.0, -1.0]))
        published.run(0.1)
    assert simulation.faults.clear
    in_base = published.hear(base, 0.3)[-1].message
    in_tool = published.ear.take(tool)[-1].message
    assert in_base.header.frame_id == "base"
    assert in_tool.header.frame_id == "fr3_hand_tcp"
    assert in_base.wrench.force.z < -5.0
    assert in_tool.wrench.force.z == pytest.approx(-in_base.wrench.force.z, rel=0.05)


def test_objects_are_where_they_are(published: Published) -> None:
    published.listen("objects/cube/pose", PoseStamped)
    message = published.hear("objects/cube/pose", 0.1)[-1].message
    cube = published.simulation.object_poses()["cube"]
    assert message.header.frame_id == "base"
    assert vector(message.pose.position) == pytest.approx(cube.position, abs=1e-4)


def test_a_tasks_goal_is_published_like_an_object(make: Callable[..., Published]) -> None:
    published = make(task="reach")
    published.listen("objects/target/pose", PoseStamped)
    message = published.hear("objects/target/pose", 0.1)[-1].message
    target = published.simulation.task.start(np.random.default_rng(0)).objects["target"]
    assert vector(message.pose.position) == pytest.approx(target.position)


def test_robot_state_tells_mode_and_errors(published: Published) -> None:
    topic = f"{BROADCASTER}/robot_state"
    published.listen(topic, FrankaRobotState)
    message = published.hear(topic, 0.2)[-1].message
    assert message.robot_mode == FrankaRobotState.ROBOT_MODE_MOVE
    assert not message.current_errors.joint_reflex
    assert tuple(message.measured_joint_state.name) == FR3.joint_names
    assert vector(message.o_t_ee.pose.position) == pytest.approx(
        published.simulation.world.tcp_position, abs=1e-3
    )


def test_after_a_reflex_only_the_merged_joint_states_go_on_with_old_values(
    published: Published,
) -> None:
    """As on the robot: the broadcasters are deactivated with everything else."""
    state = f"{BROADCASTER}/robot_state"
    for topic, kind in (
        ("franka/joint_states", JointState),
        ("joint_states", JointState),
        (state, FrankaRobotState),
    ):
        published.listen(topic, kind)
    published.run(0.1)
    published.simulation.faults.inject("reflex")
    for topic in ("franka/joint_states", state, "joint_states"):
        published.ear.take(topic)
    merged = published.hear("joint_states", 1.0)
    assert len(merged) == 30
    assert len({tuple(heard.message.position[:7]) for heard in merged}) == 1
    assert len({stamp_of(heard.message) for heard in merged}) == 30
    assert published.ear.take("franka/joint_states") == []
    assert published.ear.take(state) == []


def test_the_trajectory_controller_says_what_it_wants_and_what_it_gets(
    published: Published,
) -> None:
    topic = f"{TRAJECTORY}/controller_state"
    published.listen(topic, JointTrajectoryControllerState)
    message = published.hear(topic, 0.1)[-1].message
    assert tuple(message.joint_names) == FR3.joint_names
    wanted, got, off = (
        np.array(point.positions) for point in (message.reference, message.feedback, message.error)
    )
    assert wanted - got == pytest.approx(off)


# What is for viewers.


def test_transforms_lead_from_the_base_to_the_tool(published: Published) -> None:
    published.ear.listen("tf_static", TFMessage, latched=True)
    published.listen("tf", TFMessage)
    fixed = published.ear.next("tf_static").transforms
    moving = published.hear("tf", 0.2)[-1].message.transforms
    by_child = {t.child_frame_id: t for t in (*fixed, *moving)}
    rotation, position, frame = np.eye(3), np.zeros(3), "fr3_hand_tcp"
    while frame != "base":
        transform = by_child[frame].transform
        r = transform.rotation
        turn = quaternion_to_rotation(np.array([r.x, r.y, r.z, r.w]))
        position = vector(transform.translation) + turn @ position
        rotation = turn @ rotation
        frame = by_child[frame].header.frame_id
    expected, orientation, _ = forward(published.simulation.world.q)
    assert position == pytest.approx(expected, abs=2e-3)
    assert rotation == pytest.approx(orientation, abs=1e-2)
    assert {"fr3_leftfinger", "fr3_rightfinger"} <= set(by_child)


def test_the_description_has_the_arms_joints_limits_and_kinematics() -> None:
    root = ElementTree.fromstring(urdf(FR3))
    joints = {joint.get("name"): joint for joint in root.iter("joint")}
    for i, name in enumerate(FR3.joint_names):
        limit = joints[name].find("limit")
        assert limit is not None
        assert float(limit.get("lower", "nan")) == pytest.approx(FR3.position_min[i])
        assert float(limit.get("effort", "nan")) == pytest.approx(FR3.torque_max[i])
    links = {link.get("name") for link in root.iter("link")}
    by_child = {_attribute(joint, "child", "link"): joint for joint in joints.values()}
    assert set(by_child) == links - {"base"}, "one tree"
    q = dict(zip(FR3.joint_names, np.array(HOME) + 0.1, strict=True))
    rotation, position, link = np.eye(3), np.zeros(3), "fr3_hand_tcp"
    while link != "base":
        joint = by_child[link]
        xyz, rpy = (
            np.array(_attribute(joint, "origin", key).split(), float) for key in ("xyz", "rpy")
        )
        assert rpy[1] == 0.0
        turn = rotation_z(rpy[2]) @ rotation_x(rpy[0])
        turn = turn @ rotation_z(q.get(joint.get("name", ""), 0.0))
        position, rotation = xyz + turn @ position, turn @ rotation
        link = _attribute(joint, "parent", "link")
    expected, orientation, _ = forward(np.array(list(q.values())))
    assert position == pytest.approx(expected, abs=1e-6)
    assert rotation == pytest.approx(orientation, abs=1e-6)


def _attribute(joint: ElementTree.Element, part: str, key: str) -> str:
    element = joint.find(part)
    assert element is not None
    return element.get(key, "")


def test_markers_show_table_and_cube(published: Published) -> None:
    published.listen("markers", MarkerArray)
    markers = {m.ns: m for m in published.hear("markers", 0.5)[-1].message.markers}
    assert set(markers) == {"table", "cube"}
    cube = published.simulation.object_poses()["cube"]
    assert vector(markers["cube"].pose.position) == pytest.approx(cube.position, abs=1e-3)
    table = markers["table"]
    assert table.pose.position.z + table.scale.z / 2 == pytest.approx(0.0, abs=1e-6)


def test_markers_show_goals(make: Callable[..., Published]) -> None:
    published = make(task="reach")
    published.listen("markers", MarkerArray)
    names = {m.ns for m in published.hear("markers", 0.5)[-1].message.markers}
    assert names == {"table", "target"}


def test_without_opengl_there_are_no_images_and_all_goes_on(
    make: Callable[..., Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    published = make(camera_rate=10.0)
    published.ear.listen("camera/image_raw", Image)
    published.ear.listen("franka/joint_states", JointState)
    assert published.hear("camera/image_raw", 1.0) == []
    assert len(published.ear.take("franka/joint_states")) == pytest.approx(100, abs=1)


def test_the_camera_shows_the_scene(make: Callable[..., Published]) -> None:
    published = make(camera_rate=10.0)
    from sac_envs.rendering import Renderer, RenderingUnavailable

    try:
        Renderer(published.simulation.world).close()
    except RenderingUnavailable as error:
        pytest.skip(str(error))
    published.ear.listen("camera/image_raw", Image)
    heard = published.hear("camera/image_raw", 0.5)
    assert len(heard) == pytest.approx(5, abs=1)
    image = heard[-1].message
    assert (image.height, image.width, image.encoding) == (480, 640, "rgb8")
    assert len(image.data) == 480 * 640 * 3
    assert np.ptp(np.frombuffer(image.data, np.uint8)) > 50


# Injected faults.


def test_dropped_joint_states_are_silent_and_come_back(published: Published) -> None:
    published.listen("franka/joint_states", JointState)
    published.state.drop = True
    assert published.hear("franka/joint_states", 0.5) == []
    published.state.drop = False
    assert len(published.hear("franka/joint_states", 0.5)) == 50


def test_frozen_joint_states_have_fresh_stamps_and_old_values(published: Published) -> None:
    published.listen("franka/joint_states", JointState)
    manager = published.simulation.manager
    manager.switch(["joint_velocity_controller"], [TRAJECTORY], 2)
    manager.controllers["joint_velocity_controller"].command([0.3] * 7)
    published.run(0.2)
    published.state.freeze = True
    heard = published.hear("franka/joint_states", 0.3)
    assert len({tuple(h.message.position) for h in heard}) == 1
    assert len({stamp_of(h.message) for h in heard}) == 30
    published.state.freeze = False
    assert len({tuple(h.message.position) for h in published.hear("franka/joint_states", 0.1)}) > 5


def test_one_joint_state_with_nan(published: Published) -> None:
    published.listen("franka/joint_states", JointState)
    published.state.nan_once = True
    heard = published.hear("franka/joint_states", 0.1)
    bad = [np.isnan(h.message.position).any() for h in heard]
    assert bad == [True] + [False] * 9


def test_late_state_keeps_its_stamps(published: Published) -> None:
    published.listen("franka/joint_states", JointState)
    published.state.outbox.latency = 0.05
    published.run(0.2)
    published.ear.take("franka/joint_states")
    now = published.simulation.time_ns
    stamps = [stamp_of(h.message) for h in published.hear("franka/joint_states", 0.1)]
    assert stamps[0] == pytest.approx(now - 50_000_000, abs=10_000_000)
    assert np.diff(stamps).tolist() == [10_000_000] * (len(stamps) - 1)
    published.state.outbox.latency = 0.0
    published.run(0.1)
    stamps = [stamp_of(h.message) for h in published.hear("franka/joint_states", 0.1)]
    assert stamps[-1] == pytest.approx(published.simulation.time_ns, abs=10_000_000)
