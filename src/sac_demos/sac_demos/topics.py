"""What a recorder listens to: topics that match, each with the profile of its publishers."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import yaml
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from sac_demos.bag_folder import QOS, TYPE_HASH
from sac_demos.definitions import UnknownType, definition, message_class
from sac_demos.mcap_file import Channel, Message, Schema
from sac_demos.raw_inbox import RawInbox, RawMessage

# Of a robot and its task (docs/simulation_interface.md), of who acts, and of transforms; relative.
TOPICS = (
    "franka/joint_states",
    "franka_gripper/joint_states",
    "franka_robot_state_broadcaster/current_pose",
    "franka_robot_state_broadcaster/last_desired_pose",
    "franka_robot_state_broadcaster/external_wrench_in_base_frame",
    "franka_robot_state_broadcaster/external_wrench_in_stiffness_frame",
    "joint_states",
    "objects/*/pose",
    "robot_description",
    "tf",
    "tf_static",
    "target_pose",
    "target_joint",
    "joint_trajectory_controller/joint_trajectory",
    "joint_trajectory_controller/controller_state",
    "joint_velocity_controller/commands",
    "joint_position_controller/commands",
    "joint_effort_controller/commands",
    "sac/teleop_action",
    "sac/actor/status",
)
DEPTH = 1000  # messages of a topic that wait for the recorder
MAX_LATCHED = 16  # publishers of one topic whose last message is kept


def patterns(node: Node, extra: str) -> tuple[str, ...]:
    """Absolute patterns of the topics above and of `extra`, names with spaces or commas between."""
    names = (*TOPICS, *(name for name in re.split(r"[\s,]+", extra) if name))
    namespace = node.get_namespace().rstrip("/")

    def absolute(name: str) -> str:
        if "*" not in name:
            return node.resolve_topic_name(name)  # remapped, if it is
        return name if name.startswith("/") else f"{namespace}/{name}"

    return tuple(absolute(name) for name in names)


def _qos_as_rosbag2(profile: QoSProfile) -> dict[str, Any]:
    def time(nanoseconds: int) -> dict[str, int]:
        return {"sec": nanoseconds // 10**9, "nsec": nanoseconds % 10**9}

    return {
        "history": profile.history.name.lower(),
        "depth": profile.depth,
        "reliability": profile.reliability.name.lower(),
        "durability": profile.durability.name.lower(),
        "deadline": time(profile.deadline.nanoseconds),
        "lifespan": time(profile.lifespan.nanoseconds),
        "liveliness": profile.liveliness.name.lower(),
        "liveliness_lease_duration": time(profile.liveliness_lease_duration.nanoseconds),
        "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
    }


def channel_of(node: Node, topic: str, kind: str) -> Channel:
    """How a bag describes a topic, its publishers included.

    Raises:
        UnknownType: its type is not installed.
    """
    publishers = node.get_publishers_info_by_topic(topic)
    profiles = [_qos_as_rosbag2(publisher.qos_profile) for publisher in publishers]
    metadata = {QOS: yaml.safe_dump(profiles, sort_keys=False)}
    if publishers:
        metadata[TYPE_HASH] = str(publishers[0].topic_type_hash)
    return Channel(topic, Schema(kind, "ros2msg", definition(kind).encode()), "cdr", metadata)


def _profile_for(publishers: Sequence[Any]) -> QoSProfile:
    """What every one of these publishers is compatible with."""
    reliable = all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
    latched = all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class Sequences:
    """Counts messages that were published and did not come, by their numbers.

    Numbers count within one publisher, and a message does not say whose it is: with several
    publishers nothing can be told.
    """

    def __init__(self) -> None:
        self.publishers: frozenset[bytes] = frozenset()
        self._next: int | None = None

    def set_publishers(self, publishers: Iterable[bytes]) -> None:
        found = frozenset(publishers)
        if found != self.publishers:
            self.publishers, self._next = found, None

    def lost_before(self, sequence: int) -> int:
        """How many are missing before this one."""
        expected, self._next = self._next, sequence + 1
        if expected is None or len(self.publishers) != 1:
            return 0
        return max(0, sequence - expected)


@dataclass
class Listened:
    """One topic that is listened to."""

    channel: Channel
    profile: QoSProfile
    sequences: Sequences = field(default_factory=Sequences)
    latched: deque[Message] = field(default_factory=lambda: deque(maxlen=1))

    @property
    def is_latched(self) -> bool:
        return bool(self.profile.durability == DurabilityPolicy.TRANSIENT_LOCAL)


class Topics:
    """Listens to every topic that matches and has a publisher, and to new ones as they appear.

    `take(message, lost)` gets each message, and how many are missing before it; `say` what a user
    should know of.
    """

    def __init__(
        self,
        node: Node,
        inbox: RawInbox,
        wanted: tuple[str, ...],
        take: Callable[[Message, int], None],
        say: Callable[[str], None],
    ) -> None:
        self._node = node
        self._inbox = inbox
        self._wanted = wanted
        self._take = take
        self._say = say
        self._listened: dict[str, Listened] = {}
        self._refused: set[str] = set()

    @property
    def count(self) -> int:
        """Topics that are listened to."""
        return len(self._listened)

    @property
    def latched(self) -> list[Message]:
        """The last messages of the topics whose publishers keep them for who comes late."""
        return [
            one for topic in self._listened.values() if topic.is_latched for one in topic.latched
        ]

    def look(self) -> None:
        """Follow what publishers come and go."""
        for topic, kinds in self._node.get_topic_names_and_types():
            if any(fnmatchcase(topic, pattern) for pattern in self._wanted):
                publishers = self._node.get_publishers_info_by_topic(topic)
                if publishers and topic not in self._refused:
                    self._follow(topic, kinds, publishers)

    def _follow(self, topic: str, kinds: Sequence[str], publishers: Sequence[Any]) -> None:
        profile = _profile_for(publishers)
        known = self._listened.get(topic)
        if known is None or known.profile != profile:
            try:
                channel = channel_of(self._node, topic, kinds[0])
                kind = message_class(kinds[0])
            except UnknownType as error:
                self._refused.add(topic)
                self._say(f"{topic} is not recorded: {error}")
                return
            known = self._listened[topic] = Listened(channel, profile)
            self._inbox.subscribe(topic, kind, profile, self._taker(known))
        known.sequences.set_publishers(bytes(p.endpoint_gid) for p in publishers)
        if known.latched.maxlen != min(len(publishers), MAX_LATCHED):
            known.latched = deque(known.latched, maxlen=min(len(publishers), MAX_LATCHED))

    def _taker(self, topic: Listened) -> Callable[[RawMessage], None]:
        def take(raw: RawMessage) -> None:
            lost = topic.sequences.lost_before(raw.sequence)
            message = as_message(topic.channel, raw)
            if topic.is_latched:
                topic.latched.append(message)
            self._take(message, lost)

        return take


def as_message(channel: Channel, raw: RawMessage) -> Message:
    """A received message as a bag has it; MCAP's sequence numbers have 32 bits."""
    return Message(channel, raw.sequence & 0xFFFFFFFF, raw.received_time, raw.source_time, raw.data)
