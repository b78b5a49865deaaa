"""Messages carry transitions and policies exactly, and broken ones are refused with the reason."""

from __future__ import annotations

import array
import struct
from collections.abc import Callable
from typing import Any

import messages
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from sac_core.policy import Policy
from sac_msgs.msg import PolicyWeights, TransitionBatch, TransitionCursor
from sac_msgs.srv import MarkEpisode
from sac_ros.codecs import (
    MAX_COUNT,
    MAX_SESSIONS,
    Transitions,
    ack_from_message,
    check_actor_status,
    check_episode_event,
    check_mark,
    policy_from_message,
    printable,
    teleop_action_from_message,
    transitions_from_message,
    transitions_to_message,
)

nan, inf = float("nan"), float("inf")


@settings(deadline=None)
@given(messages.transitions())
def test_transitions_survive_the_wire_bit_for_bit(rows: Transitions) -> None:
    message = transitions_to_message(rows, TransitionBatch(actor_id="actor"))
    received = deserialize_message(serialize_message(message), TransitionBatch)
    decoded = transitions_from_message(received)
    for name, column in vars(rows).items():
        np.testing.assert_array_equal(getattr(decoded, name), column)
        assert getattr(decoded, name).dtype == column.dtype


def having(**values: Any) -> Callable[[Any], None]:
    """Sets fields of a message."""

    def spoil(message: Any) -> None:
        for name, value in values.items():
            setattr(message, name, value)

    return spoil


def floats(*values: float) -> array.array[float]:
    return array.array("f", values)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (having(actor_id=""), "actor_id is '', expected 1 to 256 letters, digits"),
        (having(actor_id="x" * 300), "actor_id is 'x+…', expected"),
        (having(actor_id="a b"), "actor_id is 'a b', expected"),
        (having(actor_id="a\n[ERROR]"), r"actor_id is 'a\\n\[ERROR\]', expected"),
        (having(actor_id="аctor"), "actor_id is 'аctor', expected"),  # the first is Cyrillic
        (having(task="a\x1b[2J"), r"task is 'a\\x1b\[2J' of 5 characters, expected .* printable"),
        (having(task="x" * 257), "task is 'x+…' of 257 characters, expected at most 256"),
        (having(rewards=floats()), "number of rows is 0, expected 1 to 10000"),
        (having(observation_size=0), "observation_size is 0, expected 1 to 16384"),
        (having(observation_size=2**32 - 1), "observation_size is 4294967295"),
        (having(action_size=0), "action_size is 0, expected 1 to 16384"),
        (having(observation_size=4), "observations has 6 values, expected 8 for 2 rows"),
        (having(actions=floats(0.0)), "actions has 1 values, expected 2"),
        (having(next_observations=floats()), "next_observations has 0 values, expected 6"),
        (having(policy_version=array.array("Q", [0] * 3)), "policy_version has 3 values"),
        (having(rewards=floats(0.0, nan)), "rewards has values that are not finite"),
        (having(observations=floats(*[inf] * 6)), "observations has values that are not finite"),
        (having(next_observations=floats(0, 0, 0, 0, 0, -inf)), "next_observations .* not finite"),
        (having(rewards=floats(0.0, -1e10)), r"rewards reaches 1e\+10, expected at most 1e\+09"),
        (having(observations=floats(*[3e38] * 6)), r"observations reaches 3e\+38, expected"),
        (having(actions=floats(0.0, nan)), "actions has values that are not finite"),
        (having(actions=floats(0.0, -1.5)), "actions reaches 1.5, expected at most 1"),
        (having(terminated=array.array("B", [0, 2])), "terminated reaches 2, expected at most 1"),
        (having(truncated=array.array("B", [255, 1])), "truncated reaches 255, expected at most 1"),
        (having(source=array.array("B", [0, 9])), "source reaches 9, expected at most 3"),
        (
            having(policy_version=array.array("Q", [0, 2**63])),
            "policy_version reaches 9.223e.18, expected at most 9.007e.15",
        ),
        (having(first_sequence=2**64 - 1), "first_sequence is 18446744073709551615, expected 0"),
        (having(first_sequence=MAX_COUNT - 1), "first_sequence is 9007199254740991, expected 0"),
        (having(oldest_sequence=10), "oldest_sequence is 10, expected 0 to 9"),
        (having(dropped=6), "dropped is 6, expected 0 to 5"),
    ],
)
def test_a_broken_batch_is_refused_with_the_reason(
    spoil: Callable[[TransitionBatch], None], reason: str
) -> None:
    message = messages.batch()
    transitions_from_message(message)
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        transitions_from_message(message)


def test_what_gymnasium_allows_is_accepted() -> None:
    message = messages.batch()
    message.task = ""
    message.terminated = message.truncated = array.array("B", [0, 1])  # both at once
    message.actions = floats(-1.0, 1.0)
    assert len(transitions_from_message(message)) == 2


