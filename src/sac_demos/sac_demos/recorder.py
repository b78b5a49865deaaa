"""The recorder: one bag of robot, person and actor per episode.

    ros2 run sac_demos recorder --ros-args -p save_path:=demos/pick_cube -p num_episodes:=20

An actor's `sac/episode` begins and ends a bag. Everything is written to a journal within a tenth of
a second, and made a compressed and indexed bag when the episode is over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from sac_demos.episodes import PREFIX, UNFINISHED, Episodes, Recording
from sac_demos.finisher import Finished, Finisher
from sac_demos.mcap_file import Message, lock
from sac_demos.raw_inbox import RawInbox, RawMessage
from sac_demos.topics import Topics, as_message, channel_of
from sac_msgs.msg import EpisodeEvent, TransitionBatch
from sac_ros import qos
from sac_ros.codecs import check_episode_event, transitions_from_message
from sac_ros.node import SacNode, side_node
from sac_ros.node import main as run_node
from sac_ros.parameters import NodeParameters, UserError, parameter

FLUSH_PERIOD = 0.1  # s; what came since the last flush is lost when the process is killed
LOOK_PERIOD = 0.1  # s between two looks for new topics
SETTLING = 0.2  # s from the last subscription until messages can be counted on
ROBOT_PATIENCE = 5.0  # s that a robot's topics are waited for once there is an actor
ACTOR_GONE = 3.0  # s without anybody who tells of episodes, then the one under way has ended
LAST_WAIT = 3.0  # s that a recorder told to stop waits for the end of the episode under way
LOCK = ".recorder"


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the recorder."""

    save_path: str = parameter("demos", "Folder of the bags; those that are there stay")
    num_episodes: int = parameter(0, "Episodes to record, then it ends; 0 = no end", minimum=0)
    topics: str = parameter("", "Further topics, or patterns such as camera/*, with spaces between")
    lead_time: float = parameter(
        1.0, "s before an episode's beginning that its bag has of the robot", minimum=0.0
    )
    instruction: str = parameter("", "What is shown, in words; goes into the bags and datasets")


