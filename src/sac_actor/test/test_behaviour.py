"""Who acts is in the row, a person may take over and give back, and marks end episodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from loops import Cut, make_policy, taken

from sac_actor import person as person_module
from sac_actor.behaviour import Learnt, Scripted, TakenOver, Teleoperated, make_behaviour
from sac_actor.environment import EpisodeCut, Float32, GymEnvironment, Step
from sac_actor.loop import EnvironmentLoop, Episode, Witness
from sac_actor.marks import Kind, Mark
from sac_actor.person import Person
from sac_actor.queue import TransitionQueue
from sac_msgs.msg import TeleopAction
from sac_ros.parameters import UserError


class Clock:
    """Time as the person's module sees it."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(person_module, "time", clock)
    yield clock


def say(person: Person, action: float, engaged: bool = True, session: int = 1) -> None:
    message = TeleopAction(
        operator_name="Ada", teleop_session=session, engaged=engaged, action=[action]
    )
    person.take(message)


def test_a_wish_counts_until_it_is_too_old(clock: Clock) -> None:
    person = Person(1, timeout=0.5)
    assert person.heard is None
    say(person, 0.3)
    clock.now += 0.5
    heard = person.heard
    assert heard is not None
    assert (heard.action.tolist(), heard.engaged) == ([np.float32(0.3)], True)
    clock.now += 0.01
    assert person.heard is None


def test_one_teleoperation_is_listened_to_until_it_falls_silent(clock: Clock) -> None:
    person = Person(1, timeout=0.5)
    say(person, 0.3, session=1)
    with pytest.raises(ValueError, match=r"two teleoperations: .* 'Ada' .session 0+1.*0+2: stop"):
        say(person, -0.9, session=2)
    assert person.refused == 1
    assert person.heard is not None and person.heard.session == 1
    clock.now += 0.6
    say(person, -0.9, session=2)
    assert person.heard is not None and person.heard.session == 2


@pytest.mark.parametrize("action", [[], [0.0, 0.0], [float("nan")], [1.5]])
def test_a_wish_that_makes_no_sense_is_refused_and_counted(action: list[float]) -> None:
    person = Person(1, timeout=0.5)
    with pytest.raises(ValueError, match="action"):
        person.take(TeleopAction(teleop_session=1, action=action))
    assert person.refused == 1
    assert person.heard is None


class Record(Witness):
    """What the loop told."""

    def __init__(self) -> None:
        self.begun = 0
        self.sequences: list[int] = []
        self.episodes: list[Episode] = []

    def started(self, episode: Episode) -> None:
        self.begun += 1

    def stepped(self, sequence: int) -> None:
        self.sequences.append(sequence)

    def ended(self, episode: Episode) -> None:
        self.episodes.append(episode)


def make_loop(
    environment: GymEnvironment | None = None, teleop: bool = False, by_person: bool = False
) -> tuple[EnvironmentLoop, Person, Record]:
    person, record = Person(1, timeout=1000.0), Record()
    learnt = Learnt(1, random_steps=3, seed=0)
    learnt.policy = make_policy(3, 1)
    behaviour = Teleoperated(person, 1) if teleop else TakenOver(person, learnt)
    loop = EnvironmentLoop(
        environment or GymEnvironment("Pendulum-v1"),
        TransitionQueue(1000, 3, 1),
        behaviour,
        seed=5,
        witness=record,
        judged_by_person=by_person,
    )
    return loop, person, record


def test_a_person_takes_over_from_random_actions_and_from_the_policy() -> None:
    loop, person, _ = make_loop()
    loop.step()
    for step in range(1, 8):
        say(person, 0.25, engaged=step in (1, 5, 6))
        loop.step()
    rows = taken(loop)
    assert rows.source.tolist() == [0, 2, 0, 1, 1, 2, 2, 1]
    assert rows.policy_version.tolist() == [0, 7, 0, 7, 7, 7, 7, 7]
    assert (rows.actions[rows.source == 2] == np.float32(0.25)).all()
    assert not (rows.actions[rows.source != 2] == np.float32(0.25)).any()
    assert loop.human_steps == 3


def test_a_person_who_is_not_engaged_or_not_heard_any_more_does_not_act(clock: Clock) -> None:
    loop, _, _ = make_loop()
    person = Person(1, timeout=0.5)
    loop.behaviour = TakenOver(person, Learnt(1, 0, 0))
    say(person, 0.25, engaged=False)
    loop.step()
    say(person, 0.25)
    loop.step()
    clock.now += 1.0
    loop.step()
    assert taken(loop).source.tolist() == [0, 2, 0]


def test_who_has_taken_over_still_has_in_the_next_episode_and_asks_for_nothing_yet(
    clock: Clock,
) -> None:
    loop, _, _ = make_loop()
    person = Person(1, timeout=0.5)
    loop.behaviour = TakenOver(person, Learnt(1, 0, 0))
    say(person, 0.25)
    loop.step()
    clock.now += 0.05
    say(person, 0.25)
    loop.step()
    loop.abandon_episode()
    loop.step()
    clock.now += 0.05
    say(person, 0.5)
    loop.step()
    clock.now += 0.05
    say(person, 0.0, engaged=False)
    loop.abandon_episode()
    loop.step()
    rows = taken(loop)
    assert rows.source.tolist() == [2, 2, 2, 2, 0]
    assert rows.actions.ravel()[:4].tolist() == [0.0, 0.25, 0.0, 0.5]


