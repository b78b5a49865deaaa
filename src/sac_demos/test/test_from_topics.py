"""Bags of others, by a YAML: what they become is what the trajectory they sampled says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bag_messages import as_message, event, joints, pose, record
from geometry_msgs.msg import Pose, TwistStamped
from rosbags.rosbag2 import StoragePlugin
from std_msgs.msg import Bool, Float64

from sac_demos.bags import Bag, BagError
from sac_demos.from_topics import TopicHarvest, read_topics
from sac_demos.mapping import Mapping, MappingError, load_mapping, parse_mapping
from sac_demos.mcap_file import Message
from sac_envs.robots import ROBOTS
from sac_envs.tasks import make_task
from sac_msgs.msg import EpisodeEvent, TeleopAction

CONFIG = Path(__file__).resolve().parents[3] / "config" / "bag_to_rlds"
SECOND = 10**9
BEGIN = 1_700_000_000 * SECOND
NAMES = ("joint_2", "joint_1", "joint_3")  # another order than the mapping asks for


def path(seconds: np.ndarray) -> np.ndarray:
    """Positions of three joints, in rad: (N, 3)."""
    return np.stack((np.sin(seconds), np.cos(seconds), 0.1 * seconds), axis=-1)


def times(rate: float, duration: float, phase: float = 0.0) -> np.ndarray:
    return BEGIN + np.round(np.arange(phase, duration, 1.0 / rate) * SECOND).astype(np.int64)


def twist(x: float, y: float) -> TwistStamped:
    message = TwistStamped()
    message.twist.linear.x, message.twist.linear.y = float(x), float(y)
    return message


def trajectory(
    duration: float = 3.0, hole: tuple[float, float] = (9.0, 9.0), idle: float = 0.0
) -> list[Message]:
    """An arm at 100 Hz, its tool at 30 Hz, its command at 25 Hz; all of a known motion."""
    messages = []
    for stamp in times(100.0, duration):
        seconds = (stamp - BEGIN) / SECOND
        if not hole[0] <= seconds < hole[1]:
            q = path(np.array(seconds))
            content = joints((q[1], q[0], q[2]), NAMES)
            messages.append(
                as_message("/joint_states", content, int(stamp), int(stamp) + 5_000_000)
            )
    for stamp in times(30.0, duration, 0.011):
        seconds = (stamp - BEGIN) / SECOND
        half = 0.4 * seconds
        content = pose((np.sin(2.0 * seconds), 0.0, 0.0), (0.0, 0.0, np.sin(half), np.cos(half)))
        messages.append(as_message("/tool_pose", content, int(stamp)))
    for stamp in times(25.0, duration, 0.003):
        seconds = (stamp - BEGIN) / SECOND
        x = 0.0 if seconds < idle else 0.5 * np.cos(seconds)
        messages.append(as_message("/command", twist(x, 0.0 if x == 0.0 else 2.0), int(stamp)))
    return messages


def success(said: bool, at: float = 2.9) -> Message:
    stamp = BEGIN + int(at * SECOND)
    return as_message("/success", Bool(data=said), stamp)


def example(**change: Any) -> Mapping:
    """The mapping in config/, changed."""
    content = yaml.safe_load((CONFIG / "example.yaml").read_text())
    return parse_mapping({**content, **change})


def read(tmp_path: Path, messages: list[Message], mapping: Mapping, **options: Any) -> TopicHarvest:
    return read_topics(Bag(record(tmp_path / "bag", messages, **options)), mapping, "")


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_the_example_gives_what_the_trajectory_says(tmp_path: Path, storage: StoragePlugin) -> None:
    harvest = read(tmp_path, [*trajectory(), success(True)], example(trim_idle=0), storage=storage)
    (episode,) = harvest.episodes
    seconds = (episode.stamps - BEGIN) / SECOND
    np.testing.assert_allclose(np.diff(seconds), 0.05, atol=1e-6)
    # Linear between samples 10 ms apart: off by at most h² / 8.
    np.testing.assert_allclose(episode.observations[:, :3], path(seconds), atol=2e-5)
    np.testing.assert_allclose(episode.observations[:, 3], np.sin(2 * seconds), atol=6e-4)
    expected = np.stack((np.sin(0.4 * seconds), np.cos(0.4 * seconds)), axis=1)
    np.testing.assert_allclose(episode.observations[:, 6:8], expected, atol=1e-6)
    assert (episode.observations[:, 4:6] == 0.0).all()
    # The command at a tick is the last before it, at most 40 ms old; beyond its bounds it is cut.
    assert (np.abs(episode.actions[:, 0] - np.cos(seconds[:-1])) < 0.041).all()
    assert (episode.actions[:, 1] == 1.0).all()
    moved = path(seconds[1:])[:, 1] - path(seconds[:-1])[:, 1]  # the message's first: joint_2
    np.testing.assert_allclose(episode.actions[:, 2], moved / 0.1, atol=5e-4)
    assert episode.terminated and episode.labels.success
    assert episode.rewards.tolist() == [0.0] * (len(episode) - 1) + [1.0]
    assert episode.language_instruction == "Push the block to the mark."
    assert harvest.ages["/command"].largest <= 0.04
    assert harvest.ages["/joint_states"].too_old == 0


@pytest.mark.parametrize(
    ("rule", "custom_data", "said", "expected"),
    [
        ({"topic": "/success"}, {}, success(False), False),
        ({"topic": "/success"}, {}, success(True), True),
        ({"topic": "/success"}, {}, None, False),
        ({"custom_data": "success"}, {"success": "true"}, None, True),
        ({"custom_data": "verdict"}, {"verdict": "failure"}, None, False),
        ({"flag": True}, {}, None, True),
    ],
)
def test_success_is_said_by_a_topic_custom_data_or_a_flag(
    tmp_path: Path,
    rule: dict[str, Any],
    custom_data: dict[str, str],
    said: Message | None,
    expected: bool,
) -> None:
    messages = trajectory() + ([said] if said is not None else [])
    harvest = read(tmp_path, messages, example(success=rule), custom_data=custom_data)
    (episode,) = harvest.episodes
    assert (episode.labels.success, episode.terminated) == (expected, expected)
    assert episode.labels.outcome == ("success" if expected else "failure")


def test_a_gap_divides_an_episode_and_only_its_end_may_have_succeeded(tmp_path: Path) -> None:
    messages = [*trajectory(hole=(1.0, 1.5)), success(True)]
    harvest = read(tmp_path, messages, example(trim_idle=0))
    first, second = harvest.episodes
    assert harvest.split == 1
    assert (first.stamps[-1] - BEGIN) / SECOND <= 1.0
    assert (second.stamps[0] - BEGIN) / SECOND >= 1.5
    assert (first.labels.success, second.labels.success) == (False, True)
    assert not first.terminated and not first.rewards.any()
    assert harvest.ages["/joint_states"].too_old > 0


@pytest.mark.parametrize("topic", ["/joint_states", "/command"])
def test_what_is_not_finite_is_a_gap(tmp_path: Path, topic: str) -> None:
    nan = float("nan")
    content = twist(nan, 0.0) if topic == "/command" else joints((nan, nan, nan), NAMES)
    begin, end = BEGIN + SECOND, BEGIN + SECOND * 6 // 5
    messages = [
        as_message(topic, content, one.log_time)
        if one.channel.topic == topic and begin <= one.log_time < end
        else one
        for one in trajectory()
    ]
    harvest = read(tmp_path, messages, example(trim_idle=0))
    first, second = harvest.episodes
    assert harvest.split == 1
    for episode in (first, second):
        assert np.isfinite(episode.observations).all() and np.isfinite(episode.actions).all()
    assert first.stamps[-1] < end - SECOND // 10 and second.stamps[0] > begin + SECOND // 10


def test_an_episode_with_a_gap_may_be_dropped_or_the_bag_refused(tmp_path: Path) -> None:
    messages = trajectory(hole=(1.0, 1.5))
    harvest = read(tmp_path, messages, example(gaps="drop"))
    assert (harvest.episodes, harvest.dropped) == ([], 1)
    with pytest.raises(BagError, match=r"steps lack something new enough and finite \(gaps"):
        read_topics(Bag(tmp_path / "bag"), example(gaps="refuse"), "")


def test_the_idle_beginning_is_left_out(tmp_path: Path) -> None:
    action = example().action[:1]  # the command only
    mapping = example(action=[{"topic": "/command", "field": "twist.linear.x"}])
    assert action[0].topic == mapping.action[0].topic
    harvest = read(tmp_path, trajectory(idle=1.0), mapping)
    (episode,) = harvest.episodes
    assert harvest.idle >= 18
    assert 0.95 <= (episode.stamps[0] - BEGIN) / SECOND <= 1.1
    assert abs(episode.actions[0, 0]) > 0.02


def test_ticks_may_be_the_messages_of_a_topic(tmp_path: Path) -> None:
    timeline = {"ticks": "/tool_pose"}
    (episode,) = read(tmp_path, trajectory(), example(timeline=timeline, trim_idle=0)).episodes
    inside = times(30.0, 3.0, 0.011)
    assert set(episode.stamps.tolist()) <= set(inside.tolist())
    assert len(episode) > 85
    np.testing.assert_allclose(
        episode.observations[:, 3], np.sin(2.0 * (episode.stamps - BEGIN) / SECOND), atol=1e-6
    )
    timeline = {"ticks": "/tool_pose", "rate": 10.0}
    (slower,) = read_topics(
        Bag(tmp_path / "bag"), example(timeline=timeline, trim_idle=0), ""
    ).episodes
    assert (np.diff(slower.stamps) >= 99_000_000).all() and len(slower) > 25


def test_times_of_arrival_may_be_used_instead_of_those_of_headers(tmp_path: Path) -> None:
    content = yaml.safe_load((CONFIG / "example.yaml").read_text())
    content["timeline"]["time"] = "receive"
    content["trim_idle"] = 0
    for source in (*content["observation"], *content["action"]):
        source["time"] = "receive"
    (episode,) = read(tmp_path, trajectory(), parse_mapping(content)).episodes
    seconds = (episode.stamps - BEGIN) / SECOND
    # Joint states were recorded 5 ms after their stamps.
    np.testing.assert_allclose(episode.observations[:, :3], path(seconds - 0.005), atol=2e-5)


@pytest.mark.parametrize("timeline", [{"rate": 20.0}, {"ticks": "/tool_pose"}])
def test_a_topic_without_a_header_is_taken_by_its_arrival(
    tmp_path: Path, timeline: dict[str, Any]
) -> None:
    plain = [
        as_message("/plain", Float64(data=float(stamp - BEGIN) / SECOND), int(stamp))
        for stamp in times(50.0, 3.0)
    ]
    action = {"topic": "/plain", "field": "data", "time": "receive"}
    mapping = example(timeline=timeline, action=[action], trim_idle=0)
    (episode,) = read(tmp_path, [*trajectory(), *plain], mapping).episodes
    seconds = (episode.stamps - BEGIN) / SECOND
    assert len(episode) > 50
    assert (np.abs(episode.actions[:, 0] - seconds[:-1]) < 0.021).all()


def test_a_latched_topic_does_not_age(tmp_path: Path) -> None:
    goal = as_message("/goal", pose((0.3, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)), BEGIN)
    source = {"topic": "/goal", "field": "pose.position.x"}
    mapping = example(
        observation=[source, {"topic": "/joint_states", "field": "position[2]"}], trim_idle=0
    )
    harvest = read(tmp_path, [*trajectory(), goal], mapping, latched=frozenset({"/goal"}))
    (episode,) = harvest.episodes
    assert (episode.observations[:, 0] == np.float32(0.3)).all() and len(episode) > 50


def test_sources_may_be_relative_and_thresholds(tmp_path: Path) -> None:
    mapping = example(
        trim_idle=0,
        observation=[
            {
                "topic": "/joint_states",
                "field": "position[0]",
                "relative_to": {"topic": "/joint_states", "field": "position[1]"},
            }
        ],
        action=[{"topic": "/joint_states", "field": "position[2]", "below": 0.1, "take": "next"}],
    )
    (episode,) = read(tmp_path, trajectory(), mapping).episodes
    seconds = np.floor((episode.stamps - BEGIN) / SECOND * 100 + 1e-6) / 100
    expected = path(seconds)[:, 1] - path(seconds)[:, 0]
    np.testing.assert_allclose(episode.observations[:, 0], expected, atol=1e-6)
    following = (episode.stamps[1:] - BEGIN) / SECOND
    assert (episode.actions[:, 0] == np.where(0.1 * following < 0.1 - 1e-6, 1.0, -1.0)).mean() > 0.9


# A task of this project: the live actor's own code.

TASK = make_task("pick_cube")
ROBOT = ROBOTS["fr3"]


def robot(stamp: int, cube: float, arrived: int, closed: bool = False) -> list[Message]:
    """All of the robot's messages of one instant, the cube at a height."""
    fingers = joints((0.01, 0.01) if closed else (0.04, 0.04), ROBOT.finger_joint_names)
    down = (1.0, 0.0, 0.0, 0.0)
    return [
        as_message(f"/{topic}", content, stamp, arrived)
        for topic, content in (
            ("franka/joint_states", joints(TASK.home, ROBOT.joint_names)),
            ("franka_gripper/joint_states", fingers),
            ("franka_robot_state_broadcaster/current_pose", pose((0.5, 0.0, cube), down)),
            ("objects/cube/pose", pose((0.5, 0.0, cube), (0.0, 0.0, 0.0, 1.0))),
        )
    ]


