"""A person at a keyboard or a gamepad moves the robot, takes over, gives back and judges."""

from __future__ import annotations

import array
import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from system import ROOT, Program, Start, call, spin_until
from typist import SINGLE_KEYS, TerminalProgram

from sac_actor.commands import CartesianImpedance
from sac_core.policy import encode_policy, layout_hash
from sac_msgs.msg import (
    ActorStatus,
    EpisodeEvent,
    PolicyWeights,
    TeleopAction,
    TransitionAck,
    TransitionBatch,
    TransitionCursor,
)
from sac_msgs.srv import MarkEpisode
from sac_ros import qos
from sac_ros.codecs import Transitions, transitions_from_message

StartAtTerminal = Callable[..., TerminalProgram]
Mark = MarkEpisode.Request
HUMAN, POLICY = TransitionBatch.SOURCE_HUMAN, TransitionBatch.SOURCE_POLICY
SCALE = 0.05  # m, of an action


def arguments(parameters: Sequence[str]) -> list[str]:
    return [word for parameter in parameters for word in ("-p", parameter)]


def robot(start: Start, task: str = "pick_cube") -> Program:
    """The simulated robot, at the pace of a real one."""
    program = start(
        "ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args",
        *arguments([f"task:={task}", "speed_factor:=1.0", "joint_state_rate:=50.0",
                    "convenience_publish_rate:=50.0"]),
    )  # fmt: skip
    program.wait_for("Simulating")
    return program


def actor(start: Start, *parameters: str) -> Program:
    given = ["task:=pick_cube", "max_episode_steps:=400", "eval_period:=0", *parameters]
    return start("ros2", "run", "sac_actor", "actor", "--ros-args", *arguments(given))


def keyboard(start_at_terminal: StartAtTerminal, *parameters: str) -> TerminalProgram:
    program = start_at_terminal(
        "ros2", "run", "sac_demos", "teleop_keyboard", "--ros-args", *arguments(parameters)
    )
    program.wait_for("away from the robot")
    return program


