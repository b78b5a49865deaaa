"""Between ROS messages and NumPy arrays, with every field checked before it is used.

A message comes from another process and may be broken, or meant to break something: every
function that reads one raises `ValueError` with one short line, what came and what was expected,
and nothing else. Text of a peer is `printable` wherever a line quotes it.
"""

from __future__ import annotations

import array
import math
import re
from dataclasses import dataclass, fields

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray

from sac_core.limits import MAX_ACTION, MAX_MAGNITUDE, MAX_VECTOR_SIZE
from sac_core.policy import Policy, decode_policy, encode_policy, layout_hash
from sac_msgs.msg import (
    ActorStatus,
    EpisodeEvent,
    PolicyWeights,
    TeleopAction,
    TransitionAck,
    TransitionBatch,
    TransitionCursor,
)
from sac_msgs.srv import MarkEpisode

# Lengths, as in the message definitions.
MAX_BATCH_ROWS = 10_000
MAX_BATCH_VALUES = 16_777_216  # of one array
MAX_POLICY_BYTES = 64 * 2**20
MAX_NAME_LENGTH = 256
MAX_STATE_LENGTH = 32
MAX_FAULT_LENGTH = 512
MAX_SESSIONS = 1024  # of one acknowledgement

# Of any counter: beyond any run, and the sum over all sessions still fits in 64 bits.
MAX_COUNT = 2**53
POLICY_FORMAT = "safetensors"

_IDENTIFIER = re.compile(rf"[A-Za-z0-9_/.-]{{1,{MAX_NAME_LENGTH}}}", re.ASCII)
_MAX_REASON = 300  # characters: a reason may list what a peer has named

Float32 = NDArray[np.float32]


