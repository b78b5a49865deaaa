"""Writes RLDS datasets that TensorFlow Datasets opens, without either of them (see `rlds`).

A dataset appears whole or not at all: it is written beside its place, read again for its
statistics, and renamed. Appending adds shards under names that the old description does not know;
replacing `dataset_info.json` is the one step that makes them part of the dataset.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sac_core.limits import MAX_MAGNITUDE
from sac_core.rlds import (
    DEFAULT_TEMPLATE,
    LAST_STEPS,
    Dataset,
    FloatArray,
    RldsError,
    episode_keys,
    read_description,
)
from sac_core.rlds_statistics import FILE as STATISTICS
from sac_core.rlds_statistics import write_statistics
from sac_core.tf_example import encode
from sac_core.tfrecord import write_record

SPLIT = "train"
SAME = ("task", "control_rate", "observation_names", "action_names")  # of metadata, in one dataset
SHARD_BYTES = 64 * 2**20  # a shard that has grown this large is the last episode's


@dataclass(frozen=True)
class EpisodeLabels:
    """What is known of an episode as a whole; features of `episode_metadata`."""

    episode_id: str = ""
    file_path: str = ""  # what it was made of
    agent_id: str = ""  # who acted: the actor's name
    task: str = ""
    operator_name: str = ""
    outcome: str = ""  # success, failure or unknown
    success: bool = False
    control_rate: float = 0.0  # Hz


@dataclass(frozen=True)
class Episode:
    """N transitions, each of which begins where the one before ended."""

    observations: FloatArray  # (N + 1, observation_size)
    actions: FloatArray  # (N, action_size), in [-1, 1]
    rewards: FloatArray  # (N,)
    terminated: bool  # else it was cut after its last transition
    stamps: NDArray[np.int64]  # (N + 1,) ns, of the observations
    source: NDArray[np.uint8]  # (N,) sac_msgs/TransitionBatch SOURCE_*
    language_instruction: str = ""
    labels: EpisodeLabels = field(default_factory=EpisodeLabels)

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def key(self) -> tuple[str, int]:
        """As of `sac_core.rlds.episode_keys`."""
        return self.labels.episode_id, int(self.stamps[-1])


class RldsWriter:
    """Writes one dataset; as a context it keeps it, or nothing of it after an exception.

    with RldsWriter(root, "pick_cube", 18, 4) as writer:
        writer.add(episode)
    """

    def __init__(
        self,
        root: Path,
        name: str,
        observation_size: int,
        action_size: int,
        *,
        version: str = "1.0.0",
        last_step: str = LAST_STEPS[0],
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        append: bool = False,
    ) -> None:
        """Begins `<root>/<name>/<version>`.

        Args:
            last_step: layout, `transition` or `observation` (see `rlds`).
            metadata: JSON-able, for `metadata.json`.
            append: add to the dataset that is there, if there is one.

        Raises:
            RldsError: a name is none that TFDS takes; or the dataset is there already, or is of
                another kind than what is to be appended.
            OSError: nothing can be written there.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,127}", name):
            raise RldsError(f"dataset name {name!r:.80}: expected lower case letters, digits and _")
        if not re.fullmatch(r"\d{1,5}\.\d{1,5}\.\d{1,5}", version):
            raise RldsError(f"version {version!r:.40}: expected three numbers such as 1.0.0")
        if last_step not in LAST_STEPS:
            raise RldsError(f"last_step {last_step!r:.40}: expected one of {', '.join(LAST_STEPS)}")
        self.path = Path(root) / name / version
        self.name, self.version = name, version
        self.sizes = (observation_size, action_size)
        self.last_step = last_step
        self.episodes = 0
        self.steps = 0
        self._description = description
        self._metadata = {**(metadata or {}), "last_step": last_step}
        self._old = self._existing(append)
        self.there = episode_keys(self._old) if self._old is not None else set()
        self._folder = self.path.with_name(f".{version}.incomplete")
        shutil.rmtree(self._folder, ignore_errors=True)  # of a writer that was killed
        self._folder.mkdir(parents=True)
        self._shards: list[int] = []  # episodes in each new one
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def _existing(self, append: bool) -> Dataset | None:
        if not self.path.exists():
            return None
        if not append:
            raise RldsError(f"{self.path} is there already: append to it, or take another version")
        old = read_description(self.path)
        wanted = _features(*self.sizes, self.last_step)
        there = json.loads((self.path / "features.json").read_bytes())
        if old.last_step != self.last_step or there != wanted:
            raise RldsError(
                f"{self.path}: its features or its last_step are others than those of what is to "
                "be appended: expected a dataset of the same task and layout, written here"
            )
        for key in SAME:
            known, given = old.metadata.get(key), self._metadata.get(key)
            if known and given and known != given:
                raise RldsError(
                    f"{self.path}: its {key} is {known!r:.80}, that of what is to be appended "
                    f"{given!r:.80}: expected a dataset of the same task"
                )
        if set(old.splits) != {SPLIT}:
            raise RldsError(f"{self.path}: expected the split {SPLIT} and no other")
        return old

    def add(self, episode: Episode) -> None:
        """Append one episode.

        Raises:
            RldsError: its arrays do not belong together, it has no transition, or values that are
                not finite or beyond all that a robot has. Nothing of it is written then.
            OSError: the disk does not take it.
        """
        _check(episode, *self.sizes)
        record = encode(_record(episode, self.last_step))
        file = self._shard()
        write_record(file, record)
        self._shards[-1] += 1
        self._bytes += len(record)
        self.episodes += 1
        self.steps += len(episode)

    def _shard(self) -> IO[bytes]:
        if self._file is not None and self._file.tell() >= SHARD_BYTES:
            self._file.close()
            self._file = None
        if self._file is None:
            path = self._folder / f"shard-{len(self._shards)}"
            self._file = path.open("xb")
            self._shards.append(0)
        return self._file

    def close(self) -> None:
        """Make what was added a dataset, or part of the one that is there.

        Raises:
            RldsError: nothing was added, or what is there is broken; nothing has changed then.
            OSError: the disk does not take it; nothing has changed then.
        """
        self.prepare()
        self.publish()

    def prepare(self) -> None:
        """Make the whole of it beside its place, and read it again. Raises as `close`."""
        if self._file is not None:
            self._file.close()
        if not self.episodes:
            self.abort()
            raise RldsError(f"{self.path}: no episode to write")
        old = self._old.splits[SPLIT] if self._old is not None else None
        lengths, shards = (old.lengths, old.shards) if old is not None else ((), ())
        total, size = len(shards) + len(self._shards), self._bytes
        for number, shard in enumerate(shards):
            link = self._folder / self._shard_name(number, total)
            _link(shard, link)
            size += link.stat().st_size
        for number in range(len(self._shards)):
            written = self._folder / f"shard-{number}"
            written.replace(self._folder / self._shard_name(len(shards) + number, total))
        framing = 16 * sum(lengths)
        self._describe(self._folder, [*lengths, *self._shards], size - framing)
        write_statistics(self._folder)

    def publish(self) -> None:
        """Put in its place what was prepared."""
        if self._old is None:
            self._folder.rename(self.path)
            return
        for shard in self._folder.glob("*.tfrecord-*"):
            shard.replace(self.path / shard.name)
        for name in ("dataset_info.json", STATISTICS):
            (self._folder / name).replace(self.path / name)
        for shard in self._old.splits[SPLIT].shards:
            shard.unlink(missing_ok=True)
        shutil.rmtree(self._folder)

    def _shard_name(self, number: int, total: int) -> str:
        return f"{self.name}-{SPLIT}.tfrecord-{number:05d}-of-{total:05d}"

    def _describe(self, folder: Path, lengths: list[int], size: int) -> None:
        features = _features(*self.sizes, self.last_step)
        info = {
            "description": self._description,
            "fileFormat": "tfrecord",
            "name": self.name,
            "splits": [
                {
                    "filepathTemplate": DEFAULT_TEMPLATE,
                    "name": SPLIT,
                    "numBytes": str(size),
                    "shardLengths": [str(length) for length in lengths],
                }
            ],
            "version": self.version,
        }
        (folder / "features.json").write_text(json.dumps(features, indent=4, sort_keys=True))
        (folder / "metadata.json").write_text(json.dumps(self._metadata, allow_nan=False))
        (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))

    def abort(self) -> None:
        """Leave nothing of what was added."""
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> RldsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.close()
        except BaseException:
            self.abort()
            raise


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _check(episode: Episode, observation_size: int, action_size: int) -> None:
    count = len(episode.rewards)
    shapes = {
        "observations": (count + 1, observation_size),
        "actions": (count, action_size),
        "rewards": (count,),
        "stamps": (count + 1,),
        "source": (count,),
    }
    for name, shape in shapes.items():
        found = getattr(episode, name).shape
        if found != shape or not count:
            raise RldsError(
                f"episode {episode.labels.episode_id!r:.80}: {name} of shape {found}, expected "
                f"{shape} and at least one transition"
            )
    for name in ("observations", "actions", "rewards"):
        largest = np.inf if name == "actions" else MAX_MAGNITUDE  # whoever learns looks at these
        reach = float(np.abs(getattr(episode, name).astype(np.float32)).max(initial=0.0))
        if not (np.isfinite(reach) and reach <= largest):
            raise RldsError(
                f"episode {episode.labels.episode_id!r:.80}: {name} reaches {reach:.4g}, expected "
                f"finite values of at most {largest:.4g}"
            )


