"""Messages as bags hold them, and bags as others write them, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability
from rosbags.interfaces import QosTime as Time
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from sac_demos.definitions import definition
from sac_demos.mcap_file import Channel, Message, Schema
from sac_msgs.msg import EpisodeEvent, TransitionBatch
from sac_ros.codecs import Transitions, transitions_to_message


def schema(name: str) -> Schema:
    return Schema(name, "ros2msg", definition(name).encode())


CHATTER = Channel("/chatter", schema("std_msgs/msg/String"))
STRING = CHATTER.schema


def said(number: int, channel: Channel = CHATTER) -> Message:
    """One message that can be told from others."""
    data = serialize_message(String(data=f"message {number}"))
    return Message(channel, number, 10**9 + number * 10**7, 10**9 + number * 10**7 - 500, data)


def as_message(topic: str, content: Any, stamp: int, arrived: int | None = None) -> Message:
    """Anything with a header, stamped and recorded at these times (ns)."""
    kind = type(content)
    name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
    if hasattr(content, "header"):
        content.header.stamp.sec, content.header.stamp.nanosec = divmod(stamp, 10**9)
    at = stamp if arrived is None else arrived
    return Message(Channel(topic, schema(name)), 0, at, at, serialize_message(content))


def event(kind: int, stamp: int, **values: Any) -> Message:
    """The beginning or end of an episode."""
    known = {"actor_id": "actor", "actor_session": 7, "task": "toy", "control_rate": 10.0}
    return as_message("/sac/episode", EpisodeEvent(event=kind, **{**known, **values}), stamp)


def rows(transitions: Transitions, first: int, stamp: int, **values: Any) -> Message:
    """Rows as an actor sends them."""
    topic = values.pop("topic", "/sac/steps")
    known = {"actor_id": "actor", "actor_session": 7, "task": "toy"}
    batch = TransitionBatch(first_sequence=first, **{**known, **values})
    return as_message(topic, transitions_to_message(transitions, batch), stamp)


def joints(position: Iterable[float], names: Iterable[str]) -> JointState:
    """Without efforts, as many drivers send it."""
    position = list(position)
    return JointState(name=list(names), position=position, velocity=[0.0] * len(position))


def pose(position: Iterable[float], quaternion: Iterable[float]) -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = "base"
    for axis, value in zip("xyz", position, strict=True):
        setattr(message.pose.position, axis, float(value))
    for axis, value in zip("xyzw", quaternion, strict=True):
        setattr(message.pose.orientation, axis, float(value))
    return message


LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    Time(0, 0), Time(0, 0), QosLiveliness.AUTOMATIC, Time(0, 0), False,
)  # fmt: skip


def record(
    path: Path,
    messages: Iterable[Message],
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    custom_data: Mapping[str, str] | None = None,
    latched: frozenset[str] = frozenset(),
) -> Path:
    """A bag as rosbag2 writes it, by the rosbags library."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression != CompressionMode.NONE:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    for key, value in (custom_data or {}).items():
        writer.set_custom_data(key, value)
    connections: dict[str, Any] = {}
    with writer:
        for message in sorted(messages, key=lambda one: one.log_time):
            channel = message.channel
            if channel.topic not in connections:
                store = get_typestore(Stores.EMPTY)
                name = channel.schema.name
                store.register(get_types_from_msg(channel.schema.data.decode(), name))
                connections[channel.topic] = writer.add_connection(
                    channel.topic,
                    name,
                    msgdef=channel.schema.data.decode(),
                    rihs01=store.hash_rihs01(name),
                    offered_qos_profiles=[LATCHED] if channel.topic in latched else [],
                )
            writer.write(connections[channel.topic], message.log_time, message.data)
    return path


def chain(
    lengths: Iterable[tuple[int, bool]], sizes: tuple[int, int] = (3, 2), seed: int = 0
) -> Transitions:
    """Episodes of these lengths, each terminated or truncated, of random numbers."""
    rng = np.random.default_rng(seed)
    parts: list[tuple[np.ndarray, ...]] = []
    for length, terminated in lengths:
        seen = rng.standard_normal((length + 1, sizes[0])).astype(np.float32)
        last = np.arange(length) == length - 1
        parts.append((
            seen[:-1],
            rng.uniform(-1.0, 1.0, (length, sizes[1])).astype(np.float32),
            rng.standard_normal(length).astype(np.float32),
            seen[1:],
            (last & terminated).astype(np.uint8),
            (last & (not terminated)).astype(np.uint8),
            rng.integers(0, 4, length).astype(np.uint8),
            rng.integers(0, 100, length).astype(np.uint64),
        ))  # fmt: skip
    return Transitions(*(np.concatenate(column) for column in zip(*parts, strict=True)))