def printable(text: str, longest: int = 64) -> str:
    """A peer's string as it may stand in a log line: short, on one line, nothing hidden in it."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def is_identifier(text: str) -> bool:
    """Whether `text` may be the name of an actor or learner."""
    return _IDENTIFIER.fullmatch(text) is not None


def _check_identifier(name: str, text: str) -> None:
    if not is_identifier(text):
        raise ValueError(
            f"{name} is '{printable(text)}', expected 1 to {MAX_NAME_LENGTH} letters, digits and "
            "_ / . -"
        )


def _check_text(name: str, text: str, longest: int) -> None:
    if len(text) > longest or not text.isprintable():
        raise ValueError(
            f"{name} is '{printable(text)}' of {len(text)} characters, expected at most {longest}, "
            "all printable"
        )


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, expected {least} to {most}")


def _check_stamp(stamp: Time) -> None:
    _check_range("seconds of the stamp", stamp.sec, 0, 2**31 - 1)
    _check_range("nanoseconds of the stamp", stamp.nanosec, 0, 10**9 - 1)


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


# Of each array of a batch: its type, and the field that says how many values a row has.
_COLUMNS: dict[str, tuple[type[np.generic], str | None]] = {
    "observations": (np.float32, "observation_size"),
    "actions": (np.float32, "action_size"),
    "rewards": (np.float32, None),
    "next_observations": (np.float32, "observation_size"),
    "terminated": (np.uint8, None),
    "truncated": (np.uint8, None),
    "source": (np.uint8, None),
    "policy_version": (np.uint64, None),
}
_LARGEST = {  # absolute values
    "observations": MAX_MAGNITUDE,
    "actions": MAX_ACTION,
    "rewards": MAX_MAGNITUDE,
    "next_observations": MAX_MAGNITUDE,
    "terminated": 1,
    "truncated": 1,
    "source": TransitionBatch.SOURCE_SCRIPTED,
    "policy_version": MAX_COUNT,
}


def transitions_from_message(message: TransitionBatch) -> Transitions:
    """The transitions of a received message, as views of its arrays.

    Raises:
        ValueError: a field is unfit for use. Whether task and sizes are those of the learner is
            for the caller to say.
    """
    rows = len(message.rewards)
    _check_identifier("actor_id", message.actor_id)
    _check_text("task", message.task, MAX_NAME_LENGTH)
    _check_range("number of rows", rows, 1, MAX_BATCH_ROWS)
    _check_range("observation_size", message.observation_size, 1, MAX_VECTOR_SIZE)
    _check_range("action_size", message.action_size, 1, MAX_VECTOR_SIZE)
    # What was dropped came before the oldest row that is kept, and that before what is sent.
    _check_range("first_sequence", message.first_sequence, 0, MAX_COUNT - rows)
    _check_range("oldest_sequence", message.oldest_sequence, 0, message.first_sequence)
    _check_range("dropped", message.dropped, 0, message.oldest_sequence)
    columns = {}
    for name, (dtype, size_field) in _COLUMNS.items():
        size = getattr(message, size_field) if size_field else 1
        columns[name] = _column(name, getattr(message, name), dtype, rows, size)
        if size_field:
            columns[name] = columns[name].reshape(rows, size)
    for name, largest in _LARGEST.items():
        reach = np.abs(columns[name]).max()
        if not np.isfinite(reach):
            raise ValueError(f"{name} has values that are not finite")
        if reach > largest:
            raise ValueError(f"{name} reaches {reach:.4g}, expected at most {largest:.4g}")
    return Transitions(**columns)


def _column(
    name: str, data: array.array[float], dtype: type[np.generic], rows: int, size: int
) -> np.ndarray:
    """One array of a batch, flat, if it is as long as it has to be."""
    if len(data) != rows * size:
        raise ValueError(f"{name} has {len(data)} values, expected {rows * size} for {rows} rows")
    if len(data) > MAX_BATCH_VALUES:
        raise ValueError(f"{name} has {len(data)} values, expected at most {MAX_BATCH_VALUES}")
    return np.frombuffer(data, dtype)


def teleop_action_from_message(message: TeleopAction, action_size: int) -> Float32:
    """What a person asks for: `(action_size,)` in [-1, 1].

    Raises:
        ValueError: a field is unfit for use. Whether that person is listened to is for the caller
            to say.
    """
    _check_stamp(message.header.stamp)
    _check_text("operator_name", message.operator_name, MAX_NAME_LENGTH)
    if len(message.action) != action_size:
        raise ValueError(f"action has {len(message.action)} values, expected {action_size}")
    action = np.array(message.action, np.float32)
    reach = np.abs(action).max(initial=0.0)
    if not np.isfinite(reach):
        raise ValueError("action has values that are not finite")
    if reach > MAX_ACTION:
        raise ValueError(f"action reaches {reach:.4g}, expected at most 1")
    return np.clip(action, -1.0, 1.0)


def check_mark(request: MarkEpisode.Request) -> None:
    """Check what a person says of an episode.

    Raises:
        ValueError: a field is unfit for use.
    """
    _check_range("mark", request.mark, MarkEpisode.Request.START, MarkEpisode.Request.STOP)
    _check_text("operator_name", request.operator_name, MAX_NAME_LENGTH)


def check_episode_event(message: EpisodeEvent) -> None:
    """Check what an actor says of an episode.

    Raises:
        ValueError: a field is unfit for use.
    """
    _check_stamp(message.header.stamp)
    _check_identifier("actor_id", message.actor_id)
    _check_text("task", message.task, MAX_NAME_LENGTH)
    _check_text("behaviour", message.behaviour, MAX_STATE_LENGTH)
    _check_text("operator_name", message.operator_name, MAX_NAME_LENGTH)
    _check_range("event", message.event, EpisodeEvent.STARTED, EpisodeEvent.ENDED)
    _check_range("outcome", message.outcome, 0, EpisodeEvent.OUTCOME_FAILURE)
    _check_range("episode", message.episode, 0, MAX_COUNT)
    _check_range("first_sequence", message.first_sequence, 0, MAX_COUNT)
    _check_range("human_steps", message.human_steps, 0, message.length)
    if not 0.0 <= message.control_rate < math.inf:
        raise ValueError(f"control_rate is {message.control_rate}, expected a finite rate from 0")
    if not math.isfinite(message.episode_return):
        raise ValueError(f"episode_return is {message.episode_return}, expected a finite number")
    if message.terminated and message.truncated:
        raise ValueError("the episode is terminated and truncated, expected one of them at most")


def policy_to_message(tensors: dict[str, Float32], message: PolicyWeights) -> PolicyWeights:
    """Fill format, layout and data of `message`; the caller fills the rest. Returns `message`."""
    message.format = POLICY_FORMAT
    message.layout = layout_hash(tensors)
    data = array.array("B")
    data.frombytes(encode_policy(tensors))
    message.data = data
    return message


def policy_from_message(message: PolicyWeights) -> Policy:
    """The policy of a received message.

    Raises:
        ValueError: a field is unfit for use, or the weights are none that can be run. Whether
            sizes and version suit is for the caller to say.
    """
    _check_identifier("learner_id", message.learner_id)
    _check_range("version", message.version, 0, MAX_COUNT)
    _check_stamp(message.header.stamp)
    if message.format != POLICY_FORMAT:
        raise ValueError(f"format is '{printable(message.format)}', expected '{POLICY_FORMAT}'")
    try:
        policy = Policy(decode_policy(message.data, MAX_POLICY_BYTES), version=message.version)
    except ValueError as error:
        raise ValueError(printable(str(error), _MAX_REASON)) from error
    if policy.layout != message.layout:
        raise ValueError(
            f"layout is '{printable(message.layout)}', expected '{policy.layout}', that of its "
            "tensors"
        )
    return policy


def ack_from_message(
    message: TransitionAck, actor_id: str, actor_session: int
) -> TransitionCursor | None:
    """The cursor of this session of this actor, or None if there is none.

    Raises:
        ValueError: a field is unfit for use. What is said of others is not looked at.
    """
    _check_identifier("learner_id", message.learner_id)
    _check_range("number of sessions", len(message.actors), 0, MAX_SESSIONS)
    own = [
        cursor
        for cursor in message.actors
        if cursor.actor_session == actor_session and cursor.actor_id == actor_id
    ]
    if len(own) > 1:
        raise ValueError(f"it holds {len(own)} cursors of this session, expected one")
    if not own:
        return None
    cursor = own[0]
    _check_range("next_sequence", cursor.next_sequence, 0, MAX_COUNT)
    _check_range("rejected", cursor.rejected, 0, cursor.next_sequence)
    _check_range("missed", cursor.missed, 0, cursor.next_sequence)
    return cursor


_COUNTERS = (
    "steps",
    "episodes",
    "dropped",
    "rejected",
    "policy_version",
    "policies_received",
    "policies_rejected",
    "evaluations",
    "evaluation_policy_version",
)


def check_actor_status(message: ActorStatus) -> None:
    """Check what a learner uses of an actor's status.

    Raises:
        ValueError: a field is unfit for use.
    """
    _check_identifier("actor_id", message.actor_id)
    _check_text("task", message.task, MAX_NAME_LENGTH)
    _check_text("state", message.state, MAX_STATE_LENGTH)
    _check_range("length of fault", len(message.fault), 0, MAX_FAULT_LENGTH)
    for name in _COUNTERS:
        _check_range(name, getattr(message, name), 0, MAX_COUNT)
    mean, std = message.evaluation_return_mean, message.evaluation_return_std
    if math.isnan(mean):  # no evaluation yet
        return
    if not math.isfinite(mean):
        raise ValueError(f"evaluation_return_mean is {mean}, expected a finite number, or NaN")
    if not 0.0 <= std < math.inf:
        raise ValueError(f"evaluation_return_std is {std}, expected a finite number from 0")
    success = message.evaluation_success_rate
    if not (math.isnan(success) or 0.0 <= success <= 1.0):
        raise ValueError(f"evaluation_success_rate is {success}, expected 0 to 1, or NaN")