class Watcher:
    """Hears what an actor tells a recorder, a learner and whoever looks."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.rows: list[tuple[TransitionBatch, Transitions]] = []  # of sac/steps
        self.events: list[EpisodeEvent] = []
        self.status = ActorStatus()
        self.width = float("nan")  # m, of the gripper
        self.diagnostics: dict[str, str] = {}
        for kind, topic, take, profile in (
            (TransitionBatch, "sac/steps", self._on_step, qos.STEPS),
            (EpisodeEvent, "sac/episode", self.events.append, qos.EPISODE),
            (ActorStatus, "sac/actor/status", self._on_status, qos.STATUS),
            (JointState, "franka_gripper/joint_states", self._on_gripper, qos.ROBOT_STATE),
            (DiagnosticArray, "/diagnostics", self._on_diagnostics, 32),
        ):
            node.create_subscription(kind, topic, take, profile)

    def _on_step(self, message: TransitionBatch) -> None:
        self.rows.append((message, transitions_from_message(message)))

    def _on_status(self, message: ActorStatus) -> None:
        self.status = message

    def _on_gripper(self, message: JointState) -> None:
        self.width = sum(message.position)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "/sac_actor":
                self.diagnostics = {value.key: value.value for value in status.values}

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 60.0) -> None:
        spin_until(self.node, lambda: bool(condition()), timeout, what)

    def until_state(self, state: str) -> None:
        self.until(lambda: self.status.state == state, f"state {state}")

    def more_rows(self, count: int) -> list[Transitions]:
        """The next rows of `sac/steps`."""
        first = len(self.rows)
        self.until(lambda: len(self.rows) >= first + count, f"{count} more steps")
        return [rows for _, rows in self.rows[first : first + count]]

    def ended(self, number: int) -> EpisodeEvent:
        """How an episode ended."""

        def found() -> list[EpisodeEvent]:
            return [e for e in self.events if e.episode == number and e.event == EpisodeEvent.ENDED]

        self.until(found, f"the end of episode {number}")
        return found()[0]

    def mark(self, mark: int, name: str = "Bo") -> MarkEpisode.Response:
        request = MarkEpisode.Request(mark=mark, operator_name=name)
        answer = call(self.node, MarkEpisode, "/sac_actor/mark_episode", request)
        assert isinstance(answer, MarkEpisode.Response)
        return answer


def seconds(message: Any) -> float:
    """The stamp of a message."""
    return float(message.header.stamp.sec + message.header.stamp.nanosec / 1e9)


def tool(rows: Transitions) -> np.ndarray:
    """Position of the tool after a step, m (indices 0-2 of pick_cube's observation)."""
    position: np.ndarray = rows.next_observations[0, :3] * 0.2
    return position


def test_keys_move_the_robot_and_mark_episodes(
    start: Start, start_at_terminal: StartAtTerminal, observer: Node
) -> None:
    robot(start)
    actor(start, "behaviour:=teleop")
    watcher = Watcher(observer)
    person = keyboard(start_at_terminal, "operator_name:=Ada L.", "hold_time:=1.0")
    person.wait_for(r"waiting \| gripper as it is")
    watcher.until_state("waiting")
    person.press("\r")
    (idle,) = watcher.more_rows(1)
    assert idle.actions[0].tolist() == [0.0] * 4
    before = tool(idle)
    person.press("s")
    watcher.until(lambda: tool(watcher.rows[-1][1])[0] < before[0] - 0.05, "the tool moves")
    moving = [rows for _, rows in watcher.rows if rows.actions[0].any()]
    for rows in moving:
        assert rows.actions[0].tolist() == pytest.approx([-0.4, 0.0, 0.0, 0.0])
        assert rows.source.tolist() == [HUMAN]
    person.press(" ")
    watcher.until(lambda: watcher.width < 0.01, "the gripper closes")
    person.press("y")
    person.wait_for("success: the episode ends with this step")
    event = watcher.ended(0)
    assert (event.outcome, event.operator_name) == (EpisodeEvent.OUTCOME_SUCCESS, "Ada L.")
    assert (event.terminated, event.truncated, event.discarded) == (False, True, False)
    assert event.human_steps == event.length == len(watcher.rows)
    assert (event.behaviour, event.task, event.control_rate) == ("teleop", "pick_cube", 10.0)
    watcher.until_state("waiting")
    person.press("n")
    person.wait_for("Not done: no episode is under way: the next one begins with START")

    person.press("\r")
    (first, *_) = watcher.more_rows(3)
    assert first.actions[0].tolist() == [0.0] * 4  # the gripper is left open again
    assert first.next_observations[0, 6] > 0.9
    person.press("x")
    assert watcher.ended(1).discarded
    assert [e.event for e in watcher.events] == [0, 1, 0, 1]
    times = [seconds(message) for message, _ in watcher.rows]
    assert times[1] - times[0] == pytest.approx(0.1, abs=0.02)  # robot time
    sequences = [message.first_sequence for message, _ in watcher.rows]
    assert sequences == list(range(len(sequences)))


def test_what_a_person_marks_is_the_reward_and_the_episodes_end(
    start: Start, observer: Node
) -> None:
    robot(start)
    actor(start, "behaviour:=teleop", "reward_from:=human", "max_episode_steps:=12")
    watcher = Watcher(observer)
    watcher.until_state("waiting")
    assert "no episode is under way" in watcher.mark(Mark.SUCCESS).message

    def episode(mark: int | None) -> tuple[EpisodeEvent, list[Transitions]]:
        number, first = len(watcher.events) // 2, len(watcher.rows)
        assert watcher.mark(Mark.START).success
        assert watcher.mark(Mark.START).message in (
            "an episode is under way", "the next episode begins without START",
        )  # fmt: skip
        watcher.more_rows(4)
        if mark is not None:
            answer = watcher.mark(mark)
            assert answer.success and answer.message.endswith("the episode ends with this step")
        event = watcher.ended(number)
        watcher.until(lambda: len(watcher.rows) == first + event.length, "all its steps")
        return event, [rows for _, rows in watcher.rows[first:]]

    for mark, reward, outcome in (
        (Mark.SUCCESS, 1.0, EpisodeEvent.OUTCOME_SUCCESS),
        (Mark.FAILURE, 0.0, EpisodeEvent.OUTCOME_FAILURE),
    ):
        event, rows = episode(mark)
        assert (event.outcome, event.terminated, event.truncated) == (outcome, True, False)
        assert event.operator_name == "Bo"
        assert [float(row.rewards[0]) for row in rows] == [0.0] * (len(rows) - 1) + [reward]
        assert [int(row.terminated[0]) for row in rows] == [0] * (len(rows) - 1) + [1]
    event, rows = episode(Mark.STOP)
    assert (event.outcome, event.truncated, event.discarded) == (0, True, False)
    event, rows = episode(None)  # nobody judges: time is over
    assert (event.outcome, event.truncated, event.length) == (0, True, 12)
    assert not any(row.rewards[0] for row in rows)
    assert watcher.status.fault == ""


class Learner:
    """Sends the weights of a policy that stays where it is, and acknowledges every row it hears."""

    def __init__(self, node: Node) -> None:
        self.sources: list[int] = []  # of the rows, by their numbers
        layers = {"hidden.0": (8, 18), "hidden.1": (8, 8), "mean": (4, 8), "log_std": (4, 8)}
        tensors = {}
        for name, shape in layers.items():
            tensors[f"{name}.weight"] = np.zeros(shape, np.float32)
            tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)
        tensors["log_std.bias"][:] = -20.0
        weights = PolicyWeights(
            learner_id="sac_learner",
            learner_session=1,
            version=70,
            format="safetensors",
            layout=layout_hash(tensors),
            data=array.array("B", encode_policy(tensors)),
        )
        self._weights = node.create_publisher(PolicyWeights, "sac/policy", qos.POLICY)
        self._weights.publish(weights)
        self._acks = node.create_publisher(
            TransitionAck, "sac/transitions_ack", qos.TRANSITIONS_ACK
        )
        node.create_subscription(
            TransitionBatch, "sac/transitions", self._on_batch, qos.TRANSITIONS
        )

    def _on_batch(self, message: TransitionBatch) -> None:
        known = len(self.sources) - message.first_sequence
        if known >= 0:  # else rows before these are to be sent again
            self.sources += message.source.tolist()[known:]
        cursor = TransitionCursor(
            actor_id=message.actor_id,
            actor_session=message.actor_session,
            next_sequence=len(self.sources),
        )
        self._acks.publish(
            TransitionAck(learner_id="sac_learner", learner_session=1, actors=[cursor])
        )