def demonstration(lift: float = 0.02) -> list[Message]:
    """A cube that rises by `lift` m each tenth of a second, from 5 s of robot time on."""
    messages = []
    for tick in range(15):
        stamp, arrived = 5 * SECOND + tick * SECOND // 10, BEGIN + tick * SECOND // 10
        messages += robot(stamp, 0.02 + lift * tick, arrived)
        asked = TeleopAction(engaged=True, action=[0.0, 0.0, tick / 20.0, 1.0])
        messages.append(as_message("/sac/teleop_action", asked, arrived - 1000, arrived - 1000))
    return messages


def test_a_task_makes_observation_reward_and_end_of_the_robots_topics(tmp_path: Path) -> None:
    mapping = load_mapping(CONFIG / "pick_cube.yaml")
    (episode,) = read(tmp_path, demonstration(), mapping).episodes
    # Lifted by 0.15 m after eight ticks of 0.02 m; what comes later is no part of the episode.
    assert episode.terminated and episode.labels.success and len(episode) == 8
    assert episode.observations[:, 17] == pytest.approx(np.arange(9) * 0.02 / 0.15, abs=1e-6)
    assert episode.actions[:, 2] == pytest.approx(np.arange(8) / 20.0)
    # The gripper counts as closed once it was told to, not before.
    assert episode.observations[:, 7].tolist() == [-1.0] + [1.0] * 8
    assert episode.rewards[-1] == pytest.approx(5.0)
    assert (np.diff(episode.stamps) == SECOND // 10).all() and episode.stamps[0] == 5 * SECOND
    assert episode.labels.task == "pick_cube"


def test_episodes_of_an_actor_divide_a_bag_of_a_task(tmp_path: Path) -> None:
    messages = demonstration(lift=0.0)
    ids = {"task": "pick_cube", "first_sequence": 0}
    for number, (begin, end) in enumerate([(2, 6), (8, 13)]):
        at = [5 * SECOND + tick * SECOND // 10 for tick in (begin, end)]
        first = event(EpisodeEvent.STARTED, at[0], episode=number, **ids)
        last = event(
            EpisodeEvent.ENDED, at[1], episode=number, length=end - begin, truncated=True,
            outcome=EpisodeEvent.OUTCOME_FAILURE, **ids,
        )  # fmt: skip
        messages.append(first._replace(log_time=BEGIN + begin * SECOND // 10 + 1))
        messages.append(last._replace(log_time=BEGIN + end * SECOND // 10 + 1))
    harvest = read(tmp_path, messages, load_mapping(CONFIG / "pick_cube.yaml"))
    first_, second = harvest.episodes
    assert (first_.stamps[0], first_.stamps[-1]) == (52 * SECOND // 10, 56 * SECOND // 10)
    assert (second.stamps[0], second.stamps[-1]) == (58 * SECOND // 10, 63 * SECOND // 10)
    assert not first_.terminated and second.labels.outcome == "failure"


@pytest.mark.parametrize(
    ("topic", "content", "expected"),
    [
        ("objects/cube/pose", Pose(), "geometry_msgs/msg/Pose, expected geometry_msgs/msg/PoseSt"),
        ("sac/episode", Bool(), "std_msgs/msg/Bool, expected sac_msgs/msg/EpisodeEvent"),
    ],
)
def test_a_topic_of_the_robot_of_another_type_is_one_line(
    tmp_path: Path, topic: str, content: Any, expected: str
) -> None:
    messages = [one for one in demonstration() if one.channel.topic != f"/{topic}"]
    messages.append(as_message(f"/{topic}", content, BEGIN))
    with pytest.raises(BagError, match=f"/{topic}: it is {expected}"):
        read(tmp_path, messages, load_mapping(CONFIG / "pick_cube.yaml"))


def test_one_wrong_stamp_is_one_line_and_takes_no_memory(tmp_path: Path) -> None:
    messages = trajectory()
    for topic, content in (
        ("/joint_states", joints((0.0, 0.0, 0.0), NAMES)),
        ("/tool_pose", pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))),
        ("/command", twist(0.0, 0.0)),
    ):
        messages.append(as_message(topic, content, 0, BEGIN))
    with pytest.raises(BagError, match="expected at most 10000000 ticks; is there a wrong stamp"):
        read(tmp_path, messages, example(success={"flag": True}))


def test_where_a_topic_of_the_robot_is_missing_there_is_no_step(tmp_path: Path) -> None:
    messages = [
        one
        for one in demonstration(lift=0.0)
        if "current_pose" not in one.channel.topic
        or not BEGIN + 4 * 10**8 <= one.log_time < BEGIN + 6 * 10**8
    ]
    harvest = read(tmp_path, messages, load_mapping(CONFIG / "pick_cube.yaml"))
    first, second = harvest.episodes
    assert first.stamps[-1] == 53 * SECOND // 10
    assert second.stamps[0] == 56 * SECOND // 10


# What is wrong is said in one line.


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"timeline": {"rate": 20.0, "rat": 1}}, r"timeline\.rat: no such key; there are: rate"),
        ({"timeline": None}, "timeline: expected rate"),
        ({"timeline": {"rate": "fast"}}, "timeline.rate: expected a number, got 'fast'"),
        ({"timeline": {"rate": -1.0}}, "timeline.rate: expected at least 0, got -1"),
        ({"observation": []}, "observation: expected at least one source, or a task"),
        ({"observation": {}}, "observation: expected a list of sources"),
        ({"observation": ["/a"]}, r"observation\[0\]: expected keys and values, got '/a'"),
        ({"action": None}, "action: expected at least one source"),
        ({"action": [{"topic": "/a", "field": "__class__"}]}, r"action\[0\].field: '__class__'"),
        ({"action": [{"topic": "/a", "field": "a.__init__"}]}, r"action\[0\].field"),
        ({"action": [{"topic": "/a b", "field": "a"}]}, r"action\[0\].topic: expected a topic"),
        ({"action": [{"topic": "/a", "field": "a", "low": 1.0}]}, "low and high go together"),
        ({"action": [{"topic": "/a", "field": "a", "low": 1.0, "high": 0.0}]}, "less than high"),
        ({"gaps": "ignore"}, "gaps: expected one of split, drop, refuse, got 'ignore'"),
        ({"success": {"flag": "yes"}}, "success.flag: expected true or false"),
        ({"task": "fly"}, "task: no task 'fly'; there are:"),
        ({"task": "reach"}, "leave it out|leave one of them out"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_is_refused_with_its_place(
    change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(MappingError, match=expected) as caught:
        example(**change)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_mapping_is_one_line(tmp_path: Path) -> None:
    for number, text in enumerate(["[1, 2]", "a: [", "\xff", "!!python/object:os.system {}"]):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        with pytest.raises(MappingError) as caught:
            load_mapping(file)
        assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    with pytest.raises(MappingError, match="No such file"):
        load_mapping(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"action": [{"topic": "/nothing", "field": "a"}]}, "no messages on /nothing"),
        ({"action": [{"topic": "/command", "field": "torque"}]}, "/command: no number at torque"),
        ({"action": [{"topic": "/joint_states", "field": "name"}]}, "no number at name"),
        (
            {"action": [{"topic": "/joint_states", "field": "position", "joints": ["elbow"]}]},
            "/joint_states: no joint elbow",
        ),
        (
            {"action": [{"topic": "/success", "field": "data"}]},
            "/success: its headers have no time: give time: receive",
        ),
    ],
)
def test_what_a_bag_lacks_is_one_line(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(BagError, match=expected) as caught:
        read(tmp_path, [*trajectory(), success(True)], example(**change))
    assert "\n" not in str(caught.value)
