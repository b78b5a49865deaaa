"""Checkpoints: whole or absent, and every broken one named in a line."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from policy_tensors import make_tensors

from sac_core import checkpoint
from sac_core.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from sac_core.policy import encode_policy, layout_hash

METADATA = {"task": "HalfCheetah-v4", "config": {"discount": 0.99}}


def save(root: Path, step: int, keep: int = 3, value: float | None = None) -> Path:
    """A checkpoint whose learner state tells its step, or ``value``."""
    state = {"weights": np.full(3, step if value is None else value, np.float32)}
    return save_checkpoint(root, step, make_tensors(), state, METADATA, keep)


def steps_in(root: Path) -> list[int]:
    return sorted(load_checkpoint(path).metadata["step"] for path in root.glob("step_*"))


def edit_metadata(path: Path, **changes) -> None:
    metadata = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**metadata, **changes}))


def test_a_checkpoint_survives_the_disk(tmp_path: Path):
    root = tmp_path / "run" / "checkpoints"
    policy = make_tensors()
    state = {"a.b": np.arange(6, dtype=np.float32).reshape(2, 3), "g": np.arange(5, dtype=np.uint8)}
    metadata = {**METADATA, "replay_rng": {"state": 2**100}}
    path = save_checkpoint(root, 12345, policy, state, metadata, keep=2)
    assert path == root / "step_000012345"
    assert {file.name for file in path.iterdir()} == {
        "policy.safetensors",
        "learner.safetensors",
        "checkpoint.json",
    }
    loaded = load_checkpoint(path)
    assert loaded.path == path
    for wanted, found in ((policy, loaded.policy), (state, loaded.state)):
        assert found is not None and found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])
            assert found[name].dtype == wanted[name].dtype
    assert loaded.metadata == {
        **metadata,
        "format": 1,
        "step": 12345,
        "observation_size": 4,
        "action_size": 2,
        "layout": layout_hash(policy),
    }


def test_a_step_a_root_and_a_run_folder_can_be_loaded(tmp_path: Path):
    root = tmp_path / "checkpoints"
    for step in (10, 20):
        save(root, step)
    assert load_checkpoint(root / "step_000000010").metadata["step"] == 10
    assert load_checkpoint(root).metadata["step"] == 20
    assert load_checkpoint(tmp_path).metadata["step"] == 20


def test_the_newest_checkpoints_and_the_best_are_kept(tmp_path: Path):
    save(tmp_path, 1)
    save_best(tmp_path, make_tensors(), {**METADATA, "step": 1})
    for step in (2, 3, 1_000_000_000, 1_000_000_001):
        save(tmp_path, step, keep=2)
    assert steps_in(tmp_path) == [1_000_000_000, 1_000_000_001]
    assert load_checkpoint(tmp_path / "best").metadata["step"] == 1


def test_steps_come_from_the_file_and_not_from_the_name(tmp_path: Path):
    save(tmp_path, 5).rename(tmp_path / "step_renamed")
    save(tmp_path, 3)
    assert latest_checkpoint(tmp_path) == tmp_path / "step_renamed"
    save(tmp_path, 7, keep=2)
    assert steps_in(tmp_path) == [5, 7]


def test_a_learner_that_went_back_in_time_keeps_what_it_just_saved(tmp_path: Path):
    for step in (100, 200):
        save(tmp_path, step)
    path = save(tmp_path, 50, keep=2)
    assert path.exists()
    assert steps_in(tmp_path) == [50, 200]


def test_the_same_step_can_be_saved_again(tmp_path: Path):
    save(tmp_path, 5, value=1.0)
    path = save(tmp_path, 5, value=2.0)
    state = load_checkpoint(path).state
    assert state is not None and state["weights"][0] == 2.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["step_000000005"]


def save_and_die(root: Path, dying_call: int) -> None:
    """Saves step 2 and a best policy, and dies at the given system call that changes the disk."""
    calls = 0

    def dying(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == dying_call:
                os._exit(7)
            return function(*arguments, **options)

        return call

    for name in ("fsync", "rename", "replace"):
        setattr(os, name, dying(getattr(os, name)))
    state = {"weights": np.full(3, 2, np.float32)}
    save_checkpoint(root, 2, make_tensors(), state, METADATA, keep=1)
    save_best(root, make_tensors(seed=2), {**METADATA, "step": 2})


def test_a_save_killed_at_any_call_leaves_whole_checkpoints_and_the_next_save_tidies_up(
    tmp_path: Path,
):
    survived = False
    for dying_call in range(1, 40):
        root = tmp_path / str(dying_call)
        save(root, 1)
        save_best(root, make_tensors(seed=1), {**METADATA, "step": 1})
        process = multiprocessing.get_context("fork").Process(
            target=save_and_die, args=(root, dying_call)
        )
        process.start()
        process.join()
        latest, best = load_checkpoint(root), load_checkpoint(root / "best")
        assert latest.state is not None
        assert latest.state["weights"][0] == latest.metadata["step"] in (1, 2)
        wanted = make_tensors(seed=best.metadata["step"])
        np.testing.assert_array_equal(best.policy["mean.bias"], wanted["mean.bias"])
        save(root, 3, keep=1)
        save_best(root, make_tensors(seed=3), {**METADATA, "step": 3})
        assert steps_in(root) == [3]
        assert not list(root.glob(".partial*")) and not list(root.glob(".link*"))
        if process.exitcode == 0:
            survived = True
            break
        assert process.exitcode == 7
    assert survived and dying_call > 10


def test_a_reader_always_finds_a_whole_best_policy_while_it_is_replaced(tmp_path: Path):
    save_best(tmp_path, make_tensors(seed=0), {**METADATA, "step": 0})
    done = threading.Event()

    def replace() -> None:
        for step in range(1, 60):
            save_best(tmp_path, make_tensors(seed=step), {**METADATA, "step": step})
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        best = tmp_path / "best"
        assert (best / "checkpoint.json").exists() and (best / "policy.safetensors").exists()
        reads += 1
    writer.join()
    loaded = load_checkpoint(tmp_path / "best")
    assert loaded.metadata["step"] == 59 and loaded.state is None
    np.testing.assert_array_equal(loaded.policy["mean.bias"], make_tensors(seed=59)["mean.bias"])
    # The present one and the one before it.
    assert len(list(tmp_path.glob(".best*"))) == 2


def test_half_written_checkpoints_are_ignored(tmp_path: Path):
    save(tmp_path, 1)
    for step, missing in ((2, "checkpoint.json"), (3, "policy.safetensors"), (4, None)):
        path = save(tmp_path, step, keep=9)
        if missing:
            (path / missing).unlink()
        else:
            (path / "learner.safetensors").unlink()
    shutil.copytree(tmp_path / "step_000000001", tmp_path / ".partial-step_000000009-x")
    edit_metadata(tmp_path / ".partial-step_000000009-x", step=9)
    assert latest_checkpoint(tmp_path) == tmp_path / "step_000000001"


def test_there_is_no_latest_checkpoint_in_an_empty_or_absent_folder(tmp_path: Path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None


def write(name: str, data: bytes):
    return lambda path: (path / name).write_bytes(data)


def remove(name: str):
    return lambda path: (path / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("checkpoint.json"), "checkpoint.json: expected a readable file, got: No such file"),
        (remove("policy.safetensors"), "policy.safetensors: expected a readable file"),
        (write("checkpoint.json", b"{"), "checkpoint.json: expected JSON"),
        (write("checkpoint.json", b"\xff\xfe\xff"), "checkpoint.json: expected JSON"),
        (write("checkpoint.json", b"[" * 100_000), "checkpoint.json: expected JSON"),
        (write("checkpoint.json", b"[1]"), "expected a JSON object, got list"),
        (write("checkpoint.json", b" " * 2_000_000), "at most 1048576 bytes"),
        (write("policy.safetensors", b"junk"), "policy.safetensors: expected safetensors data"),
        (write("learner.safetensors", b"\0" * 50), "learner.safetensors: not safetensors data"),
        (write("policy.safetensors", encode_policy({})), "policy.safetensors: .*missing"),
        (lambda path: edit_metadata(path, format=2), "format must be 1, got 2"),
        (lambda path: edit_metadata(path, step="5"), "step must be of type int, got '5'"),
        (lambda path: edit_metadata(path, step=-5), "step must not be negative, got -5"),
        (lambda path: edit_metadata(path, task=None), "task must be of type str, got None"),
        (lambda path: edit_metadata(path, observation_size=5), "observation_size must be 4 .* 5"),
        (
            lambda path: edit_metadata(path, layout="abc"),
            "layout must be '.*' as in policy.safetensors, got 'abc'",
        ),
    ],
)
def test_a_broken_checkpoint_is_named_in_one_line(tmp_path: Path, damage, message: str):
    path = save(tmp_path, 5)
    damage(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_larger_than_their_bound_are_refused(tmp_path: Path, monkeypatch):
    path = save(tmp_path, 5)
    monkeypatch.setattr(checkpoint, "MAX_STATE_BYTES", 20)
    with pytest.raises(CheckpointError, match=r"learner.safetensors: expected at most 20 bytes"):
        load_checkpoint(path)


def test_a_path_without_a_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="absent: expected a checkpoint or run folder"):
        load_checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="found none"):
        load_checkpoint(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="found a file"):
        load_checkpoint(tmp_path / "file")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"task": "x"}, "config must be of type dict, got None"),
        ({"config": {}}, "task must be of type str, got None"),
        ({**METADATA, "score": float("nan")}, "metadata cannot be saved"),
        ({**METADATA, "score": np.float32(1)}, "metadata cannot be saved"),
    ],
)
def test_incomplete_metadata_is_refused_before_anything_is_written(tmp_path, metadata, message):
    with pytest.raises(ValueError, match=message):
        save_checkpoint(tmp_path / "root", 1, make_tensors(), {}, metadata, keep=1)
    with pytest.raises(ValueError, match=message):
        save_best(tmp_path / "root", make_tensors(), {**metadata, "step": 1})
    assert not (tmp_path / "root").exists()


def test_keeping_nothing_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="keep must be at least 1"):
        save(tmp_path, 1, keep=0)


def test_a_save_without_space_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch):
    save(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert steps_in(tmp_path) == [1]
    save(tmp_path, 3)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "step_000000001",
        "step_000000003",
    ]
