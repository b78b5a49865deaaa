"""Numbers of topics over time, as a bag has them, and at the ticks of a timeline."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from collections.abc import Mapping as Dictionary
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from sac_core.limits import MAX_VECTOR_SIZE
from sac_demos.alignment import (
    INTERPOLATIONS,
    NEVER,
    Aligned,
    Times,
    Values,
    rotation_between,
)
from sac_demos.bag_folder import QOS
from sac_demos.mapping import TIMES, Source
from sac_demos.mcap_file import Channel, Message
from sac_ros.robot_input import nanoseconds

MAX_NUMBERS = 100_000_000  # of one source in one bag: 0.8 GB

_PART = re.compile(r"(\w+)(?:\[(\d+)(?::(\d+))?\])?")


class Clock:
    """The three times of messages, in ns."""

    def __init__(self) -> None:
        self._times = {kind: array("q") for kind in TIMES}

    def add(self, message: Message, content: Any) -> None:
        """Note the times of a message; without a header, 0 for that."""
        head = getattr(content, "header", None)
        self._times["header"].append(nanoseconds(head.stamp) if head is not None else 0)
        self._times["publish"].append(message.publish_time)
        self._times["receive"].append(message.log_time)

    def __len__(self) -> int:
        return len(self._times["header"])

    def times(self, kind: str) -> Times:
        """(N,) by one of the three."""
        return np.array(self._times[kind], np.int64)


class Topic:
    """The messages of one topic, as far as sources ask for them."""

    def __init__(self, channel: Channel) -> None:
        self.name = channel.topic
        self.clock = Clock()
        self.is_latched = _is_latched(channel)
        self._numbers: dict[Source, array[float]] = {}
        self._sizes: dict[Source, int] = {}

    def add(self, message: Message, content: Any, sources: Iterable[Source]) -> None:
        """Take a message in.

        Raises:
            ValueError: it lacks what a source asks for, or there are too many.
        """
        self.clock.add(message, content)
        for source in sources:
            values = extract(content, source)
            numbers = self._numbers.setdefault(source, array("d"))
            if len(values) != self._sizes.setdefault(source, len(values)):
                raise ValueError(f"{self.name}: {', '.join(source.fields)} changes its size")
            if len(numbers) + len(values) > MAX_NUMBERS:
                raise ValueError(f"{self.name}: more than {MAX_NUMBERS} numbers")
            numbers.frombytes(values.tobytes())

    def values(self, source: Source) -> Values:
        """(N, size) of one of the sources."""
        return np.array(self._numbers[source]).reshape(len(self.clock), self._sizes[source])


def _is_latched(channel: Channel) -> bool:
    """Whether its publishers keep the last message for who comes late: it does not age."""
    try:
        profiles = yaml.safe_load(channel.metadata.get(QOS, "")) or []
        return bool(profiles) and all(
            str(one["durability"]).lower() in ("transient_local", "1") for one in profiles
        )
    except (yaml.YAMLError, RecursionError, TypeError, KeyError):
        return False


def extract(content: Any, source: Source) -> NDArray[np.float64]:
    """The numbers that a source asks for, of one message.

    Raises:
        ValueError: the message has no such field, or it is no number.
    """
    order = _order(content, source)
    try:
        parts = [_field(content, name) for name in source.fields]
        if order is not None:
            parts = [part[order] for part in parts]
        values = np.concatenate(parts).astype(np.float64)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{source.topic}: no number at {', '.join(source.fields)}") from error
    if not 0 < len(values) <= MAX_VECTOR_SIZE:
        raise ValueError(f"{source.topic}: {len(values)} numbers at {', '.join(source.fields)}")
    return values


def _field(content: Any, path: str) -> NDArray[Any]:
    for match in _PART.finditer(path):
        content = getattr(content, match[1])
        if match[3] is not None:
            content = content[int(match[2]) : int(match[3])]
        elif match[2] is not None:
            content = content[int(match[2])]
    return np.atleast_1d(np.asarray(content)).ravel()


def _order(content: Any, source: Source) -> list[int] | None:
    """Where the joints of a source are in this message."""
    if not source.joints:
        return None
    names = list(getattr(content, "name", ()))
    missing = [joint for joint in source.joints if joint not in names]
    if missing:
        raise ValueError(f"{source.topic}: no joint {', '.join(missing)[:80]}")
    return [names.index(joint) for joint in source.joints]


class Ticks:
    """A timeline: of each tick its time by each of the three clocks, in ns."""

    def __init__(self, times: Dictionary[str, Times]) -> None:
        self._times = times

    @staticmethod
    def at(times: Times) -> Ticks:
        """Ticks of which only one time is known: all clocks are taken for the same."""
        return Ticks(dict.fromkeys(TIMES, times))

    def __len__(self) -> int:
        return len(self._times["header"])

    def times(self, kind: str) -> Times:
        """(T,) by one of the three."""
        return self._times[kind]


def at_ticks(source: Source, topics: Dictionary[str, Topic], ticks: Ticks) -> Aligned:
    """The values of a source at each tick, before `take` and scaling.

    Raises:
        ValueError: the bag has no such topic, or its messages no time.
    """
    topic = topics.get(source.topic)
    if topic is None:
        raise ValueError(f"no messages on {source.topic}")
    times, values = topic.clock.times(source.time), topic.values(source)
    if source.time == "header" and not times.any():
        raise ValueError(f"{source.topic}: its headers have no time: give time: receive")
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    wanted = ticks.times(source.time)
    if topic.is_latched:
        index = np.maximum(np.searchsorted(times, wanted, "right") - 1, 0)
        found = Aligned(values[index], np.zeros(len(wanted), np.int64))
    else:
        found = INTERPOLATIONS[source.interpolate](times, values, wanted)
    if source.relative_to is None:
        return found
    other = at_ticks(source.relative_to, topics, ticks)
    if other.values.shape != found.values.shape:
        raise ValueError(f"{source.topic}: relative_to has another number of values")
    ages = np.maximum(found.ages, other.ages)
    return Aligned(difference(source, other.values, found.values), ages)


def difference(source: Source, a: Values, b: Values) -> Values:
    """What leads from `a` to `b`: of quaternions a rotation, `(N, 3)`."""
    if source.interpolate != "spherical":
        return b - a
    if a.shape[1:] != (4,):
        raise ValueError(f"{source.topic}: spherical needs the four numbers of a quaternion")
    return rotation_between(a, b)


def is_old(source: Source, found: Aligned) -> NDArray[np.bool_]:
    """At which ticks there is nothing, or nothing new enough."""
    return (found.ages > source.max_age * 1e9) | (found.ages == NEVER)


def scaled(source: Source, values: Values) -> Values:
    """As a source's bounds say: to [-1, 1] and cut there, or to -1 and 1."""
    if source.below is not None:
        return np.where(values < source.below, 1.0, -1.0)
    if source.low is None or source.high is None:
        return values
    middle, half = (source.low + source.high) / 2, (source.high - source.low) / 2
    return np.clip((values - middle) / half, -1.0, 1.0)
