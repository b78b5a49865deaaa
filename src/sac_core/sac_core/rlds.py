"""Episodes as RLDS datasets: the TFDS directory that Open X-Embodiment uses, without TensorFlow.

A dataset is `<root>/<name>/<version>/` with `features.json`, `dataset_info.json`, `metadata.json`
and shards of TFRecord, one tf.train.Example per episode. Of the last step there are two layouts in
use, and `metadata.json` says which one a dataset has as `last_step`:

* `transition` (Open X-Embodiment): an episode of N transitions has N steps, each with its action
  and reward. What follows the last action is not among the steps. Datasets written here keep it as
  `episode_metadata/last_observation`; in others a last step that was truncated is no transition.
* `observation` (github.com/google-research/rlds): N + 1 steps, of which the last one holds the last
  observation only; whether that state is terminal is said there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sac_core.limits import MAX_ACTION, MAX_MAGNITUDE, MAX_VECTOR_SIZE
from sac_core.tf_example import Values, decode, names
from sac_core.tfrecord import read_records

FloatArray = NDArray[np.float32]

LAST_STEPS = ("transition", "observation")
MAX_JSON = 16 * 2**20  # bytes of one of a dataset's descriptions
MAX_SHARDS = 100_000
MAX_VALUES = 2**30  # numbers in all observations of what is loaded: 4 GiB
DEFAULT_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"

LAST_OBSERVATION = "episode_metadata/last_observation"
SUCCESS = "episode_metadata/success"
TASK = "episode_metadata/task"
INVALID = "episode_metadata/invalid"
ID = "episode_metadata/episode_id"
LAST_STAMP = "episode_metadata/last_timestamp_ns"
STAMPS = "steps/timestamp_ns"


class RldsError(ValueError):
    """A dataset cannot be read or written; one line that names it."""


@dataclass(frozen=True)
class Demonstrations:
    """N transitions in the order of their episodes, and what they were cut from."""

    observations: FloatArray  # (N, observation_size)
    actions: FloatArray  # (N, action_size), in [-1, 1]
    rewards: FloatArray  # (N,)
    masks: FloatArray  # (N,), 1 - terminated
    next_observations: FloatArray  # (N, observation_size)
    episodes: int
    successes: int  # episodes that are labelled so
    terminated: int  # episodes that ended in a terminal state
    truncated: int  # episodes that were cut
    dropped: int  # last steps whose next observation is not known
    tasks: tuple[str, ...] = ()  # what the episodes say that they show; of some nothing is said

    def __len__(self) -> int:
        return len(self.rewards)


# What is in a dataset.


@dataclass(frozen=True)
class Split:
    """One split's shards, in order."""

    shards: tuple[Path, ...]
    lengths: tuple[int, ...]  # episodes in each


@dataclass(frozen=True)
class Dataset:
    """The descriptions of a dataset, checked."""

    path: Path  # the folder that holds them
    name: str
    version: str
    splits: Mapping[str, Split]
    features: Mapping[str, Any]  # of an episode, by path: "steps/action"; leaves of features.json
    metadata: Mapping[str, Any]

    @property
    def episodes(self) -> int:
        return sum(sum(split.lengths) for split in self.splits.values())

    @property
    def last_step(self) -> str:
        """Its layout; without a word about it, that of Open X-Embodiment."""
        return str(self.metadata.get("last_step", LAST_STEPS[0]))


def find_dataset(path: Path) -> Path:
    """The one dataset at `path` or up to two folders below it.

    Raises:
        RldsError: there is none, or more than one.
    """
    path = Path(path)
    if (path / "dataset_info.json").is_file():
        return path
    found = [
        one.parent
        for pattern in ("*/dataset_info.json", "*/*/dataset_info.json")
        for one in sorted(path.glob(pattern))
    ]
    if not found:
        raise RldsError(
            f"{path}: expected an RLDS dataset (a folder with dataset_info.json), found nothing of "
            "the kind"
        )
    if len(found) > 1:
        there = ", ".join(str(one) for one in found[:5])
        raise RldsError(f"{path}: expected one RLDS dataset, found {there}: name one of them")
    return found[0]


