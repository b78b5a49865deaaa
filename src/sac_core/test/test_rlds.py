"""RLDS datasets: what is written is read, bit for bit; what is broken or hostile is refused."""

from __future__ import annotations

import json
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_core import tf_example
from sac_core.rlds import Demonstrations, RldsError, find_dataset, load_demonstrations
from sac_core.rlds_writer import Episode, EpisodeLabels, RldsWriter
from sac_core.tfrecord import read_records, write_record

OBSERVATIONS, ACTIONS = 3, 2
LAYOUTS = ("transition", "observation")


def episode(number: int, length: int = 5, terminated: bool = True, **labels: Any) -> Episode:
    rng = np.random.default_rng(number)
    return Episode(
        observations=rng.standard_normal((length + 1, OBSERVATIONS)).astype(np.float32),
        actions=rng.uniform(-1.0, 1.0, (length, ACTIONS)).astype(np.float32),
        rewards=rng.standard_normal(length).astype(np.float32),
        terminated=terminated,
        stamps=1_700_000_000_000_000_000 + np.arange(length + 1) * 100_000_000,
        source=np.full(length, 3, np.uint8),
        language_instruction="Lift the cube – gently.",
        labels=EpisodeLabels(episode_id=f"{number}", success=terminated, **labels),
    )


def write(root: Path, episodes: list[Episode], **options: Any) -> Path:
    with RldsWriter(root, "cube", OBSERVATIONS, ACTIONS, **options) as writer:
        for one in episodes:
            writer.add(one)
    return writer.path


def load(path: Path) -> Demonstrations:
    return load_demonstrations(path, OBSERVATIONS, ACTIONS)


def assert_same(loaded: Demonstrations, episodes: list[Episode]) -> None:
    """The same transitions in the same order, to the bit."""
    masks = [np.ones(len(one), np.float32) for one in episodes]
    for mask, one in zip(masks, episodes, strict=True):
        mask[-1] = 0.0 if one.terminated else 1.0
    expected = {
        "observations": [one.observations[:-1] for one in episodes],
        "actions": [one.actions for one in episodes],
        "rewards": [one.rewards for one in episodes],
        "masks": masks,
        "next_observations": [one.observations[1:] for one in episodes],
    }
    for name, parts in expected.items():
        found = getattr(loaded, name)
        assert found.dtype == np.float32
        assert found.tobytes() == np.concatenate(parts).tobytes(), name
    assert loaded.episodes == len(episodes)
    assert loaded.terminated == sum(one.terminated for one in episodes)
    assert loaded.truncated == loaded.episodes - loaded.terminated
    assert loaded.successes == sum(one.labels.success for one in episodes)
    assert loaded.dropped == 0


