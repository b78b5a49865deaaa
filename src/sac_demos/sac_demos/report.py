"""What a conversion found: per topic rate, losses, gaps and ages; episodes and how they ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sac_core.rlds_writer import Episode
from sac_demos.bags import Bag
from sac_demos.from_steps import Harvest
from sac_demos.from_topics import Ages, TopicHarvest

GAP = 2.5  # times the usual interval


@dataclass
class TopicReport:
    """One topic, in all bags together; times are those of arrival."""

    messages: int = 0
    intervals: int = 0
    seconds: float = 0.0  # from the first to the last message of each bag
    longest: float = 0.0  # s between two messages
    gaps: int = 0  # intervals of more than `GAP` times the median of their bag
    lost: int = 0  # messages that the recorder knows it did not get
    ages: Ages = field(default_factory=Ages)

    @property
    def rate(self) -> float:
        """Hz."""
        return self.intervals / self.seconds if self.seconds > 0.0 else 0.0

    def add_times(self, times: NDArray[np.int64]) -> None:
        self.messages += len(times)
        if len(times) < 2:
            return
        apart = np.diff(np.sort(times)) / 1e9
        self.intervals += len(apart)
        self.seconds += float(apart.sum())
        self.longest = max(self.longest, float(apart.max()))
        self.gaps += int((apart > GAP * np.median(apart)).sum())


@dataclass
class Report:
    """All of a conversion."""

    dataset: str = ""
    bags: int = 0
    failed: list[str] = field(default_factory=list)  # a line for each bag that gave nothing
    episodes: int = 0
    successes: int = 0
    failures: int = 0
    terminated: int = 0
    truncated: int = 0
    steps: int = 0
    human_steps: int = 0
    seconds: float = 0.0
    discarded: int = 0
    dropped: int = 0
    already_there: int = 0  # episodes that the dataset had, or that came twice
    split: int = 0
    idle_steps: int = 0
    missing_transitions: int = 0
    largest_action: float = 0.0
    topics: dict[str, TopicReport] = field(default_factory=dict)

    def add_bag(self, bag: Bag, harvest: Harvest) -> None:
        """Count what a bag gave."""
        self.bags += 1
        self.discarded += harvest.discarded
        self.dropped += harvest.dropped
        self.split += harvest.split
        self.idle_steps += harvest.idle
        self.missing_transitions += harvest.missing
        for topic, times in bag.times.items():
            self._topic(topic).add_times(np.array(times, np.int64))
        for topic, count in _lost(bag.custom_data).items():
            self._topic(topic).lost += count
        if isinstance(harvest, TopicHarvest):
            for topic, ages in harvest.ages.items():
                self._topic(topic).ages.join(ages)

    def _topic(self, name: str) -> TopicReport:
        return self.topics.setdefault(name, TopicReport())

    def add_episode(self, episode: Episode) -> None:
        """Count an episode that was written."""
        self.episodes += 1
        self.successes += episode.labels.success
        self.failures += episode.labels.outcome == "failure"
        self.terminated += episode.terminated
        self.truncated += not episode.terminated
        self.steps += len(episode)
        self.human_steps += int((episode.source == 2).sum())
        self.seconds += float(episode.stamps[-1] - episode.stamps[0]) / 1e9
        reach = float(np.abs(episode.actions).max(initial=0.0))
        self.largest_action = max(self.largest_action, reach)

    def as_json(self) -> str:
        """For programs."""
        values: dict[str, Any] = asdict(self)
        for name, topic in self.topics.items():
            values["topics"][name]["rate"] = topic.rate
            values["topics"][name]["ages"]["mean"] = topic.ages.mean
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    def as_text(self) -> str:
        """For people."""
        unknown = self.episodes - self.successes - self.failures
        lines = [
            f"{self.dataset}: {self.bags} bags, {self.episodes} episodes ({self.successes} "
            f"success, {self.failures} failure, {unknown} not known), {self.steps} transitions, "
            f"{self.seconds:.1f} s",
            f"Of the episodes {self.terminated} terminated and {self.truncated} were truncated; "
            f"{self.split} were divided at gaps, {self.dropped} left out, {self.discarded} had "
            f"been discarded",
            f"{self.missing_transitions} transitions are missing in the bags; {self.idle_steps} "
            f"idle ones were left out; {self.human_steps} are a person's",
        ]
        if self.already_there:
            lines.append(
                f"{self.already_there} episodes were in the dataset already, and are in it once"
            )
        if self.largest_action > 1.0 + 1e-6:
            lines.append(
                f"Actions reach {self.largest_action:.3g}: a learner of this suite takes -1 to 1; "
                "low and high of a source scale it"
            )
        return "\n".join([*lines, *self._table()])

    def _table(self) -> list[str]:
        if not self.topics:
            return []
        width = max(len(name) for name in self.topics)
        head = f"{'topic':<{width}}  messages  rate Hz  longest s  gaps  lost  age s (largest)"
        return [head, *(_row(name, self.topics[name], width) for name in sorted(self.topics))]


def _row(name: str, topic: TopicReport, width: int) -> str:
    ages = f"{topic.ages.mean:.4f} ({topic.ages.largest:.4f})" if topic.ages.count else ""
    return (
        f"{name:<{width}}  {topic.messages:>8}  {topic.rate:>7.1f}  {topic.longest:>9.3f}  "
        f"{topic.gaps:>4}  {topic.lost:>4}  {ages}"
    ).rstrip()


def _lost(custom_data: Mapping[str, str]) -> dict[str, int]:
    """By topic, what the recorder counted."""
    try:
        found = json.loads(custom_data.get("lost_messages", "{}"))
        return {str(topic): int(count) for topic, count in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):  # of a bag from elsewhere
        return {}