def read_description(path: Path) -> Dataset:
    """What a dataset says about itself.

    Raises:
        RldsError: it is none, is broken, or its shards are no TFRecord files.
    """
    folder = find_dataset(path)
    info = _read_json(folder / "dataset_info.json")
    try:
        dataset = Dataset(
            path=folder,
            name=str(info["name"]),
            version=str(info.get("version", "")),
            splits=_splits(folder, info),
            features=dict(_leaves(_read_json(folder / "features.json"), "")),
            metadata=_metadata(folder),
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, RldsError):
            raise
        raise RldsError(f"{folder}: not described as TFDS does it: {error!r:.200}") from error
    if dataset.last_step not in LAST_STEPS:
        raise RldsError(
            f"{folder}: last_step is {dataset.last_step!r:.40}, expected one of "
            f"{', '.join(LAST_STEPS)}"
        )
    return dataset


def _read_json(path: Path) -> Any:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise RldsError(f"{path}: expected a file")
        with open(path, "rb") as file:
            text = file.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise RldsError(f"{path}: expected at most {MAX_JSON} bytes")
        return json.loads(text)
    except OSError as error:
        raise RldsError(f"{path}: cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RldsError(f"{path}: no JSON: {error!s:.100}") from error


def _metadata(folder: Path) -> Mapping[str, Any]:
    path = folder / "metadata.json"
    found = _read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise RldsError(f"{path}: expected an object")
    return found


def _splits(folder: Path, info: Mapping[str, Any]) -> dict[str, Split]:
    kind = info.get("fileFormat", "tfrecord")
    if kind != "tfrecord":
        raise RldsError(f"{folder}: its files are {kind!r:.40}, expected 'tfrecord'")
    name, splits = str(info["name"]), {}
    for split in info["splits"]:
        lengths = tuple(int(length) for length in split.get("shardLengths", ()))
        if len(lengths) > MAX_SHARDS or any(not 0 <= n < 2**40 for n in lengths):
            raise RldsError(f"{folder}: expected at most {MAX_SHARDS} shards of episodes")
        template = split.get("filepathTemplate") or DEFAULT_TEMPLATE
        shards = tuple(
            folder / _shard_name(template, name, str(split["name"]), number, len(lengths))
            for number in range(len(lengths))
        )
        splits[str(split["name"])] = Split(shards, lengths)
    return splits


def _shard_name(template: str, name: str, split: str, number: int, count: int) -> str:
    values = {
        "DATASET": name,
        "SPLIT": split,
        "FILEFORMAT": "tfrecord",
        "SHARD_INDEX": f"{number:05d}",
        "NUM_SHARDS": f"{count:05d}",
        "SHARD_X_OF_Y": f"{number:05d}-of-{count:05d}",
    }
    text = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)
    if os.path.basename(text) != text or text in ("", ".", "..") or "\0" in text:
        raise RldsError(f"a shard named {text!r:.80}: expected a name without folders")
    return text


