"""Episodes of the actor's own rows: the transitions of a live run, as they were.

Rows come on `sac/steps` one by one with their numbers, or in the batches of `sac/transitions`; each
is taken once. `sac/episode` says where episodes begin and end, and has the last word on how. Where
it is missing, rows do: an episode ends with a terminated or truncated one, before one that is
missing, and where the next row does not begin with the observation that the last one led to.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sac_core.rlds_writer import Episode, EpisodeLabels
from sac_demos.bags import Bag, BagError, one_line
from sac_demos.decoding import decode
from sac_demos.episodes import OUTCOMES
from sac_demos.mcap_file import Channel
from sac_msgs.msg import EpisodeEvent
from sac_ros.codecs import (
    MAX_BATCH_ROWS,
    Transitions,
    check_episode_event,
    transitions_from_message,
)
from sac_ros.robot_input import nanoseconds

BATCHES = "sac_msgs/msg/TransitionBatch"
EVENTS = "sac_msgs/msg/EpisodeEvent"
UNLIKE = (AttributeError, TypeError, LookupError, OverflowError)  # of a message of another version
DEFAULT_PERIOD = 100_000_000  # ns between rows of which nobody says when they were


@dataclass
class Harvest:
    """What a bag gave."""

    episodes: list[Episode] = field(default_factory=list)
    discarded: int = 0  # episodes that the person did not want
    missing: int = 0  # transitions that are not in the bag
    split: int = 0  # episodes that were divided where something is missing
    idle: int = 0  # steps at the beginning in which nothing was asked for
    dropped: int = 0  # episodes left out because of gaps, or because they were too short


@dataclass
class _Told:
    """What an actor said of one episode."""

    first: int  # number of its first row
    begin: int = 0  # ns, stamp of its first state; 0: not known
    started: Any = None  # EpisodeEvent; None: not known
    ended: Any = None  # the same

    @property
    def end(self) -> int:
        """The number after its last row, as far as that is known."""
        return 2**63 if self.ended is None else self.first + int(self.ended.length)


@dataclass
class _Session:
    """All that a bag holds of one process of one actor."""

    batches: dict[int, Any] = field(default_factory=dict)  # by the number of their first row
    told: dict[int, _Told] = field(default_factory=dict)  # by the number of the episode


def wanted(channel: Channel) -> bool:
    """Whether a topic tells of transitions."""
    return channel.schema.name in (BATCHES, EVENTS)


def read_steps(bag: Bag, instruction: str) -> Harvest:
    """The episodes of all actors in a bag.

    Raises:
        BagError: it is broken, or holds no transitions.
    """
    try:
        sessions = _own(bag, _sessions(bag))
    except BagError:
        raise
    except ValueError as error:
        raise BagError(f"{bag.path}: {error}") from error
    if not any(session.batches for session in sessions.values()):
        raise BagError(
            f"{bag.path}: no transitions on sac/steps: a YAML (--config) can say which topics are "
            "observation and action"
        )
    harvest = Harvest()
    for number, session in sessions.items():
        if session.batches:
            try:
                rows = _Rows(session, number)
            except (ValueError, *UNLIKE) as error:
                raise BagError(f"{bag.path}: sac/steps: {one_line(error)}") from error
            _harvest(rows, session, harvest, instruction or _instruction(bag))
    _relabel(bag, harvest)
    return harvest


def _instruction(bag: Bag) -> str:
    return bag.custom_data.get("language_instruction", "")


def _sessions(bag: Bag) -> dict[int, _Session]:
    sessions: dict[int, _Session] = {}
    for message in bag.messages(wanted):
        channel = message.channel
        try:
            content = decode(message)
            session = sessions.setdefault(int(content.actor_session), _Session())
            if channel.schema.name == BATCHES:
                _check_lengths(content)
                _keep(session, content)
            else:
                check_episode_event(content)
                _tell(session, content)
        except UNLIKE as error:
            raise ValueError(
                f"{channel.topic}: expected {channel.schema.name} as this version has it: "
                f"{one_line(error)}"
            ) from error
    return sessions


def _keep(session: _Session, batch: Any) -> None:
    """What was sent again, or on two topics, is the same, and as long or longer."""
    first = int(batch.first_sequence)
    there = session.batches.get(first)
    if there is None or len(there.rewards) < len(batch.rewards):
        session.batches[first] = batch


def _own(bag: Bag, sessions: dict[int, _Session]) -> dict[int, _Session]:
    """Of a recorder's bag, which is of one episode, no row of the next.

    The recorder writes rows before it hears that the episode has ended.
    """
    said = bag.custom_data
    if not {"session", "first_sequence", "length"} <= said.keys() or said["length"] == "":
        return sessions
    try:
        own, first = int(said["session"], 16), int(said["first_sequence"])
        end = first + int(said["length"])
    except ValueError as error:
        raise ValueError(f"its custom data are not those of a recorder: {error}") from error
    session = sessions.get(own)
    if session is None:
        return {}
    inside = {
        number: _until(batch, end)
        for number, batch in session.batches.items()
        if number < end and number + len(batch.rewards) > first
    }
    return {own: replace(session, batches=inside)}


def _until(batch: Any, end: int) -> Any:
    """A batch without its rows from number `end` on."""
    count = min(len(batch.rewards), end - int(batch.first_sequence))
    if count == len(batch.rewards):
        return batch
    sizes = {"observations": int(batch.observation_size), "actions": int(batch.action_size)}
    sizes["next_observations"] = sizes["observations"]
    columns = {
        column.name: getattr(batch, column.name)[: count * sizes.get(column.name, 1)]
        for column in fields(Transitions)
    }
    return replace(batch, **columns)


def _tell(session: _Session, event: Any) -> None:
    told = session.told.setdefault(int(event.episode), _Told(int(event.first_sequence)))
    if event.event == EpisodeEvent.STARTED:
        told.begin, told.started = nanoseconds(event.header.stamp), event
    else:
        told.ended = event


def _check_lengths(batch: Any) -> None:
    """Each array by itself: together, one that is too long could make up for another."""
    count, size = len(batch.rewards), int(batch.observation_size)
    lengths = (len(batch.observations), len(batch.next_observations), len(batch.actions))
    flags = (batch.terminated, batch.truncated, batch.source, batch.policy_version)
    if (
        not count
        or lengths != (count * size, count * size, count * int(batch.action_size))
        or any(len(flag) != count for flag in flags)
    ):
        raise ValueError(f"a row's arrays do not belong together: {count} rows, {lengths} values")


class _Rows:
    """A session's rows in one piece, in the order of their numbers, each once."""

    def __init__(self, session: _Session, number: int) -> None:
        batches = [session.batches[first] for first in sorted(session.batches)]
        example = batches[0]
        for batch in batches:
            sizes = (batch.observation_size, batch.action_size, batch.task, batch.actor_id)
            mine = (example.observation_size, example.action_size, example.task, example.actor_id)
            if sizes != mine:
                raise ValueError(f"session {number:016x} has rows of {mine} and of {sizes}")
        numbers = np.concatenate([_numbers(batch) for batch in batches])
        stamps = np.concatenate([_stamps(batch) for batch in batches])
        _, once = np.unique(numbers, return_index=True)
        self.session = number
        self.actor, self.task = str(example.actor_id), str(example.task)
        self.numbers: NDArray[np.int64] = numbers[once]
        self.stamps: NDArray[np.int64] = stamps[once]
        self.transitions = _checked(batches, once)

    def __len__(self) -> int:
        return len(self.numbers)


