"""The line about a node says what a person asks first, whatever is in the message."""

from __future__ import annotations

import math

import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from std_msgs.msg import Header

from sac_actor.status_lines import actor_line, duration, learner_line, watchdog_line
from sac_actor.status_markers import markers
from sac_msgs.msg import ActorStatus, LearnerStatus, WatchdogStatus


def at(seconds: float) -> Header:
    return Header(stamp=Time(sec=int(seconds)))


def actor(**fields: object) -> ActorStatus:
    usual: dict[str, object] = {
        "header": at(100), "actor_id": "sac_actor_0", "task": "pick_cube", "state": "policy",
        "episodes": 41, "last_return": -12.3, "steps_per_second": 9.8, "tool_speed": 0.12,
        "policy_version": 1431, "policy_age": 2.0, "queued": 12, "learner_connected": True,
    }  # fmt: skip
    return ActorStatus(**(usual | fields))


def test_an_actor_that_is_well() -> None:
    line = actor_line(actor(clipped=15, clips="workspace 12, joint_velocity 3"), 0.5)
    assert line.text == (
        "actor sac_actor_0, pick_cube: policy | moving 0.12 m/s, 9.8 steps/s, episode 41, "
        "last return -12.3 | weights of step 1,431, 2.5 s old | 12 queued | "
        "clipped 15: workspace 12, joint_velocity 3 | never failed"
    )
    assert not line.alarm


@pytest.mark.parametrize(
    ("fields", "said", "alarm"),
    [
        ({"tool_speed": 0.001}, "still, 9.8 steps/s", False),
        ({"tool_speed": math.nan}, ": policy | 9.8 steps/s", False),
        ({"policy_version": 0}, "no weights yet", False),
        ({"learner_connected": False, "dropped": 7}, "12 queued, 7 dropped, no learner lis", False),
        ({"rejected": 1234}, "12 queued, 1,234 refused", False),
        ({"fault": "no joint state", "strikes": 2}, "FAULT: no joint state, strike 2", True),
        (
            {"last_fault": "joint_reflex", "last_fault_stamp": Time(sec=60), "strikes": 1},
            "failed 40 s ago: joint_reflex, strike 1",
            False,
        ),
    ],
)
def test_an_actor_says_what_is_different(fields: dict, said: str, alarm: bool) -> None:
    line = actor_line(actor(**fields), 0.0)
    assert said in line.text
    assert line.alarm == alarm


def test_a_node_that_says_nothing_more_is_called_silent() -> None:
    line = actor_line(actor(), 75.0)
    assert line.text.startswith("actor sac_actor_0, pick_cube: policy, SILENT for 75 s | ")
    assert "77 s old" in line.text
    assert line.alarm


def test_a_learner_says_whether_it_learns() -> None:
    status = LearnerStatus(
        header=at(100), learner_id="sac_learner", task="pick_cube", state="training", step=1431,
        steps_per_second=12.0, transitions=5310, transitions_per_second=9.9, actors=1,
        policy_staleness=35.0, evaluation_success_rate=math.nan,
    )  # fmt: skip
    assert learner_line(status, 0.0).text == (
        "learner sac_learner, pick_cube: training | step 1,431 (+12.0/s) | 5,310 transitions "
        "(+9.9/s) of 1 actor | not evaluated yet | weights are 35 steps behind in what actors send"
    )
    status.evaluations, status.evaluation_success_rate = 3, 0.62
    status.evaluation_return, status.best_evaluation_return = -15.7, -4.0
    said = learner_line(status, 0.0)
    assert "evaluation 3: 62% succeeded, return -15.7, best -4.0" in said.text
    assert not said.alarm
    status.fault, status.missed = "the disk is full", 4
    said = learner_line(status, 0.0)
    assert said.text.endswith("0 rows refused, 4 missed | FAULT: the disk is full")
    assert said.alarm


def test_a_watchdog_says_what_it_sees_and_why_it_tripped() -> None:
    status = WatchdogStatus(
        header=at(100), state="watching", motion_controller="cartesian_impedance_controller",
        command_age=0.05, command_rate=10.0, state_age=0.001, actor_age=math.nan,
    )  # fmt: skip
    assert watchdog_line("/left", status, 0.2).text == (
        "watchdog /left: watching | cartesian_impedance_controller is active | commands 10.0/s, "
        "0.05 s old | robot state 0.001 s old | actor not heard | never tripped"
    )
    status.state, status.reason, status.trips = "tripped", "commands are 0.6 s old", 2
    status.last_trip = Time(sec=70)
    line = watchdog_line("/left", status, 0.0)
    assert line.text.endswith("trip 2, 30 s ago: commands are 0.6 s old")
    assert line.alarm


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.001, "0 s"), (0.0123, "0.012 s"), (1.0, "1 s"), (9.94, "9.9 s"), (12.4, "12 s"),
        (119.0, "119 s"), (150.0, "2.5 min"), (1800.0, "30 min"), (9000.0, "2.5 h"),
        (90_000.0, "25 h"), (math.nan, "? s"), (math.inf, "? s"),
    ],
)  # fmt: skip
def test_durations_have_two_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


any_text = st.text(max_size=32)
any_number = st.floats(width=32)


@given(
    texts=st.tuples(*[any_text] * 4),
    numbers=st.tuples(*[any_number] * 4),
    count=st.integers(0, 2**64 - 1),
    silence=st.floats(0.0, 1e9),
)
def test_whatever_a_peer_sends_is_one_line(
    texts: tuple[str, ...], numbers: tuple[float, ...], count: int, silence: float
) -> None:
    names = ("actor_id", "task", "state", "clips")
    rates = ("steps_per_second", "last_return", "tool_speed", "policy_age")
    status = actor(
        **dict(zip(names, texts, strict=True)), **dict(zip(rates, numbers, strict=True)),
        clipped=count, dropped=count, steps=count, policy_version=count, last_fault=texts[0],
    )  # fmt: skip
    line = actor_line(status, silence)
    assert line.text.isprintable()
    assert len(line.text) < 1000


def test_rviz_shows_each_line_below_the_one_before_and_alarms_in_red() -> None:
    lines = [actor_line(actor(), 0.0), actor_line(actor(fault="x"), 0.0)]
    texts = markers(lines, 1.0).markers
    assert [" ".join(text.text.split()) for text in texts] == [line.text for line in lines]
    assert texts[0].pose.position.z > texts[1].pose.position.z + texts[0].scale.z
    assert texts[0].color.r < 0.5 < texts[1].color.r
    assert {(text.header.frame_id, text.lifetime.sec) for text in texts} == {("base", 1)}
