"""Whatever a message holds: it is refused in one short line, or what comes of it is in order."""

from __future__ import annotations

from typing import Any, TypeVar

import messages
import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.serialization import deserialize_message, serialize_message

from sac_core.policy import Policy
from sac_msgs.msg import (
    ActorStatus,
    EpisodeEvent,
    PolicyWeights,
    TeleopAction,
    TransitionAck,
    TransitionBatch,
)
from sac_msgs.srv import MarkEpisode
from sac_ros.codecs import (
    MAX_COUNT,
    MAX_SESSIONS,
    ack_from_message,
    check_actor_status,
    check_episode_event,
    check_mark,
    is_identifier,
    policy_from_message,
    teleop_action_from_message,
    transitions_from_message,
)

M = TypeVar("M")
UNDECODABLE = rclpy_implementation.RMWError  # such a message never reaches a callback


def over_the_wire(message: M) -> M:
    return deserialize_message(serialize_message(message), type(message))


@st.composite
def damaged(draw: st.DrawFn, message: Any) -> Any:
    """A message with some bytes changed on the wire, or its end cut; None: undecodable."""
    data = bytearray(serialize_message(message))
    if draw(st.integers(0, 9)) == 0:
        del data[draw(st.integers(4, len(data))) :]
    else:
        for place in draw(st.lists(st.integers(4, len(data) - 1), max_size=4)):
            data[place] = draw(st.sampled_from([0, 1, 127, 128, 255]))
    try:
        return deserialize_message(bytes(data), type(message))
    except UNDECODABLE:
        event("undecodable")
        return None


@st.composite
def spoilt(draw: st.DrawFn, message: Any) -> Any:
    """A message with anything in one to three of its fields."""
    messages.spoil(draw, message)
    return message


def refused_in_one_line(error: ValueError) -> None:
    event("refused")
    assert 0 < len(str(error)) <= 400
    assert str(error).isprintable()


def check_batch(message: TransitionBatch) -> None:
    try:
        rows = transitions_from_message(message)
    except ValueError as error:
        refused_in_one_line(error)
        return
    event("taken")
    assert is_identifier(message.actor_id)
    assert message.task.isprintable() and len(message.task) <= 256
    assert message.dropped <= message.oldest_sequence <= message.first_sequence
    assert message.first_sequence + len(rows) <= MAX_COUNT
    n, sizes = len(rows), (message.observation_size, message.action_size)
    assert 1 <= n <= 10_000 and min(sizes) >= 1
    assert rows.observations.shape == rows.next_observations.shape == (n, sizes[0])
    assert rows.actions.shape == (n, sizes[1])
    for name in ("rewards", "terminated", "truncated", "source", "policy_version"):
        assert getattr(rows, name).shape == (n,)
    for name in ("observations", "actions", "rewards", "next_observations"):
        assert getattr(rows, name).dtype == np.float32
        assert (np.abs(getattr(rows, name)) <= 1e9).all()
    assert (np.abs(rows.actions) <= 1.0 + 1e-6).all()
    assert np.isin(rows.terminated, (0, 1)).all() and np.isin(rows.truncated, (0, 1)).all()
    assert (rows.source <= 3).all() and (rows.policy_version <= MAX_COUNT).all()


@settings(deadline=None, max_examples=400)
@given(st.integers(1, 4).flatmap(lambda rows: spoilt(messages.batch(rows))))
def test_a_batch_with_anything_in_its_fields(message: TransitionBatch) -> None:
    check_batch(message)


@settings(deadline=None, max_examples=400)
@given(st.integers(1, 4).flatmap(lambda rows: damaged(messages.batch(rows))))
def test_a_batch_that_was_damaged_on_the_wire(message: TransitionBatch | None) -> None:
    if message is not None:
        check_batch(message)


def check_policy(message: PolicyWeights) -> None:
    try:
        policy = policy_from_message(message)
    except ValueError as error:
        refused_in_one_line(error)
        return
    event("taken")
    assert is_identifier(message.learner_id)
    assert isinstance(policy, Policy) and policy.version <= MAX_COUNT
    rng = np.random.default_rng(0)
    observation = np.ones(policy.observation_size, np.float32)
    with np.errstate(all="ignore"):
        for action in (policy.mean(observation), policy.sample(observation, rng)):
            assert action.shape == (policy.action_size,)
            assert np.isfinite(action).all() and (np.abs(action) <= 1.0).all()


@settings(deadline=None, max_examples=300)
@given(st.builds(messages.policy).flatmap(spoilt))
def test_weights_with_anything_in_their_fields(message: PolicyWeights) -> None:
    check_policy(message)


