"""The YAML that says what of a bag is observation, action and success (docs/demonstrations.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sac_demos.alignment import INTERPOLATIONS
from sac_envs.robots import ROBOTS
from sac_envs.task import Task
from sac_envs.tasks import make_task

MAX_YAML = 2**20  # bytes
TIMES = ("header", "publish", "receive")
TAKES = ("value", "next", "delta")
GAPS = ("split", "drop", "refuse")
_FIELD = re.compile(r"[A-Za-z]\w*(\[\d+(:\d+)?\])?(\.[A-Za-z]\w*(\[\d+(:\d+)?\])?)*", re.ASCII)
_TOPIC = re.compile(r"[A-Za-z/][\w/]*", re.ASCII)


class MappingError(ValueError):
    """The YAML says something that cannot be done; one line that names the place."""


@dataclass(frozen=True)
class Source:
    """Numbers of a topic, at the ticks of the timeline."""

    topic: str
    fields: tuple[str, ...]  # position[0:3], pose.position.x
    joints: tuple[str, ...] = ()  # of a JointState, these entries of each field, by name
    time: str = "header"
    interpolate: str = "hold"
    max_age: float = 0.2  # s; how far from a tick a message may be
    take: str = "value"  # at the tick, at the next one, or the difference of both
    relative_to: Source | None = None  # what is subtracted
    low: float | None = None  # what becomes -1
    high: float | None = None  # what becomes 1
    below: float | None = None  # 1 below this, -1 elsewhere


@dataclass(frozen=True)
class Timeline:
    """When there is an observation: at a fixed rate, at the messages of a topic, or at some."""

    rate: float = 0.0  # Hz; 0: every message of `ticks`
    ticks: str = ""  # topic; empty: the rate alone
    time: str = "header"


@dataclass(frozen=True)
class Success:
    """Where it is said whether an episode succeeded."""

    custom_data: str = "success"  # key of the bag's custom data
    topic: str = ""  # its last message says it
    field: str = "data"
    flag: bool | None = None  # for all bags


@dataclass(frozen=True)
class Mapping:
    """How to make episodes of bags."""

    timeline: Timeline
    observation: tuple[Source, ...]  # empty with a task: it observes itself
    action: tuple[Source, ...]
    task: Task | None = None
    robot_type: str = "fr3"
    namespace: str = ""  # of the robot's topics
    reward: Source | None = None  # else 1 for the last step of a success, or the task's
    success: Success = field(default_factory=Success)
    gaps: str = "split"
    trim_idle: float = 0.01  # actions up to this at the beginning are left out; 0: none
    min_steps: int = 2  # an episode, or a piece of one, has at least so many
    object_max_age: float = 0.3  # s; with a task, as of the actor
    instruction: str = ""

    @property
    def topics(self) -> frozenset[str]:
        """Every topic that is read, besides a task's own."""
        sources = [*self.observation, *self.action]
        sources += [source.relative_to for source in sources if source.relative_to is not None]
        if self.reward is not None:
            sources.append(self.reward)
        names = {source.topic for source in sources}
        return frozenset(names | {self.timeline.ticks, self.success.topic} - {""})