def _leaves(feature: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Path and description of every feature that holds values, as TFDS names them in a record."""
    if "featuresDict" in feature:
        for name, below in feature["featuresDict"].get("features", {}).items():
            yield from _leaves(below, f"{path}/{name}" if path else str(name))
    elif "sequence" in feature and "Dataset" in str(feature.get("pythonClassName")):
        yield from _leaves(feature["sequence"]["feature"], path)
    else:
        yield path, feature


def _size(feature: Mapping[str, Any]) -> int | None:
    """How many numbers a step has of this feature; None where they do not lie there plainly."""
    tensor = feature.get("tensor")
    if tensor is None or tensor.get("encoding", "none") not in ("none", ""):
        return None
    if not str(tensor.get("dtype")).startswith(("float", "int", "uint", "bool")):
        return None
    size = 1
    for dimension in tensor.get("shape", {}).get("dimensions", ()):
        if not 1 <= int(dimension) <= MAX_VECTOR_SIZE:
            return None
        size *= int(dimension)
    return size if size <= MAX_VECTOR_SIZE else None


# Loading.


def load_demonstrations(
    path: Path | str,
    observation_size: int,
    action_size: int,
    progress: Callable[[int, int], None] | None = None,
    max_action: float = MAX_ACTION,
) -> Demonstrations:
    """Every transition of a dataset, of all its splits.

    Args:
        path: the dataset's folder, or one up to two above it.
        observation_size: numbers of an observation; 0 = as many as there are. Of several
            observations `state` is taken, or the only one of this size.
        action_size: numbers of an action, in [-1, 1]; 0 = as many as there are.
        progress: is told now and then how many episodes have been read, and how many there are.
        max_action: what actions reach at most; for those who do not learn from them.

    Raises:
        RldsError: it is no dataset, or broken, or of other sizes; or it holds actions outside
            [-1, 1] or values that are not finite. One line that names the file or the episode.
    """
    dataset = read_description(Path(path))
    reader = _Reader(dataset, observation_size, action_size, max_action)
    episodes: list[_Episode] = []
    room = MAX_VALUES
    for record in _records(dataset):
        episode = reader.episode(record, len(episodes))
        room -= episode.observations.size
        if room < 0:
            raise RldsError(f"{dataset.path}: more than {MAX_VALUES} numbers of observations")
        episodes.append(episode)
        if progress is not None and (len(episodes) % 64 == 0 or len(episodes) == dataset.episodes):
            progress(len(episodes), dataset.episodes)
    return reader.joined([one for one in episodes if not one.invalid])


def episode_keys(dataset: Dataset) -> set[tuple[str, int]]:
    """What tells the episodes of a dataset that was written here from each other.

    Their `episode_id` and the stamp (ns) of their last observation: the first is another one when
    an idle beginning is left out.

    Raises:
        RldsError: the dataset is broken.
    """
    found = set()
    wanted = names((ID, LAST_STAMP, STAMPS))
    for record in _records(dataset):
        try:
            features = decode(record, wanted)
            stamps = _numbers(features, LAST_STAMP if LAST_STAMP in features else STAMPS)
        except ValueError as error:
            raise RldsError(f"{dataset.path}: {error}") from error
        found.add((_text(features, ID), int(stamps[-1]) if len(stamps) else 0))
    return found


def _records(dataset: Dataset) -> Iterator[bytes]:
    try:
        for split in dataset.splits.values():
            for shard, length in zip(split.shards, split.lengths, strict=True):
                count = 0
                for record in read_records(shard):
                    count += 1
                    yield record
                if count != length:
                    raise RldsError(f"{shard}: expected {length} episodes, found {count}")
    except OSError as error:
        raise RldsError(f"{dataset.path}: cannot be read: {error}") from error
    except RldsError:
        raise
    except ValueError as error:
        raise RldsError(str(error)) from error
    except ImportError as error:
        raise RldsError(
            f"{dataset.path}: reading it needs the package google-crc32c: pip install google-crc32c"
        ) from error


@dataclass(frozen=True)
class _Episode:
    """One episode's columns, of S steps, as they lie in its record."""

    observations: FloatArray  # (S, observation_size)
    actions: FloatArray  # (S, action_size)
    rewards: FloatArray  # (S,)
    last_observation: FloatArray | None  # (observation_size,), where it is not the last step
    terminal: bool
    success: bool
    invalid: bool  # RLDS: not to be used
    task: str


class _Reader:
    """Makes transitions of a dataset's records."""

    def __init__(
        self, dataset: Dataset, observation_size: int, action_size: int, max_action: float
    ) -> None:
        self.dataset = dataset
        self.max_action = max_action
        self.sizes = {"observation": observation_size, "action": action_size}
        self.transition_layout = dataset.last_step == "transition"
        self.observation = self._choose("observation", ("state",))
        self.action = self._choose("action", ())
        for name in ("steps/reward", "steps/is_last", "steps/is_terminal"):
            if name not in dataset.features:
                raise RldsError(f"{dataset.path}: expected the feature {name} of RLDS, it has none")
        self.wanted = names(
            (
                self.observation,
                self.action,
                "steps/reward",
                "steps/is_last",
                "steps/is_terminal",
                LAST_OBSERVATION,
                SUCCESS,
                INVALID,
                TASK,
            )
        )

    def _choose(self, part: str, preferred: tuple[str, ...]) -> str:
        """The feature that holds the observation or action of a step; fixes its size."""
        size, root = self.sizes[part], f"steps/{part}"
        there = {
            name: _size(feature)
            for name, feature in self.dataset.features.items()
            if name == root or name.startswith(root + "/")
        }
        fitting = {name: found for name, found in there.items() if found and size in (0, found)}
        known = [root, *(f"{root}/{one}" for one in preferred)]
        chosen = next((name for name in known if name in fitting), "")
        if not chosen and len(fitting) == 1:
            (chosen,) = fitting
        if chosen:
            self.sizes[part] = fitting[chosen]
            return chosen
        named = ", ".join(
            f"{name} of {'other kind' if found is None else found}"
            for name, found in list(there.items())[:12]
        )
        raise RldsError(
            f"{self.dataset.path}: expected one {part} of {size or 'some'} numbers, found "
            f"{named or 'none at all'}"
        )

    def episode(self, record: bytes, number: int) -> _Episode:
        try:
            return self._episode(decode(record, self.wanted))
        except ValueError as error:
            raise RldsError(f"{self.dataset.path}: episode {number}: {error}") from error

    def _episode(self, found: Mapping[str, Values]) -> _Episode:
        is_last = _numbers(found, "steps/is_last")
        steps = len(is_last)
        if steps < 1:
            raise ValueError("it has no steps")
        is_terminal = _column(found, "steps/is_terminal", steps)
        if np.count_nonzero(is_last[:-1]) or np.count_nonzero(is_terminal[:-1]):
            raise ValueError("a step before the last one is marked as last or terminal")
        last = None
        if self.transition_layout and LAST_OBSERVATION in found:
            last = _column(found, LAST_OBSERVATION, 1, self.sizes["observation"])[0]
        return _Episode(
            observations=_column(found, self.observation, steps, self.sizes["observation"]),
            actions=_column(found, self.action, steps, self.sizes["action"]),
            rewards=_column(found, "steps/reward", steps),
            last_observation=last,
            terminal=bool(is_terminal[-1]),
            success=SUCCESS in found and bool(_column(found, SUCCESS, 1)[0]),
            invalid=INVALID in found and bool(_column(found, INVALID, 1)[0]),
            task=_text(found, TASK),
        )

    def joined(self, episodes: list[_Episode]) -> Demonstrations:
        """All transitions of these episodes."""
        if not episodes:
            raise RldsError(f"{self.dataset.path}: it holds no episode")
        observations = np.concatenate([one.observations for one in episodes])
        lasts = np.cumsum([len(one.rewards) for one in episodes]) - 1
        following = np.concatenate((observations[1:], observations[-1:]))
        terminal = np.array([one.terminal for one in episodes])
        keep = np.ones(len(observations), bool)
        masks = np.ones(len(observations), np.float32)
        if self.transition_layout:
            known = np.array([one.last_observation is not None for one in episodes])
            for place, one in zip(lasts, episodes, strict=True):
                # What a terminal state looks like is of no consequence: its value counts for 0.
                last = one.last_observation
                following[place] = observations[place] if last is None else last
            keep[lasts[~terminal & ~known]] = False
            masks[lasts[terminal]] = 0.0
            dropped = int((~terminal & ~known).sum())
        else:
            keep[lasts] = False
            lengths = np.diff(lasts, prepend=-1)
            masks[lasts[terminal & (lengths > 1)] - 1] = 0.0
            dropped = 0
        rows = Demonstrations(
            observations=observations[keep],
            actions=np.concatenate([one.actions for one in episodes])[keep],
            rewards=np.concatenate([one.rewards for one in episodes])[keep],
            masks=masks[keep],
            next_observations=following[keep],
            episodes=len(episodes),
            successes=sum(one.success for one in episodes),
            terminated=int(terminal.sum()),
            truncated=int((~terminal).sum()),
            dropped=dropped,
            tasks=tuple(sorted({one.task for one in episodes} - {""})),
        )
        self._check(rows)
        return rows

    def _check(self, rows: Demonstrations) -> None:
        for name, largest in (
            ("observations", MAX_MAGNITUDE),
            ("actions", self.max_action),
            ("rewards", MAX_MAGNITUDE),
            ("next_observations", MAX_MAGNITUDE),
        ):
            values = getattr(rows, name)
            reach = max(float(values.max()), -float(values.min())) if values.size else 0.0
            if not np.isfinite(reach):
                raise RldsError(f"{self.dataset.path}: {name} has values that are not finite")
            if reach > largest:
                raise RldsError(
                    f"{self.dataset.path}: {name} reaches {reach:.4g}, expected at most "
                    f"{largest:.4g}"
                )


def _numbers(found: Mapping[str, Values], name: str) -> NDArray[Any]:
    values = found.get(name)
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name} is no list of numbers")
    return values


def _text(found: Mapping[str, Values], name: str) -> str:
    """A text of an episode; empty where there is none."""
    values = found.get(name)
    if not isinstance(values, list) or len(values) != 1:
        return ""
    return values[0].decode(errors="replace")


def _column(found: Mapping[str, Values], name: str, steps: int, size: int = 0) -> FloatArray:
    """One feature of all steps as float32: `(steps, size)`, or `(steps,)` where size is 0."""
    values = _numbers(found, name)
    if len(values) != steps * max(size, 1):
        raise ValueError(f"{name} has {len(values)} values, expected {steps} × {max(size, 1)}")
    values = values.astype(np.float32, copy=False)
    return values.reshape(steps, size) if size else values
