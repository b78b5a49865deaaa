"""Messages carry transitions and policies exactly, and broken ones are refused with the reason."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from rclpy.serialization import deserialize_message, serialize_message

from sac_core.agent import SACAgent
from sac_core.config import SACConfig
from sac_core.policy import Policy
from sac_msgs.msg import PolicyWeights, TransitionBatch
from sac_ros.codecs import (
    Transitions,
    policy_from_message,
    policy_to_message,
    transitions_from_message,
    transitions_to_message,
)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
unit = st.floats(-1.0, 1.0, width=32)


@st.composite
def transitions(draw: st.DrawFn) -> Transitions:
    n, o, a = draw(st.integers(1, 8)), draw(st.integers(1, 5)), draw(st.integers(1, 4))

    def floats(shape: tuple[int, ...], elements: st.SearchStrategy[float] = finite) -> Any:
        return draw(stn.arrays(np.float32, shape, elements=elements))

    def integers(dtype: type[np.generic], largest: int) -> Any:
        return draw(stn.arrays(dtype, n, elements=st.integers(0, largest)))

    return Transitions(
        observations=floats((n, o)),
        actions=floats((n, a), unit),
        rewards=floats((n,)),
        next_observations=floats((n, o)),
        terminated=integers(np.uint8, 1),
        truncated=integers(np.uint8, 1),
        source=integers(np.uint8, 3),
        policy_version=integers(np.uint64, 2**64 - 1),
    )


def example_message() -> TransitionBatch:
    rows = Transitions(
        observations=np.ones((2, 3), np.float32),
        actions=np.zeros((2, 1), np.float32),
        rewards=np.zeros(2, np.float32),
        next_observations=np.ones((2, 3), np.float32),
        terminated=np.zeros(2, np.uint8),
        truncated=np.zeros(2, np.uint8),
        source=np.zeros(2, np.uint8),
        policy_version=np.zeros(2, np.uint64),
    )
    return transitions_to_message(rows, TransitionBatch(actor_id="a"))


@settings(deadline=None)
@given(transitions())
def test_transitions_survive_the_wire_bit_for_bit(rows: Transitions) -> None:
    message = transitions_to_message(rows, TransitionBatch(actor_id="actor"))
    received = deserialize_message(serialize_message(message), TransitionBatch)
    decoded = transitions_from_message(received)
    for name, column in vars(rows).items():
        np.testing.assert_array_equal(getattr(decoded, name), column)
        assert getattr(decoded, name).dtype == column.dtype


def set_field(name: str, value: Any) -> Callable[[TransitionBatch], None]:
    return lambda message: setattr(message, name, value)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (set_field("actor_id", ""), "actor_id has 0 characters"),
        (set_field("actor_id", "x" * 300), "actor_id has 300 characters"),
        (set_field("rewards", array.array("f")), "0 rows"),
        (set_field("observation_size", 0), "observation_size is 0"),
        (set_field("observation_size", 2**32 - 1), "observation_size is 4294967295"),
        (set_field("observation_size", 4), "observations has 6 values, expected 8 for 2 rows"),
        (set_field("actions", array.array("f", [0.0])), "actions has 1 values, expected 2"),
        (set_field("rewards", array.array("f", [0.0, float("nan")])), "rewards .* not finite"),
        (set_field("observations", array.array("f", [float("inf")] * 6)), "not finite"),
        (set_field("actions", array.array("f", [0.0, 1.5])), r"actions reach 1.5"),
        (set_field("terminated", array.array("B", [0, 2])), "terminated reaches 2"),
        (set_field("source", array.array("B", [0, 9])), "source reaches 9"),
        (set_field("first_sequence", 2**64 - 1), "first_sequence"),
    ],
)
def test_a_broken_batch_is_refused_with_the_reason(
    spoil: Callable[[TransitionBatch], None], reason: str
) -> None:
    message = example_message()
    transitions_from_message(message)
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        transitions_from_message(message)


def example_policy() -> PolicyWeights:
    agent = SACAgent(3, 2, SACConfig(hidden_sizes=(8, 8)), seed=1)
    message = policy_to_message(agent.policy_tensors(), PolicyWeights())
    message.version = 12
    return message


def test_a_policy_acts_the_same_after_the_wire() -> None:
    tensors = SACAgent(3, 2, SACConfig(hidden_sizes=(8, 8)), seed=1).policy_tensors()
    received = deserialize_message(serialize_message(example_policy()), PolicyWeights)
    policy = policy_from_message(received)
    assert policy.version == 12
    observation = np.ones(3, np.float32)
    np.testing.assert_array_equal(policy.mean(observation), Policy(tensors).mean(observation))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: setattr(m, "format", "pickle"), "format is 'pickle', expected 'safetensors'"),
        (lambda m: setattr(m, "layout", "other"), "layout is 'other'"),
        (lambda m: setattr(m, "data", array.array("B", b"12345678")), r"\S"),
        (lambda m: setattr(m, "data", array.array("B")), r"\S"),
        (lambda m: setattr(m, "data", m.data[:-4]), r"\S"),
    ],
)
def test_a_broken_policy_is_refused(spoil: Callable[[Any], None], reason: str) -> None:
    message = example_policy()
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        policy_from_message(message)