finite = st.floats(-(2.0**29), 2.0**29, width=32)
action = st.floats(-1.0, 1.0, width=32)


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    length = draw(st.integers(1, 9))

    def array(numbers: st.SearchStrategy[float], *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        drawn = draw(st.lists(numbers, min_size=count, max_size=count))
        return np.array(drawn, np.float32).reshape(shape)

    return Episode(
        array(finite, length + 1, OBSERVATIONS),
        array(action, length, ACTIONS),
        array(finite, length),
        draw(st.booleans()),
        np.array([draw(st.integers(0, 2**62)) for _ in range(length + 1)], np.int64),
        np.array([draw(st.integers(0, 3)) for _ in range(length)], np.uint8),
        draw(st.text(max_size=20)),
        EpisodeLabels(task=draw(st.text(max_size=300)), success=draw(st.booleans())),
    )


@settings(max_examples=80, deadline=None)
@given(
    first=st.lists(episodes(), min_size=1, max_size=4),
    layout=st.sampled_from(LAYOUTS),
    more=st.lists(st.lists(episodes(), min_size=1, max_size=3), max_size=2),
)
def test_what_was_written_and_appended_is_read_bit_for_bit(
    first: list[Episode], layout: str, more: list[list[Episode]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), first, last_step=layout)
        for batch in more:
            write(Path(folder), batch, last_step=layout, append=True)
        assert_same(load(Path(folder)), first + [one for batch in more for one in batch])
        names = [path.name for path in find_dataset(Path(folder)).iterdir()]
        assert len([name for name in names if "tfrecord" in name]) == 1 + len(more)
        assert len(names) == 5 + len(more)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=200),
        st.one_of(
            st.lists(st.floats(width=32)).map(lambda values: np.array(values, np.float32)),
            st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda v: np.array(v, np.int64)),
            st.lists(st.integers(0, 255)).map(lambda values: np.array(values, np.uint8)),
            st.lists(st.booleans()).map(lambda values: np.array(values, np.bool_)),
            st.lists(st.binary()),
        ),
    )
)
def test_a_record_is_decoded_as_it_was_encoded(features: dict[str, Any]) -> None:
    decoded = tf_example.decode(tf_example.encode(features), tf_example.names(features))
    assert set(decoded) == set(features)
    for name, values in features.items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(np.asarray(decoded[name]), values)
        else:
            assert decoded[name] == values


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_record_with_changed_bytes_is_refused_or_read_but_breaks_nothing(
    data: st.DataObject,
) -> None:
    record = bytearray(tf_example.encode({"a": np.ones(4, np.float32), "b": np.arange(200)}))
    for _ in range(data.draw(st.integers(1, 6))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(record[: data.draw(st.integers(0, len(record)))])
    try:
        decoded = tf_example.decode(cut, tf_example.names(("a", "b")))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert set(decoded) <= {"a", "b"}


def test_a_truncated_last_step_is_kept_where_its_next_observation_is_known(tmp_path: Path) -> None:
    given_ = [episode(0, terminated=False), episode(1), episode(2, 1, terminated=False)]
    write(tmp_path, given_)
    loaded = load(tmp_path)
    assert_same(loaded, given_)
    assert (loaded.next_observations[-1] == given_[-1].observations[-1]).all()


def test_statistics_are_those_of_all_transitions(tmp_path: Path) -> None:
    given_ = [episode(number) for number in range(3)]
    path = write(tmp_path, given_[:2])
    write(tmp_path, given_[2:], append=True)
    found = json.loads((path / "dataset_statistics.json").read_text())
    actions = np.concatenate([one.actions for one in given_]).astype(np.float64)
    observations = np.concatenate([one.observations[:-1] for one in given_]).astype(np.float64)
    assert (found["num_transitions"], found["num_trajectories"]) == (15, 3)
    for name, values in (("action", actions), ("proprio", observations)):
        assert found[name]["mean"] == values.mean(axis=0).tolist()
        assert found[name]["std"] == values.std(axis=0).tolist()
        assert found[name]["min"] == values.min(axis=0).tolist()
        assert found[name]["max"] == values.max(axis=0).tolist()
        assert found[name]["q01"] == np.quantile(values, 0.01, axis=0).tolist()
        assert found[name]["q99"] == np.quantile(values, 0.99, axis=0).tolist()


def foreign(path: Path) -> None:
    """Take out of a dataset what only those written here have."""
    features = json.loads((path / "features.json").read_text())
    labels = features["featuresDict"]["features"].pop("episode_metadata")
    assert "last_observation" in labels["featuresDict"]["features"]
    (path / "features.json").write_text(json.dumps(features))
    (path / "metadata.json").unlink()
    rewrite(path, lambda name, values: None if name.startswith("episode_metadata") else values)


def rewrite(path: Path, change: Callable[[str, Any], Any]) -> None:
    """Write every record anew with what `change` makes of its lists; None leaves one out."""
    (shard,) = path.glob("*.tfrecord*")
    records = list(read_records(shard))
    names = (
        *(f"steps/{name}" for name in STEPS),
        "episode_metadata/last_observation",
        "episode_metadata/success",
    )
    with shard.open("wb") as file:
        for record in records:
            found = tf_example.decode(record, tf_example.names(names))
            changed_ = {name: change(name, values) for name, values in found.items()}
            kept = {name: values for name, values in changed_.items() if values is not None}
            write_record(file, tf_example.encode(kept))


def without(left_out: str) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda name, values: None if name == left_out else values)


def with_value(changed_: str, value: float) -> Callable[[str, Any], Any]:
    """One number of a feature is this instead."""

    def change(name: str, values: Any) -> Any:
        values = np.array(values)
        if name == changed_:
            values[-1] = value
        return values

    return change


STEPS = ("observation/state", "action", "reward", "is_first", "is_last", "is_terminal")


def test_of_other_peoples_datasets_truncated_last_steps_are_dropped_and_counted(
    tmp_path: Path,
) -> None:
    given_ = [episode(0), episode(1, terminated=False), episode(2)]
    foreign(write(tmp_path, given_))
    loaded = load(tmp_path)
    assert (len(loaded), loaded.dropped) == (14, 1)
    assert (loaded.terminated, loaded.truncated, loaded.successes) == (2, 1, 0)
    np.testing.assert_array_equal(loaded.observations[5:9], given_[1].observations[:4])
    np.testing.assert_array_equal(loaded.next_observations[8], given_[1].observations[4])
    np.testing.assert_array_equal(loaded.observations[9], given_[2].observations[0])
    assert loaded.masks.tolist() == [1, 1, 1, 1, 0] + [1] * 4 + [1, 1, 1, 1, 0]