class Targets:
    """Where the actor has told the arm to be, in robot time."""

    def __init__(self, node: Node) -> None:
        self._heard: list[tuple[float, float, float, float]] = []  # s, m
        node.create_subscription(PoseStamped, "target_pose", self._on_target, qos.ROBOT_COMMAND)

    def _on_target(self, message: PoseStamped) -> None:
        at = message.pose.position
        self._heard.append((seconds(message), at.x, at.y, at.z))

    @property
    def height(self) -> float:
        """Of the newest, m."""
        return self._heard[-1][3]

    def between(self, start: float, end: float) -> np.ndarray:
        """Rows `(n, 4)` of time (s) and position (m)."""
        heard = np.array(self._heard)
        return heard[(heard[:, 0] >= start) & (heard[:, 0] <= end)]


def test_a_person_takes_over_from_the_policy_and_gives_back_without_a_jump(
    start: Start, start_at_terminal: StartAtTerminal, observer: Node
) -> None:
    robot(start)
    learner, watcher, targets = Learner(observer), Watcher(observer), Targets(observer)
    actor(
        start, "random_steps:=0", "apply_policy_at:=step", "flush_period:=5",
        "max_episode_steps:=3000", "teleop_timeout:=10.0",
    )  # fmt: skip
    person = keyboard(start_at_terminal, "hold_time:=1.0")

    def until_nothing_moves() -> None:
        def nothing_moves() -> bool:
            newest = [row for _, row in watcher.rows[-4:]]
            asked = np.abs([row.actions[0, :3] for row in newest]).max()
            path = np.array([tool(row) for row in newest])
            return bool(asked < 1e-3 and np.ptp(path, axis=0).max() < 1e-3)

        first = len(watcher.rows)
        watcher.until(lambda: len(watcher.rows) > first + 4 and nothing_moves(), "nothing moves")

    watcher.until(lambda: watcher.status.policy_version == 70, "the policy acts")
    watcher.until_state("policy")
    until_nothing_moves()
    assert (watcher.status.human_acts, watcher.status.human_steps) == (False, 0)
    person.press("t")
    person.wait_for("You act")
    watcher.until_state("human")
    assert watcher.status.human_acts
    watcher.more_rows(3)
    person.press("f")
    watcher.until(lambda: watcher.rows[-1][1].actions[0, 2] < 0.0, "the tool goes down")
    person.press(" ")
    watcher.until(lambda: watcher.width < 0.01, "the gripper closes")
    until_nothing_moves()
    person.press("t")
    person.wait_for("The policy acts")
    watcher.until_state("policy")
    watcher.more_rows(6)

    rows = {message.first_sequence: row for message, row in watcher.rows}
    stamps = {message.first_sequence: seconds(message) for message, _ in watcher.rows}
    a_persons = [number for number, row in rows.items() if row.source[0] == HUMAN]
    first, last = a_persons[0], a_persons[-1]
    assert a_persons == list(range(first, last + 1))
    assert {int(rows[number].source[0]) for number in (first - 1, last + 1)} == {POLICY}
    assert {int(rows[number].policy_version[0]) for number in range(first, last + 6)} == {70}
    watcher.until(lambda: len(learner.sources) > last + 1, "what a learner gets")
    assert [n for n, source in enumerate(learner.sources) if source == HUMAN] == a_persons
    assert (watcher.status.human_acts, watcher.status.human_steps) == (False, len(a_persons))

    path = np.array([tool(rows[number]) for number in range(first - 1, last + 6)])
    assert np.abs(np.diff(path, axis=0)).max() < 0.4 * SCALE + 0.005  # what was asked for
    assert path[-1, 2] < path[0, 2] - 0.05
    assert watcher.width < 0.01  # giving back leaves the gripper closed
    told = targets.between(stamps[first - 2], stamps[last + 5])
    limits, lag = CartesianImpedance.LIMITS, CartesianImpedance.LAG
    fastest = (limits.velocity + lag * limits.acceleration)[:3]  # of a target, m/s
    ways = np.abs(np.diff(told[:, 1:], axis=0))
    assert (ways < fastest * np.diff(told[:, :1], axis=0) + 1e-3).all()
    for change in (first, last + 1):  # nobody asks for anything just then
        told = targets.between(stamps[change - 2], stamps[change + 2])
        assert len(told) > 2
        assert np.ptp(told[:, 1:], axis=0).max() < 2e-3


