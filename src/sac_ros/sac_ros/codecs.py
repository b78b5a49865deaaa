"""Between ROS messages and NumPy arrays, with every field checked before it is used.

A message comes from another process and may be broken: `transitions_from_message` and
`policy_from_message` raise `ValueError` with one line that says what is wrong.
"""

from __future__ import annotations

import array
import re
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sac_core.policy import Policy, decode_policy, encode_policy, layout_hash
from sac_msgs.msg import (
    ActorStatus,
    PolicyWeights,
    TransitionAck,
    TransitionBatch,
    TransitionCursor,
)

MAX_BATCH_ROWS = 10_000
MAX_VECTOR_SIZE = 100_000
MAX_POLICY_BYTES = 64 * 2**20
MAX_NAME_LENGTH = 256
MAX_COUNT = 2**62  # of any counter: beyond what a run could reach
MAX_SESSIONS = 1024  # of one acknowledgement
POLICY_FORMAT = "safetensors"

_IDENTIFIER = re.compile(r"[A-Za-z0-9_/.-]{1,256}", re.ASCII)

Float32 = NDArray[np.float32]


def printable(text: str) -> str:
    """A peer's string as it may stand in a log line: short, on one line, nothing hidden in it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:64])


def is_identifier(text: str) -> bool:
    """Whether `text` may be the name of an actor or learner."""
    return _IDENTIFIER.fullmatch(text) is not None


@dataclass(frozen=True)
class Transitions:
    """N consecutive transitions as arrays; the fields are those of sac_msgs/TransitionBatch."""

    observations: Float32  # (N, observation_size)
    actions: Float32  # (N, action_size), in [-1, 1]
    rewards: Float32  # (N,)
    next_observations: Float32  # (N, observation_size)
    terminated: NDArray[np.uint8]  # (N,)
    truncated: NDArray[np.uint8]  # (N,)
    source: NDArray[np.uint8]  # (N,)
    policy_version: NDArray[np.uint64]  # (N,)

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, rows: slice) -> Transitions:
        return Transitions(*(getattr(self, f.name)[rows] for f in fields(self)))


_TYPECODES = {"float32": "f", "uint8": "B", "uint64": "Q"}


def _to_array(values: np.ndarray) -> array.array[float] | array.array[int]:
    result = array.array(_TYPECODES[values.dtype.name])
    result.frombytes(np.ascontiguousarray(values).tobytes())
    return result


def transitions_to_message(transitions: Transitions, message: TransitionBatch) -> TransitionBatch:
    """Fill the sizes and arrays of `message` from `transitions`; returns `message`."""
    message.observation_size = transitions.observations.shape[1]
    message.action_size = transitions.actions.shape[1]
    for field in fields(transitions):
        setattr(message, field.name, _to_array(getattr(transitions, field.name)))
    return message


def transitions_from_message(message: TransitionBatch) -> Transitions:
    """The transitions of a received message. Raises ValueError if any field is unfit for use."""
    if not 0 < len(message.actor_id) <= MAX_NAME_LENGTH:
        raise ValueError(f"actor_id has {len(message.actor_id)} characters, expected 1 to 256")
    rows = len(message.rewards)
    observation_size, action_size = message.observation_size, message.action_size
    if not 0 < rows <= MAX_BATCH_ROWS:
        raise ValueError(f"{rows} rows, expected 1 to {MAX_BATCH_ROWS}")
    if message.first_sequence > 2**63:
        raise ValueError(f"first_sequence {message.first_sequence} is beyond any run")
    for name, size in (("observation_size", observation_size), ("action_size", action_size)):
        if not 0 < size <= MAX_VECTOR_SIZE:
            raise ValueError(f"{name} is {size}, expected 1 to {MAX_VECTOR_SIZE}")
    shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "observations": ((rows, observation_size), np.float32),
        "actions": ((rows, action_size), np.float32),
        "rewards": ((rows,), np.float32),
        "next_observations": ((rows, observation_size), np.float32),
        "terminated": ((rows,), np.uint8),
        "truncated": ((rows,), np.uint8),
        "source": ((rows,), np.uint8),
        "policy_version": ((rows,), np.uint64),
    }
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        data = getattr(message, name)
        expected = int(np.prod(shape))
        if len(data) != expected:
            raise ValueError(f"{name} has {len(data)} values, expected {expected} for {rows} rows")
        arrays[name] = np.frombuffer(data, dtype=dtype).reshape(shape)
    for name in ("observations", "actions", "rewards", "next_observations"):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} has values that are not finite")
    if np.abs(arrays["actions"]).max() > 1.0 + 1e-6:
        raise ValueError(f"actions reach {np.abs(arrays['actions']).max():.3g}, expected [-1, 1]")
    for name, largest in (("terminated", 1), ("truncated", 1), ("source", 3)):
        if arrays[name].max() > largest:
            raise ValueError(f"{name} reaches {arrays[name].max()}, expected at most {largest}")
    return Transitions(**arrays)


def policy_to_message(tensors: dict[str, Float32], message: PolicyWeights) -> PolicyWeights:
    """Fill format, layout and data of `message`; the caller fills the rest. Returns `message`."""
    message.format = POLICY_FORMAT
    message.layout = layout_hash(tensors)
    data = array.array("B")
    data.frombytes(encode_policy(tensors))
    message.data = data
    return message


def policy_from_message(message: PolicyWeights) -> Policy:
    """The policy of a received message. Raises ValueError if it cannot be run."""
    if message.format != POLICY_FORMAT:
        raise ValueError(f"format is {message.format[:40]!r}, expected {POLICY_FORMAT!r}")
    policy = Policy(decode_policy(message.data, MAX_POLICY_BYTES), version=message.version)
    if policy.layout != message.layout:
        raise ValueError(f"layout is {message.layout[:40]!r}, its tensors are {policy.layout!r}")
    return policy


def ack_from_message(
    message: TransitionAck, actor_id: str, actor_session: int
) -> TransitionCursor | None:
    """The cursor of this session of this actor, or None if it holds none. Raises ValueError."""
    if not is_identifier(message.learner_id):
        raise ValueError(f"learner_id is {printable(message.learner_id)!r}")
    if len(message.actors) > MAX_SESSIONS:
        raise ValueError(f"{len(message.actors)} actors, expected at most {MAX_SESSIONS}")
    for cursor in message.actors:
        if cursor.actor_id == actor_id and cursor.actor_session == actor_session:
            for name in ("next_sequence", "rejected", "missed"):
                if getattr(cursor, name) > MAX_COUNT:
                    raise ValueError(f"{name} {getattr(cursor, name)} is beyond any run")
            return cursor
    return None


def check_actor_status(message: ActorStatus) -> None:
    """Raises ValueError if a status is unfit for use."""
    if not is_identifier(message.actor_id):
        raise ValueError(f"actor_id is {printable(message.actor_id)!r}")
