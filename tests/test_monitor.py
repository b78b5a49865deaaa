"""Watching: what is there starts, the rest is named, layouts show topics that exist."""

from __future__ import annotations

import importlib
import json
import re
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest
import yaml
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from stand_ins import StandIns, started
from system import ROOT, Program, Start, spin_until
from visualization_msgs.msg import MarkerArray

from sac_msgs.msg import ActorStatus, LearnerStatus, WatchdogStatus
from sac_ros import qos

STATE = "/franka_robot_state_broadcaster"
TOPICS = {
    "/sac/learner/status": LearnerStatus,
    "/sac/actor/status": ActorStatus,
    "/watchdog/status": WatchdogStatus,
    f"{STATE}/current_pose": PoseStamped,
    f"{STATE}/external_wrench_in_base_frame": WrenchStamped,
}
NUMBERS = re.compile(r"(float|double|u?int\d+|boolean)")


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    return StandIns(tmp_path / "prefix", monkeypatch)


def monitor(start: Start, *arguments: str) -> Program:
    return start("ros2", "launch", "sac_bringup", "monitor.launch.py", *arguments)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def assert_is_a_number(topic: str, path: list[str]) -> None:
    """The path leads to a number in the topic's message, or is said to be no field."""
    kind: Any = TOPICS[topic]
    for depth, field in enumerate(path):
        fields = kind.get_fields_and_field_types()
        assert field in fields, f"{kind.__name__} has no {field}"
        if depth == len(path) - 1:
            assert NUMBERS.fullmatch(fields[field]), f"{topic} {path}: {fields[field]}"
        else:
            package, name = fields[field].split("/")
            kind = getattr(importlib.import_module(f"{package}.msg"), name)


def test_every_curve_of_plotjuggler_is_a_number_of_a_topic_that_it_subscribes_to() -> None:
    root = ElementTree.parse(ROOT / "config" / "plotjuggler.xml").getroot()
    (selected,) = root.iter("selected_topics")
    topics = selected.attrib["value"].split(";")
    assert set(topics) == set(TOPICS)
    curves = [curve.attrib["name"] for curve in root.iter("curve")]
    assert len(curves) == len(set(curves)) > 20
    for curve in curves:
        (topic,) = (topic for topic in topics if curve.startswith(f"{topic}/"))
        assert_is_a_number(topic, curve.removeprefix(f"{topic}/").split("/"))
    (streamer,) = root.iter("previouslyLoaded_Streamer")
    assert streamer.attrib["name"] == "ROS2 Topic Subscriber"


def panels(layout: Any) -> set[str]:
    return (
        {layout} if isinstance(layout, str) else panels(layout["first"]) | panels(layout["second"])
    )


def test_every_panel_of_foxglove_is_placed_and_shows_what_there_is() -> None:
    layout = json.loads((ROOT / "config" / "foxglove" / "training.json").read_text())
    assert panels(layout["layout"]) == set(layout["configById"])
    plots = [panel for name, panel in layout["configById"].items() if name.startswith("Plot!")]
    assert len(plots) > 4
    for path in (path for plot in plots for path in plot["paths"]):
        topic, *fields = path["value"].split(".")
        assert_is_a_number(topic, fields)
        assert path["timestampMethod"] == "headerStamp"


def test_the_status_messages_are_flat_and_stamped() -> None:
    for kind in (ActorStatus, LearnerStatus, WatchdogStatus):
        fields = kind.get_fields_and_field_types()
        assert fields.pop("header") == "std_msgs/Header"
        nested = {name for name, text in fields.items() if "/" in text or "[" in text}
        assert {fields[name] for name in nested} <= {"builtin_interfaces/Time"}


def test_diagnostics_have_a_group_for_each_node_of_the_suite() -> None:
    groups = yaml.safe_load((ROOT / "config" / "diagnostics.yaml").read_text())
    groups = groups["analyzers"]["ros__parameters"]
    assert groups.pop("path")
    assert {group["type"] for group in groups.values()} == {"diagnostic_aggregator/GenericAnalyzer"}
    known = [part for group in groups.values() for part in group["contains"]]
    for name in ("sac_learner", "robot_0/sac_actor_0", "sac_watchdog", "franka_sim_bridge"):
        assert [part for part in known if part in f"/{name}"]