def _numbers(batch: Any) -> NDArray[np.int64]:
    first = int(batch.first_sequence)
    if first > 2**53:
        raise ValueError(f"first_sequence is {first}, expected at most {2**53}")
    return first + np.arange(len(batch.rewards))


def _stamps(batch: Any) -> NDArray[np.int64]:
    """Of the states after each row; a batch says that of its last one only."""
    back = np.arange(len(batch.rewards) - 1, -1, -1)
    return nanoseconds(batch.header.stamp) - back * DEFAULT_PERIOD


def _checked(batches: list[Any], once: NDArray[np.int64]) -> Transitions:
    """All rows through the checks that a learner makes, many at a time."""
    parts: list[Transitions] = []
    group: list[Any] = []
    rows = 0
    for batch in batches:
        if rows + len(batch.rewards) > MAX_BATCH_ROWS:
            parts.append(_check(group))
            group, rows = [], 0
        group.append(batch)
        rows += len(batch.rewards)
    parts.append(_check(group))
    return Transitions(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])[once]
            for name in vars(parts[0])
        }
    )


def _check(batches: list[Any]) -> Transitions:
    """Several batches as one."""
    example = batches[0]
    whole = SimpleNamespace(
        actor_id=example.actor_id,
        task=example.task,
        first_sequence=0,
        oldest_sequence=0,
        dropped=0,
        observation_size=example.observation_size,
        action_size=example.action_size,
        **{
            column.name: np.concatenate([getattr(batch, column.name) for batch in batches])
            for column in fields(Transitions)
        },
    )
    return transitions_from_message(whole)