class Recorder(SacNode[Parameters]):
    """Records episodes until there are enough, or until it is told to stop."""

    def __init__(self) -> None:
        super().__init__("sac_recorder", Parameters)
        self._finisher: Finisher | None = None
        self._fault = ""  # of the disk, as it was said
        self._recorded = 0
        self._discarded = 0
        self._lost = 0  # messages, in all bags
        self._refused = 0  # messages
        self._lock = -1

    # Lifecycle.

    def configure(self) -> None:
        p = self.parameters
        self._save_path = Path(p.save_path)
        self._open_folder()
        self._episodes = Episodes(self._save_path, p.lead_time, p.instruction)
        self._finisher = Finisher()
        self._node = side_node(self, f"{self.get_name()}_topics")
        self._inbox = RawInbox(self._node)
        self._ready = time.time_ns()  # what was told before is of an episode that had begun
        self._hears_steps = False
        self._actor_seen: float | None = None  # monotonic s
        self._told_at = 0.0  # when somebody was last there who tells of episodes, monotonic s
        self._steps_topic = self._node.resolve_topic_name("sac/steps")
        self._events = self._listen("sac/episode", EpisodeEvent, qos.EPISODE, self._on_episode)
        self._topics = Topics(
            self._node,
            self._inbox,
            p.topics,
            self._episodes.add,
            self.get_logger().warning,
        )
        self._flushed = self._looked = 0.0
        self.get_logger().info(f"Recording to {self._save_path}: waiting for an episode")

    def _open_folder(self) -> None:
        try:
            self._save_path.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(self._save_path / LOCK, flags, 0o644)
            lock(self._lock)
        except BlockingIOError as error:
            raise UserError(
                f"save_path {self._save_path}: another recorder writes there; give another folder"
            ) from error
        except OSError as error:
            raise UserError(
                f"save_path {self._save_path}: expected a folder that can be written: {error}"
            ) from error
        left = sorted(path.name for path in self._save_path.glob(f"{PREFIX}*{UNFINISHED}"))
        if left:
            self.get_logger().warning(
                f"{len(left)} bags were cut ({left[0]} …): "
                f"ros2 run sac_demos recover {self._save_path}"
            )

    def _listen(
        self, name: str, kind: Any, profile: QoSProfile, take: Callable[[Message], None]
    ) -> Subscription:
        """Subscribe to a topic of the actor's, whether there is an actor or not."""
        topic = self._node.resolve_topic_name(name)
        type_name = f"sac_msgs/msg/{kind.__name__}"

        def on_message(raw: RawMessage) -> None:
            publishers = self._node.get_publishers_info_by_topic(topic)
            take(as_message(channel_of(topic, type_name, publishers), raw))

        return self._inbox.subscribe(
            topic, kind, profile, on_message, qos_overriding_options=qos.OVERRIDABLE
        )

    def _hear_steps(self) -> None:
        """Listen to an actor's steps, once what it waits for of the robot is heard as well.

        An actor that waits for a recorder begins as soon as its steps are listened to; by anybody,
        and then there is nothing to wait for here.
        """
        is_listened_to = self._node.count_subscribers(self._steps_topic) > 0
        if not is_listened_to and self._must_wait():
            return
        self._hears_steps = True
        self._listen("sac/steps", TransitionBatch, qos.STEPS, self._on_step)
        # Steps are taken before events: what precedes a step is known when it is settled.
        self._inbox.put_last(self._events)

    def _must_wait(self) -> bool:
        """Whether there is no actor yet, or a robot that it waits for is not heard."""
        now = time.monotonic()
        if not self._node.count_publishers(self._steps_topic):
            return True
        if self._actor_seen is None:
            self._actor_seen = now
        unheard = self._topics.unheard()
        if not unheard:
            return self._topics.settled_for < SETTLING
        if now - self._actor_seen < ROBOT_PATIENCE:
            return True
        self.get_logger().warning(f"Nobody publishes {', '.join(unheard)}: recording without")
        return False

    def work(self) -> None:
        self._inbox.wait(FLUSH_PERIOD / 2)
        self._inbox.receive()
        self._episodes.settle()
        self._tend()

    def interrupt(self) -> None:
        if self._finisher is not None:
            self._inbox.wake()

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_deactivate(state)
        self._flush()
        return result

    def finish(self) -> None:
        """Wait a little for episodes that are about to end, and have every bag made."""
        if self._finisher is None:
            return
        until = time.monotonic() + (0.0 if self._enough else LAST_WAIT)
        while self._episodes.open and time.monotonic() < until:
            self.work()
        self._close()

    def cleanup(self) -> None:
        if self._finisher is not None:
            self._close()
            self._node.destroy_node()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close(self) -> None:
        """Have bags made of all that is open, and wait for them."""
        if self._finisher is None:
            return
        for recording in self._episodes.take_all():
            recording.abandoned = self._enough
            self._finisher.finish(recording)
        self._finisher.stop()
        self._report()
        self._finisher = None

    # Messages.

    def _on_step(self, message: Message) -> None:
        try:
            batch = deserialize_message(message.data, TransitionBatch)
            transitions_from_message(batch)
            if len(batch.rewards) != 1:
                raise ValueError(f"{len(batch.rewards)} rows, expected one")
        except (ValueError, RuntimeError) as error:  # the latter: no such message
            self._refuse("sac/steps", error)
            return
        self._episodes.add_row(message, batch)

    def _on_episode(self, message: Message) -> None:
        try:
            event = deserialize_message(message.data, EpisodeEvent)
            check_episode_event(event)
        except (ValueError, RuntimeError) as error:  # the latter: no such message
            self._refuse("sac/episode", error)
            return
        if event.event == EpisodeEvent.STARTED:
            self._begin(message, event)
        else:
            self._episodes.end(message, event, time.monotonic())

    def _begin(self, message: Message, event: EpisodeEvent) -> None:
        if message.publish_time < self._ready:  # kept for who comes late
            return
        for recording in self._episodes.superseded(event):
            recording.end_unknown(time.monotonic(), event)
        self._topics.look()
        self._episodes.begin(message, event, self._topics.latched)

    def _refuse(self, topic: str, error: Exception) -> None:
        self._refused += 1
        if self._refused == 1:
            self.get_logger().warning(f"A message of {topic} is not recorded: {error}")

    # Now and then.

    def _tend(self) -> None:
        assert self._finisher is not None
        now = time.monotonic()
        if now - self._looked >= LOOK_PERIOD:
            self._looked = now
            self._topics.look()
            if not self._hears_steps:
                self._hear_steps()
            self._look_for_actors(now)
        if now - self._flushed >= FLUSH_PERIOD:
            self._flushed = now
            self._flush()
        for recording in self._episodes.take_done(now):
            self._finisher.finish(recording)
        self._report()

    def _look_for_actors(self, now: float) -> None:
        """An episode whose actor is gone has ended: nobody will say so, and the robot speaks on."""
        if self._events.get_publisher_count() > 0:
            self._told_at = now
        elif now - self._told_at > ACTOR_GONE:
            for recording in self._episodes.without_end():
                recording.end_unknown(now)
                self.get_logger().warning(f"{recording.name} ends here: its actor is gone")

    def _flush(self) -> None:
        fault = self._finisher.fault if self._finisher is not None else ""
        for recording in self._episodes.open:
            try:
                recording.journal.flush()
            except OSError as error:
                fault = f"{recording.folder} cannot be written: {error.strerror}"
        if fault and not self._fault:
            self.get_logger().error(f"{fault}; what comes is kept in memory, and tried again")
        elif self._fault and not fault:
            self.get_logger().info("The disk takes data again: everything kept is written")
        self._fault = fault

    @property
    def _enough(self) -> bool:
        return 0 < self.parameters.num_episodes <= self._recorded

    def _report(self) -> None:
        """Say what became of recordings, and stop when there are enough."""
        assert self._finisher is not None
        while not self._finisher.results.empty():
            self._report_one(self._finisher.results.get())
        if self._enough and not self.stopping.is_set():
            self.stop()

    def _report_one(self, finished: Finished) -> None:
        recording, say = finished.recording, self.get_logger()
        if finished.error:
            self.error = (
                f"{recording.folder} could not be made a bag ({finished.error}): free the disk, "
                f"then ros2 run sac_demos recover {self._save_path}"
            )
            say.error(self.error)
            return
        if not recording.is_wanted:
            if not recording.abandoned:
                self._discarded += 1
                say.info("Episode discarded: nothing of it is kept")
            return
        self._recorded += 1
        wanted = self.parameters.num_episodes
        number = f"{self._recorded}/{wanted}" if wanted else f"{self._recorded}"
        say.info(
            f"Episode {number}: {recording.verdict}, {recording.steps} steps, "
            f"{recording.seconds:.1f} s, {_bytes(finished.size)}: {recording.target.name}"
        )
        self._say_losses(recording)

    def _say_losses(self, recording: Recording) -> None:
        self._lost += sum(recording.lost.values())
        lost = [f"{count} messages of {topic}" for topic, count in recording.lost.items()]
        if recording.missing:
            lost.insert(0, f"{recording.missing} transitions")
        if recording.refused:
            lost.append(f"{sum(recording.refused.values())} messages that the disk did not take")
        if lost:
            self.get_logger().warning(f"{recording.target.name} lacks {', '.join(lost)}")

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        values: dict[str, object] = {
            "recorded": self._recorded,
            "discarded": self._discarded,
            "lost_messages": self._lost,
            "refused_messages": self._refused,
        }
        if self._finisher is not None:
            values["topics"] = self._topics.count
            values["open"] = len(self._episodes.open)
        if self._fault:
            return DiagnosticStatus.ERROR, self._fault, values
        return DiagnosticStatus.OK, "recording" if values.get("open") else "waiting", values


def _bytes(size: int) -> str:
    """A size as a person reads it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"


def main() -> None:
    """Run the recorder until it is told to stop."""
    run_node(Recorder, "sac_recorder")


if __name__ == "__main__":
    main()
