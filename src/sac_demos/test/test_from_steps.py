"""Rows of a live run, through a bag and an RLDS dataset, are the same rows."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_messages import chain, event, record, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from sac_core.rlds import Demonstrations, load_demonstrations
from sac_demos.bag_folder import write_bag
from sac_demos.bag_to_rlds import Options, convert
from sac_demos.bags import Bag, BagError
from sac_demos.from_steps import read_steps
from sac_demos.mcap_file import Channel, Message, Schema
from sac_msgs.msg import EpisodeEvent
from sac_ros.codecs import Transitions

SECOND = 10**9
STARTED, ENDED = EpisodeEvent.STARTED, EpisodeEvent.ENDED
SUCCESS, FAILURE = EpisodeEvent.OUTCOME_SUCCESS, EpisodeEvent.OUTCOME_FAILURE


def one_by_one(transitions: Transitions, first: int = 0, **values: Any) -> list[Message]:
    """Each row by itself, as on `sac/steps`."""
    return [
        rows(transitions[n : n + 1], first + n, (first + n + 1) * SECOND // 10, **values)
        for n in range(len(transitions))
    ]


def together(*parts: Transitions) -> Transitions:
    return Transitions(
        *(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(parts[0]))
    )


def assert_same(loaded: Demonstrations, told: Transitions) -> None:
    """The same transitions in the same order, to the bit."""
    masks = (1 - told.terminated).astype(np.float32)
    for found, expected in (
        (loaded.observations, told.observations),
        (loaded.actions, told.actions),
        (loaded.rewards, told.rewards),
        (loaded.masks, masks),
        (loaded.next_observations, told.next_observations),
    ):
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


def converted(bags: Path, output: Path, **options: Any) -> Demonstrations:
    convert(Options(bags=(bags,), output=output, **options))
    return load_demonstrations(output, 0, 0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_live_run_comes_back_bit_for_bit(data: st.DataObject) -> None:
    """Random episodes, recorded in any order, some rows missing, with and without events."""
    draw = data.draw
    lengths = draw(st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=6))
    told = chain(lengths, seed=draw(st.integers(0, 2**32)))
    if draw(st.booleans()):  # the last episode was still going on
        told.terminated[-1] = told.truncated[-1] = 0
    lost = draw(st.sets(st.integers(0, len(told) - 1), max_size=len(told) - 1))
    kept = [number for number in range(len(told)) if number not in lost]
    messages = [one for n, one in enumerate(one_by_one(told)) if n in kept]
    first = 0
    for number, (length, terminated) in enumerate(lengths):
        common = {"episode": number, "first_sequence": first}
        end = {"length": length, "terminated": terminated, "truncated": not terminated}
        if draw(st.booleans()):
            messages.append(event(STARTED, first * SECOND // 10, **common))
        if draw(st.booleans()):
            messages.append(event(ENDED, (first + length) * SECOND // 10, **common, **end))
        first += length
    messages = draw(st.permutations(messages))
    messages += draw(st.lists(st.sampled_from(messages), max_size=3))  # told twice
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "bag"
        bag.mkdir()
        write_bag(bag, "bag", messages, {})
        layout = draw(st.sampled_from(("transition", "observation")))
        loaded = converted(bag, Path(folder) / "out", last_step=layout)
        expected = Transitions(*(getattr(told, one.name)[kept] for one in fields(told)))
        assert_same(loaded, expected)


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        *((StoragePlugin.MCAP, mode) for mode in CompressionMode),
        (StoragePlugin.SQLITE3, CompressionMode.NONE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    ],
)
def test_bags_of_others_convert_as_well_however_they_are_stored(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode
) -> None:
    told = chain([(9, True), (5, False)])
    bag = record(tmp_path / "bag", one_by_one(told), storage, compression)
    assert_same(converted(bag, tmp_path / "out"), told)


def test_batches_to_a_learner_are_taken_once_however_often_they_were_sent(tmp_path: Path) -> None:
    told = chain([(9, True), (5, False), (3, True)])
    batches = [(0, 9), (5, 14), (9, 17), (9, 17)]
    messages = [
        rows(told[begin:end], begin, number * SECOND, topic="/sac/transitions")
        for number, (begin, end) in enumerate(batches, start=1)
    ]
    assert_same(converted(record(tmp_path / "bag", messages), tmp_path / "out"), told)


def test_two_actors_in_one_bag_do_not_mix(tmp_path: Path) -> None:
    one, other = chain([(4, True)], seed=1), chain([(6, False)], seed=2)
    messages = one_by_one(one) + one_by_one(other, actor_id="other", actor_session=8)
    loaded = converted(record(tmp_path / "bag", messages), tmp_path / "out")
    assert_same(loaded, together(one, other))
    assert (loaded.episodes, loaded.terminated, loaded.truncated) == (2, 1, 1)


def ended(told: Transitions, **values: Any) -> list[Message]:
    """A whole episode with its beginning and end."""
    end = {"length": len(told), "terminated": True}
    own = {"actor_session": values.get("actor_session", 7)}
    begin = event(STARTED, 0, first_sequence=0, **own)
    last = event(ENDED, len(told) * SECOND // 10, **{**end, **values})
    return [begin, *one_by_one(told, **own), last]


def test_labels_are_those_of_the_actor_and_failures_are_kept(tmp_path: Path) -> None:
    told = chain([(4, True)])
    for name, outcome, session in (("a", SUCCESS, 7), ("b", FAILURE, 8)):
        said = ended(told, outcome=outcome, operator_name="Ada", actor_session=session)
        record(tmp_path / "bags" / name, said)
    report = convert(Options(bags=(tmp_path / "bags",), output=tmp_path / "out"))
    assert (report.episodes, report.successes, report.failures) == (2, 1, 1)
    (episode,) = read_steps(Bag(tmp_path / "bags" / "a"), "").episodes
    labels = episode.labels
    assert (labels.success, labels.outcome, labels.operator_name) == (True, "success", "Ada")
    assert (labels.task, labels.control_rate) == ("toy", 10.0)
    assert episode.stamps.tolist() == [0, *(n * SECOND // 10 for n in range(1, 5))]
    assert load_demonstrations(tmp_path / "out", 3, 2).successes == 1


@pytest.mark.parametrize("size", [1, 4])
def test_a_recorders_bag_gives_no_row_of_the_next_episode(tmp_path: Path, size: int) -> None:
    told, following = chain([(5, False)]), chain([(3, True)], seed=1)
    more = [rows(following[:size], 5, 6 * SECOND // 10)]  # before the end was told
    said = {"session": f"{7:016x}", "first_sequence": "0", "length": "5"}
    bag = record(tmp_path / "bag", ended(told, terminated=False) + more, custom_data=said)
    assert_same(converted(bag, tmp_path / "out"), told)
    whole = rows(together(told, following), 0, 8 * SECOND // 10, topic="/sac/transitions")
    bag = record(tmp_path / "batch", [*ended(told, terminated=False), whole], custom_data=said)
    assert_same(converted(bag, tmp_path / "of_batch"), told)


def test_the_longer_of_two_batches_with_one_beginning_is_taken(tmp_path: Path) -> None:
    told = chain([(9, True)])
    messages = [
        rows(told[:count], 0, count * SECOND, topic="/sac/transitions") for count in (4, 9, 2)
    ]
    assert_same(converted(record(tmp_path / "bag", messages), tmp_path / "out"), told)


def test_an_episode_whose_end_is_not_known_has_the_labels_of_its_beginning(tmp_path: Path) -> None:
    begin = event(STARTED, 0, first_sequence=0, episode=3, operator_name="Ada")
    messages = [begin, *one_by_one(chain([(4, False)]))]
    (episode,) = read_steps(Bag(record(tmp_path / "bag", messages)), "").episodes
    labels = episode.labels
    assert (labels.operator_name, labels.control_rate, labels.outcome) == ("Ada", 10.0, "unknown")
    assert labels.episode_id.endswith("/3")


@pytest.mark.parametrize("name", ["TransitionBatch", "EpisodeEvent"])
def test_messages_of_another_version_are_one_line(tmp_path: Path, name: str) -> None:
    old = Schema(f"sac_msgs/msg/{name}", "ros2msg", b"uint64 actor_session\nfloat32[] rewards\n")
    content = (7).to_bytes(8, "little") + (1).to_bytes(4, "little") + bytes(4)
    channel = Channel("/old", old)
    said = [Message(channel, 9, SECOND, SECOND, b"\0\1\0\0" + content)]
    with pytest.raises(BagError, match=f"/old: expected sac_msgs/msg/{name} as this version"):
        read_steps(Bag(record(tmp_path / "bag", said)), "")


def test_a_bag_may_be_labelled_again_in_its_custom_data(tmp_path: Path) -> None:
    said = ended(chain([(4, True)]), outcome=SUCCESS)
    bag = record(tmp_path / "bag", said, custom_data={"success": "false", "outcome": "failure"})
    (episode,) = read_steps(Bag(bag), "").episodes
    assert (episode.labels.success, episode.labels.outcome) == (False, "failure")


def test_discarded_episodes_are_left_out_and_counted(tmp_path: Path) -> None:
    kept = chain([(4, True)], seed=3)
    messages = ended(chain([(3, True)]), discarded=True) + one_by_one(kept, first=3)
    harvest = read_steps(Bag(record(tmp_path / "bag", messages)), "")
    assert harvest.discarded == 1
    (episode,) = harvest.episodes
    assert episode.actions.tobytes() == kept.actions.tobytes()


def test_missing_rows_divide_an_episode_and_are_counted(tmp_path: Path) -> None:
    told = chain([(9, True)])
    messages = [one for n, one in enumerate(ended(told, outcome=SUCCESS)) if n not in (4, 5)]
    harvest = read_steps(Bag(record(tmp_path / "bag", messages)), "")
    assert (harvest.missing, harvest.split) == (2, 1)
    first, second = harvest.episodes
    assert (len(first), len(second)) == (3, 4)
    assert (first.labels.success, second.labels.success) == (False, True)
    assert second.labels.episode_id == f"{first.labels.episode_id}#2"


def test_an_idle_beginning_is_left_out_when_asked_for(tmp_path: Path) -> None:
    told = chain([(6, True)])
    told.actions[:3] = 0.01
    bag = record(tmp_path / "bag", one_by_one(told))
    report = convert(Options(bags=(bag,), output=tmp_path / "out", trim_idle=0.02))
    assert (report.steps, report.idle_steps) == (3, 3)
    assert_same(load_demonstrations(tmp_path / "out", 3, 2), told[3:])


def broken(**change: Any) -> list[Message]:
    told = chain([(3, True)])
    for name, value in change.items():
        getattr(told, name).flat[0] = value
    return one_by_one(told)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (broken(observations=np.nan), "observations has values that are not finite"),
        (broken(actions=2.0), "actions reaches 2, expected at most 1"),
        (broken(terminated=9), "terminated reaches 9"),
        ([], "no transitions on sac/steps"),
        (
            [*one_by_one(chain([(2, True)])), *one_by_one(chain([(2, True)], (4, 2)), 2)],
            "session 0000000000000007 has rows of",
        ),
        ([event(STARTED, 0, actor_id="a b")], "actor_id is 'a b'"),
    ],
)
def test_rows_that_a_learner_would_refuse_are_refused(
    tmp_path: Path, messages: list[Message], expected: str
) -> None:
    bag = record(tmp_path / "bag", messages)
    with pytest.raises(BagError, match=expected) as caught:
        read_steps(Bag(bag), "")
    assert "\n" not in str(caught.value) and str(bag) in str(caught.value)