# Episodes.


def _harvest(rows: _Rows, session: _Session, harvest: Harvest, instruction: str) -> None:
    """Cut a session's rows into episodes."""
    told = sorted(session.told.values(), key=lambda one: one.first)
    harvest.missing += _missing(rows, told)
    bounds = [*_starts(rows, told), len(rows)]
    parts: dict[int, int] = {}  # by the first row of an episode, how many pieces it has
    discarded = set()
    for begin, end in pairwise(bounds):
        own = _told_of(int(rows.numbers[begin]), told)
        if own is not None and own.ended is not None and own.ended.discarded:
            discarded.add(own.first)
            continue
        first = own.first if own is not None else int(rows.numbers[begin])
        parts[first] = parts.get(first, 0) + 1
        episode = _episode(rows, begin, end, own, instruction)
        if parts[first] > 1:
            name = f"{episode.labels.episode_id}#{parts[first]}"
            episode = replace(episode, labels=replace(episode.labels, episode_id=name))
        harvest.episodes.append(episode)
    harvest.split += sum(count > 1 for count in parts.values())
    harvest.discarded += len(discarded)


def _missing(rows: _Rows, told: list[_Told]) -> int:
    """Transitions that there were and that the bag has not."""
    first = min([int(rows.numbers[0]), *(one.first for one in told)])
    ends = [one.end for one in told if one.ended is not None]
    return max([int(rows.numbers[-1]) + 1, *ends]) - first - len(rows)


def _starts(rows: _Rows, told: list[_Told]) -> list[int]:
    """Where in the rows an episode begins, or what is left of one."""
    data = rows.transitions
    over = (data.terminated | data.truncated).astype(bool)
    following = data.next_observations[:-1].view(np.uint32)
    broken = (following != data.observations[1:].view(np.uint32)).any(axis=1)
    starts = np.ones(len(rows), bool)
    starts[1:] = over[:-1] | broken | (np.diff(rows.numbers) != 1)
    edges = [one.first for one in told] + [one.end for one in told if one.ended is not None]
    starts |= np.isin(rows.numbers, edges)
    return [int(one) for one in np.flatnonzero(starts)]


def _told_of(number: int, told: list[_Told]) -> _Told | None:
    """The episode that this row belongs to."""
    for one in reversed(told):
        if one.first <= number:
            return one if number < one.end else None
    return None


def _episode(rows: _Rows, begin: int, end: int, told: _Told | None, instruction: str) -> Episode:
    data = rows.transitions[begin:end]
    event = (told.ended or told.started) if told is not None else None
    outcome = "unknown"
    if told is not None and told.ended is not None and rows.numbers[end - 1] + 1 == told.end:
        outcome = OUTCOMES[told.ended.outcome]
    stamp = int(rows.stamps[begin])
    is_begin = told is not None and told.begin and rows.numbers[begin] == told.first
    before = told.begin if is_begin and told is not None else stamp - _period(rows)
    return Episode(
        observations=np.concatenate((data.observations, data.next_observations[-1:])),
        actions=data.actions,
        rewards=data.rewards,
        terminated=bool(data.terminated[-1]),
        stamps=np.concatenate(([before], rows.stamps[begin:end])),
        source=data.source,
        language_instruction=instruction or rows.task.replace("_", " "),
        labels=EpisodeLabels(
            episode_id=f"{rows.actor}/{rows.session:016x}/"
            + (f"{event.episode}" if event is not None else f"row {rows.numbers[begin]}"),
            agent_id=rows.actor,
            task=rows.task,
            operator_name=str(event.operator_name) if event is not None else "",
            outcome=outcome,
            success=outcome == "success",
            control_rate=float(event.control_rate) if event is not None else 0.0,
        ),
    )


def _period(rows: _Rows) -> int:
    """The time between two rows, in ns."""
    if len(rows) < 2:
        return DEFAULT_PERIOD
    return int(np.median(np.diff(rows.stamps)))


def _relabel(bag: Bag, harvest: Harvest) -> None:
    """What a bag of one episode says of it counts, also when it was said later."""
    said = {"true": True, "false": False}.get(bag.custom_data.get("success", ""))
    outcome = bag.custom_data.get("outcome", "unknown")
    if said is None or len(harvest.episodes) != 1 or (outcome == "unknown" and not said):
        return
    (episode,) = harvest.episodes
    labels = replace(episode.labels, success=said, outcome="success" if said else "failure")
    harvest.episodes[0] = replace(episode, labels=labels)