def test_it_loads_neither_tensorflow_nor_tensorflow_datasets(tmp_path: Path) -> None:
    write(tmp_path, [episode(0)])
    code = (
        "import sys; from sac_core.rlds import load_demonstrations; "
        f"load_demonstrations({str(tmp_path)!r}, {OBSERVATIONS}, {ACTIONS}); "
        "sys.exit(any(n.startswith('tensorflow') for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_the_checksum_package_one_line_says_what_to_install(tmp_path: Path) -> None:
    write(tmp_path, [episode(0)])
    code = (
        "import sys; sys.modules['google_crc32c'] = None\n"
        "from sac_core.rlds import RldsError, load_demonstrations\n"
        "try:\n"
        f"    load_demonstrations({str(tmp_path)!r}, {OBSERVATIONS}, {ACTIONS})\n"
        "except RldsError as error:\n"
        "    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.rstrip().endswith("pip install google-crc32c")
    assert out.stdout.count("\n") == 1


# Real TensorFlow Datasets, in a process of its own: TensorFlow takes seconds and half a gigabyte.
READ_WITH_TENSORFLOW = """
import json, sys
import numpy as np
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
out = []
for episode in builder.as_dataset(split="train"):
    steps = [
        {
            "state": step["observation"]["state"].tolist(),
            "action": step["action"].tolist(),
            "reward": float(step["reward"]),
            "discount": float(step["discount"]),
            "flags": [bool(step[name]) for name in ("is_first", "is_last", "is_terminal")],
            "text": step["language_instruction"].decode(),
            "stamp": int(step["timestamp_ns"]),
            "source": int(step["source"]),
        }
        for step in episode["steps"].as_numpy_iterator()
    ]
    labels = {k: v.numpy() for k, v in episode["episode_metadata"].items()}
    out.append([steps, labels["success"].item(), labels["episode_id"].decode(),
                labels["control_rate"].item()])
builder.info.write_to_directory(sys.argv[2])
print(json.dumps([out, builder.info.metadata, builder.info.splits["train"].num_examples]))
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensorflow_datasets_opens_it_with_nested_steps(tmp_path: Path, layout: str) -> None:
    given_ = [episode(0, 4, control_rate=10.0), episode(1, 3, terminated=False)]
    path = write(tmp_path, given_[:1], last_step=layout, metadata={"control_rate": 10.0})
    write(tmp_path, given_[1:], last_step=layout, append=True)
    out = subprocess.run(
        [sys.executable, "-c", READ_WITH_TENSORFLOW, str(path), str(tmp_path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found, metadata, count = json.loads(out.splitlines()[-1])
    assert metadata == {"control_rate": 10.0, "last_step": layout}
    assert count == 2
    assert (tmp_path / "features.json").read_bytes() == (path / "features.json").read_bytes()
    for one, (steps, success, name, rate) in zip(given_, found, strict=True):
        extra = layout == "observation"
        assert (success, name, rate) == (one.terminated, one.labels.episode_id,
                                         one.labels.control_rate)  # fmt: skip
        assert len(steps) == len(one) + extra
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            assert step["state"] == one.observations[number].tolist()
            assert step["flags"] == [number == 0, last, last and one.terminated]
            assert step["stamp"] == one.stamps[number]
            assert step["text"] == one.language_instruction
            if number < len(one):
                assert step["action"] == one.actions[number].tolist()
                assert step["reward"] == float(one.rewards[number])
                ends = one.terminated and number == len(one) - 1
                assert step["discount"] == (0.0 if ends else 1.0)
                assert step["source"] == 3


# What is wrong is said in one line.


def refused(path: Path, *sizes: int) -> str:
    with pytest.raises(RldsError) as caught:
        load_demonstrations(path, *(sizes or (OBSERVATIONS, ACTIONS)))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


def changed(path: Path, name: str, change: Callable[[Any], object]) -> None:
    file = path / name
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_sizes_of_another_task_are_refused_with_both_named(tmp_path: Path) -> None:
    write(tmp_path, [episode(0)])
    assert "expected one observation of 7 numbers, found steps/observation/state of 3" in refused(
        tmp_path, 7, ACTIONS
    )
    assert "expected one action of 4 numbers, found steps/action of 2" in refused(
        tmp_path, OBSERVATIONS, 4
    )


def test_a_folder_without_a_dataset_or_with_several_is_refused(tmp_path: Path) -> None:
    assert "expected an RLDS dataset" in refused(tmp_path / "nowhere")
    write(tmp_path, [episode(0)])
    write(tmp_path, [episode(1)], version="1.0.1")
    assert re.search(r"found .*1\.0\.0, .*1\.0\.1: name one of them", refused(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("feature", ["steps/observation/state", "steps/reward"])
def test_values_that_no_robot_has_are_refused(tmp_path: Path, feature: str, value: float) -> None:
    rewrite(write(tmp_path, [episode(0)]), with_value(feature, value))
    assert re.search("(observations|rewards) (has values|reaches 1e.30)", refused(tmp_path))


def test_actions_beyond_their_bounds_are_refused_by_who_learns(tmp_path: Path) -> None:
    one = episode(0)
    one.actions[2, 1] = -1.01
    write(tmp_path, [one])
    assert "actions reaches 1.01, expected at most 1" in refused(tmp_path)
    loaded = load_demonstrations(tmp_path, OBSERVATIONS, ACTIONS, max_action=2.0)
    assert loaded.actions.tobytes() == one.actions.tobytes()


@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_an_episode_that_cannot_be_read_again_is_not_written(tmp_path: Path, name: str) -> None:
    one = episode(1)
    getattr(one, name).flat[1] = np.nan
    with RldsWriter(tmp_path, "cube", OBSERVATIONS, ACTIONS) as writer:
        writer.add(episode(0))
        with pytest.raises(RldsError, match=f"episode '1': {name} reaches nan, expected finite"):
            writer.add(one)
        writer.add(episode(2))
    assert_same(load(tmp_path), [episode(0), episode(2)])


def cut_shard(path: Path) -> None:
    (shard,) = path.glob("*.tfrecord*")
    os.truncate(shard, shard.stat().st_size - 5)


def flip_a_bit(path: Path) -> None:
    (shard,) = path.glob("*.tfrecord*")
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)


def claim_a_record_of_a_terabyte(path: Path) -> None:
    import google_crc32c

    length = struct.pack("<Q", 2**40)
    crc = google_crc32c.value(length)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (shard,) = path.glob("*.tfrecord*")
    shard.write_bytes(length + struct.pack("<I", masked) + bytes(100))


def replace_by_a_pipe(path: Path) -> None:
    (shard,) = path.glob("*.tfrecord*")
    shard.unlink()
    os.mkfifo(shard)


def info(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda path: changed(path, "dataset_info.json", change)


def split(**values: Any) -> Callable[[Path], None]:
    return info(lambda content: content["splits"][0].update(values))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard that was cut": (cut_shard, "cut"),
    "a shard with a flipped bit": (flip_a_bit, "checksum"),
    "a record of a terabyte": (claim_a_record_of_a_terabyte, "expected at most"),
    "a pipe": (replace_by_a_pipe, "regular file"),
    "a shard that is not there": (
        lambda path: next(path.glob("*.tfrecord*")).unlink(),
        "No such file",
    ),
    "fewer episodes than promised": (split(shardLengths=["3"]), "expected 3 episodes, found 2"),
    "more episodes than promised": (split(shardLengths=["1"]), "expected 1 episodes, found 2"),
    "a name that leads elsewhere": (split(filepathTemplate="../../{SPLIT}"), "without folders"),
    "a dataset that is called a path": (
        info(lambda content: content.update(name="../../etc/passwd")),
        "without folders",
    ),
    "an unknown placeholder": (split(filepathTemplate="{HOME}"), "not described"),
    "another file format": (
        info(lambda content: content.update(fileFormat="array_record")),
        "expected 'tfrecord'",
    ),
    "a million shards": (split(shardLengths=["1"] * 1_000_000), "expected at most 100000 shards"),
    "a negative number of episodes": (split(shardLengths=["-1"]), "expected at most"),
    "no splits": (info(lambda content: content.pop("splits")), "not described"),
    "a list for an object": (
        lambda path: (path / "dataset_info.json").write_text("[]"),
        "not described",
    ),
    "no JSON": (lambda path: (path / "features.json").write_text("{"), "no JSON"),
    "deep JSON": (lambda path: (path / "features.json").write_text("[" * 10**6), "no JSON"),
    "large JSON": (lambda path: (path / "features.json").write_text(" " * 2**25), "at most"),
    "deep features": (
        lambda path: (path / "features.json").write_text(
            '{"featuresDict": {"features": {"a": ' * 100 + "{}" + "}}}" * 100
        ),
        "expected one observation",
    ),
    "no features": (lambda path: (path / "features.json").unlink(), "expected a file"),
    "an unknown layout": (
        lambda path: changed(path, "metadata.json", lambda content: content.update(last_step="?")),
        "expected one of transition, observation",
    ),
    "no word of terminal states": (without("steps/is_terminal"), "steps/is_terminal is no list"),
    "no actions": (without("steps/action"), "steps/action is no list"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_dataset_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path = write(tmp_path, [episode(0), episode(1)])
    spoil, expected = BROKEN[what]
    spoil(path)
    assert expected in refused(path)


def test_a_hostile_length_takes_no_memory(tmp_path: Path) -> None:
    claim_a_record_of_a_terabyte(write(tmp_path, [episode(0)]))
    code = (
        "from sac_core.rlds import RldsError, load_demonstrations\n"
        "try:\n"
        f"    load_demonstrations({str(tmp_path)!r}, {OBSERVATIONS}, {ACTIONS})\n"
        "except RldsError:\n"
        "    print('refused')\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)),
    )  # fmt: skip
    assert out.stdout == "refused\n"


# Writing.


def test_after_an_exception_there_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RldsWriter(tmp_path, "a", 3, 2) as writer:
        writer.add(episode(0))
        raise ZeroDivisionError
    assert list((tmp_path / "a").iterdir()) == []


def test_a_failed_appending_leaves_what_was_there(tmp_path: Path) -> None:
    path = write(tmp_path, [episode(0)])
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with (
        pytest.raises(ZeroDivisionError),
        RldsWriter(tmp_path, "cube", OBSERVATIONS, ACTIONS, append=True) as writer,
    ):
        writer.add(episode(1))
        raise ZeroDivisionError
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_dataset_that_is_broken_is_not_appended_to_and_stays_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, [episode(0), episode(1)])
    writer = RldsWriter(tmp_path, "cube", OBSERVATIONS, ACTIONS, append=True)
    writer.add(episode(2))
    flip_a_bit(path)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(RldsError):
        writer.close()
    writer.abort()
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_dataset_of_another_task_is_not_appended_to(tmp_path: Path) -> None:
    write(tmp_path, [episode(0)], metadata={"task": "reach", "control_rate": 10.0})
    for metadata, what in (
        ({"task": "pick_cube", "control_rate": 10.0}, "its task is 'reach'"),
        ({"task": "reach", "control_rate": 20.0}, "its control_rate is 10.0"),
    ):
        with pytest.raises(RldsError, match=what):
            write(tmp_path, [episode(1)], metadata=metadata, append=True)
    write(tmp_path, [episode(1)], metadata={"task": "reach"}, append=True)
    assert_same(load(tmp_path), [episode(0), episode(1)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_who_appends_is_told_which_episodes_are_there(tmp_path: Path, layout: str) -> None:
    told = [episode(0), episode(1, length=3)]
    write(tmp_path, told, last_step=layout)
    writer = RldsWriter(tmp_path, "cube", OBSERVATIONS, ACTIONS, last_step=layout, append=True)
    writer.abort()
    assert writer.there == {one.key for one in told}
    assert episode(2).key not in writer.there


def test_a_dataset_is_not_overwritten_and_only_its_own_kind_appended(tmp_path: Path) -> None:
    write(tmp_path, [episode(0)])
    with pytest.raises(RldsError, match="is there already"):
        write(tmp_path, [episode(1)])
    with pytest.raises(RldsError, match="others than those"):
        write(tmp_path, [episode(1)], last_step="observation", append=True)
    assert_same(load(tmp_path), [episode(0)])


@pytest.mark.parametrize(
    ("name", "options"),
    [("Pick Cube", {}), ("../x", {}), ("a", {"version": "1"}), ("a", {"last_step": "none"})],
)
def test_names_that_tfds_does_not_take_are_refused(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    with pytest.raises(RldsError, match="expected"):
        RldsWriter(tmp_path, name, 3, 2, **options)


def test_an_episode_whose_arrays_do_not_belong_together_is_refused(tmp_path: Path) -> None:
    one = episode(0)
    with RldsWriter(tmp_path, "a", OBSERVATIONS, ACTIONS) as writer:
        writer.add(one)
        with pytest.raises(RldsError, match="observations of shape"):
            writer.add(Episode(**{**vars(one), "rewards": one.rewards[:-1]}))
        with pytest.raises(RldsError, match="at least one transition"):
            writer.add(episode(1, 0))
    assert_same(load(tmp_path), [one])


def test_progress_reaches_the_number_of_episodes(tmp_path: Path) -> None:
    write(tmp_path, [episode(number, 2) for number in range(150)])
    told: list[tuple[int, int]] = []
    load_demonstrations(tmp_path, OBSERVATIONS, ACTIONS, lambda *share: told.append(share))
    assert told == [(64, 150), (128, 150), (150, 150)]
