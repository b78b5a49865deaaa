"""Keys, axes and buttons become what a person means, and nothing else."""

from __future__ import annotations

import array
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Joy

from sac_demos.teleop_joy import Parameters as JoyParameters
from sac_demos.teleop_joy import beyond, joy_from_message
from sac_demos.teleop_keyboard import MOTIONS, REQUESTS, Motion
from sac_demos.teleoperation import Request, Wish
from sac_demos.terminal import keys_of

CONFIG = Path(__file__).parents[3] / "config"


def test_a_wish_leaves_the_gripper_alone_until_it_is_asked_for() -> None:
    wish = Wish()
    assert not wish.asks
    wish.motion = np.array([0.5, 0.0, -0.25], np.float32)
    assert wish.asks
    assert wish.action(4).tolist() == [0.5, 0.0, -0.25, 0.0]
    assert wish.action(3).tolist() == [0.5, 0.0, -0.25]
    wish.toggle_gripper()
    assert wish.action(4)[3] == 1.0  # closes first: episodes begin with it open
    wish.toggle_gripper()
    assert wish.action(4)[3] == -1.0
    assert wish.action(4).dtype == np.float32


def test_neither_taking_over_nor_giving_back_touches_the_gripper() -> None:
    wish = Wish()
    wish.toggle_gripper()
    wish.toggle_engaged()
    assert (wish.engaged, wish.gripper) == (True, 0.0)
    wish.toggle_gripper()
    wish.toggle_engaged()
    assert (wish.engaged, wish.gripper) == (False, 0.0)
    assert not wish.asks


def test_what_a_terminal_sends_becomes_keys() -> None:
    assert keys_of(b"wW +") == ["w", "W", " ", "+"]
    assert keys_of(b"\r\n") == ["enter", "enter"]
    assert keys_of(b"\x1b[A\x1b[B\x1b[C\x1b[D") == ["up", "down", "right", "left"]
    assert keys_of(b"\x1bOA\x1b[5~a\x1b[6~") == ["up", "page_up", "a", "page_down"]


def test_keys_without_a_meaning_ask_for_nothing() -> None:
    # F5, Ctrl-Up, an alone Escape, Tab, Ctrl-D, umlauts.
    keys = keys_of(b"\x1b[15~\x1b[1;5A\x1b\t\x04\xc3\xa4")
    assert not [key for key in keys if key in MOTIONS or key in REQUESTS]


@given(st.binary(max_size=60))
def test_any_bytes_become_printable_keys(data: bytes) -> None:
    assert all(key and key.isprintable() for key in keys_of(data))


def test_a_key_moves_for_its_hold_time_and_a_held_key_without_a_pause() -> None:
    motion = Motion(speed=0.5, hold_time=0.15)
    motion.press(MOTIONS["w"], 1.0, now=10.0)
    assert motion.at(10.14).tolist() == [0.5, 0.0, 0.0]
    assert motion.at(10.16).tolist() == [0.0, 0.0, 0.0]
    for press in range(30):  # the terminal repeats it every 40 ms
        motion.press(MOTIONS["up"], 1.0, now=11.0 + 0.04 * press)
        assert motion.at(11.0 + 0.04 * press + 0.039)[0] == 0.5
    assert not motion.at(11.0 + 0.04 * 29 + 0.151).any()


def test_two_keys_move_along_both_axes_and_the_opposite_one_replaces_the_first() -> None:
    motion = Motion(speed=0.5, hold_time=0.15)
    motion.press(MOTIONS["w"], 1.0, now=0.0)
    motion.press(MOTIONS["d"], 0.5, now=0.05)
    assert motion.at(0.06).tolist() == [0.5, -0.25, 0.0]
    motion.press(MOTIONS["s"], 1.0, now=0.07)
    assert motion.at(0.08).tolist() == [-0.5, -0.25, 0.0]


def test_the_speed_stays_within_its_bounds() -> None:
    motion = Motion(speed=0.4, hold_time=0.15)
    for _ in range(30):
        motion.change_speed(1.25)
    assert motion.speed == 1.0
    for _ in range(30):
        motion.change_speed(1 / 1.25)
    assert motion.speed == 0.05


def test_every_request_has_a_key_and_every_direction_two() -> None:
    assert set(REQUESTS.values()) == set(Request)
    for direction in set(MOTIONS.values()):
        assert list(MOTIONS.values()).count(direction) == 2
    assert len(set(MOTIONS.values())) == 6


def joy(axes: Any = (0.0, 0.5), buttons: Any = (0, 1, 0)) -> Joy:
    return Joy(axes=list(axes), buttons=list(buttons))


def test_a_joy_message_in_order_is_taken() -> None:
    axes, buttons = joy_from_message(joy((0.0, 1.02, -5.0)), axes=2, buttons=3)
    assert axes.tolist() == [0.0, 1.0, -1.0]  # SpaceMouse drivers go a little beyond 1
    assert buttons == (0, 1, 0)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (joy(axes=[0.0]), "1 axes, expected 2 to 64"),
        (joy(axes=[0.0] * 65), "65 axes, expected 2 to 64"),
        (joy(buttons=[0, 1]), "2 buttons, expected 3 to 64"),
        (joy(axes=[0.0, float("nan")]), "axes has values that are not finite"),
        (joy(axes=[float("-inf"), 0.0]), "axes has values that are not finite"),
        (joy(axes=[0.0, 11.0]), "axes reaches 11, expected about 1 at most"),
        (joy(buttons=[0, 2, 0]), "buttons has other values than 0 and 1"),
        (joy(buttons=[0, -1, 0]), "buttons has other values than 0 and 1"),
    ],
)
def test_a_broken_joy_message_is_refused_with_the_reason(message: Joy, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        joy_from_message(message, axes=2, buttons=3)


@settings(deadline=None)
@given(st.lists(st.floats(width=32), max_size=80), st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_any_joy_message_is_taken_within_bounds_or_refused(
    axes: list[float], buttons: list[int]
) -> None:
    message = Joy(axes=array.array("f", axes), buttons=array.array("i", buttons))
    received = deserialize_message(serialize_message(message), Joy)
    try:
        deflections, pressed = joy_from_message(received, axes=2, buttons=1)
    except ValueError as error:
        assert str(error).isprintable()
        return
    assert (np.abs(deflections) <= 1.0).all() and set(pressed) <= {0, 1}


@pytest.mark.parametrize("deflection", [-1.0, -0.55, -0.1, 0.0, 0.05, 0.1, 0.3, 1.0])
def test_motion_begins_slowly_at_the_edge_of_the_dead_zone(deflection: float) -> None:
    moved = beyond(deflection, 0.1)
    assert abs(moved) == pytest.approx(max(0.0, abs(deflection) - 0.1) / 0.9)
    assert moved * deflection >= 0.0
    assert abs(moved) <= 1.0


@pytest.mark.parametrize("name", ["teleop_gamepad", "teleop_spacemouse"])
def test_a_layout_names_each_button_and_axis_once(name: str) -> None:
    values = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())["/**"]["ros__parameters"]
    known = {field.name for field in fields(JoyParameters)}
    assert set(values) <= known
    for kind in ("axis_", "button_"):
        named = [value for key, value in values.items() if key.startswith(kind) and value >= 0]
        assert len(set(named)) == len(named) > 0