# What a dataset's records hold.


def _record(episode: Episode, last_step: str) -> dict[str, np.ndarray | list[bytes]]:
    """One episode as the lists of a tf.train.Example."""
    count = len(episode)
    extra = 1 if last_step == "observation" else 0  # a step without an action
    steps = count + extra
    last = np.zeros(steps, bool)
    last[-1] = True
    discount = np.ones(count, np.float32)
    discount[-1] = 0.0 if episode.terminated else 1.0

    def padded(values: np.ndarray) -> np.ndarray:
        return np.concatenate((values, np.zeros((extra, *values.shape[1:]), values.dtype)))

    features: dict[str, np.ndarray | list[bytes]] = {
        "steps/observation/state": np.asarray(episode.observations[:steps], np.float32),
        "steps/action": padded(np.asarray(episode.actions, np.float32)),
        "steps/reward": padded(np.asarray(episode.rewards, np.float32)),
        "steps/discount": padded(discount),
        "steps/is_first": np.arange(steps) == 0,
        "steps/is_last": last,
        "steps/is_terminal": last & episode.terminated,
        "steps/language_instruction": [episode.language_instruction.encode()] * steps,
        "steps/timestamp_ns": np.asarray(episode.stamps[:steps], np.int64),
        "steps/source": padded(np.asarray(episode.source, np.uint8)),
    }
    for label in fields(episode.labels):
        value = getattr(episode.labels, label.name)
        features[f"episode_metadata/{label.name}"] = (
            [value.encode()]
            if isinstance(value, str)
            else np.array([value], np.bool_ if isinstance(value, bool) else np.float32)
        )
    if not extra:
        features["episode_metadata/last_observation"] = np.asarray(
            episode.observations[-1], np.float32
        )
        features["episode_metadata/last_timestamp_ns"] = np.asarray(episode.stamps[-1:], np.int64)
    return features