def test_a_person_who_takes_over_during_an_evaluation_acts_at_once(
    start: Start, start_at_terminal: StartAtTerminal, observer: Node
) -> None:
    robot(start)
    Learner(observer)
    watcher, targets = Watcher(observer), Targets(observer)
    program = actor(
        start, "random_steps:=0", "max_episode_steps:=60", "teleop_timeout:=10.0",
        "eval_period:=1", "eval_episodes:=1000",
    )  # fmt: skip
    person = keyboard(start_at_terminal, "hold_time:=1.0")
    watcher.until_state("evaluating")
    person.press("t")
    person.wait_for("You act")
    program.wait_for("A person has taken over: there is no evaluation now")
    watcher.until(lambda: watcher.status.human_acts, "the status says who acts")
    before, height = len(watcher.rows), targets.height
    person.press("f")
    watcher.until(lambda: targets.height < height - 0.02, "the target goes down")
    # The next episode is one of the training again, and the person's from its beginning.
    watcher.until(lambda: len(watcher.rows) > before + 3, "more rows")
    assert {int(row.source[0]) for _, row in watcher.rows[before:]} == {HUMAN}
    assert watcher.status.evaluations == 0


def test_a_gamepad_moves_the_robot_and_a_silent_one_stops_it(start: Start, observer: Node) -> None:
    robot(start)
    actor(start, "behaviour:=teleop")
    gamepad = start("ros2", "run", "sac_demos", "teleop_joy")
    gamepad.wait_for("Listening to /joy")
    watcher = Watcher(observer)
    driver = observer.create_publisher(Joy, "joy", 1)
    gamepad.wait_for("sac_actor is there: pick_cube")

    def send(axes: dict[int, float] | None = None, pressed: int = -1) -> None:
        values = [(axes or {}).get(index, 0.0) for index in range(8)]
        buttons = [int(index == pressed) for index in range(11)]
        driver.publish(Joy(axes=values, buttons=buttons))

    def sending(condition: Callable[[], Any], what: str, **state: Any) -> None:
        """The driver repeats what is held, as it does, until a condition holds."""

        def repeat() -> bool:
            send()
            send(**state)
            return bool(condition())

        watcher.until(repeat, what)

    sending(lambda: watcher.status.state == "human", "START", pressed=7)
    send()
    stick = {1: 1.0, 0: -0.55, 4: 0.05}
    sending(lambda: watcher.rows and watcher.rows[-1][1].actions.any(), "motion", axes=stick)
    action = watcher.rows[-1][1].actions[0]
    assert action.tolist() == pytest.approx([0.6, -0.3, 0.0, 0.0], abs=1e-5)
    watcher.until(lambda: not watcher.rows[-1][1].actions.any(), "a silent driver stops it")
    gamepad.wait_for(r"Nothing on /joy for 0\.5 s while a stick was out: nothing moves")
    driver.publish(Joy(axes=[float("nan")] * 8, buttons=[0] * 11))
    gamepad.wait_for("/joy refused: axes has values that are not finite")
    driver.publish(Joy(axes=[1.0], buttons=[]))
    assert not watcher.more_rows(3)[-1].actions.any()
    sending(lambda: watcher.rows[-1][1].actions[0, 3] == 1.0, "the gripper", pressed=5)
    send()
    sending(lambda: len(watcher.events) == 2, "failure", pressed=1)
    assert watcher.events[1].outcome == EpisodeEvent.OUTCOME_FAILURE
    assert gamepad.interrupt() == 0


