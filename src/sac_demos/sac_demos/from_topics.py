"""Episodes of any bag, by a mapping of topics to observation and action.

With a task, observations, reward and success are made of the robot's messages by the code that the
live actor uses, at the same ticks; otherwise all of it comes from the sources of the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sac_core.rlds_writer import Episode, EpisodeLabels
from sac_demos.alignment import NEVER, Times, Values, fixed_rate, ticks_of
from sac_demos.bags import Bag, BagError
from sac_demos.decoding import decode
from sac_demos.from_steps import Harvest
from sac_demos.idle import trim_start
from sac_demos.mapping import TIMES, Mapping, Source
from sac_demos.mcap_file import Channel
from sac_demos.series import Ticks, Topic, at_ticks, difference, is_old, scaled
from sac_demos.task_states import Span, TaskStates
from sac_msgs.msg import EpisodeEvent, TransitionBatch
from sac_ros.robot_input import SAME_INSTANT

SAID = {EpisodeEvent.OUTCOME_SUCCESS: True, EpisodeEvent.OUTCOME_FAILURE: False}
GAP_PERIODS = 2.5  # periods without a tick that make a gap


@dataclass
class Ages:
    """How old what sources gave was, at the ticks."""

    total: float = 0.0  # s, sum
    largest: float = 0.0  # s
    count: int = 0
    too_old: int = 0  # ticks

    def add(self, ages: Times, old: NDArray[np.bool_]) -> None:
        known = ages[ages != NEVER] / 1e9
        self.total += float(known.sum())
        self.largest = max(self.largest, float(known.max(initial=0.0)))
        self.count += len(known)
        self.too_old += int(old.sum())

    def join(self, other: Ages) -> None:
        self.total += other.total
        self.largest = max(self.largest, other.largest)
        self.count += other.count
        self.too_old += other.too_old

    @property
    def mean(self) -> float:
        """s."""
        return self.total / self.count if self.count else 0.0


@dataclass
class TopicHarvest(Harvest):
    """As `Harvest`, with the ages of each topic."""

    ages: dict[str, Ages] = field(default_factory=dict)


def read_topics(bag: Bag, mapping: Mapping, instruction: str) -> TopicHarvest:
    """The episodes of a bag.

    Raises:
        BagError: it is broken, or lacks something that the mapping asks for.
    """
    harvest = TopicHarvest()
    try:
        topics, states = _read(bag, mapping)
        spans = states.spans if states is not None else [Span()]
        for span in spans:
            said = _success(bag, mapping, topics) if len(spans) == 1 else None
            if said is None and span.ended is not None:
                said = SAID.get(span.ended.outcome)
            if span.ended is not None and span.ended.discarded:
                harvest.discarded += 1
                continue
            ticks = _ticks(mapping, topics) if states is None else span.ticks
            if len(ticks) < 2:
                continue
            table = _table(mapping, topics, ticks, harvest)
            if states is not None:
                table = _with_task(mapping, table, states, span)
            _cut(bag, mapping, table, span, said, harvest, instruction)
        if not (harvest.episodes or harvest.dropped or harvest.discarded):
            raise ValueError("no two ticks at which every topic is there")
    except BagError:
        raise
    except ValueError as error:
        raise BagError(f"{bag.path}: {error}") from error
    return harvest


def _sources(mapping: Mapping) -> list[Source]:
    found = [*mapping.observation, *mapping.action]
    if mapping.reward is not None:
        found.append(mapping.reward)
    return found + [one.relative_to for one in found if one.relative_to is not None]


def _read(bag: Bag, mapping: Mapping) -> tuple[dict[str, Topic], TaskStates | None]:
    """Everything of interest, in one pass."""
    sources: dict[str, list[Source]] = {name: [] for name in mapping.topics}
    for source in _sources(mapping):
        sources[source.topic].append(source)
    if mapping.success.topic:
        sources[mapping.success.topic].append(_success_source(mapping))
    states = TaskStates(mapping) if mapping.task is not None else None

    def wanted(channel: Channel) -> bool:
        return channel.topic in sources or (states is not None and channel.topic in states.topics)

    topics: dict[str, Topic] = {}
    for message in bag.messages(wanted):
        name = message.channel.topic
        content = decode(message)
        if states is not None and name in states.topics:
            states.add(message, content)
        if name in sources:
            topic = topics.setdefault(name, Topic(message.channel))
            topic.add(message, content, dict.fromkeys(sources[name]))
    if states is not None:
        states.settle()
    return topics, states


def _success_source(mapping: Mapping) -> Source:
    return Source(mapping.success.topic, (mapping.success.field,), time="receive")


# The timeline.


def _ticks(mapping: Mapping, topics: Dictionary[str, Topic]) -> Ticks:
    timeline = mapping.timeline
    extents = _extents(mapping, topics)
    if not timeline.ticks:  # all clocks are taken for the same
        first, last = _common(list(extents.values()))
        return Ticks.at(fixed_rate(first, last, timeline.rate))
    topic = topics.get(timeline.ticks)
    if topic is None:
        raise ValueError(f"no messages on {timeline.ticks}")
    times = topic.clock.times(timeline.time)
    there = np.ones(len(times), bool)
    for kind, (first, last) in extents.items():
        mine = topic.clock.times(kind)
        there &= (mine >= first) & (mine <= last)
    order = np.argsort(times, kind="stable")
    inside = order[there[order]]
    period = round(1e9 / timeline.rate) if timeline.rate else 1
    due = ticks_of(times[inside], period, SAME_INSTANT)
    chosen = inside[np.searchsorted(times[inside], due)]
    return Ticks({kind: topic.clock.times(kind)[chosen] for kind in TIMES})


def _extents(mapping: Mapping, topics: Dictionary[str, Topic]) -> dict[str, tuple[int, int]]:
    """From when on every topic is there, and until when (ns), by each of the clocks in use."""
    found: dict[str, list[tuple[int, int]]] = {}
    for source in _sources(mapping):
        topic = topics.get(source.topic)
        if topic is None:
            raise ValueError(f"no messages on {source.topic}")
        if not topic.is_latched:
            times = topic.clock.times(source.time)
            if source.time == "header" and not times.any():
                raise ValueError(f"{source.topic}: its headers have no time: give time: receive")
            found.setdefault(source.time, []).append((int(times.min()), int(times.max())))
    if not found:
        raise ValueError("every topic is latched: nothing says how time goes on")
    return {kind: _common(extents, kind) for kind, extents in found.items()}


def _common(extents: list[tuple[int, int]], kind: str = "all") -> tuple[int, int]:
    """What these have in common."""
    first, last = max(first for first, _ in extents), min(last for _, last in extents)
    if first > last:
        raise ValueError(
            f"by {kind} times no moment has all topics: the last begins at {first / 1e9:.3f} s, "
            f"the first ends at {last / 1e9:.3f} s"
        )
    return first, last


# Values at ticks.


@dataclass(frozen=True)
class Table:
    """T ticks: what was observed there, and what was done from each to the next."""

    stamps: Times  # (T,) ns
    observations: Values  # (T, observation_size)
    actions: Values  # (T - 1, action_size)
    rewards: Values | None  # (T - 1,); None: for success alone
    good: NDArray[np.bool_]  # (T - 1,) the step is one: all is there before, for and after it
    succeeded: NDArray[np.bool_] | None = None  # (T,), where a task says so


def _table(
    mapping: Mapping, topics: Dictionary[str, Topic], ticks: Ticks, harvest: TopicHarvest
) -> Table:
    stamps = ticks.times(mapping.timeline.time)
    good = np.diff(stamps) <= _longest(mapping, stamps)

    def steps(source: Source) -> Values:
        """What a source gives for each step."""
        nonlocal good
        found = at_ticks(source, topics, ticks)
        old = is_old(source, found)
        harvest.ages.setdefault(source.topic, Ages()).add(found.ages, old)
        good &= ~(old[:-1] if source.take == "value" else old[1:])
        if source.take == "delta":
            good &= ~old[:-1]
        taken = _taken(source, found.values)
        good &= np.isfinite(taken).all(axis=1)
        return taken

    def states(source: Source) -> Values:
        """What a source gives for each tick."""
        nonlocal good
        found = at_ticks(source, topics, ticks)
        old = is_old(source, found)
        harvest.ages.setdefault(source.topic, Ages()).add(found.ages, old)
        values = scaled(source, found.values)
        old |= ~np.isfinite(values).all(axis=1)
        good &= ~(old[:-1] | old[1:])
        return values

    actions = np.hstack([steps(source) for source in mapping.action])
    empty = np.zeros((len(ticks), 0))
    observations = np.hstack([empty, *(states(source) for source in mapping.observation)])
    rewards = None
    if mapping.reward is not None:
        found = steps(mapping.reward)
        if found.shape[1] != 1:
            raise ValueError(f"reward: expected one number, got {found.shape[1]}")
        rewards = found[:, 0]
    return Table(stamps, observations, actions, rewards, good)


def _with_task(mapping: Mapping, table: Table, states: TaskStates, span: Span) -> Table:
    """The table with what the task makes of the robot's states."""
    size = states.task.action_size
    if table.actions.shape[1] != size:
        raise ValueError(
            f"action: task {states.task.name} expects {size} numbers, the sources give "
            f"{table.actions.shape[1]}"
        )
    seen = states.see(span, table.actions)
    good = np.array(span.good) & np.isfinite(seen.observations).all(axis=1)
    return replace(
        table,
        observations=seen.observations,
        rewards=seen.rewards if table.rewards is None else table.rewards,
        succeeded=seen.succeeded,
        good=table.good & good[:-1] & good[1:],
    )


