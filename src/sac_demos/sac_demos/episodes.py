"""Which message belongs into which episode's bag. No ROS node in here.

An episode is what one actor says begins and ends on `sac/episode`; its transitions are the rows of
`sac/steps` with its sequence numbers. The two topics and the robot's arrive in any order: what came
a moment before the beginning is kept for it, and after the end rows that are still under way are
waited for.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from sac_demos.mcap_file import Journal, Message
from sac_msgs.msg import EpisodeEvent, TransitionBatch

PREFIX = "episode_"
UNFINISHED = ".recording"  # suffix of a bag's folder until it is whole
JOURNAL = "journal.mcap"
INFORMATION = "episode"  # metadata of a journal: the custom data as far as it is known
TAIL = 0.1  # s that an episode's bag goes on after its end: other topics may be a moment behind
PATIENCE = 2.0  # s for rows that are under way when the episode ends
LEAD_BYTES = 64 * 2**20  # of what is kept for the next beginning
ROWS = 200  # transitions whose episode may not be known yet

OUTCOMES = {
    EpisodeEvent.OUTCOME_UNKNOWN: "unknown",
    EpisodeEvent.OUTCOME_SUCCESS: "success",
    EpisodeEvent.OUTCOME_FAILURE: "failure",
}


def next_number(save_path: Path) -> int:
    """One more than the largest number of a bag in the folder, be it whole or not."""
    pattern = re.compile(rf"{PREFIX}(\d{{1,9}})({re.escape(UNFINISHED)})?")
    found = [pattern.fullmatch(path.name) for path in save_path.iterdir()]
    return 1 + max((int(match[1]) for match in found if match), default=0)


class Lead:
    """The messages of the last `seconds`, for the beginning of a bag."""

    def __init__(self, seconds: float) -> None:
        self._span = int(seconds * 1e9)
        self._messages: deque[Message] = deque()
        self._bytes = 0

    def add(self, message: Message) -> None:
        self._messages.append(message)
        self._bytes += len(message.data)
        oldest = message.log_time - self._span
        while self._messages[0].log_time < oldest or self._bytes > LEAD_BYTES:
            self._bytes -= len(self._messages.popleft().data)
            if not self._messages:
                return

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)


class Recording:
    """The bag of one episode while it grows."""

    def __init__(self, save_path: Path, number: int, started: EpisodeEvent, instruction: str):
        self.number = number
        self.name = f"{PREFIX}{number:04d}"
        self.target = save_path / self.name
        self.folder = save_path / f"{self.name}{UNFINISHED}"
        self.journal = Journal(self.folder / JOURNAL)
        self.started = started
        self.ended: EpisodeEvent | None = None
        self.lost: Counter[str] = Counter()  # messages that came no more, by topic
        self.refused: Counter[str] = Counter()  # messages that the disk did not take
        self._instruction = instruction
        self._rows: set[int] = set()  # sequence numbers of the rows that are in
        self._newest: deque[tuple[Message, TransitionBatch]] = deque(maxlen=ROWS)
        self._ended_at: float | None = None  # monotonic s
        self._limit: int | None = None  # number of the next episode's first row
        self.abandoned = False  # nobody waits for it any more
        self.journal.add_metadata(INFORMATION, self.custom_data())

    def is_of(self, session: int) -> bool:
        return bool(self.started.actor_session == session)

    def wants(self, batch: TransitionBatch) -> bool:
        """Whether this row is one of the episode's."""
        if not self.is_of(batch.actor_session) or batch.first_sequence < self.first:
            return False
        end = self._limit if self.ended is None else self.first + int(self.ended.length)
        return end is None or batch.first_sequence < end

    @property
    def first(self) -> int:
        """Sequence number of the episode's first row."""
        return int(self.started.first_sequence)

    def add(self, message: Message) -> None:
        """Keep a message."""
        if not self.journal.add(message):
            self.refused[message.channel.topic] += 1

    def add_row(self, message: Message, batch: TransitionBatch) -> None:
        """Keep one of the episode's rows."""
        if self.journal.add(message):
            self._rows.add(int(batch.first_sequence))
            self._newest.append((message, batch))
        else:
            self.refused[message.channel.topic] += 1

    def end(self, event: EpisodeEvent, now: float) -> list[tuple[Message, TransitionBatch]]:
        """The episode is over at `now` (monotonic s); rows may still be under way.

        Returns rows that were taken for its own and are of the next.
        """
        self.ended, self._ended_at = event, now
        others = [(message, row) for message, row in self._newest if not self.wants(row)]
        self._rows -= {int(row.first_sequence) for _, row in others}
        self._newest.clear()
        self.journal.add_metadata(INFORMATION, self.custom_data())
        return others

    def end_unknown(self, now: float, following: EpisodeEvent | None = None) -> None:
        """It is over, but nobody said how; `following` has begun since."""
        self._ended_at = now
        if following is not None and self.is_of(following.actor_session):
            self._limit = int(following.first_sequence)

    @property
    def has_ended(self) -> bool:
        """Whether it is over, known how or not."""
        return self._ended_at is not None

    @property
    def missing(self) -> int:
        """Transitions of the episode that are not in the bag."""
        if self.ended is None:
            newest = max(self._rows, default=self.first - 1)
            return newest + 1 - self.first - len(self._rows)
        return int(self.ended.length) - len(self._rows)

    def is_done(self, now: float) -> bool:
        """Whether nothing more is to be expected at `now` (monotonic s)."""
        if self._ended_at is None:
            return False
        return now - self._ended_at > (PATIENCE if self.missing else TAIL)

    @property
    def steps(self) -> int:
        """Transitions that the bag has."""
        return len(self._rows)

    @property
    def seconds(self) -> float:
        """Robot time from the first to the last state, as far as it is known."""
        if self.ended is None:
            return 0.0
        first, last = self.started.header.stamp, self.ended.header.stamp
        return float(last.sec - first.sec + (last.nanosec - first.nanosec) / 1e9)

    @property
    def is_wanted(self) -> bool:
        """Whether a bag is to remain of it."""
        discarded = self.ended is not None and self.ended.discarded
        return self.steps > 0 and not discarded and not self.abandoned

    @property
    def verdict(self) -> str:
        """How it went, for a person."""
        if self.outcome != "unknown":
            return self.outcome
        if self.ended is None:
            return "not ended"
        return "terminated" if self.ended.terminated else "truncated"

    @property
    def outcome(self) -> str:
        return OUTCOMES.get((self.ended or self.started).outcome, "unknown")

    def custom_data(self) -> dict[str, str]:
        """What the bag says about the episode: text, as rosbag2 has it."""
        event = self.ended or self.started
        values: dict[str, object] = {
            "success": self.outcome == "success",
            "outcome": self.outcome,
            "task": event.task,
            "language_instruction": self._instruction,
            "control_rate": f"{event.control_rate:g}",
            "operator_name": event.operator_name,
            "behaviour": event.behaviour,
            "episode_id": f"{event.actor_id}/{event.actor_session:016x}/{event.episode}",
            "actor": event.actor_id,
            "session": f"{event.actor_session:016x}",
            "episode": event.episode,
            "first_sequence": event.first_sequence,
            "length": self.ended.length if self.ended else "",
            "episode_return": f"{event.episode_return:g}",
            "terminated": event.terminated,
            "truncated": event.truncated,
            "human_steps": event.human_steps,
            "discarded": event.discarded,
            "complete": self.ended is not None and not self.missing,
            "missing_transitions": self.missing,
            "lost_messages": json.dumps(self.lost),
            "refused_by_disk": json.dumps(self.refused),
        }
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in values.items()
        }


