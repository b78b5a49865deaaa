"""Checkpoints on disk: written whole or not at all, read with every assumption checked.

A run folder holds ``checkpoints/step_000012345/`` with ``policy.safetensors``,
``learner.safetensors`` and ``checkpoint.json``, and ``checkpoints/best``, a link to the best
policy so far. Directories whose name starts with a dot are unfinished or replaced, and ignored.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_core.policy import MAX_POLICY_BYTES, Policy, decode_policy, encode_policy
from sac_core.tensors import Tensors, decode_tensors, encode_tensors

# Version of the files' layout, in checkpoint.json under "format".
FORMAT = 1

MAX_STATE_BYTES = 1024 * 1024 * 1024
MAX_METADATA_BYTES = 1024 * 1024

_POLICY_FILE = "policy.safetensors"
_STATE_FILE = "learner.safetensors"
_METADATA_FILE = "checkpoint.json"
_ROOT_NAME = "checkpoints"
_BEST_NAME = "best"

PolicyTensors = Mapping[str, npt.NDArray[np.float32]]


class CheckpointError(ValueError):
    """A checkpoint or policy file is missing, broken or of another kind; one line names it."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One checkpoint as read from disk."""

    path: Path
    # The actor network, as ``Policy`` takes it.
    policy: dict[str, npt.NDArray[np.float32]]
    # The learner's tensors, as ``SACAgent.load_state`` takes them; None in a best policy.
    state: dict[str, npt.NDArray[np.generic]] | None
    # At least format, step, observation_size, action_size, layout, task and config.
    metadata: dict[str, Any]