def _longest(mapping: Mapping, stamps: Times) -> float:
    """The longest time from a tick to the next, in ns, that is no gap."""
    period = float(np.median(np.diff(stamps)))
    if mapping.timeline.rate:
        period = max(period, 1e9 / mapping.timeline.rate)
    return GAP_PERIODS * period


def _taken(source: Source, values: Values) -> Values:
    """Of values at ticks `(T, size)` those of the steps between them `(T - 1, …)`."""
    if source.take == "value":
        return scaled(source, values[:-1])
    if source.take == "next":
        return scaled(source, values[1:])
    return scaled(source, difference(source, values[:-1], values[1:]))


# Episodes.


def _success(bag: Bag, mapping: Mapping, topics: Dictionary[str, Topic]) -> bool | None:
    """What is said of the bag as a whole; None: nothing."""
    rule = mapping.success
    if rule.flag is not None:
        return rule.flag
    if rule.topic:
        topic = topics.get(rule.topic)
        if topic is None:
            return False  # nobody ever said that it succeeded
        return bool(topic.values(_success_source(mapping))[-1].any())
    said = bag.custom_data.get(rule.custom_data, "").lower()
    return {"true": True, "success": True, "1": True, "false": False, "failure": False}.get(said)


def _cut(
    bag: Bag,
    mapping: Mapping,
    table: Table,
    span: Span,
    said: bool | None,
    harvest: TopicHarvest,
    instruction: str,
) -> None:
    """Make episodes of the steps that are good."""
    table, succeeded = _until_success(table)
    runs = _runs(table.good)
    is_whole = runs == [(0, len(table.good))]
    if not is_whole and mapping.gaps == "refuse":
        raise ValueError(
            f"{int((~table.good).sum())} of {len(table.good)} steps lack something new enough "
            "and finite (gaps: refuse)"
        )
    if not is_whole and mapping.gaps == "drop":
        harvest.dropped += 1
        return
    long = [(begin, end) for begin, end in runs if end - begin >= mapping.min_steps]
    harvest.dropped += len(runs) - len(long)
    harvest.split += len(long) > 1
    for number, (begin, end) in enumerate(long, start=1):
        is_end = end == len(table.good)
        success = is_end and (succeeded if said is None else said)
        labels = _labels(bag, mapping, span, said if is_end else None, success)
        if len(long) > 1:
            labels = replace(labels, episode_id=f"{labels.episode_id}#{number}")
        terminated = success if mapping.task is None else is_end and succeeded
        text = instruction or mapping.instruction or bag.custom_data.get("language_instruction", "")
        episode = Episode(
            observations=table.observations[begin : end + 1].astype(np.float32),
            actions=table.actions[begin:end].astype(np.float32),
            rewards=_rewards(table, begin, end, success),
            terminated=terminated,
            stamps=table.stamps[begin : end + 1],
            source=np.full(end - begin, TransitionBatch.SOURCE_HUMAN, np.uint8),
            language_instruction=text or labels.task.replace("_", " "),
            labels=labels,
        )
        episode, idle = trim_start(episode, mapping.trim_idle)
        harvest.idle += idle
        harvest.episodes.append(episode)


