"""What is reason to stop the robot, and what is not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sac_actor import vigilance
from sac_actor.vigilance import Limits, Vigilance

LIMITS = Limits(
    command_timeout=0.5,
    first_command_timeout=2.0,
    reset_timeout=30.0,
    max_command_rate=200.0,
    state_timeout=0.2,
    frozen_timeout=1.0,
    max_state_latency=0.2,
    actor_timeout=3.0,
)
PERIOD = 0.02  # s


class Robot:
    """Feeds a `Vigilance` with what a healthy robot and actor say, but for what a test changes."""

    def __init__(self, **limits: float) -> None:
        self.watch = Vigilance(replace(LIMITS, **limits))
        self.now = 100.0
        self.commands = 2  # in a period
        self.drives = 0
        self.speaks = self.moves = self.actor = True
        self.latency = 0.001

    def run(self, seconds: float) -> str | None:
        """Let time pass; the kind of the first cause, or None."""
        end = self.now + seconds
        while self.now < end:
            self.now += PERIOD
            if self.speaks:
                self.watch.hear_state(self.moves, self.latency, self.now)
            if self.actor:
                self.watch.hear_actor(self.now)
            self.watch.hear_commands(self.commands, self.now)
            self.watch.hear_drives(self.drives, self.now)
            cause = self.watch.cause(self.now)
            if cause is not None:
                return cause.kind
        return None

    def activate(self, commanded: bool = True, driven: bool = False) -> None:
        self.watch.activated(self.now, commanded, driven)

    def persisting(self, kind: str, tripped_at: float = 0.0) -> str | None:
        cause = self.watch.persists(kind, tripped_at, self.now)
        return cause.kind if cause else None


@pytest.fixture
def robot() -> Robot:
    robot = Robot()
    assert robot.run(1.0) is None
    robot.activate()
    assert robot.run(5.0) is None
    return robot


def test_without_an_active_motion_controller_only_an_emergency_stop_counts() -> None:
    robot = Robot()
    robot.speaks = robot.actor = False
    robot.commands = 0
    assert robot.run(60.0) is None
    robot.commands = 100
    assert robot.run(2.0) is None
    robot.watch.emergency_stop = True
    assert robot.run(PERIOD) == vigilance.EMERGENCY_STOP


def test_commands_that_stop_are_a_cause_after_their_limit(robot: Robot) -> None:
    robot.commands = 0
    assert robot.run(0.4) is None
    assert robot.run(0.2) == vigilance.COMMANDS


def test_an_active_controller_may_wait_longer_for_its_first_command() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.commands = 0
    robot.run(10.0)
    robot.activate()
    assert robot.run(1.9) is None
    assert robot.run(0.2) == vigilance.COMMANDS
    again = Robot()
    again.commands = 0
    again.activate()
    assert again.run(1.0) is None
    again.commands = 1
    assert again.run(10.0) is None


@pytest.mark.parametrize("commanded", [False, True])
def test_whoever_drives_the_arm_to_a_start_is_heard_in_the_place_of_commands(
    commanded: bool,
) -> None:
    robot = Robot()
    robot.commands, robot.drives = 0, 1
    robot.activate(commanded, driven=True)
    assert robot.run(5.0) is None
    robot.drives = 0
    assert robot.run(0.4) is None
    assert robot.run(0.2) == vigilance.COMMANDS


def test_a_motion_to_a_start_may_not_take_for_ever() -> None:
    robot = Robot()
    robot.commands, robot.drives = 0, 1
    robot.activate(commanded=False, driven=True)
    assert robot.run(29.9) is None
    assert robot.run(0.2) == vigilance.COMMANDS
    cause = robot.watch.cause(robot.now)
    assert cause is not None and "a motion to the start of an episode takes 30 s" in cause.text


def test_a_controller_that_also_drives_may_be_commanded_for_ever() -> None:
    robot = Robot()
    robot.activate(commanded=True, driven=True)
    assert robot.run(60.0) is None


def test_commands_for_another_controller_and_a_drive_of_another_count_for_nothing() -> None:
    robot = Robot()
    robot.activate(commanded=False, driven=True)
    assert robot.run(1.9) is None
    assert robot.run(0.2) == vigilance.COMMANDS
    cause = robot.watch.cause(robot.now)
    assert cause is not None and "no word of robot_reset since" in cause.text
    robot.commands, robot.drives = 0, 1
    robot.now += PERIOD
    robot.activate(commanded=True, driven=False)
    assert robot.run(1.9) is None
    assert robot.run(0.2) == vigilance.COMMANDS


def test_a_flood_of_words_of_who_drives_is_one(robot: Robot) -> None:
    robot.drives = 5
    assert robot.run(1.0) == vigilance.FLOOD


def test_what_was_heard_before_the_controller_became_active_does_not_count_against_it() -> None:
    robot = Robot()
    robot.actor = robot.speaks = False
    robot.commands = 0
    robot.run(20.0)
    robot.activate()
    robot.actor = robot.speaks = True
    robot.commands = 1
    assert robot.run(5.0) is None


@pytest.mark.parametrize(
    ("change", "kind", "after"),
    [
        ({"speaks": False}, vigilance.STATE, 0.2),
        ({"latency": 0.3}, vigilance.LATENCY, 0.0),
        ({"latency": -0.3}, vigilance.LATENCY, 0.0),
        ({"actor": False}, vigilance.ACTOR, 3.0),
        ({"commands": 5}, vigilance.FLOOD, 0.3),
    ],
)
def test_each_silence_and_excess_is_a_cause_of_its_own(
    robot: Robot, change: dict[str, float], kind: str, after: float
) -> None:
    for name, value in change.items():
        setattr(robot, name, value)
    assert robot.run(max(after - 0.1, 0.0)) is None
    assert robot.run(1.0) == kind


@pytest.mark.parametrize("limit", ["frozen_timeout", "max_state_latency", "actor_timeout"])
def test_a_limit_of_zero_is_not_watched(limit: str) -> None:
    robot = Robot(**{limit: 0.0})
    robot.activate()
    robot.actor, robot.moves, robot.latency = False, False, 1e9
    robot.watch.frozen_while_asked = True
    kinds = {"frozen_timeout": vigilance.FROZEN, "max_state_latency": vigilance.LATENCY}
    assert robot.run(5.0) != kinds.get(limit, vigilance.ACTOR)


def test_frozen_values_under_fresh_stamps_are_a_cause_if_the_robot_was_asked_to_move(
    robot: Robot,
) -> None:
    robot.moves = False
    assert robot.run(5.0) is None
    assert robot.watch.is_suspicious()
    robot.watch.frozen_while_asked = True
    assert robot.run(PERIOD) == vigilance.FROZEN
    robot.moves = True
    assert robot.run(1.0) is None
    assert not robot.watch.is_suspicious()


def test_stamps_of_another_clock_are_named_as_such(robot: Robot) -> None:
    robot.latency = 1.7e9
    assert robot.run(PERIOD) == vigilance.LATENCY
    cause = robot.watch.cause(robot.now)
    assert cause is not None and "use_sim_time" in cause.text


def test_a_cause_persists_as_long_as_it_is_there(robot: Robot) -> None:
    robot.watch.deactivated()
    tripped = robot.now
    for kind in (vigilance.STATE, vigilance.LATENCY, vigilance.ACTOR, vigilance.FLOOD):
        assert robot.persisting(kind) is None
    robot.speaks = robot.actor = False
    robot.run(4.0)
    assert robot.persisting(vigilance.STATE) == vigilance.STATE
    assert robot.persisting(vigilance.LATENCY) == vigilance.STATE
    for kind in (vigilance.STATE, vigilance.LATENCY):
        assert robot.watch.persists(kind, tripped, robot.now, stopped=True) is None
    assert robot.persisting(vigilance.ACTOR) == vigilance.ACTOR
    assert robot.persisting(vigilance.FROZEN, tripped) == vigilance.FROZEN
    assert robot.persisting(vigilance.COMMANDS) is None, "nobody commands a stopped robot"
    robot.commands = 10
    robot.run(1.0)
    assert robot.persisting(vigilance.FLOOD) == vigilance.FLOOD
    robot.speaks = True
    robot.run(PERIOD)
    assert robot.persisting(vigilance.FROZEN, tripped) is None
    robot.watch.emergency_stop = True
    assert robot.persisting(vigilance.REQUEST) == vigilance.EMERGENCY_STOP


def test_nothing_was_heard_is_said_as_such() -> None:
    watch = Vigilance(LIMITS)
    watch.activated(0.0)
    assert math.isnan(watch.latency)
    cause = watch.cause(1.0)
    assert cause is not None and cause.text == "no joint state has come yet"
    watch.hear_state(True, 0.0, 3.5)
    watch.hear_commands(1, 3.5)
    cause = watch.cause(3.6)
    assert cause is not None and "no actor has been heard" in cause.text