# features.json, as tensorflow_datasets/core/features writes it.
_FEATURES = "tensorflow_datasets.core.features."
_TEXT = {"pythonClassName": f"{_FEATURES}text_feature.Text", "text": {}}


def _tensor(dtype: str, size: int = 0) -> dict[str, Any]:
    """A vector of `size` numbers, or one number."""
    kind = "tensor_feature.Tensor" if size else "scalar.Scalar"
    shape = {"dimensions": [str(size)]} if size else {}
    return {
        "pythonClassName": _FEATURES + kind,
        "tensor": {"dtype": dtype, "encoding": "none", "shape": shape},
    }


def _dictionary(features: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "featuresDict": {"features": dict(features)},
        "pythonClassName": f"{_FEATURES}features_dict.FeaturesDict",
    }


def _features(observation_size: int, action_size: int, last_step: str) -> dict[str, Any]:
    steps = {
        "observation": _dictionary({"state": _tensor("float32", observation_size)}),
        "action": _tensor("float32", action_size),
        "reward": _tensor("float32"),
        "discount": _tensor("float32"),
        "is_first": _tensor("bool"),
        "is_last": _tensor("bool"),
        "is_terminal": _tensor("bool"),
        "language_instruction": _TEXT,
        "timestamp_ns": _tensor("int64"),
        "source": _tensor("uint8"),
    }
    kinds = {"str": _TEXT, "bool": _tensor("bool"), "float": _tensor("float32")}
    labels = {label.name: kinds[str(label.type)] for label in fields(EpisodeLabels)}
    if last_step == "transition":
        labels["last_observation"] = _tensor("float32", observation_size)
        labels["last_timestamp_ns"] = _tensor("int64")
    return _dictionary(
        {
            "steps": {
                "pythonClassName": f"{_FEATURES}dataset_feature.Dataset",
                "sequence": {"feature": _dictionary(steps), "length": "-1"},
            },
            "episode_metadata": _dictionary(labels),
        }
    )