def test_in_teleoperation_an_idle_person_asks_for_nothing() -> None:
    loop, person, record = make_loop(teleop=True)
    loop.marks.give(Mark(Kind.START, "Bo"))
    loop.step()
    say(person, -0.5, engaged=False)
    loop.step()
    rows = taken(loop)
    assert rows.actions.ravel().tolist() == [0.0, -0.5]
    assert rows.source.tolist() == [2, 2]
    assert rows.policy_version.tolist() == [0, 0]
    loop.abandon_episode()
    assert record.episodes[0].operator_name == "Ada"  # who began it has not acted


def test_a_teleoperated_loop_begins_nothing_before_start() -> None:
    loop, _, record = make_loop(teleop=True)
    assert not loop.step()
    assert (loop.steps, record.begun) == (0, 0)
    assert not loop.under_way


@pytest.mark.parametrize(
    ("kind", "by_person", "reward", "terminated", "success"),
    [
        (Kind.SUCCESS, False, None, False, True),
        (Kind.FAILURE, False, None, False, False),
        (Kind.SUCCESS, True, 1.0, True, True),
        (Kind.FAILURE, True, 0.0, True, False),
        (Kind.STOP, True, None, False, None),
        (Kind.DISCARD, False, None, False, None),
    ],
)
def test_a_mark_ends_the_episode_with_the_next_row_and_labels_it(
    kind: Kind, by_person: bool, reward: float | None, terminated: bool, success: bool | None
) -> None:
    loop, _, record = make_loop(by_person=by_person)
    loop.step()
    sent = loop.queue.take_unsent(10)
    assert sent is not None
    loop.marks.give(Mark(kind, "Bo"))
    assert loop.step()
    row = taken(loop)
    assert len(row) == 1
    assert (row.terminated[0], row.truncated[0]) == (terminated, not terminated)
    assert row.rewards[0] == reward if reward is not None else row.rewards[0] < 0.0
    (episode,) = record.episodes
    assert (episode.success, episode.operator_name) == (success, "Bo")
    assert (episode.terminated, episode.truncated) == (terminated, not terminated)
    assert episode.discarded is (kind == Kind.DISCARD)
    assert loop.episodes_kept == (0 if kind == Kind.DISCARD else 1)
    assert loop.marks.waiting is (kind == Kind.STOP)


def test_a_witness_hears_of_every_episode_and_row() -> None:
    loop, _, record = make_loop()
    for _ in range(250):
        loop.step()
    assert record.sequences == list(range(250))
    assert record.begun == 2
    (episode,) = record.episodes  # of 200 steps
    assert (episode.number, episode.first_sequence, episode.length) == (0, 0, 200)
    assert episode.truncated and not episode.terminated
    assert episode.episode_return == pytest.approx(loop.last_return)
    loop.abandon_episode()
    assert record.episodes[1].first_sequence == 200
    assert (record.episodes[1].length, record.episodes[1].truncated) == (50, True)
    loop.abandon_episode()
    assert len(record.episodes) == 2


def test_a_cut_episode_is_reported_with_the_mark_that_came_before_the_cut() -> None:
    loop, _, record = make_loop(Cut(known=True), by_person=True)
    loop.step()
    loop.step()
    loop.marks.give(Mark(Kind.SUCCESS, "Bo"))
    with pytest.raises(EpisodeCut):
        loop.step()
    (episode,) = record.episodes
    assert (episode.terminated, episode.success, episode.length) == (True, True, 3)
    assert taken(loop).rewards[-1] == 1.0


class Pick(GymEnvironment):
    """pick_cube in this process, with its demonstrator."""

    def __init__(self) -> None:
        super().__init__("sac_envs:SacFranka/PickCube-v0")
        self.limit = 0

    def demonstrator(self, random: np.random.Generator):  # type: ignore[no-untyped-def]
        env = self._environment.unwrapped
        demonstrator = env.task.demonstrator(random)
        return lambda: demonstrator.act(env._state())

    def step(self, action: Float32) -> Step:
        step = super().step(action)
        self.limit -= 1
        return step._replace(truncated=True) if self.limit == 0 else step


def test_scripted_episodes_succeed_and_those_that_do_not_are_discarded() -> None:
    environment, record = Pick(), Record()
    loop = EnvironmentLoop(
        environment, TransitionQueue(1000, 18, 4), Scripted(environment, 0), 3, record
    )
    while loop.episodes < 3:
        loop.step()
        if loop.episodes == 2 and environment.limit < 0:
            environment.limit = 5
    assert [episode.success for episode in record.episodes] == [True, True, False]
    assert [episode.discarded for episode in record.episodes] == [False, False, True]
    assert (loop.episodes, loop.episodes_kept) == (3, 2)
    rows = taken(loop)
    assert set(rows.source.tolist()) == {3}
    assert set(rows.policy_version.tolist()) == {0}
    assert record.episodes[0].length != record.episodes[1].length


def test_an_environment_without_a_demonstrator_is_refused_with_the_reason() -> None:
    environment = GymEnvironment("Pendulum-v1")
    with pytest.raises(UserError, match="'Pendulum-v1' has no scripted demonstrator"):
        make_behaviour("scripted", environment, Learnt(1, 0, 0), Person(1, 0.5), 0)