def save_checkpoint(
    root: Path,
    step: int,
    policy: PolicyTensors,
    state: Tensors,
    metadata: Mapping[str, Any],
    keep: int,
) -> Path:
    """Writes ``root/step_<step>`` and removes the oldest checkpoints beyond ``keep``.

    Args:
        root: the run's ``checkpoints`` folder; made if absent.
        step: learner step.
        policy: the actor network's tensors.
        state: the learner's tensors.
        metadata: JSON-able, with task (str) and config (dict); format, step, sizes and layout are
            added here.
        keep: checkpoints to keep, at least 1; the best policy does not count and stays.

    Returns:
        The new checkpoint's directory.

    Raises:
        ValueError: keep is below 1 or the metadata is incomplete.
        OSError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1 checkpoint, got {keep}")
    root = Path(root)
    path = root / f"step_{step:09d}"
    files = {
        _POLICY_FILE: encode_policy(policy),
        _STATE_FILE: encode_tensors(state),
        _METADATA_FILE: _encode_metadata(policy, {**metadata, "step": step}, path),
    }
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob(".partial-step_*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = _write_directory(root, path.name, files)
    if path.exists():
        # The same step again, from a learner that went back to an earlier checkpoint.
        replaced = Path(tempfile.mkdtemp(prefix=".partial-step_", dir=root))
        os.rename(path, replaced / path.name)
        os.rename(partial, path)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        os.rename(partial, path)
    _sync_directory(root)
    newest_first = sorted(_complete_checkpoints(root), key=lambda found: found[0], reverse=True)
    # A learner that went back in time writes smaller steps: what was just written always stays.
    others = [found for _, found in newest_first if found != path]
    for old in others[keep - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def save_best(root: Path, policy: PolicyTensors, metadata: Mapping[str, Any]) -> Path:
    """Makes ``root/best`` this policy; a reader sees the earlier best or this one, whole.

    ``best`` is a link that is swapped in one rename; the directory it pointed to before stays for
    readers that have just opened it, until the next best.

    Args:
        root: the run's ``checkpoints`` folder; made if absent.
        policy: the actor network's tensors.
        metadata: JSON-able, with step (int), task (str) and config (dict); format, sizes and
            layout are added here.

    Raises:
        ValueError: the metadata is incomplete.
        OSError: the disk is full or not writable; the earlier best is untouched.
    """
    root = Path(root)
    best = root / _BEST_NAME
    files = {
        _POLICY_FILE: encode_policy(policy),
        _METADATA_FILE: _encode_metadata(policy, metadata, best),
    }
    root.mkdir(parents=True, exist_ok=True)
    previous = os.readlink(best) if best.is_symlink() else None
    partial = _write_directory(root, _BEST_NAME, files)
    target = root / partial.name.replace(".partial-", ".", 1)
    os.rename(partial, target)
    link = root / f".link-{target.name}"
    link.symlink_to(target.name)
    os.replace(link, best)
    _sync_directory(root)
    for old in [*root.glob(".best*"), *root.glob(".partial-best*"), *root.glob(".link-*")]:
        if old.is_symlink():
            old.unlink()
        elif old.name not in (target.name, previous):
            shutil.rmtree(old, ignore_errors=True)
    return best


def latest_checkpoint(root: Path) -> Path | None:
    """The complete checkpoint with the highest step in a ``checkpoints`` folder, or None."""
    newest = max(_complete_checkpoints(Path(root)), default=None, key=lambda found: found[0])
    return newest[1] if newest else None


def newest_usable_checkpoint(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint in a ``checkpoints`` folder that can be read, for a learner to go on.

    Returns:
        The checkpoint, or None where there is none; and a line for each newer or unfinished one
        that was left out.
    """
    root = Path(root)
    left_out = [f"{path}: was not finished" for path in sorted(root.glob(".partial-step_*"))]
    complete = {path for _, path in _complete_checkpoints(root)}
    for path in sorted(root.glob("step_*")):
        if path not in complete:
            left_out.append(f"{path}: is not complete")
    for _, path in sorted(_complete_checkpoints(root), reverse=True):
        try:
            return load_checkpoint(path), left_out
        except CheckpointError as error:
            left_out.append(str(error))
    return None, left_out


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Args:
        path: a step directory, ``best``, a ``checkpoints`` folder or a run folder that contains
            one; of several checkpoints the one with the highest step is taken.

    Raises:
        CheckpointError: there is none, or a file is missing, too large, malformed or at odds with
            another.
    """
    given = Path(path)
    directory = _find(given).resolve()  # a best that is replaced meanwhile is still read whole
    metadata_path = directory / _METADATA_FILE
    try:
        metadata = _check_metadata(_read_metadata(metadata_path))
    except ValueError as error:
        raise CheckpointError(f"{metadata_path}: {error}") from error

    policy_path = directory / _POLICY_FILE
    try:
        policy = decode_policy(read_file(policy_path, MAX_POLICY_BYTES))
        network = Policy(policy)
    except ValueError as error:
        raise CheckpointError(f"{policy_path}: {error}") from error
    for name in ("observation_size", "action_size", "layout"):
        if metadata[name] != getattr(network, name):
            raise CheckpointError(
                f"{metadata_path}: {name} must be {getattr(network, name)!r} as in {_POLICY_FILE}, "
                f"got {metadata[name]!r}"
            )

    state_path = directory / _STATE_FILE
    state = None
    if state_path.exists():
        try:
            state = decode_tensors(read_file(state_path, MAX_STATE_BYTES), MAX_STATE_BYTES)
        except ValueError as error:
            raise CheckpointError(f"{state_path}: {error}") from error
    return Checkpoint(directory, policy, state, metadata)


def _find(path: Path) -> Path:
    """The checkpoint directory that ``path`` stands for."""
    if not path.is_dir():
        came = "a file" if path.exists() else "nothing"
        raise CheckpointError(f"{path}: expected a checkpoint or run folder, found {came}")
    if (path / _METADATA_FILE).exists() or (path / _POLICY_FILE).exists():
        return path
    root = path / _ROOT_NAME if (path / _ROOT_NAME).is_dir() else path
    latest = latest_checkpoint(root)
    if latest is None:
        raise CheckpointError(f"{root}: expected a complete checkpoint (step_<n>), found none")
    return latest


def _complete_checkpoints(root: Path) -> list[tuple[int, Path]]:
    """(step, directory) of every complete checkpoint; the best policy is not one of them."""
    found = []
    for directory in root.iterdir() if root.is_dir() else ():
        if directory.name.startswith(".") or directory.name == _BEST_NAME:
            continue
        if not (directory / _POLICY_FILE).is_file() or not (directory / _STATE_FILE).is_file():
            continue
        try:
            metadata = _check_metadata(_read_metadata(directory / _METADATA_FILE))
        except ValueError:
            continue
        found.append((metadata["step"], directory))
    return found


def _encode_metadata(policy: PolicyTensors, metadata: Mapping[str, Any], path: Path) -> bytes:
    network = Policy(policy)
    complete = {
        **metadata,
        "format": FORMAT,
        "observation_size": network.observation_size,
        "action_size": network.action_size,
        "layout": network.layout,
    }
    try:
        return json.dumps(_check_metadata(complete), indent=2, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: metadata cannot be saved: {error}") from error


def _read_metadata(path: Path) -> object:
    data = read_file(path, MAX_METADATA_BYTES)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, got {' '.join(str(error).split())}") from error


def _check_metadata(metadata: object) -> dict[str, Any]:
    """The metadata, if it is of this format and complete."""
    if not isinstance(metadata, dict):
        raise ValueError(f"expected a JSON object, got {type(metadata).__name__}")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"format must be {FORMAT}, got {metadata.get('format')!r}")
    kinds = {
        "step": int,
        "observation_size": int,
        "action_size": int,
        "layout": str,
        "task": str,
        "config": dict,
    }
    for name, kind in kinds.items():
        value = metadata.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}")
    if metadata["step"] < 0:
        raise ValueError(f"step must not be negative, got {metadata['step']}")
    return metadata


def read_file(path: Path, max_bytes: int) -> bytes:
    """The file's bytes; ValueError where it is absent, unreadable or larger than max_bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ValueError(f"expected a readable file, got: {error.strerror}") from error
    if len(data) > max_bytes:
        raise ValueError(f"expected at most {max_bytes} bytes, the file is larger")
    return data


def _write_directory(root: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """A new hidden directory with these files, all of it on the disk."""
    directory = Path(tempfile.mkdtemp(prefix=f".partial-{name}-", dir=root))
    directory.chmod(0o755)  # mkdtemp's 0700 would lock other users out of the checkpoint
    for file_name, data in files.items():
        with (directory / file_name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync_directory(directory)
    return directory


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