def test_a_spacemouse_records_through_its_driver_and_the_settings_for_it(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    session = start(
        "ros2", "launch", "sac_bringup", "record_demos.launch.py", "num_episodes:=1",
        "save_path:=bags", "teleop:=joy", "joy_topic:=spacenav/joy",
        f"teleop_params_file:={ROOT}/config/teleop_spacemouse.yaml",
    )  # fmt: skip
    session.wait_for("Listening to /spacenav/joy")
    session.wait_for("Waiting for START on /sac_actor/mark_episode")
    watcher = Watcher(observer)
    driver = observer.create_publisher(Joy, "spacenav/joy", 1)
    assert watcher.mark(Mark.START).success

    def push(axes: list[float], buttons: list[int]) -> Callable[[], bool]:
        """The driver repeats what is held until the robot does it."""

        def done() -> bool:
            driver.publish(Joy(axes=axes, buttons=buttons))
            asked = watcher.rows[-1][1].actions[0] if watcher.rows else np.zeros(4)
            wanted = [*np.sign(axes[:3]), 1.0 if any(buttons) else asked[3]]
            return bool((np.sign(asked) == np.sign(wanted)).all())

        return done

    watcher.until(push([0.0, -1.0, 0.5, 0.0, 0.0, 0.0], [0, 0]), "motion to the right and up")
    watcher.until(push([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], [0, 0]), "turning it moves nothing")
    watcher.until(push([0.0] * 6, [1, 0]), "the hand closes")
    assert watcher.mark(Mark.FAILURE).success
    session.wait_for(r"Episode 1/1: failure, \d+ steps")
    assert session.wait() == 0
    assert len(list((tmp_path / "bags").glob("*/metadata.yaml"))) == 1


HOSTILE: dict[str, dict[str, Any]] = {
    "action has 0 values, expected 4": {"action": []},
    "action has 64 values, expected 4": {"action": [0.0] * 64},
    "action has values that are not finite": {"action": [0.0, float("nan"), 0.0, 0.0]},
    "action reaches 3e.38, expected at most 1": {"action": [3e38, 0.0, 0.0, 0.0]},
    r"operator_name is 'x\\x1b\[2J'": {"operator_name": "x\x1b[2J", "action": [1.0] * 4},
    "operator_name is 'x+…' of 5000 characters": {"operator_name": "x" * 5000},
}


def test_hostile_teleoperation_is_refused_and_moves_nothing(start: Start, observer: Node) -> None:
    robot(start)
    program = actor(start, "behaviour:=teleop", "teleop_timeout:=10.0")
    watcher = Watcher(observer)
    watcher.until_state("waiting")
    watcher.mark(Mark.START)
    publisher = observer.create_publisher(TeleopAction, "sac/teleop_action", qos.TELEOP_ACTION)
    watcher.until(lambda: publisher.get_subscription_count() > 0, "the actor")
    for count, (reason, fields) in enumerate(HOSTILE.items(), start=1):
        publisher.publish(TeleopAction(teleop_session=count, engaged=True, **fields))
        watcher.until(
            lambda count=count: watcher.diagnostics.get("teleoperations_refused") == str(count),
            reason,
        )
        assert re.search(reason, watcher.diagnostics["last_refusal"]), watcher.diagnostics
    publisher.publish(TeleopAction(teleop_session=1, engaged=True, action=[0.0, 0.0, 0.0, 0.25]))
    watcher.until(lambda: watcher.rows[-1][1].actions[0, 3] == 0.25, "the first one acts")
    publisher.publish(
        TeleopAction(teleop_session=2, engaged=True, action=[1.0] * 4, operator_name="Eve")
    )
    watcher.until(lambda: "two teleop" in watcher.diagnostics["last_refusal"], "the second one")
    assert (
        "teleoperation of 'Eve' refused: two teleoperations" in watcher.diagnostics["last_refusal"]
    )
    watcher.more_rows(2)
    assert not any(rows.actions[:, :3].any() for _, rows in watcher.rows)
    assert program.process.poll() is None
    answer = call(
        observer, MarkEpisode, "/sac_actor/mark_episode", Mark(mark=200, operator_name="\n")
    )
    assert (answer.success, answer.message) == (False, "mark is 200, expected 0 to 4")  # type: ignore[attr-defined]


def test_a_demonstrator_records_until_there_is_enough_and_waits_for_a_recorder(
    start: Start, observer: Node
) -> None:
    bridge = start(
        "ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args",
        *arguments(["task:=pick_cube", "lockstep:=true", "speed_factor:=0.0"]),
    )  # fmt: skip
    bridge.wait_for("Simulating")
    program = start(
        "ros2", "run", "sac_actor", "actor", "--ros-args",
        *arguments(["task:=pick_cube", "behaviour:=scripted", "max_episodes:=50",
                    "wait_for_recorder:=true", "queue_capacity:=100"]),
    )  # fmt: skip
    program.wait_for("Waiting for a recorder on /sac/steps")
    watcher = Watcher(observer)

    def ended() -> list[EpisodeEvent]:
        return [event for event in watcher.events if event.event == EpisodeEvent.ENDED]

    def kept() -> list[EpisodeEvent]:
        return [event for event in ended() if not event.discarded]

    watcher.until(lambda: len(kept()) == 50, "fifty episodes", 120.0)
    assert program.wait() == 0
    program.wait_for("Complete: 50 episodes")
    assert {event.outcome for event in kept()} == {EpisodeEvent.OUTCOME_SUCCESS}
    assert len(ended()) <= 51  # at least 98 % succeed
    sources = {int(rows.source[0]) for _, rows in watcher.rows}
    assert sources == {TransitionBatch.SOURCE_SCRIPTED}
    assert "No learner" not in program.output
    assert "not acknowledged" not in program.output


def test_the_terminal_is_left_as_it_was_whatever_ends_the_keyboard(
    start_at_terminal: StartAtTerminal,
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        person = keyboard(start_at_terminal)
        assert not person.mode & SINGLE_KEYS
        os.kill(person.process.pid, number)
        assert person.wait() == 0, number
        assert person.mode_at_end & SINGLE_KEYS == SINGLE_KEYS, number


def test_a_keyboard_whose_node_fails_leaves_the_terminal_as_it_was(
    start_at_terminal: StartAtTerminal,
) -> None:
    person = start_at_terminal(
        "ros2", "run", "sac_demos", "teleop_keyboard", "--ros-args", "-p", "actor:=''"
    )
    assert person.wait() == 1
    assert "actor: expected the name of a node, got ''" in person.output
    assert person.mode_at_end & SINGLE_KEYS == SINGLE_KEYS


def test_without_a_terminal_there_is_one_line_and_a_failure(start: Start) -> None:
    program = start("ros2", "run", "sac_demos", "teleop_keyboard")
    assert program.wait() == 1
    (line,) = (line for line in program.lines if "[teleop_keyboard]" in line)
    assert "Traceback" not in program.output
    assert "no terminal to read keys from: start this in a terminal" in line


def test_a_session_at_a_terminal_ends_with_its_bags_and_the_next_command(
    start_at_terminal: StartAtTerminal, observer: Node, tmp_path: Path
) -> None:
    session = start_at_terminal(
        "ros2", "launch", "sac_bringup", "record_demos.launch.py", "num_episodes:=1",
        "save_path:=bags", "operator_name:=Ada", "reward_from:=human",
    )  # fmt: skip
    session.wait_for("away from the robot")  # its nodes have a pipe for their input
    watcher = Watcher(observer)
    session.wait_for("Waiting for START on /sac_actor/mark_episode")
    session.press("\r")
    session.wait_for("the episode begins")
    watcher.more_rows(3)
    session.press("y")
    session.wait_for(r"Episode 1/1: success, \d+ steps")
    session.wait_for(
        "The bags are in bags. A dataset to learn from: ros2 run sac_demos bag_to_rlds bags"
    )
    assert session.wait() == 0
    assert session.mode_at_end & SINGLE_KEYS == SINGLE_KEYS
    assert len(list((tmp_path / "bags").glob("*/metadata.yaml"))) == 1
    assert watcher.ended(0).operator_name == "Ada"


def test_who_loses_the_recorder_is_told_how_to_mend_its_bag(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    session = start(
        "ros2", "launch", "sac_bringup", "record_demos.launch.py", "teleop:=none",
        "save_path:=bags",
    )  # fmt: skip
    session.wait_for("Waiting for START on /sac_actor/mark_episode")
    watcher = Watcher(observer)
    assert watcher.mark(Mark.START).success
    watcher.more_rows(3)
    watcher.until(lambda: list((tmp_path / "bags").glob("*.recording/*")), "a journal", 60.0)
    (recorder,) = (
        process
        for process in session.descendants()
        if any(word.endswith("/sac_demos/recorder") for word in process.cmdline())
    )
    recorder.kill()
    session.wait_for("before that, as one was cut: ros2 run sac_demos recover bags$")
    assert session.wait() == 1
    mend = start("ros2", "run", "sac_demos", "recover", "bags")
    assert mend.wait() == 0
    assert len(list((tmp_path / "bags").glob("*/metadata.yaml"))) == 1
