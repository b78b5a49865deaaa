"""Parameters of several numbers: as long as their default, each finite and in its range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from sac_ros.parameters import NodeParameters, UserError, declare, keep_current, parameter


@dataclass(frozen=True)
class Some(NodeParameters):
    center: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.1), "m", minimum=-1.0, maximum=1.0, live=True
    )


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


def make(context: rclpy.Context, value: Any = None) -> tuple[Node, Some]:
    given = [] if value is None else [Parameter("center", value=value)]
    node = Node("some", context=context, parameter_overrides=given)
    return node, declare(node, Some)


def test_several_numbers_come_as_a_tuple(context: rclpy.Context) -> None:
    assert make(context)[1].center == (0.0, 0.0, 0.1)
    assert make(context, [0.5, -1.0, 1.0])[1].center == (0.5, -1.0, 1.0)


@pytest.mark.parametrize(
    "value", [[0.0, 0.0], [0.0] * 4, [0.0, 0.0, 1.5], [0.0, float("nan"), 0.0], [1, 2, 3], "x"]
)
def test_other_numbers_are_refused_with_what_was_expected(
    context: rclpy.Context, value: Any
) -> None:
    with pytest.raises(UserError, match=r"parameter center: expected 3 numbers .* at least -1\.0"):
        make(context, value)


def test_live_numbers_are_checked_and_kept_current(context: rclpy.Context) -> None:
    node, values = make(context)
    holder = type("Holder", (), {"values": values})()
    keep_current(node, holder, "values")
    (refused,) = node.set_parameters([Parameter("center", value=[2.0, 0.0, 0.0])])
    assert not refused.successful and "expected 3 numbers" in refused.reason
    (taken,) = node.set_parameters([Parameter("center", value=[0.2, 0.0, 0.0])])
    assert taken.successful
    assert holder.values.center == (0.2, 0.0, 0.0)
