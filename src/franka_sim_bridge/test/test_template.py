"""Patched messages are what rclpy would have serialized (but for padding, whose bytes are any)."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState

from franka_sim_bridge.template import Template

finite = st.floats(allow_nan=False, width=64)
stamps = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 999_999_999))


def vector(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(finite, min_size=size, max_size=size)


def joint_state(size: int, frame: str) -> JointState:
    message = JointState(name=[f"joint{i}" for i in range(size)])
    message.header.frame_id = frame
    message.position = message.velocity = message.effort = [0.0] * size
    return message


@given(stamps, st.integers(1, 9), st.text("abc_", max_size=9), st.data())
def test_a_patched_joint_state_equals_the_serialized_one(
    stamp: tuple[int, int], size: int, frame: str, data: st.DataObject
) -> None:
    position, velocity, effort = (data.draw(vector(size)) for _ in range(3))
    expected = joint_state(size, frame)
    expected.header.stamp.sec, expected.header.stamp.nanosec = stamp
    expected.position, expected.velocity, expected.effort = position, velocity, effort
    template = Template(joint_state(size, frame), "position", "velocity", "effort")
    assert (
        deserialize_message(template(stamp, position, velocity, effort), type(expected)) == expected
    )


@given(stamps, vector(7), st.text("abc_", max_size=9))
def test_a_patched_pose_equals_the_serialized_one(
    stamp: tuple[int, int], numbers: list[float], frame: str
) -> None:
    message = PoseStamped()
    message.header.frame_id = frame
    template = Template(message, "pose")
    p, o = message.pose.position, message.pose.orientation
    p.x, p.y, p.z, o.x, o.y, o.z, o.w = numbers
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    assert deserialize_message(template(stamp, numbers), type(message)) == message


@pytest.mark.parametrize(
    ("kind", "field", "parts"),
    [
        (WrenchStamped, "wrench", ("force", "torque")),
        (TwistStamped, "twist", ("linear", "angular")),
    ],
)
@given(stamps, vector(6))
def test_a_patched_six_vector_equals_the_serialized_one(
    kind: type, field: str, parts: tuple[str, str], stamp: tuple[int, int], numbers: list[float]
) -> None:
    message = kind()
    template = Template(message, field)
    for part, values in zip(parts, (numbers[:3], numbers[3:]), strict=True):
        target = getattr(getattr(message, field), part)
        target.x, target.y, target.z = values
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    assert deserialize_message(template(stamp, numbers), type(message)) == message


def test_one_number_fills_a_field() -> None:
    expected = joint_state(2, "")
    expected.position = [0.04, 0.04]
    template = Template(joint_state(2, ""), "position", "velocity", "effort")
    assert deserialize_message(template((0, 0), 0.04, 0.0, 0.0), type(expected)) == expected


def test_what_is_published_does_not_change_with_the_next_patch() -> None:
    template = Template(joint_state(1, ""), "position")
    first = template((1, 0), [1.0])
    assert template((2, 0), [2.0]) != first
    assert Template(joint_state(1, ""), "position")((1, 0), [1.0]) == first


def test_a_field_that_is_no_run_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError):
        Template(joint_state(3, ""), "name")


def test_as_many_values_as_fields_are_wanted() -> None:
    template = Template(joint_state(3, ""), "position")
    with pytest.raises(ValueError):
        template((0, 0), np.zeros(3), np.zeros(3))
