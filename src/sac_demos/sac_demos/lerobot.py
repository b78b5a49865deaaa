"""Episodes as a LeRobotDataset v3 (huggingface.co/docs/lerobot/lerobot-dataset-v3), with pyarrow.

State, action, `next.reward`, `next.done` and `next.success`; no pictures. A frame's timestamp is
its number over the rate, as LeRobot checks it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sac_core.rlds_writer import Episode

VERSION = "v3.0"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
DEFAULT_RATE = 10.0  # Hz, where neither a bag nor stamps say one
WHOLE = 0.02  # share by which stamps may be off a whole number of Hz that is meant


class LerobotError(ValueError):
    """A dataset cannot be written; one line that names it."""


class LerobotWriter:
    """Writes one dataset; it appears whole with `close`, or not at all."""

    def __init__(
        self,
        path: Path,
        observation_size: int,
        action_size: int,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`names`: those of the numbers of `observation` and `action`, where they are known.

        Raises:
            LerobotError: the folder is there already.
            OSError: nothing can be written there.
        """
        self.path = Path(path)
        if self.path.exists():
            raise LerobotError(f"{self.path} is there already: give another folder")
        self._folder = self.path.with_name(f".{self.path.name}.incomplete")
        shutil.rmtree(self._folder, ignore_errors=True)
        data = self._folder / DATA.format(chunk_index=0, file_index=0)
        data.parent.mkdir(parents=True)
        self._sizes = {"observation.state": observation_size, "action": action_size}
        self._names = {
            "observation.state": list(names["observation"]) if names else None,
            "action": list(names["action"]) if names else None,
        }
        self._data = pq.ParquetWriter(data, self._schema())
        self._tasks: dict[str, int] = {}
        self._rate = 0.0
        self._frames = 0
        self._rows: list[dict[str, Any]] = []  # one for each episode
        self._all: dict[str, list[np.ndarray]] = {}

    def _schema(self) -> pa.Schema:
        vectors = [(name, pa.list_(pa.float32(), size)) for name, size in self._sizes.items()]
        return pa.schema(
            [
                *vectors,
                ("next.reward", pa.float32()),
                ("next.done", pa.bool_()),
                ("next.success", pa.bool_()),
                ("timestamp", pa.float32()),
                ("frame_index", pa.int64()),
                ("episode_index", pa.int64()),
                ("index", pa.int64()),
                ("task_index", pa.int64()),
            ]
        )

    def check(self, episode: Episode) -> None:
        """Raise LerobotError if an episode's rate is another than that of those before."""
        rate = _rate(episode)
        if self._rate and abs(rate - self._rate) > 1e-3 * self._rate:
            raise LerobotError(
                f"{self.path}: episode {episode.labels.episode_id} has {rate:g} steps/s, those "
                f"before {self._rate:g}: a LeRobot dataset has one rate"
            )

    def add(self, episode: Episode) -> None:
        """Append one episode.

        Raises:
            LerobotError: as of `check`.
            OSError: the disk does not take it.
        """
        self.check(episode)
        self._rate = self._rate or _rate(episode)
        task = self._tasks.setdefault(episode.language_instruction, len(self._tasks))
        columns = self._columns(episode, task)
        self._data.write_table(self._table(columns))
        self._rows.append(self._row(episode, columns))
        self._frames += len(episode)
        for name, values in columns.items():
            self._all.setdefault(name, []).append(values)

    def _columns(self, episode: Episode, task: int) -> dict[str, np.ndarray]:
        count = len(episode)
        frames = np.arange(count)
        last = frames == count - 1
        return {
            "observation.state": episode.observations[:-1].astype(np.float32),
            "action": episode.actions.astype(np.float32),
            "next.reward": episode.rewards.astype(np.float32),
            "next.done": last,
            "next.success": last & episode.labels.success,
            "timestamp": (frames / self._rate).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(count, len(self._rows)),
            "index": self._frames + frames,
            "task_index": np.full(count, task),
        }

    def _table(self, columns: Mapping[str, np.ndarray]) -> pa.Table:
        arrays = [
            pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
            if values.ndim == 2
            else pa.array(values)
            for values in columns.values()
        ]
        return pa.Table.from_arrays(arrays, schema=self._schema())

    def _row(self, episode: Episode, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """What is said of an episode as a whole."""
        row: dict[str, Any] = {
            "episode_index": len(self._rows),
            "tasks": [episode.language_instruction],
            "length": len(episode),
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + len(episode),
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for name, values in columns.items():
            for statistic, numbers in _statistics(values).items():
                row[f"stats/{name}/{statistic}"] = numbers
        return row

    def close(self) -> None:
        """Make it a dataset.

        Raises:
            LerobotError: nothing was added.
            OSError: the disk does not take it.
        """
        self.prepare()
        self.publish()

    def prepare(self) -> None:
        """Write the whole of it beside its place. Raises as `close`."""
        self._data.close()
        if not self._rows:
            self.abort()
            raise LerobotError(f"{self.path}: no episode to write")
        episodes = self._folder / EPISODES
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), episodes)
        meta = self._folder / "meta"
        pq.write_table(_task_table(self._tasks), meta / "tasks.parquet")
        whole = {name: _statistics(np.concatenate(all_)) for name, all_ in self._all.items()}
        (meta / "stats.json").write_text(json.dumps(whole, indent=4))
        (meta / "info.json").write_text(json.dumps(self._information(), indent=4))

    def publish(self) -> None:
        """Put in its place what was prepared."""
        self._folder.rename(self.path)

    def abort(self) -> None:
        """Leave nothing."""
        self._data.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _information(self) -> dict[str, Any]:
        rate = int(self._rate) if float(self._rate).is_integer() else self._rate
        return {
            "codebase_version": VERSION,
            "robot_type": "franka",
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": 1000,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": rate,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": DATA,
            "video_path": None,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        kinds = {pa.float32(): "float32", pa.bool_(): "bool", pa.int64(): "int64"}
        return {
            field.name: {
                "dtype": kinds.get(field.type, "float32"),  # of a vector: that of its numbers
                "shape": [self._sizes.get(field.name, 1)],
                "names": self._names.get(field.name),
            }
            for field in self._schema()
        }


def _rate(episode: Episode) -> float:
    """Steps per second: as the bag says, else as the stamps do."""
    if episode.labels.control_rate > 0.0:
        return episode.labels.control_rate
    period = float(np.median(np.diff(episode.stamps))) / 1e9
    if period <= 0.0:
        return DEFAULT_RATE
    whole = round(1.0 / period)
    return float(whole) if abs(whole * period - 1.0) < WHOLE else 1.0 / period


def _statistics(values: np.ndarray) -> dict[str, list[float] | list[int]]:
    """Of each number by itself, over the frames `(N, …)`."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    found: dict[str, list[float] | list[int]] = {
        "min": rows.min(axis=0).tolist(),
        "max": rows.max(axis=0).tolist(),
        "mean": rows.mean(axis=0).tolist(),
        "std": rows.std(axis=0).tolist(),
        "count": [len(rows)],
    }
    for name, share in QUANTILES.items():
        found[name] = np.quantile(rows, share, axis=0).tolist()
    return found


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """The tasks as LeRobot keeps them: a pandas frame whose index is the text."""
    index = "__index_level_0__"

    def column(name: str | None, field: str, kind: str, numpy_kind: str) -> dict[str, Any]:
        return {
            "name": name,
            "field_name": field,
            "pandas_type": kind,
            "numpy_type": numpy_kind,
            "metadata": None,
        }

    pandas = {
        "index_columns": [index],
        "column_indexes": [
            {**column(None, "None", "unicode", "object"), "metadata": {"encoding": "UTF-8"}}
        ],
        "columns": [
            column("task_index", "task_index", "int64", "int64"),
            column(None, index, "unicode", "object"),
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    schema = pa.schema(
        [("task_index", pa.int64()), (index, pa.string())],
        metadata={"pandas": json.dumps(pandas)},
    )
    columns = [pa.array(list(tasks.values()), pa.int64()), pa.array(list(tasks), pa.string())]
    return pa.Table.from_arrays(columns, schema=schema)
