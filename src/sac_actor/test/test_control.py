"""What an actor makes of what its watchdog says."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.node import Node

from sac_actor import control as acting
from sac_actor.control import UNLATCHED, WATCHDOG, Control
from sac_actor.environment import EpisodeCut
from sac_msgs.msg import WatchdogStatus


@pytest.fixture
def control() -> Iterator[Control]:
    """In control of a robot whose watchdog has then tripped."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("acting", context=context)
    made = Control(node, "cartesian_impedance_controller", "", 60.0, time.monotonic)
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


def test_a_watchdog_that_waits_while_we_act_guards_something_else(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    control._on_watchdog(WatchdogStatus(state="waiting", trips=1))
    control.forget_loss()
    control.taken = True
    control.check()  # it has a moment to see that we act
    control._on_watchdog(WatchdogStatus(state="watching", trips=1))
    monkeypatch.setattr(acting, "WATCHES", 0.0)
    control.check()
    control._on_watchdog(WatchdogStatus(state="waiting", trips=1))
    control.check()
    with pytest.raises(EpisodeCut, match="does not watch although cartesian_impedance_controller"):
        control.check()
    control.taken = False
    control.check()
