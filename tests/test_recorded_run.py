"""A live run, recorded and converted, is the run that a learner heard: over real processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from rclpy.node import Node
from system import Start, spin_until

from sac_core.rlds import Demonstrations, load_demonstrations
from sac_msgs.msg import TransitionBatch
from sac_ros import qos
from sac_ros.codecs import transitions_from_message

# The task's own code on the robot's topics; of the actor's rows only the actions are looked at.
FROM_TOPICS = """
task: pick_cube
action: [{topic: /sac/steps, field: actions, take: next}]
trim_idle: 0
"""


class Ear:
    """Hears every transition as a learner does."""

    def __init__(self, node: Node) -> None:
        self.rows: dict[int, dict[str, bytes]] = {}
        node.create_subscription(
            TransitionBatch, "sac/transitions", self._on_batch, qos.TRANSITIONS
        )

    def _on_batch(self, message: TransitionBatch) -> None:
        rows = transitions_from_message(message)
        for number in range(len(rows)):
            row = rows[number : number + 1]
            masks = (1 - row.terminated).astype(np.float32)
            self.rows.setdefault(
                message.first_sequence + number,
                {
                    "observations": row.observations.tobytes(),
                    "actions": row.actions.tobytes(),
                    "rewards": row.rewards.tobytes(),
                    "masks": masks.tobytes(),
                    "next_observations": row.next_observations.tobytes(),
                },
            )

    def joined(self, name: str, count: int) -> bytes:
        return b"".join(self.rows[number][name] for number in range(count))


def converted(start: Start, bags: Path, output: Path, *arguments: str) -> Demonstrations:
    program = start(
        "ros2", "run", "sac_demos", "bag_to_rlds", str(bags), "-o", str(output), *arguments
    )
    assert program.wait() == 0, program.output
    return load_demonstrations(output, 18, 4)


def recorded(start: Start, observer: Node, folder: Path, *acting: str) -> tuple[Path, Ear]:
    """Bags of some episodes, and what a learner heard of them."""
    ear = Ear(observer)
    bridge = ("ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args")
    start(*bridge, "-p", "lockstep:=true")
    options = ("task:=pick_cube", "wait_for_recorder:=true", "seed:=4", *acting)
    given = [word for option in options for word in ("-p", option)]
    actor = start("ros2", "run", "sac_actor", "actor", "--ros-args", *given)
    # It waits for the recorder; whatever it does then, the ear is there.
    actor.wait_for("Waiting for a recorder")
    actor.wait_for("A learner listens")
    given = ["-p", f"save_path:={folder}", "-p", "num_episodes:=3"]
    recorder = start("ros2", "run", "sac_demos", "recorder", "--ros-args", *given)
    spin_until(observer, lambda: recorder.process.poll() is not None, 90.0, "three episodes")
    assert recorder.wait() == 0, recorder.output
    spin_until(observer, lambda: actor.process.poll() is not None, 60.0, "the actor's end")
    assert actor.wait() == 0, actor.output
    return folder, ear


SCRIPTED = ("behaviour:=scripted", "max_episodes:=3")  # ends with success
RANDOM = ("random_steps:=1000", "max_episode_steps:=7", "max_episodes:=3")  # ends with time


@pytest.mark.parametrize("acting", [SCRIPTED, RANDOM], ids=["terminated", "truncated"])
def test_what_was_recorded_is_what_a_learner_heard(
    acting: tuple[str, ...], start: Start, observer: Node, tmp_path: Path
) -> None:
    bags, ear = recorded(start, observer, tmp_path / "demos", *acting)
    loaded = converted(start, bags, tmp_path / "datasets")
    ended = (loaded.terminated, loaded.truncated)
    assert ended == ((3, 0) if acting == SCRIPTED else (0, 3))
    assert loaded.dropped == 0 and len(loaded) == len(ear.rows)
    for name in ("observations", "actions", "rewards", "masks", "next_observations"):
        assert getattr(loaded, name).tobytes() == ear.joined(name, len(loaded)), name
    for bag in bags.glob("episode_*"):
        information = yaml.safe_load((bag / "metadata.yaml").read_text())
        said = information["rosbag2_bagfile_information"]["custom_data"]
        assert (said["complete"], said["missing_transitions"]) == ("true", "0")


def test_the_robots_topics_alone_give_the_same_observations(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    bags, _ = recorded(start, observer, tmp_path / "demos", *SCRIPTED)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(FROM_TOPICS)
    rows = converted(start, bags, tmp_path / "rows")
    topics = converted(start, bags, tmp_path / "topics", "--config", str(mapping))
    for name in ("observations", "actions", "rewards", "masks", "next_observations"):
        assert getattr(rows, name).tobytes() == getattr(topics, name).tobytes(), name