def load_mapping(path: Path) -> Mapping:
    """Read a YAML file.

    Raises:
        MappingError: it cannot be read, or says something that cannot be done.
    """
    try:
        if path.stat().st_size > MAX_YAML:
            raise MappingError(f"{path}: expected at most {MAX_YAML} bytes")
        content = yaml.load(path.read_bytes(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise MappingError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise MappingError(f"{path}: no YAML: {' '.join(str(error).split())[:200]}") from error
    try:
        return parse_mapping(content)
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from error


def parse_mapping(content: object) -> Mapping:
    """What a YAML file holds, as a mapping.

    Raises:
        MappingError: it says something that cannot be done.
    """
    place = _Place(content, "")
    task = _task(place)
    mapping = Mapping(
        timeline=_timeline(place.below("timeline"), task),
        observation=_sources(place, "observation"),
        action=_sources(place, "action"),
        task=task,
        robot_type=place.choice("robot_type", "fr3", tuple(ROBOTS)),
        namespace=place.text("namespace", ""),
        reward=_source(reward) if (reward := place.below("reward")) is not None else None,
        success=_success(place.below("success")),
        gaps=place.choice("gaps", "split", GAPS),
        trim_idle=place.number("trim_idle", 0.01, 0.0),
        min_steps=int(place.number("min_steps", 2, 1)),
        object_max_age=place.number("object_max_age", 0.3, 0.0),
        instruction=place.text("instruction", ""),
    )
    place.done()
    if task is None and not mapping.observation:
        raise MappingError("observation: expected at least one source, or a task")
    if task is not None and mapping.observation:
        raise MappingError("observation: a task makes its own; leave one of them out")
    if not mapping.action:
        raise MappingError("action: expected at least one source")
    return mapping


def _task(place: _Place) -> Task | None:
    name = place.text("task", "")
    try:
        return make_task(name) if name else None
    except ValueError as error:
        raise MappingError(f"task: {error}") from error


def _timeline(place: _Place | None, task: Task | None) -> Timeline:
    if task is not None:
        if place is not None:
            raise MappingError("timeline: a task has its own, that of the actor; leave it out")
        return Timeline(task.control_rate)
    if place is None:
        raise MappingError("timeline: expected rate (Hz), ticks (a topic), or both")
    timeline = Timeline(
        rate=place.number("rate", 0.0, 0.0),
        ticks=place.topic("ticks", ""),
        time=place.choice("time", "header", TIMES),
    )
    place.done()
    if not timeline.rate and not timeline.ticks:
        raise MappingError("timeline: expected rate (Hz), ticks (a topic), or both")
    return timeline


def _success(place: _Place | None) -> Success:
    if place is None:
        return Success()
    success = Success(
        custom_data=place.text("custom_data", "success"),
        topic=place.topic("topic", ""),
        field=place.field("field", "data"),
        flag=place.flag("flag"),
    )
    place.done()
    return success


def _sources(place: _Place, key: str) -> tuple[Source, ...]:
    return tuple(_source(one) for one in place.each(key))


def _source(place: _Place) -> Source:
    fields = place.texts("fields") or (place.text("field", ""),)
    for one in fields:
        if not _FIELD.fullmatch(one):
            raise MappingError(f"{place.name}.field: {one!r:.80}: expected one such as position[0]")
    relative = place.below("relative_to")
    source = Source(
        topic=place.topic("topic"),
        fields=fields,
        joints=place.texts("joints"),
        time=place.choice("time", "header", TIMES),
        interpolate=place.choice("interpolate", "hold", tuple(INTERPOLATIONS)),
        max_age=place.number("max_age", 0.2, 0.0),
        take=place.choice("take", "value", TAKES),
        relative_to=_source(relative) if relative is not None else None,
        low=place.optional("low"),
        high=place.optional("high"),
        below=place.optional("below"),
    )
    place.done()
    if (source.low is None) != (source.high is None):
        raise MappingError(f"{place.name}: low and high go together")
    if source.low is not None and source.high is not None and not source.low < source.high:
        raise MappingError(f"{place.name}: low is {source.low:g}, expected less than high")
    return source


class _Place:
    """A mapping in the YAML, taken apart key by key; what is left at the end is unknown."""

    def __init__(self, content: object, name: str) -> None:
        self.name = name
        if not isinstance(content, dict):
            raise MappingError(
                f"{name or 'the file'}: expected keys and values, got {content!r:.60}"
            )
        self._content: Dictionary[object, Any] = content
        self._known: list[str] = []

    def _at(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _get(self, key: str) -> Any:
        self._known.append(key)
        return self._content.get(key)

    def below(self, key: str) -> _Place | None:
        value = self._get(key)
        return None if value is None else _Place(value, self._at(key))

    def each(self, key: str) -> list[_Place]:
        value = self._get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise MappingError(f"{self._at(key)}: expected a list of sources, got {value!r:.60}")
        return [_Place(one, f"{self._at(key)}[{number}]") for number, one in enumerate(value)]

    def text(self, key: str, default: str) -> str:
        value = self._get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise MappingError(f"{self._at(key)}: expected a text, got {value!r:.60}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise MappingError(f"{self._at(key)}: expected a list of texts, got {value!r:.60}")
        return tuple(value)

    def topic(self, key: str, default: str | None = None) -> str:
        value = self.text(key, default or "")
        if not value and default is not None:
            return default
        if not _TOPIC.fullmatch(value):
            raise MappingError(f"{self._at(key)}: expected a topic, got {value!r:.80}")
        return value if value.startswith("/") else f"/{value}"

    def field(self, key: str, default: str) -> str:
        value = self.text(key, default)
        if not _FIELD.fullmatch(value):
            raise MappingError(f"{self._at(key)}: {value!r:.80}: expected one such as data")
        return value

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(key, default)
        if value not in choices:
            raise MappingError(
                f"{self._at(key)}: expected one of {', '.join(choices)}, got {value!r:.60}"
            )
        return value

    def number(self, key: str, default: float, least: float) -> float:
        value = self.optional(key)
        if value is None:
            return default
        if value < least:
            raise MappingError(f"{self._at(key)}: expected at least {least:g}, got {value:g}")
        return value

    def optional(self, key: str) -> float | None:
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise MappingError(f"{self._at(key)}: expected a number, got {value!r:.60}")
        return float(value)

    def flag(self, key: str) -> bool | None:
        value = self._get(key)
        if value is not None and not isinstance(value, bool):
            raise MappingError(f"{self._at(key)}: expected true or false, got {value!r:.60}")
        return value

    def done(self) -> None:
        unknown = [str(key) for key in self._content if key not in self._known]
        if unknown:
            raise MappingError(
                f"{self._at(unknown[0]):.80}: no such key; there are: {', '.join(self._known)}"
            )