def test_lengths_are_bounded_here_because_dds_lets_longer_ones_pass() -> None:
    assert len(transitions_from_message(messages.batch(rows=10_000))) == 10_000
    with pytest.raises(ValueError, match="number of rows is 10001, expected 1 to 10000"):
        transitions_from_message(messages.batch(rows=10_001))
    wide = messages.batch(rows=1100)
    wide.observation_size = 16_000
    wide.observations = wide.next_observations = array.array("f", bytes(4 * 1100 * 16_000))
    with pytest.raises(ValueError, match="17600000 values, expected at most 16777216"):
        transitions_from_message(wide)


def test_a_policy_acts_the_same_after_the_wire() -> None:
    received = deserialize_message(serialize_message(messages.policy()), PolicyWeights)
    policy = policy_from_message(received)
    assert policy.version == 12
    observation = np.ones(3, np.float32)
    wanted = Policy(messages.policy_tensors()).mean(observation)
    np.testing.assert_array_equal(policy.mean(observation), wanted)


def bytes_of(header: bytes, values: bytes = b"") -> Callable[[PolicyWeights], None]:
    return having(data=array.array("B", struct.pack("<Q", len(header)) + header + values))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (having(learner_id=""), "learner_id is '', expected 1 to 256 letters"),
        (having(learner_id="x\r"), r"learner_id is 'x\\r', expected"),
        (having(format="pickle"), "format is 'pickle', expected 'safetensors'"),
        (having(layout="other"), "layout is 'other', expected '[0-9a-f]{16}', that of its tensors"),
        (having(version=2**63), "version is 9223372036854775808, expected 0 to"),
        (lambda m: setattr(m.header, "stamp", Time(sec=-1)), "seconds of the stamp is -1"),
        (
            lambda m: setattr(m.header, "stamp", Time(nanosec=10**9)),
            "nanoseconds of the stamp is 1000000000",
        ),
        (having(data=array.array("B", b"12345678")), "header of at most 0 bytes"),
        (having(data=array.array("B")), "at least 8 bytes, got 0"),
        (lambda m: setattr(m, "data", m.data[:-4]), "not safetensors data"),
        (bytes_of(b"{}"), "policy tensors must be .* missing"),
        (
            bytes_of(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
            r"policy tensors must be .* unknown: \['a'\]",
        ),
        (bytes_of(b'{"\\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4), "name"),
    ],
)
def test_a_broken_policy_is_refused_with_the_reason(
    spoil: Callable[[Any], None], reason: str
) -> None:
    message = messages.policy()
    policy_from_message(message)
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        policy_from_message(message)


def test_a_reason_stays_short_whatever_a_peer_has_named() -> None:
    names = (f'"tensor{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(1500))
    message = messages.policy()
    bytes_of(f"{{{','.join(names)}}}".encode())(message)
    with pytest.raises(ValueError, match="float32") as refusal:
        policy_from_message(message)
    assert len(str(refusal.value)) <= 300


def test_an_acknowledgement_is_that_of_the_own_session_only() -> None:
    message = messages.ack()
    message.actors[1].next_sequence = 60
    cursor = ack_from_message(message, "a", 8)
    assert cursor is not None and (cursor.next_sequence, cursor.rejected) == (60, 3)
    assert ack_from_message(message, "a", 9) is None
    assert ack_from_message(message, "c", 7) is None


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (having(learner_id=" "), "learner_id is ' ', expected"),
        (
            having(actors=[TransitionCursor()] * (MAX_SESSIONS + 1)),
            "number of sessions is 1025, expected 0 to 1024",
        ),
        (
            having(actors=messages.ack().actors * 2),
            "it holds 2 cursors of this session, expected one",
        ),
        (
            having(
                actors=[TransitionCursor(actor_id="a", actor_session=7, next_sequence=2**64 - 1)]
            ),
            "next_sequence is 18446744073709551615, expected 0 to 9007199254740992",
        ),
        (
            having(actors=[TransitionCursor(actor_id="a", actor_session=7, rejected=1)]),
            "rejected is 1, expected 0 to 0",
        ),
        (
            having(
                actors=[
                    TransitionCursor(actor_id="a", actor_session=7, next_sequence=3, missed=2**63)
                ]
            ),
            "missed is 9223372036854775808, expected 0 to 3",
        ),
    ],
)
def test_a_broken_acknowledgement_is_refused_with_the_reason(
    spoil: Callable[[Any], None], reason: str
) -> None:
    message = messages.ack()
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        ack_from_message(message, "a", 7)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (having(actor_id="../../x y"), r"actor_id is '../../x y', expected"),
        (having(task="\x00"), r"task is '\\x00' of 1 characters"),
        (having(state="policy" * 6), "state is 'policy.*' of 36 characters, expected at most 32"),
        (having(fault="x" * 600), "length of fault is 600, expected 0 to 512"),
        (having(evaluations=2**64 - 1), "evaluations is 18446744073709551615, expected 0 to"),
        (having(evaluation_policy_version=2**60), "evaluation_policy_version is 115"),
        (having(evaluation_return_mean=inf), "evaluation_return_mean is inf, expected a finite"),
        (having(evaluation_return_std=nan), "evaluation_return_std is nan, expected a finite"),
        (having(evaluation_return_std=-1.0), r"evaluation_return_std is -1.0, expected"),
        (having(evaluation_success_rate=1.5), "evaluation_success_rate is 1.5, expected 0 to 1"),
        (having(evaluation_success_rate=-inf), "evaluation_success_rate is -inf"),
    ],
)
def test_a_broken_status_is_refused_with_the_reason(
    spoil: Callable[[Any], None], reason: str
) -> None:
    message = messages.status()
    check_actor_status(message)
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        check_actor_status(message)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (having(operator_name="Ada\n"), r"operator_name is 'Ada\\n' of 4 characters, expected"),
        (having(operator_name="x" * 257), "operator_name is 'x+…' of 257 characters"),
        (having(action=[0.0] * 3), "action has 3 values, expected 4"),
        (having(action=[]), "action has 0 values, expected 4"),
        (having(action=[0.0, nan, 0.0, 0.0]), "action has values that are not finite"),
        (having(action=[0.0, 0.0, -inf, 0.0]), "action has values that are not finite"),
        (having(action=[0.0, 0.0, 0.0, -1.01]), "action reaches 1.01, expected at most 1"),
        (lambda m: setattr(m.header, "stamp", Time(sec=-1)), "seconds of the stamp is -1"),
    ],
)
def test_a_broken_teleoperation_is_refused_with_the_reason(
    spoil: Callable[[Any], None], reason: str
) -> None:
    message = messages.teleop_action()
    teleop_action_from_message(message, 4)
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        teleop_action_from_message(message, 4)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (having(mark=5), "mark is 5, expected 0 to 4"),
        (having(operator_name="\x1b[2J"), "operator_name is .* all printable"),
    ],
)
def test_a_broken_mark_is_refused_with_the_reason(
    spoil: Callable[[Any], None], reason: str
) -> None:
    request = MarkEpisode.Request(mark=MarkEpisode.Request.STOP, operator_name="Ada")
    check_mark(request)
    spoil(request)
    with pytest.raises(ValueError, match=reason):
        check_mark(request)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (having(actor_id="/../ "), "actor_id is '/../ ', expected"),
        (having(task="\t"), "task is .* all printable"),
        (having(behaviour="policy" * 6), "behaviour is 'policy.*' of 36 characters"),
        (having(operator_name="\n"), "operator_name is .* all printable"),
        (having(event=2), "event is 2, expected 0 to 1"),
        (having(outcome=3), "outcome is 3, expected 0 to 2"),
        (having(episode=2**63), "episode is 9223372036854775808, expected"),
        (having(first_sequence=2**63), "first_sequence is 9223372036854775808, expected"),
        (having(human_steps=31), "human_steps is 31, expected 0 to 30"),
        (having(control_rate=nan), "control_rate is nan, expected a finite rate"),
        (having(episode_return=inf), "episode_return is inf, expected a finite number"),
        (having(truncated=True), "terminated and truncated, expected one"),
        (lambda m: setattr(m.header, "stamp", Time(nanosec=10**9)), "nanoseconds of the stamp"),
    ],
)
def test_a_broken_episode_is_refused_with_the_reason(
    spoil: Callable[[Any], None], reason: str
) -> None:
    message = messages.episode_event()
    check_episode_event(message)
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        check_episode_event(message)


def test_a_status_before_the_first_evaluation_is_accepted() -> None:
    message = messages.status()
    having(evaluations=0, evaluation_return_mean=nan, evaluation_return_std=nan)(message)
    check_actor_status(message)


def test_a_peers_text_is_shown_plainly() -> None:
    assert printable("sac_actor_0") == "sac_actor_0"
    assert printable("a\nb\t\x1b[31m\x00") == r"a\nb\t\x1b[31m\x00"
    assert (
        printable("\u202egnp.exe \ud800") == r"\u202egnp.exe \ud800"
    )  # right to left; half a pair
    assert printable("größer ≤ 5") == "größer ≤ 5"
    assert printable("x" * 64) == "x" * 64
    assert printable("x" * 65) == "x" * 63 + "…"


@given(st.text(), st.integers(8, 100))
def test_any_text_becomes_one_short_line(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert shown.isprintable()
    assert len(shown) <= longest
    assert shown == text or len(text) > longest or not text.isprintable()
