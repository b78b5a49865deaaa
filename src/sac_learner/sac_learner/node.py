"""The learner node: takes transitions in, trains, publishes weights, keeps the run folder current.

Callbacks on the executor thread put transitions into the replay buffer and acknowledge them;
`work` on the main thread trains. Weights are published by a thread of their own.

PyTorch is called on the main thread only: each thread that calls it gets an OpenMP pool, and with
more pool threads than cores libgomp stops spinning, which made two threads slower than one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import torch

from sac_core.agent import SACAgent
from sac_core.checkpoint import Checkpoint, load_checkpoint
from sac_core.replay_file import ReplayFileError, read_replay_header
from sac_learner import device
from sac_learner.checkpoints import Checkpoints
from sac_learner.demonstrations import Preloaded, preload
from sac_learner.judge import Judge
from sac_learner.metrics import Metrics
from sac_learner.parameters import Parameters
from sac_learner.policy_publisher import PolicyPublisher
from sac_learner.receiver import Receiver
from sac_learner.report import Report
from sac_learner.run_directory import LearningCurve, RunDirectory
from sac_learner.storage import Storage
from sac_learner.training import Training
from sac_msgs.msg import ActorStatus, LearnerStatus, TransitionAck, TransitionBatch
from sac_msgs.srv import LoadCheckpoint, SaveCheckpoint
from sac_ros import node, qos
from sac_ros.codecs import printable
from sac_ros.parameters import UserError
from sac_ros.refusals import Refusals

SILENCE = 5.0  # s without transitions before the log says what is missing
CURVE_PERIOD = 60.0  # s between two drawings of the learning curve


class Learner(node.SacNode[Parameters]):
    """Trains soft actor-critic on what any number of actors send."""

    def __init__(self) -> None:
        super().__init__("sac_learner", Parameters)
        p = self.parameters
        self.directory: RunDirectory | None = None
        self._metrics: Metrics | None = None
        self._publisher: PolicyPublisher | None = None
        self._preloaded: Preloaded | None = None
        self._entities: list[tuple[Callable[[Any], Any], Any]] = []
        self._wake = threading.Event()  # something came in
        self._next_publication = 0.0
        self._complete = False

        sizes = p.observation_size, p.action_size
        refusals = Refusals(self)
        self._storage = Storage(self.get_logger(), p.task, sizes)
        self._training = Training(self, self._storage)
        self._receiver = Receiver(
            self, self._storage, self._training, refusals, self._learn_sizes, self._wake
        )
        self._checkpoints = Checkpoints(self, self._storage, self._training)
        self._judge = Judge(
            self, self._storage, self._training, self._checkpoints, refusals, self._end_run
        )
        self._report = Report(
            self,
            self._storage,
            self._training,
            self._receiver,
            self._judge.evaluations,
            refusals,
        )

    # Set-up.

    def configure(self) -> None:
        p = self.parameters
        self.device = device.prepare(p.device, p.torch_threads)
        p.sac_config(1)
        if self.directory is None:
            self.directory = RunDirectory(p.run_directory, p.resume)
            self._make_or_resume(self.directory)
        configuration = dataclasses.asdict(p)
        self.directory.write_configuration(configuration)
        path = self.directory.path
        self._metrics = Metrics(path, p.wandb_project, configuration, self._warn_of_figures)
        self._judge.metrics = self._metrics
        self.curve = LearningCurve(path, CURVE_PERIOD)
        self._make_publishers()
        self._make_subscriptions()
        self.get_logger().info(
            f"Run folder {path}; {torch.get_num_threads()} PyTorch threads on "
            f"{self.device}, {p.precision}"
        )

    def _warn_of_figures(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=30.0)

    def _make_or_resume(self, directory: RunDirectory) -> None:
        """Agent and replay, as far as they are known: of an earlier start, or of the parameters."""
        p, storage = self.parameters, self._storage
        sizes, origin = storage.sizes, "the learner's parameters"
        if directory.replay_file.exists():
            try:
                header = read_replay_header(directory.replay_file)
            except (ReplayFileError, OSError) as error:
                raise UserError(str(error)) from error
            storage.task = storage.task or header.task
            there = header.observation_size, header.action_size
            sizes = sizes[0] or there[0], sizes[1] or there[1]
            origin = str(directory.replay_file)
        self._checkpoints.folder = directory.checkpoints
        checkpoint = self._checkpoints.find(directory.is_resumed)
        if checkpoint is not None and not all(sizes):
            metadata = checkpoint.metadata
            sizes, origin = (metadata["observation_size"], metadata["action_size"]), "checkpoint"
        if p.preload_rlds_path:
            self._preloaded = preload(p.preload_rlds_path, sizes, storage.task, self.get_logger())
            storage.task = self._preloaded.task
            if not all(sizes):
                sizes, origin = self._preloaded.sizes, "the demonstrations"
        if all(sizes):
            self._make_agent(sizes, origin)
        if checkpoint is not None:
            self._begin_from(checkpoint)
        if directory.is_resumed:
            self._judge.evaluations.best = self._checkpoints.best_evaluation()
            self._report.begin_period()
            self.get_logger().info(
                f"Resumes {directory.path}: learner step {self._training.step:,}, "
                f"{storage.transitions:,} transitions of {len(storage.intake.cursors)} actor "
                "sessions"
            )

    def _begin_from(self, checkpoint: Checkpoint) -> None:
        """Start where a checkpoint left off; UserError if it does not fit this learner."""
        try:
            step = self._load(checkpoint)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.get_logger().info(f"Begins from {checkpoint.path}, learner step {step}")

    def _make_agent(self, sizes: tuple[int, int], origin: str) -> None:
        """Networks and replay for these sizes; `origin` is who said so."""
        assert self.directory is not None
        p = self.parameters
        rows = self._preloaded.rows if self._preloaded is not None else None
        self._storage.open(self.directory.path, p.replay_capacity, sizes, p.seed, origin, rows)
        self._training.agent = SACAgent(*sizes, p.sac_config(sizes[1]), p.seed, str(self.device))
        self.get_logger().info(
            f"{sizes[0]} observations, {sizes[1]} actions (from {origin}); replay of "
            f"{p.replay_capacity:,} transitions"
        )

    def _learn_sizes(self, message: TransitionBatch) -> bool:
        """Make agent and replay for the first actor; whether that was possible."""
        self._storage.task = self._storage.task or message.task
        sizes = message.observation_size, message.action_size
        try:
            self.on_main_thread(lambda: self._make_agent(sizes, f"actor {message.actor_id}"))
        except CancelledError:
            return False
        except UserError as error:
            self._storage.say_fault(str(error))
            return False
        return True

    def _make_publishers(self) -> None:
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        acks = self.create_publisher(
            TransitionAck, "sac/transitions_ack", qos.TRANSITIONS_ACK, **options
        )
        self._status = self.create_publisher(
            LearnerStatus, "sac/learner/status", qos.STATUS, **options
        )
        for publisher in (acks, self._status):
            self._entities.append((self.destroy_publisher, publisher))
        self._publisher = PolicyPublisher(self)
        self._publisher.start()
        self._receiver.start(acks.publish)

    def _make_subscriptions(self) -> None:
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        for subscription in (
            self.create_subscription(
                TransitionBatch,
                "sac/transitions",
                self._receiver.on_transitions,
                qos.TRANSITIONS,
                **options,
            ),
            self.create_subscription(
                ActorStatus,
                "sac/actor/status",
                self._judge.on_actor_status,
                qos.STATUS_OF_MANY,
                **options,
            ),
        ):
            self._entities.append((self.destroy_subscription, subscription))
        for service in (
            self.create_service(SaveCheckpoint, "~/save_checkpoint", self._on_save),
            self.create_service(LoadCheckpoint, "~/load_checkpoint", self._on_load),
        ):
            self._entities.append((self.destroy_service, service))
        timer = self.create_timer(1.0, self._every_second)
        self._entities.append((self.destroy_timer, timer))

    def cleanup(self) -> None:
        """Give back what configure made; agent and replay stay, nothing accepted is lost."""
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities = []
        if self._publisher is not None:
            self._publisher.end()
            self._publisher = None
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = self._judge.metrics = None

    # Training, on the main thread.

    def work(self) -> None:
        if not self._training.begun and self._training.may_begin():
            self._begin()
        if self._training.begun and self._training.may_step():
            self._train()
        else:
            self._wake.wait(timeout=0.1)
            self._wake.clear()
        self._housekeeping()

    def interrupt(self) -> None:
        self._wake.set()

    def _begin(self) -> None:
        self._training.begin()
        self._publish(time.monotonic())
        self.get_logger().info("Sent initial policy to actors")

    def _train(self) -> None:
        self._training.do_step()
        if (now := time.monotonic()) >= self._next_publication:
            self._publish(now)
        self._checkpoints.save_if_due()

    def _publish(self, now: float) -> None:
        """Hand the newest weights to the publishing thread."""
        agent = self._training.agent
        assert agent is not None and self._publisher is not None
        version, tensors = agent.step, agent.policy_tensors()
        self._judge.policies.add(version, tensors)
        self._publisher.give(version, tensors)
        self._next_publication = now + self.parameters.publish_period

    def _housekeeping(self) -> None:
        if self._receiver.unacknowledged:
            self._receiver.acknowledge()
        if self._report.is_due and self._metrics is not None:
            self._report.period(self._metrics)
        self.curve.update()
        most = self.parameters.max_steps
        if most and self._storage.transitions >= most:
            self._end_run(f"{self._storage.transitions:,} environment steps")

    def _end_run(self, why: str) -> None:
        """The run is complete."""
        if self._complete:
            return
        self._complete = True
        self.get_logger().info(f"Complete: {why}")
        self.stopping.set()
        self._wake.set()

    def finish(self) -> None:
        if self._metrics is None:
            return
        self._report.period(self._metrics)
        self._checkpoints.save_unsaved()
        self.curve.finish()
        if self._storage.experience is not None:
            with contextlib.suppress(OSError):  # it has been said
                self._storage.experience.sync()
        assert self.directory is not None
        self.get_logger().info(f"Run folder: {self.directory.path}")

    # Services, on the executor thread.

    def _load(self, checkpoint: Checkpoint) -> int:
        """Go back to a checkpoint; its step. Raises ValueError."""
        step = self._checkpoints.load(checkpoint)
        self._next_publication = 0.0
        return step

    def _on_save(
        self, _request: SaveCheckpoint.Request, response: SaveCheckpoint.Response
    ) -> SaveCheckpoint.Response:
        if self._training.agent is None:
            response.message = "nothing to save yet: no actor has been heard"
            return response
        try:
            response.path = str(self.on_main_thread(self._checkpoints.save))
            response.success = True
            response.message = f"saved learner step {self._training.step}"
        except (OSError, ValueError) as error:  # the disk, or weights that are not finite
            response.message = f"cannot be saved: {error}"
        except CancelledError:
            response.message = "the learner is stopping"
        return response

    def _on_load(
        self, request: LoadCheckpoint.Request, response: LoadCheckpoint.Response
    ) -> LoadCheckpoint.Response:
        try:
            checkpoint = load_checkpoint(Path(request.path).expanduser())
            response.step = self.on_main_thread(lambda: self._load(checkpoint))
            self.session = secrets.randbits(63)  # versions go back: actors take this for a new one
            response.success = True
            response.message = f"continues at learner step {response.step}"
        except (ValueError, OSError, RuntimeError) as error:  # the last: ~ of an unknown user
            response.message = printable(str(error), 500)
        except CancelledError:
            response.message = "the learner is stopping"
        self.get_logger().info(f"Load {printable(request.path, 200)}: {response.message}")
        return response

    # What a person sees.

    def _every_second(self) -> None:
        now = time.monotonic()
        silent = now - self._receiver.last_batch > SILENCE
        silent = silent and not self._judge.evaluations.under_way
        if silent and self.active.is_set() and not self._complete:
            self._receiver.last_batch = now
            self.get_logger().warning(self._what_is_missing())
        self._receiver.acknowledge()
        version = self._publisher.version if self._publisher is not None else 0
        folder = str(self.directory.path) if self.directory is not None else ""
        self._status.publish(self._report.status(version, folder))

    def _what_is_missing(self) -> str:
        topic = self.resolve_topic_name("sac/transitions")
        publishers = self.count_publishers(topic)
        so_far = f"{self._storage.transitions}/{self.parameters.training_starts} transitions"
        if publishers == 0:
            return (
                f"Waiting for transitions on {topic} ({so_far}): no actor publishes there. Start "
                "one with 'ros2 run sac_actor actor', in the same ROS_DOMAIN_ID and namespace"
            )
        return (
            f"Waiting for transitions on {topic} ({so_far}): {publishers} actors are there and "
            "send nothing; are they active?"
        )

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        return self._report.diagnosis()


def main() -> None:
    """Entry point of `ros2 run sac_learner learner`."""
    node.main(Learner, "sac_learner")
