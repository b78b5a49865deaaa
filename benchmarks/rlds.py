#!/usr/bin/env python3
"""Speed of bag_to_rlds and of loading datasets, beside TensorFlow Datasets where that is there.

Bags are as the recorder writes them of pick_cube: a bag per episode, the actor's rows among the
robot's topics. The same dataset is loaded by `load_demonstrations`, and by TensorFlow Datasets both
step by step, as its users write it (of a few episodes: it takes long), and an episode at a time,
the fastest that it offers. Loads take turns, and ratios are of the same turn.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import fail, interleaved, median_ratio, print_json, print_table, rounded

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
try:
    from geometry_msgs.msg import PoseStamped
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import JointState

    from sac_core.rlds import load_demonstrations
    from sac_core.rlds_writer import Episode, EpisodeLabels, RldsWriter
    from sac_demos.bag_folder import write_bag
    from sac_demos.bag_to_rlds import Options, convert
    from sac_demos.definitions import definition
    from sac_demos.mcap_file import Channel, Message, Schema
    from sac_msgs.msg import EpisodeEvent, TransitionBatch
    from sac_ros.codecs import Transitions, transitions_to_message
except ImportError as error:
    fail(f"{error}: build the workspace and source its setup file first (make build)")

OBSERVATIONS, ACTIONS = 18, 4
STEPS = 30  # of an episode; a scripted one of pick_cube has some 22, a person's some 65
PERIOD = 100_000_000  # ns
FEW = 20  # episodes
ROBOT_TOPICS = 6  # of 1 message per step besides the joint states and the tool's pose


def channel(topic: str, kind: str) -> Channel:
    return Channel(topic, Schema(kind, "ros2msg", definition(kind).encode()))


JOINTS = channel("/franka/joint_states", "sensor_msgs/msg/JointState")
POSES = [
    channel(f"/pose_{number}", "geometry_msgs/msg/PoseStamped") for number in range(ROBOT_TOPICS)
]
ROWS = channel("/sac/steps", "sac_msgs/msg/TransitionBatch")
EVENTS = channel("/sac/episode", "sac_msgs/msg/EpisodeEvent")


def episode(number: int, rng: np.random.Generator) -> Episode:
    seen = rng.standard_normal((STEPS + 1, OBSERVATIONS)).astype(np.float32)
    return Episode(
        observations=seen,
        actions=rng.uniform(-1.0, 1.0, (STEPS, ACTIONS)).astype(np.float32),
        rewards=rng.standard_normal(STEPS).astype(np.float32),
        terminated=number % 10 != 0,
        stamps=np.arange(STEPS + 1) * PERIOD + 10**9,
        source=np.full(STEPS, TransitionBatch.SOURCE_HUMAN, np.uint8),
        language_instruction="Pick the cube.",
        labels=EpisodeLabels(episode_id=str(number), task="pick_cube", success=number % 10 != 0),
    )


def messages(one: Episode) -> Iterator[Message]:
    """An episode as the recorder hears it."""
    joints = serialize_message(JointState(name=["joint"] * 7, position=[0.0] * 7))
    pose = serialize_message(PoseStamped())
    ids: dict[str, Any] = {"actor_id": "actor", "actor_session": 1, "task": "pick_cube"}
    own = int(one.labels.episode_id)
    first = own * STEPS
    last = np.arange(STEPS) == STEPS - 1
    for number in range(STEPS):
        at = int(one.stamps[number + 1])
        yield Message(JOINTS, 0, at, at, joints)
        for topic in POSES:
            yield Message(topic, 0, at, at, pose)
        row = Transitions(
            observations=one.observations[number : number + 1],
            actions=one.actions[number : number + 1],
            rewards=one.rewards[number : number + 1],
            next_observations=one.observations[number + 1 : number + 2],
            terminated=(last & one.terminated)[number : number + 1].astype(np.uint8),
            truncated=(last & (not one.terminated))[number : number + 1].astype(np.uint8),
            source=one.source[number : number + 1],
            policy_version=np.zeros(1, np.uint64),
        )
        batch = transitions_to_message(row, TransitionBatch(first_sequence=first + number, **ids))
        batch.header.stamp.sec, batch.header.stamp.nanosec = divmod(at, 10**9)
        yield Message(ROWS, 0, at, at, serialize_message(batch))
    end = EpisodeEvent(
        event=EpisodeEvent.ENDED,
        episode=own,
        first_sequence=first,
        length=STEPS,
        terminated=one.terminated,
        outcome=1,
        **ids,
    )
    yield Message(EVENTS, 0, at, at, serialize_message(end))


def record(folder: Path, episodes: list[Episode]) -> None:
    for number, one in enumerate(episodes):
        bag = folder / f"episode_{number:04d}"
        bag.mkdir(parents=True)
        write_bag(bag, bag.name, messages(one), {"success": "true", "outcome": "success"})


def conversion(folder: Path, episodes: list[Episode]) -> float:
    """Transitions per second from bags to a dataset, statistics and report included."""
    record(folder / "bags", episodes)
    convert(Options(bags=(folder / "bags" / "episode_0000",), output=folder / "first"))
    began = time.perf_counter()
    report = convert(Options(bags=(folder / "bags",), output=folder / "converted"))
    return report.steps / (time.perf_counter() - began)


def tensorflow_loads(path: Path, count: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Loads with TensorFlow Datasets, and of how many transitions; none where it is not there."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import tensorflow  # noqa: F401
            import tensorflow_datasets as tfds
    except ImportError:
        return {}
    builder = tfds.builder_from_directory(str(path))

    def step_by_step() -> int:
        count = 0
        for one in builder.as_dataset(split=f"train[:{FEW}]"):
            for step in one["steps"].as_numpy_iterator():
                count += len(step["action"]) > 0
        return count

    def by_episode() -> int:
        decoders = {"steps": tfds.decode.SkipDecoding()}
        found = builder.as_dataset(split="train", decoders=decoders).as_numpy_iterator()
        return sum(len(one["steps"]["reward"]) for one in found)

    return {
        "tensorflow, step by step": (step_by_step, FEW * STEPS),
        "tensorflow, by episode": (by_episode, count),
    }


def cpu_rate(load: Callable[[], object], repeats: int = 5) -> float:
    """Calls per second of CPU time, the median: what else runs on the machine does not count."""
    rates = []
    for _ in range(repeats):
        began = time.process_time()
        load()
        rates.append(1.0 / (time.process_time() - began))
    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer episodes, short timing")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    bags = [episode(number, rng) for number in range(20 if options.quick else 100)]
    many = [episode(number, rng) for number in range(200 if options.quick else 2_000)]
    count = len(many) * STEPS
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        converted = conversion(folder, bags)
        began = time.perf_counter()
        with RldsWriter(folder / "many", "pick_cube", OBSERVATIONS, ACTIONS) as writer:
            for one in many:
                writer.add(one)
        written = count / (time.perf_counter() - began)
        loaded = load_demonstrations(writer.path, OBSERVATIONS, ACTIONS)
        assert len(loaded) == count and loaded.dropped == 0
        mine = partial(load_demonstrations, writer.path, OBSERVATIONS, ACTIONS)
        others = tensorflow_loads(writer.path, count)
        loads = {"load_demonstrations": (mine, count), **others}
        calls = interleaved(
            {name: load for name, (load, _) in loads.items()},
            repeats=3 if options.quick else 5,
            seconds=0.2 if options.quick else 1.0,
        )
        busy = cpu_rate(mine) * count
    rates = {name: [rate * loads[name][1] for rate in calls[name]] for name in loads}
    preload, *peers = (statistics.median(rate) for rate in rates.values())
    ratios = [median_ratio(rates["load_demonstrations"], rates[one]) for one in others]
    print_table(
        ("datasets", "transitions/s", "this over it"),
        (
            ("bags to a dataset", f"{converted:,.0f}", ""),
            ("episodes to a dataset", f"{written:,.0f}", ""),
            ("load_demonstrations", f"{preload:,.0f}", ""),
            ("the same, per second of CPU time", f"{busy:,.0f}", ""),
            *(
                (name, f"{rate:,.0f}", f"{ratio:.1f}")
                for name, rate, ratio in zip(others, peers, ratios, strict=True)
            ),
        ),
    )
    figures: dict[str, Any] = {
        "preload_transitions_per_second": rounded(preload),
        "preload_transitions_per_cpu_second": rounded(busy),
        "conversion_transitions_per_second": rounded(converted),
        "writing_transitions_per_second": rounded(written),
        "episode_steps": STEPS,
    }
    for name, ratio in zip(("steps", "episodes"), ratios, strict=False):
        figures[f"preload_over_tensorflow_by_{name}"] = rounded(ratio)
    print_json(figures, threads=1)


if __name__ == "__main__":
    main()