class Episodes:
    """Opens, feeds and closes the recordings of every actor that is heard."""

    def __init__(self, save_path: Path, lead: float, instruction: str) -> None:
        self._save_path = save_path
        self._number = next_number(save_path)
        self._instruction = instruction
        self._lead = Lead(lead)
        self._rows: deque[tuple[Message, TransitionBatch]] = deque(maxlen=ROWS)
        self.open: list[Recording] = []

    def add(self, message: Message, lost: int) -> None:
        """A message of the robot; `lost` came no more before it."""
        self._lead.add(message)
        for recording in self.open:
            recording.add(message)
            if lost:
                recording.lost[message.channel.topic] += lost

    def add_row(self, message: Message, batch: TransitionBatch) -> None:
        """A message of `sac/steps`. `settle` gives it to its episode."""
        self._rows.append((message, batch))

    def settle(self) -> None:
        """Give rows to their episodes, now that what was published before them is known."""
        rows, self._rows = self._rows, deque(maxlen=ROWS)
        for message, batch in rows:
            for recording in self.open:
                if recording.wants(batch):
                    recording.add_row(message, batch)
                    break
            else:
                self._rows.append((message, batch))

    def begin(self, message: Message, event: EpisodeEvent, latched: Iterable[Message]) -> None:
        """An episode has begun; `latched` are messages that everybody needs who comes late."""
        recording = Recording(self._save_path, self._number, event, self._instruction)
        self._number += 1
        lead = list(self._lead)
        start = min([message.log_time, *(one.log_time for one in lead)])
        there = {id(one) for one in lead}
        for one in latched:
            if id(one) not in there:
                recording.add(one._replace(log_time=start))
        for one in (*lead, message):
            recording.add(one)
        self.open.append(recording)

    def end(self, message: Message, event: EpisodeEvent, now: float) -> None:
        """An episode is over at `now` (monotonic s)."""
        recording = self._find(event)
        if recording is not None:
            recording.add(message)
            self._rows.extendleft(reversed(recording.end(event, now)))

    def _find(self, event: EpisodeEvent) -> Recording | None:
        """The recording that this event ends."""
        for recording in self.open:
            if recording.is_of(event.actor_session) and recording.started.episode == event.episode:
                return recording
        return None

    def superseded(self, event: EpisodeEvent) -> list[Recording]:
        """Recordings of the same actor whose end was never told, now that another has begun."""
        return [
            one for one in self.open if one.started.actor_id == event.actor_id and one.ended is None
        ]

    def without_end(self) -> list[Recording]:
        """Recordings that go on until their end is told."""
        return [one for one in self.open if not one.has_ended]

    def take_done(self, now: float) -> list[Recording]:
        """Those of which nothing more is to be expected; they are open no longer."""
        done = [one for one in self.open if one.is_done(now)]
        self.open = [one for one in self.open if one not in done]
        return done

    def take_all(self) -> list[Recording]:
        """All that are open; they are no longer."""
        taken, self.open = self.open, []
        return taken
