"""A policy in one file: its weights and what each of its numbers means.

safetensors, with a JSON text under "sac_policy" in the metadata: `format`, `step`, `layout` and the
`specification`. `load_policy` reads one, or the policy of a checkpoint folder.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sac_core.checkpoint import CheckpointError, PolicyTensors, load_checkpoint, read_file
from sac_core.policy import MAX_POLICY_BYTES, Policy, float32_tensors
from sac_core.specification import Specification, decode_specification, encode_specification
from sac_core.tensors import decode_with_metadata, encode_tensors

# Version of the text's layout, under "format".
FORMAT = 1

_KEY = "sac_policy"


@dataclass(frozen=True)
class StoredPolicy:
    """A policy as read from disk."""

    path: Path
    policy: Policy  # its version is the learner step
    tensors: PolicyTensors
    task: str
    specification: Specification | None  # None: a checkpoint, whose learner knew sizes only

    def check(self, ours: Specification, any_task: bool = False) -> None:
        """Refuse to act in an environment of another specification.

        Raises:
            CheckpointError: another task (unless any_task), other sizes, or the same numbers mean
                something else; one line that names both.
        """
        if ours.task != self.task and not any_task:
            raise CheckpointError(f"{self.path} was trained in {self.task!r}, not {ours.task!r}")
        theirs = (self.policy.observation_size, self.policy.action_size)
        sizes = (len(ours.observations), len(ours.actions))
        if theirs != sizes:
            raise CheckpointError(
                f"{self.path} was trained in {self.task!r} and has {theirs[0]} observations and "
                f"{theirs[1]} actions; {ours.task!r} has {sizes[0]} and {sizes[1]}"
            )
        difference = self.specification and self.specification.difference(ours)
        if difference:
            raise CheckpointError(
                f"{self.path} was trained in another version of {ours.task!r} than this: with "
                f"{difference}"
            )


def save_policy(
    path: Path, tensors: PolicyTensors, step: int, specification: Specification
) -> None:
    """Writes one file, whole or not at all.

    Args:
        path: replaced if it exists.
        tensors: the actor network's, as ``Policy`` takes them.
        step: learner step.
        specification: of as many observations and actions as the network has.

    Raises:
        ValueError: the tensors are no policy, of other sizes than the specification, or the
            specification is too long to be read again.
        OSError: the disk is full or not writable; what was there before is untouched.
    """
    description = {
        "format": FORMAT,
        "step": step,
        "layout": Policy(tensors).layout,
        "specification": encode_specification(specification),
    }
    text = json.dumps(description, allow_nan=False, ensure_ascii=False)
    data = encode_tensors(tensors, {_KEY: text})
    _decode(path, data)  # nothing is written that could not be read
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # mkstemp's 0600 would lock other users out
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def load_policy(path: Path) -> StoredPolicy:
    """Reads a policy file, or the policy of a checkpoint, ``checkpoints`` or run folder.

    Raises:
        CheckpointError: there is none, or a file is missing, too large, malformed or at odds with
            itself.
    """
    path = Path(path)
    if path.is_file():
        try:
            return _decode(path, read_file(path, MAX_POLICY_BYTES))
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
    checkpoint = load_checkpoint(path)
    metadata = checkpoint.metadata
    policy = Policy(checkpoint.policy, version=metadata["step"])
    return StoredPolicy(checkpoint.path, policy, checkpoint.policy, metadata["task"], None)


def _decode(path: Path, data: bytes) -> StoredPolicy:
    """The policy in a file's bytes; ValueError unless they are as ``save_policy`` writes them."""
    tensors, texts = decode_with_metadata(data, MAX_POLICY_BYTES)
    if _KEY not in texts:
        raise ValueError("expected a policy that export_policy wrote, its metadata is missing")
    description = _description(texts[_KEY])
    weights = float32_tensors(tensors)
    policy = Policy(weights, version=description["step"])
    layout = description["layout"]
    if layout != policy.layout:
        raise ValueError(f"layout must be {policy.layout!r} as of its tensors, got {layout[:32]!r}")
    specification = decode_specification(description.get("specification"))
    sizes = (len(specification.observations), len(specification.actions))
    if sizes != (policy.observation_size, policy.action_size):
        raise ValueError(
            f"the specification must have {policy.observation_size} observations and "
            f"{policy.action_size} actions as its tensors, got {sizes[0]} and {sizes[1]}"
        )
    return StoredPolicy(path, policy, weights, specification.task, specification)


def _description(text: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"metadata: expected JSON, got {' '.join(str(error).split())}") from error
    if not isinstance(description, dict):
        raise ValueError(f"metadata: expected a JSON object, got {type(description).__name__}")
    if description.get("format") != FORMAT:
        came = json.dumps(description.get("format"))[:100]
        raise ValueError(f"metadata: format must be {FORMAT}, got {came}")
    step, layout = description.get("step"), description.get("layout")
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**53:
        raise ValueError(f"metadata: step must be a count, got {json.dumps(step)[:100]}")
    if not isinstance(layout, str) or not layout.isprintable():
        raise ValueError(f"metadata: layout must be a text, got {json.dumps(layout)[:100]}")
    return description