@settings(deadline=None, max_examples=400)
@given(st.builds(messages.policy).flatmap(damaged))
def test_weights_that_were_damaged_on_the_wire(message: PolicyWeights | None) -> None:
    if message is not None:
        check_policy(message)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_weights_whose_safetensors_were_damaged(data: st.DataObject) -> None:
    good = messages.policy().data.tobytes()
    changed = bytearray(good)
    end_of_header = 8 + int.from_bytes(good[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        # Half of the damage is done to the header: what it says is where the danger is.
        end = data.draw(st.sampled_from([end_of_header, len(good)]))
        start = data.draw(st.integers(0, end - 1))
        changed[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    check_policy(messages.policy_of_bytes(bytes(changed)))


@st.composite
def acks(draw: st.DrawFn) -> TransitionAck:
    message = messages.ack()
    for cursor in draw(st.lists(st.sampled_from(message.actors), unique_by=id)):
        messages.spoil(draw, cursor)
    message.actors *= draw(st.sampled_from([1, 1, 1, 2, 400]))
    if draw(st.booleans()):
        message.learner_id = draw(messages.anything("string"))
    return message


@settings(deadline=None, max_examples=300)
@given(acks())
def test_an_acknowledgement_with_anything_in_its_fields(message: TransitionAck) -> None:
    try:
        cursor = ack_from_message(message, "a", 7)
    except ValueError as error:
        refused_in_one_line(error)
        return
    assert len(message.actors) <= MAX_SESSIONS
    if cursor is not None:
        event("taken")
        assert (cursor.actor_id, cursor.actor_session) == ("a", 7)
        assert max(cursor.rejected, cursor.missed) <= cursor.next_sequence <= MAX_COUNT


@settings(deadline=None, max_examples=300)
@given(st.builds(messages.ack).flatmap(damaged))
def test_an_acknowledgement_that_was_damaged_on_the_wire(message: TransitionAck | None) -> None:
    if message is not None:
        try:
            ack_from_message(message, "a", 7)
        except ValueError as error:
            refused_in_one_line(error)


def check_status(message: ActorStatus) -> None:
    try:
        check_actor_status(message)
    except ValueError as error:
        refused_in_one_line(error)
        return
    event("taken")
    assert is_identifier(message.actor_id)
    mean, std = message.evaluation_return_mean, message.evaluation_return_std
    assert np.isnan(mean) or (np.isfinite(mean) and np.isfinite(std) and std >= 0.0)
    assert message.evaluations <= MAX_COUNT


@settings(deadline=None, max_examples=400)
@given(st.builds(messages.status).flatmap(spoilt))
def test_a_status_with_anything_in_its_fields(message: ActorStatus) -> None:
    check_status(message)


@settings(deadline=None, max_examples=300)
@given(st.builds(messages.status).flatmap(damaged))
def test_a_status_that_was_damaged_on_the_wire(message: ActorStatus | None) -> None:
    if message is not None:
        check_status(message)


def check_teleop(message: TeleopAction) -> None:
    try:
        action = teleop_action_from_message(message, 4)
    except ValueError as error:
        refused_in_one_line(error)
        return
    event("taken")
    assert action.shape == (4,) and action.dtype == np.float32
    assert (np.abs(action) <= 1.0).all()
    assert message.operator_name.isprintable() and len(message.operator_name) <= 256


@settings(deadline=None, max_examples=400)
@given(st.builds(messages.teleop_action).flatmap(spoilt))
def test_a_teleoperation_with_anything_in_its_fields(message: TeleopAction) -> None:
    check_teleop(message)


@settings(deadline=None, max_examples=400)
@given(st.builds(messages.teleop_action).flatmap(damaged))
def test_a_teleoperation_that_was_damaged_on_the_wire(message: TeleopAction | None) -> None:
    if message is not None:
        check_teleop(message)


@settings(deadline=None, max_examples=200)
@given(st.builds(MarkEpisode.Request).flatmap(spoilt))
def test_a_mark_with_anything_in_its_fields(request: MarkEpisode.Request) -> None:
    try:
        check_mark(request)
    except ValueError as error:
        refused_in_one_line(error)
        return
    event("taken")
    assert request.mark <= 4 and request.operator_name.isprintable()


def check_event(message: EpisodeEvent) -> None:
    try:
        check_episode_event(message)
    except ValueError as error:
        refused_in_one_line(error)
        return
    event("taken")
    assert is_identifier(message.actor_id)
    assert message.event <= 1 and message.outcome <= 2
    assert message.human_steps <= message.length
    assert np.isfinite(message.episode_return) and message.control_rate >= 0.0
    assert not (message.terminated and message.truncated)


@settings(deadline=None, max_examples=400)
@given(st.builds(messages.episode_event).flatmap(spoilt))
def test_an_episode_with_anything_in_its_fields(message: EpisodeEvent) -> None:
    check_event(message)


@settings(deadline=None, max_examples=300)
@given(st.builds(messages.episode_event).flatmap(damaged))
def test_an_episode_that_was_damaged_on_the_wire(message: EpisodeEvent | None) -> None:
    if message is not None:
        check_event(message)


def test_valid_messages_stay_valid_over_the_wire() -> None:
    transitions_from_message(over_the_wire(messages.batch()))
    policy_from_message(over_the_wire(messages.policy()))
    assert ack_from_message(over_the_wire(messages.ack()), "a", 7) is not None
    check_actor_status(over_the_wire(messages.status()))
    check_episode_event(over_the_wire(messages.episode_event()))
    action = teleop_action_from_message(over_the_wire(messages.teleop_action()), 4)
    np.testing.assert_array_equal(action, np.array([0.5, -1.0, 0.0, 1.0], np.float32))
