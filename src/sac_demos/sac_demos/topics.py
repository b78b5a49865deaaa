"""What a recorder listens to: topics that match, each with the profile of its publishers."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import yaml
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from sac_demos.bag_folder import QOS, TYPE_HASH
from sac_demos.definitions import UnknownType, definition, message_class
from sac_demos.mcap_file import Channel, Message, Schema
from sac_demos.raw_inbox import RawInbox, RawMessage
from sac_ros.robot_input import GRIPPER_JOINT_STATES, JOINT_STATES, TOOL_POSE

# What an actor may wait for (docs/simulation_interface.md); names are relative.
STATE = (JOINT_STATES, GRIPPER_JOINT_STATES, TOOL_POSE, "objects/*/pose")
# Besides: of a robot, of who acts, and of transforms.
TOPICS = (
    *STATE,
    "franka_robot_state_broadcaster/last_desired_pose",
    "franka_robot_state_broadcaster/external_wrench_in_base_frame",
    "franka_robot_state_broadcaster/external_wrench_in_stiffness_frame",
    "joint_states",
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
OVERLAP = 1.0  # s that a subscription with another profile stays beside the new one
MAX_LATCHED = 16  # publishers of one topic whose last message is kept


def split(names: str) -> tuple[str, ...]:
    """Names with spaces or commas between."""
    return tuple(name for name in re.split(r"[\s,]+", names) if name)


def absolute(node: Node, names: Iterable[str]) -> tuple[str, ...]:
    """Absolute patterns of these topics of a node."""
    namespace = node.get_namespace().rstrip("/")

    def one(name: str) -> str:
        if "*" not in name:
            return node.resolve_topic_name(name)  # remapped, if it is
        return name if name.startswith("/") else f"{namespace}/{name}"

    return tuple(one(name) for name in names)


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


def channel_of(topic: str, kind: str, publishers: Sequence[Any]) -> Channel:
    """How a bag describes a topic, its publishers included.

    Raises:
        UnknownType: its type is not installed.
    """
    profiles = [_qos_as_rosbag2(publisher.qos_profile) for publisher in publishers]
    metadata = {QOS: yaml.safe_dump(profiles, sort_keys=False)}
    if publishers:
        metadata[TYPE_HASH] = str(publishers[0].topic_type_hash)
    return Channel(topic, Schema(kind, "ros2msg", definition(kind).encode()), "cdr", metadata)


def _profile_for(publishers: Sequence[Any]) -> QoSProfile:
    """What every one of these publishers is compatible with, and whoever comes where there is none.

    As reliable as all of them, and latched where all are, as `ros2 bag record` does it.
    """
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = bool(profiles) and all(
        profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles
    )
    latched = bool(profiles) and all(
        profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles
    )
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

    def set_publishers(self, publishers: Iterable[bytes]) -> bool:
        """Who publishes now; whether that is new."""
        found = frozenset(publishers)
        if found == self.publishers:
            return False
        self.publishers, self._next = found, None
        return True

    def lost_before(self, sequence: int) -> int:
        """How many are missing before this one."""
        expected, self._next = self._next, sequence + 1
        if expected is None or len(self.publishers) != 1:
            return 0
        return max(0, sequence - expected)


class Listened:
    """One topic that is listened to.

    When its publishers ask for another profile, the subscription before stays until the new one is
    known to them: for a while messages come twice, and are taken once.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.profile: QoSProfile | None = None
        self.sequences = Sequences()
        self.latched: deque[Message] = deque(maxlen=1)
        self.subscription: Subscription | None = None
        self.before: Subscription | None = None
        self.before_until = 0.0  # monotonic s
        self._twice: deque[tuple[int, int]] = deque(maxlen=DEPTH)

    @property
    def is_latched(self) -> bool:
        """Whether its publishers keep messages for who comes late."""
        return (
            self.profile is not None and self.profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        )

    def is_new(self, raw: RawMessage) -> bool:
        """Whether this message has not come on the other subscription."""
        if self.before is None:
            return True
        key = (raw.source_time, raw.sequence)
        if key in self._twice:
            return False
        self._twice.append(key)
        return True


class Topics:
    """Listens to every topic that matches, and to new ones as they appear.

    `take(message, lost)` gets each message, and how many are missing before it; `say` what a user
    should know of.
    """

    def __init__(
        self,
        node: Node,
        inbox: RawInbox,
        extra: str,
        take: Callable[[Message, int], None],
        say: Callable[[str], None],
    ) -> None:
        """`extra`: topics besides `TOPICS`, or patterns, with spaces between."""
        self._node = node
        self._inbox = inbox
        self._wanted = absolute(node, (*TOPICS, *split(extra)))
        self._state = absolute(node, STATE)
        self._take = take
        self._changed = time.monotonic()
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
        latched = [topic for topic in self._listened.values() if topic.is_latched]
        return [message for topic in latched for message in topic.latched]

    @property
    def settled_for(self) -> float:
        """Time since a topic was last subscribed to, in s."""
        return time.monotonic() - self._changed

    def unheard(self) -> list[str]:
        """Topics of the robot's state that somebody waits for and that do not reach us yet."""
        return [
            name
            for name, topic in self._listened.items()
            if any(fnmatchcase(name, pattern) for pattern in self._state)
            and topic.subscription is not None
            and topic.subscription.get_publisher_count() == 0
        ]

    def look(self) -> None:
        """Follow what comes and goes. A topic that somebody waits for is listened to as well."""
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic not in self._refused and any(
                fnmatchcase(topic, pattern) for pattern in self._wanted
            ):
                try:
                    self._follow(topic, kinds[0])
                except UnknownType as error:
                    self._refused.add(topic)
                    self._say(f"{topic} is not recorded: {error}")

    def _follow(self, topic: str, kind: str) -> None:
        publishers = self._node.get_publishers_info_by_topic(topic)
        known = self._listened.get(topic)
        if known is None:
            known = self._listened[topic] = Listened(channel_of(topic, kind, publishers))
        if known.sequences.set_publishers(bytes(one.endpoint_gid) for one in publishers):
            known.channel = channel_of(topic, kind, publishers)
            known.latched = deque(known.latched, min(max(len(publishers), 1), MAX_LATCHED))
        profile = _profile_for(publishers)
        if known.profile is None or (publishers and known.profile != profile):
            self._subscribe(known, topic, kind, profile)
        elif known.before is not None and time.monotonic() > known.before_until:
            self._inbox.unsubscribe(known.before)
            known.before = None

    def _subscribe(self, known: Listened, topic: str, kind: str, profile: QoSProfile) -> None:
        if known.before is not None:
            self._inbox.unsubscribe(known.before)
        known.before, known.before_until = known.subscription, time.monotonic() + OVERLAP
        known.profile, self._changed = profile, time.monotonic()
        known.subscription = self._inbox.subscribe(
            topic, message_class(kind), profile, partial(self._on_message, known)
        )

    def _on_message(self, topic: Listened, raw: RawMessage) -> None:
        if not topic.is_new(raw):
            return
        lost = topic.sequences.lost_before(raw.sequence)
        message = as_message(topic.channel, raw)
        if topic.is_latched:
            topic.latched.append(message)
        self._take(message, lost)


def as_message(channel: Channel, raw: RawMessage) -> Message:
    """A received message as a bag has it; MCAP's sequence numbers have 32 bits."""
    return Message(channel, raw.sequence & 0xFFFFFFFF, raw.received_time, raw.source_time, raw.data)