def test_what_is_not_installed_is_one_line_each_and_tensorboard_listens_to_this_pc_only(
    start: Start, tmp_path: Path
) -> None:
    port = free_port()
    program = monitor(
        start, "foxglove:=true", "plotjuggler:=true", f"tensorboard_port:={port}",
        f"logdir:={tmp_path}",
    )  # fmt: skip
    program.wait_for(rf"TensorBoard .* at http://127\.0\.0\.1:{port}/", 120.0)
    for what, package in (
        ("3D view", "rviz2"),
        ("grouped diagnostics", "diagnostic_aggregator"),
        ("Foxglove", "foxglove_bridge"),
        ("PlotJuggler", "plotjuggler"),
    ):
        apt = f"apt-get install ros-{{}}-{package.replace('_', '-')}".format("jazzy")
        line = f"No {what}: {package} is not installed ({apt})"
        assert [line in said for said in program.lines].count(True) == 1
    heard = {
        connection.laddr[:2]
        for process in program.descendants()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ("127.0.0.1", port) in heard
    assert {address for address, _port in heard} == {"127.0.0.1"}
    assert program.interrupt() == 0


def test_what_is_installed_starts_with_its_layout(
    start: Start, stand_ins: StandIns, observer: Node
) -> None:
    viewers = ("rviz2/rviz2", "foxglove_bridge/foxglove_bridge", "plotjuggler/plotjuggler")
    for name in (*viewers, "diagnostic_aggregator/aggregator_node"):
        stand_ins.program(*name.split("/"))
    program = monitor(
        start, "foxglove:=true", "plotjuggler:=true", "tensorboard:=false", "namespace:=robot_1",
        "foxglove_port:=8799",
    )  # fmt: skip
    rviz = started(program, "rviz2/rviz2")
    assert rviz.own == ["-d", f"{installed_config()}/rviz/training.rviz"]
    assert rviz.remappings == {"__ns": "/robot_1"}
    assert rviz.parameters == {"use_sim_time": False}
    foxglove = started(program, "foxglove_bridge/foxglove_bridge").parameters
    assert (foxglove["address"], foxglove["port"]) == ("127.0.0.1", 8799)
    assert not {"clientPublish", "services", "parameters"} & set(foxglove["capabilities"])
    plots = started(program, "plotjuggler/plotjuggler")
    assert plots.own == ["--nosplash", "--layout", f"{installed_config()}/plotjuggler.xml"]
    groups = started(program, "diagnostic_aggregator/aggregator_node")
    assert groups.files == [yaml.safe_load((ROOT / "config/diagnostics.yaml").read_text())]

    said: list[MarkerArray] = []
    observer.create_subscription(
        MarkerArray, "/robot_1/sac/status_markers", said.append, qos.MARKERS
    )
    status = observer.create_publisher(ActorStatus, "/sac/actor/status", qos.STATUS)
    status.publish(ActorStatus(actor_id="sac_actor_7", fault="the cube is lost"))
    spin_until(observer, lambda: any(m.markers for m in said), 60.0, "text for rviz")
    (text,) = next(m.markers for m in said if m.markers)
    assert "actor sac_actor_7" in text.text
    assert "FAULT: the cube is lost" in " ".join(text.text.split())
    assert text.color.r > 0.5
    assert program.interrupt() == 0


def installed_config() -> Path:
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("sac_bringup"), "config")


def test_a_switch_that_is_neither_true_nor_false_is_one_line(start: Start) -> None:
    program = monitor(start, "rviz:=maybe")
    assert program.wait() == 1
    assert "rviz: expected true or false, got 'maybe'" in program.output
    assert "process started" not in program.output


def status(start: Start, *arguments: str) -> Program:
    return start("ros2", "run", "sac_actor", "status", *arguments)


def test_the_status_of_everything_is_a_line_each_whatever_its_namespace(
    start: Start, observer: Node
) -> None:
    learner = observer.create_publisher(LearnerStatus, "/sac/learner/status", qos.STATUS)
    learner.publish(LearnerStatus(learner_id="sac_learner", task="reach", state="training"))
    actors = observer.create_publisher(ActorStatus, "/sac/actor/status", qos.STATUS_OF_MANY)
    for name in ("left", "right"):
        actors.publish(ActorStatus(actor_id=f"sac_actor_{name}", state="policy", queued=3))
        watchdog = observer.create_publisher(WatchdogStatus, f"/{name}/watchdog/status", qos.STATUS)
        watchdog.publish(WatchdogStatus(state="watching"))
    program = status(start, "--once")
    assert program.wait() == 0
    assert [line.split(":")[0] for line in program.lines] == [
        "learner sac_learner, reach",
        "actor sac_actor_left, ",
        "actor sac_actor_right, ",
        "watchdog /left",
        "watchdog /right",
    ]
    assert "\x1b" not in program.output
    assert " | 3 queued, no learner listens | " in program.output


def test_the_status_is_refreshed_until_it_is_told_to_end(start: Start, observer: Node) -> None:
    actors = observer.create_publisher(ActorStatus, "/sac/actor/status", qos.STATUS)
    program = status(start, "--period", "0.2")
    for count in (1, 2):
        actors.publish(ActorStatus(actor_id="sac_actor", queued=count))
        program.wait_for(rf"actor sac_actor, .* {count} queued")
    assert program.interrupt() == 0
    assert "Traceback" not in program.output


def test_the_status_of_nothing_says_where_it_listened_and_fails(start: Start) -> None:
    program = status(start, "--once")
    assert program.wait() == 1
    (line,) = program.lines
    assert re.fullmatch(r"no actor, learner or watchdog heard yet in ROS_DOMAIN_ID \d+", line)
    program = status(start, "--period", "0")
    assert program.wait() == 2
    assert "--period: expected 0.1 to 3600 s, got 0" in program.output
