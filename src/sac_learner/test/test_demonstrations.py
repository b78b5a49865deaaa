"""Demonstrations are read, counted, and refused where they do not fit."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from sac_core.rlds_writer import Episode, EpisodeLabels, RldsWriter
from sac_learner.demonstrations import preload
from sac_ros.parameters import UserError

LOGGER = logging.getLogger("learner")


def dataset(root: Path, *tasks: str, size: int = 3, length: int = 10) -> str:
    """One episode of each task; every second one is cut, the others succeed. Its path."""
    with RldsWriter(root, "shown", size, 2) as writer:
        for number, task in enumerate(tasks):
            terminated = number % 2 == 0
            writer.add(
                Episode(
                    observations=np.full((length + 1, size), number, np.float32),
                    actions=np.zeros((length, 2), np.float32),
                    rewards=np.arange(length, dtype=np.float32),
                    terminated=terminated,
                    stamps=np.arange(length + 1),
                    source=np.full(length, 2, np.uint8),
                    labels=EpisodeLabels(task=task, success=terminated),
                )
            )
    return str(root / "shown")


def test_what_is_read_is_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = dataset(tmp_path, "reach", "reach", "reach")
    found = preload(path, (3, 2), "reach", LOGGER)
    assert (found.task, found.sizes, len(found.rows)) == ("reach", (3, 2), 30)
    masks = found.rows.take(np.arange(30))[:, found.rows.layout.mask]
    assert masks.tolist() == [1.0] * 9 + [0.0] + [1.0] * 19 + [0.0]
    (line,) = caplog.messages
    assert line.startswith(
        f"Preloaded 3 episodes (2 successful) of {path}: 30 transitions, 2 terminal, 1 truncated, "
        "0 dropped, in "
    )


def test_sizes_and_task_may_come_from_the_dataset(tmp_path: Path) -> None:
    found = preload(dataset(tmp_path, "reach", ""), (0, 0), "", LOGGER)
    assert (found.task, found.sizes) == ("reach", (3, 2))
    assert preload(dataset(tmp_path / "other", ""), (0, 2), "mine", LOGGER).task == "mine"


def test_several_datasets_are_one_buffer(tmp_path: Path) -> None:
    paths = dataset(tmp_path / "a", "reach"), dataset(tmp_path / "b", "reach", length=5)
    assert len(preload(":".join(paths), (0, 0), "", LOGGER).rows) == 15


def test_what_does_not_fit_is_refused_with_both_named(tmp_path: Path) -> None:
    reach = dataset(tmp_path / "a", "reach")
    larger = dataset(tmp_path / "b", "reach", size=4)
    both = dataset(tmp_path / "c", "reach", "push")
    for paths, sizes, task, message in (
        (reach, (0, 0), "push", rf"{reach}: its task is 'reach', this learner's is 'push'"),
        (reach, (5, 2), "", r"expected one observation of 5 numbers, found .*state of 3"),
        (reach, (3, 7), "", r"expected one action of 7 numbers, found steps/action of 2"),
        (f"{reach}:{larger}", (0, 0), "", r"expected one observation of 3 .*state of 4"),
        (both, (0, 0), "", r"its task is 'push', 'reach', expected one"),
        (str(tmp_path / "none"), (0, 0), "", r"none: expected an RLDS dataset"),
        ("~nobody_of_this_name/x", (0, 0), "", r"preload_rlds_path "),
    ):
        with pytest.raises(UserError, match=message) as error:
            preload(paths, sizes, task, LOGGER)
        assert len(str(error.value).splitlines()) == 1
