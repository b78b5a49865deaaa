"""What an actor makes of what its watchdog says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from rclpy.node import Node

from sac_actor.control import UNLATCHED, WATCHDOG, Control
from sac_actor.environment import EpisodeCut
from sac_msgs.msg import WatchdogStatus


@pytest.fixture
def control() -> Iterator[Control]:
    """In control of a robot whose watchdog has then tripped."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("acting", context=context)
    made = Control(node, "cartesian_impedance_controller", "", 0.0)
    made.taken = True
    made._on_watchdog(WatchdogStatus(state="watching"))
    made.check()
    made._on_watchdog(WatchdogStatus(state="tripped", reason="a reason", trips=1))
    yield made
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_watchdog_that_trips_takes_control_until_somebody_clears_it(control: Control) -> None:
    assert not control.taken
    with pytest.raises(EpisodeCut, match="the watchdog has stopped the robot: a reason"):
        control.check_watchdog()
    control._on_watchdog(WatchdogStatus(state="waiting", trips=1))
    control.check_watchdog()
    assert control.loss == WATCHDOG


def test_a_watchdog_that_is_started_anew_has_cleared_nothing(control: Control) -> None:
    control._on_watchdog(WatchdogStatus(state="waiting", trips=0))
    assert control.loss == UNLATCHED  # for which a person is asked, whatever the recovery mode
    with pytest.raises(EpisodeCut, match="started anew while tripped: a reason"):
        control.check()
