"""One bag as a folder: a chunked, compressed and indexed MCAP file and rosbag2's metadata.yaml.

It is made of a journal, or of what a cut file still holds. Version 9 of the metadata is that of
ROS 2 Jazzy (rosbag2_storage/bag_metadata.hpp, rosbag2_storage/yaml.hpp).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mcap.writer import CompressionType, Writer

from sac_demos.mcap_file import Channel, Message

VERSION = 9
METADATA = "metadata.yaml"
QOS = "offered_qos_profiles"  # metadata of a channel, as rosbag2_storage_mcap writes it
TYPE_HASH = "topic_type_hash"


@dataclass(frozen=True)
class Contents:
    """What was written into a bag."""

    messages: int
    start: int  # ns, the first log time
    end: int  # ns, the last one
    counts: Mapping[str, int]  # messages of each topic
    channels: Mapping[str, Channel]


class _Bag:
    """An MCAP file being written, and what is in it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._schemas: dict[tuple[str, str, bytes], int] = {}
        self._numbers: dict[str, int] = {}
        self.channels: dict[str, Channel] = {}
        self.counts: Counter[str] = Counter()
        self.start, self.end = 2**63 - 1, 0

    def add(self, message: Message) -> None:
        channel = message.channel
        number = self._numbers.get(channel.topic)
        if number is None:
            number = self._register(channel)
        self._writer.add_message(
            number, message.log_time, message.data, message.publish_time, message.sequence
        )
        self.counts[channel.topic] += 1
        self.start = min(self.start, message.log_time)
        self.end = max(self.end, message.log_time)

    def _register(self, channel: Channel) -> int:
        schema = channel.schema
        key = (schema.name, schema.encoding, schema.data)
        if key not in self._schemas:
            self._schemas[key] = self._writer.register_schema(*key)
        number = self._writer.register_channel(
            channel.topic, channel.encoding, self._schemas[key], dict(channel.metadata)
        )
        self._numbers[channel.topic] = number
        self.channels[channel.topic] = channel
        return number

    def contents(self) -> Contents:
        count = sum(self.counts.values())
        start, end = (self.start, self.end) if count else (0, 0)
        return Contents(count, start, end, dict(self.counts), dict(self.channels))


def write_bag(
    folder: Path, name: str, messages: Iterable[Message], custom_data: Mapping[str, str]
) -> Contents:
    """Write `<folder>/<name>_0.mcap` and its metadata; the folder is there.

    Raises:
        OSError: the disk does not take it.
        McapError: of `messages`.
    """
    path = folder / f"{name}_0.mcap"
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.ZSTD, enable_data_crcs=True)
        writer.start("ros2", "sac_demos")
        bag = _Bag(writer)
        for message in messages:
            bag.add(message)
        contents = bag.contents()
        information = _information(path.name, contents, custom_data)
        # rosbag2 reads it where there is no metadata.yaml.
        writer.add_metadata("rosbag2", {"serialized_metadata": _yaml(information)})
        writer.finish()
        file.flush()
        os.fsync(file.fileno())
    text = _yaml({"rosbag2_bagfile_information": information})
    (folder / METADATA).write_text(text)
    return contents


def _yaml(values: object) -> str:
    text: str = yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False)
    return text


def _information(file: str, contents: Contents, custom_data: Mapping[str, str]) -> dict[str, Any]:
    def extent() -> dict[str, Any]:
        return {
            "starting_time": {"nanoseconds_since_epoch": contents.start},
            "duration": {"nanoseconds": contents.end - contents.start},
            "message_count": contents.messages,
        }

    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        **extent(),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic,
                    "type": channel.schema.name,
                    "serialization_format": channel.encoding,
                    "offered_qos_profiles": _profiles(channel),
                    "type_description_hash": channel.metadata.get(TYPE_HASH, ""),
                },
                "message_count": contents.counts[topic],
            }
            for topic, channel in contents.channels.items()
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [{"path": file, **extent()}],
        "custom_data": dict(custom_data) or None,
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
    }


def _profiles(channel: Channel) -> list[Any]:
    """The profiles that the topic's publishers offered."""
    try:
        found = yaml.safe_load(channel.metadata.get(QOS, ""))
    except (yaml.YAMLError, RecursionError):  # of a bag from elsewhere
        return []
    return found if isinstance(found, list) else []