def _until_success(table: Table) -> tuple[Table, bool]:
    """The table up to the first state in which the task is done, and whether there is one."""
    if table.succeeded is None or not table.succeeded[1:].any():
        return table, False
    end = int(np.flatnonzero(table.succeeded[1:])[0]) + 1
    return Table(
        table.stamps[: end + 1],
        table.observations[: end + 1],
        table.actions[:end],
        None if table.rewards is None else table.rewards[:end],
        table.good[:end],
    ), True


def _runs(good: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of each run of good steps."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], good, [False])).astype(int)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def _rewards(table: Table, begin: int, end: int, success: bool) -> NDArray[np.float32]:
    if table.rewards is not None:
        return table.rewards[begin:end].astype(np.float32)
    rewards = np.zeros(end - begin, np.float32)
    rewards[-1] = 1.0 if success else 0.0
    return rewards


def _labels(
    bag: Bag, mapping: Mapping, span: Span, said: bool | None, success: bool
) -> EpisodeLabels:
    event = span.ended or span.started
    known = said is not None or mapping.task is not None
    return EpisodeLabels(
        episode_id=bag.path.name
        if event is None
        else f"{event.actor_id}/{event.actor_session:016x}/{event.episode}",
        agent_id=str(event.actor_id) if event is not None else "",
        task=mapping.task.name if mapping.task is not None else bag.custom_data.get("task", ""),
        operator_name=bag.custom_data.get("operator_name", ""),
        outcome=("success" if success else "failure") if known else "unknown",
        success=success,
        control_rate=mapping.timeline.rate,
    )
