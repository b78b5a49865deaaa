"""The learner node: takes transitions in, trains, publishes weights, keeps the run folder current.

Callbacks on the executor thread put transitions into the replay buffer and acknowledge them;
`work` on the main thread trains. Weights are published by a thread of their own.

PyTorch is called on the main thread only: each thread that calls it gets an OpenMP pool, and with
more pool threads than cores libgomp stops spinning, which made two threads slower than one.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import math
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticStatus

from sac_core.agent import SACAgent
from sac_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    newest_usable_checkpoint,
    save_best,
    save_checkpoint,
)
from sac_core.replay_file import ReplayFile, ReplayFileError, read_replay_header
from sac_learner.evaluations import Evaluation, Evaluations, RememberedPolicies
from sac_learner.intake import Cursor, Intake, Key
from sac_learner.metrics import Metrics
from sac_learner.parameters import Parameters
from sac_learner.policy_publisher import PolicyPublisher
from sac_learner.run_directory import LearningCurve, RunDirectory
from sac_msgs.msg import (
    ActorStatus,
    LearnerStatus,
    TransitionAck,
    TransitionBatch,
    TransitionCursor,
)
from sac_msgs.srv import LoadCheckpoint, SaveCheckpoint
from sac_ros import node, qos
from sac_ros.codecs import (
    MAX_COUNT,
    Transitions,
    check_actor_status,
    is_identifier,
    printable,
    transitions_from_message,
)
from sac_ros.parameters import UserError

SILENCE = 5.0  # s without transitions before the log says what is missing
EPISODES_AVERAGED = 20
REFUSAL_SHOWN = 30.0  # s for which diagnostics are in error after something was refused
ACK_PERIOD = 0.01  # s between two acknowledgements; those in between go out after a learner step
CURVE_PERIOD = 60.0  # s between two drawings of the learning curve


def keep_freed_memory() -> None:
    """Tell glibc to keep what a learner step frees (tens of MB) for the next step.

    Otherwise large tensors are mapped, zeroed and unmapped again for every operation: a fifth of
    the time of a step on the CPU. Constants from <malloc.h>; other C libraries have no mallopt.
    """
    m_trim_threshold, m_mmap_threshold, limit = -1, -3, 1 << 30
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_mmap_threshold, limit)
        mallopt(m_trim_threshold, limit)


class Learner(node.SacNode[Parameters]):
    """Trains soft actor-critic on what any number of actors send."""

    def __init__(self) -> None:
        super().__init__("sac_learner", Parameters)
        self.agent: SACAgent | None = None
        self.replay: ReplayFile | None = None
        self.metrics: Metrics | None = None
        self.directory: RunDirectory | None = None
        self._entities: list[tuple[Callable[[Any], Any], Any]] = []
        self._publisher_thread: PolicyPublisher | None = None
        self._wake = threading.Event()  # something came in
        self._acknowledged, self._unacknowledged = -math.inf, False
        self._intake = Intake()
        self._episode_returns: dict[Key, float] = {}  # of episodes under way
        self._rejection, self._rejected_at = "", -math.inf
        self._refused_batches = 0
        self._fault = ""  # why rows are not acknowledged
        self._task = self.parameters.task
        self._policies = RememberedPolicies()
        self._next_publication = 0.0
        self._transitions_before_training = 0
        self._steps_before_training = 0
        self._training = False
        self._limited = False
        self._complete = False
        self._last_saved_step = 0
        self._window: list[torch.Tensor] = []
        self._window_keys: list[str] = []
        self._figures: dict[str, float] = {}
        self._returns: collections.deque[float] = collections.deque(maxlen=EPISODES_AVERAGED)
        self._staleness = 0.0
        self._evaluations = Evaluations()
        self._first_transition = 0.0  # when it came
        self._last_batch = time.monotonic()
        self._last_line = time.monotonic()
        self._mark = (time.monotonic(), 0, 0)

    # Set-up.

    def configure(self) -> None:
        p = self.parameters
        self.device = self._find_device(p.device)
        torch.set_num_threads(p.torch_threads or len(os.sched_getaffinity(0)))
        keep_freed_memory()
        p.sac_config(1)
        if self.directory is None:
            self.directory = RunDirectory(p.run_directory, p.resume)
            self._make_or_resume(self.directory)
        configuration = dataclasses.asdict(p)
        self.directory.write_configuration(configuration)
        path = self.directory.path
        self.metrics = Metrics(path, p.wandb_project, configuration, self._warn_of_figures)
        self.curve = LearningCurve(path, CURVE_PERIOD)
        self._make_publishers()
        self._make_subscriptions()
        self._acknowledge()  # an actor that knew an earlier learner sends what this one lacks
        self.get_logger().info(
            f"Run folder {path}; {torch.get_num_threads()} PyTorch threads on "
            f"{self.device}, {p.precision}"
        )

    def _warn_of_figures(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=30.0)

    def _make_or_resume(self, directory: RunDirectory) -> None:
        """Agent and replay, as far as they are known: of an earlier start, or of the parameters."""
        p = self.parameters
        sizes, origin = (p.observation_size, p.action_size), "the learner's parameters"
        checkpoint = None
        try:
            if directory.replay_file.exists():
                header = read_replay_header(directory.replay_file)
                self._task = self._task or header.task
                there = header.observation_size, header.action_size
                sizes = sizes[0] or there[0], sizes[1] or there[1]
                origin = str(directory.replay_file)
            if directory.is_resumed:
                checkpoint, left_out = newest_usable_checkpoint(directory.checkpoints)
                for line in left_out:
                    self.get_logger().warning(f"Left out: {line}")
            if checkpoint is None and p.checkpoint:
                checkpoint = load_checkpoint(Path(p.checkpoint).expanduser())
        except (CheckpointError, ReplayFileError, OSError) as error:
            raise UserError(str(error)) from error
        if checkpoint is not None and not all(sizes):
            metadata = checkpoint.metadata
            sizes, origin = (metadata["observation_size"], metadata["action_size"]), "checkpoint"
        if all(sizes):
            self._make_agent(*sizes, origin)
        if checkpoint is not None:
            self._begin_from(checkpoint)
        if directory.is_resumed:
            self._restore_best(directory)
            step = self.agent.step if self.agent else 0
            self._mark = (time.monotonic(), self._transitions, step)
            self.get_logger().info(
                f"Resumes {directory.path}: learner step {step:,}, {self._transitions:,} "
                f"transitions of {len(self._intake.cursors)} actor sessions"
            )

    def _restore_best(self, directory: RunDirectory) -> None:
        """What the best policy so far had reached."""
        try:
            evaluation = load_checkpoint(directory.checkpoints / "best").metadata["evaluation"]
            self._evaluations.best = Evaluation(**evaluation)
        except (CheckpointError, KeyError, TypeError, ValueError):
            pass  # there is none yet

    def _make_publishers(self) -> None:
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        self._acks = self.create_publisher(
            TransitionAck, "sac/transitions_ack", qos.TRANSITIONS_ACK, **options
        )
        self._status = self.create_publisher(
            LearnerStatus, "sac/learner/status", qos.STATUS, **options
        )
        for publisher in (self._acks, self._status):
            self._entities.append((self.destroy_publisher, publisher))
        self._publisher_thread = PolicyPublisher(self)
        self._publisher_thread.start()

    def _make_subscriptions(self) -> None:
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        for subscription in (
            self.create_subscription(
                TransitionBatch, "sac/transitions", self._on_transitions, qos.TRANSITIONS, **options
            ),
            self.create_subscription(
                ActorStatus,
                "sac/actor/status",
                self._on_actor_status,
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

    def _begin_from(self, checkpoint: Checkpoint) -> None:
        """Start where a checkpoint left off; UserError if it does not fit this learner."""
        try:
            step = self._load(checkpoint)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.get_logger().info(f"Begins from {checkpoint.path}, learner step {step}")

    def _find_device(self, name: str) -> torch.device:
        try:
            device = torch.device(name)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"device {name!r} cannot be used: {reason}; try device:=cpu") from error
        return device

    def _make_agent(self, observation_size: int, action_size: int, origin: str) -> None:
        """Networks and replay for these sizes; `origin` is who said so."""
        assert self.directory is not None
        p = self.parameters
        self._sizes_from = origin
        sizes = observation_size, action_size
        try:
            replay = ReplayFile(
                self.directory.replay_file, p.replay_capacity, *sizes, self._task, p.seed
            )
        except (ReplayFileError, OSError) as error:
            raise UserError(str(error)) from error
        if replay.left_out:
            self.get_logger().warning(
                f"Left out: {replay.left_out} half-written rows of {replay.path}; actors send "
                "again what was not acknowledged"
            )
        self._intake.restore(replay.state)
        self.agent = SACAgent(*sizes, p.sac_config(action_size), p.seed, str(self.device))
        self.replay = replay
        self.get_logger().info(
            f"{observation_size} observations, {action_size} actions (from {origin}); replay of "
            f"{p.replay_capacity:,} transitions"
        )

    def cleanup(self) -> None:
        """Give back what configure made; agent and replay stay, nothing accepted is lost."""
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities = []
        if self._publisher_thread is not None:
            self._publisher_thread.end()
            self._publisher_thread = None
        if self.metrics is not None:
            self.metrics.close()
            self.metrics = None

    @property
    def _transitions(self) -> int:
        """Rows stored since the run began."""
        return self.replay.inserted if self.replay is not None else 0

    # Training, on the main thread.

    def work(self) -> None:
        if not self._may_train():
            self._wake.wait(timeout=0.1)
            self._wake.clear()
        else:
            self._train()
        self._housekeeping()

    def interrupt(self) -> None:
        self._wake.set()

    def _may_train(self) -> bool:
        p = self.parameters
        if self.agent is None or self._transitions < p.training_starts:
            return False
        if not self._training:
            self._training = True
            self._transitions_before_training = self._transitions
            self._steps_before_training = self.agent.step
            self._publish(time.monotonic())
            self.get_logger().info("Sent initial policy to actors")
        ahead = self._updates() - p.max_updates_per_step * self._training_transitions()
        self._limited = p.max_updates_per_step > 0.0 and ahead >= 0.0
        return not self._limited

    def _updates(self) -> int:
        """Critic updates since training began."""
        assert self.agent is not None
        return (self.agent.step - self._steps_before_training) * self.parameters.utd_ratio

    def _training_transitions(self) -> int:
        """Transitions that came in since training began, with the first fill."""
        return self._transitions - self._transitions_before_training + 1

    def _train(self) -> None:
        assert self.agent is not None and self.replay is not None
        p = self.parameters
        rows = self.replay.sample(p.batch_size * p.utd_ratio)
        info = self.agent.update(rows)
        self._window_keys = list(info)
        self._window.append(torch.stack(list(info.values())))
        if (now := time.monotonic()) >= self._next_publication:
            self._publish(now)
        if p.checkpoint_period and self.agent.step % p.checkpoint_period == 0:
            self._try_to_save()

    def _publish(self, now: float) -> None:
        """Hand the newest weights to the publishing thread."""
        assert self.agent is not None
        version, tensors = self.agent.step, self.agent.policy_tensors()
        self._policies.add(version, tensors)
        assert self._publisher_thread is not None
        self._publisher_thread.give(version, tensors)
        self._next_publication = now + self.parameters.publish_period

    def _housekeeping(self) -> None:
        p = self.parameters
        if self._unacknowledged:
            self._acknowledge()
        if time.monotonic() - self._last_line >= p.log_period:
            self._log_line()
        self.curve.update()
        if p.max_steps and self._transitions >= p.max_steps and not self._complete:
            self._complete = True
            self.get_logger().info(f"Complete: {self._transitions:,} environment steps")
            self.stopping.set()

    def finish(self) -> None:
        if self.metrics is None:
            return
        self._log_line()
        if self.agent is not None and self.agent.step > self._last_saved_step:
            self._try_to_save()
        self.curve.finish()
        if self.replay is not None:
            with contextlib.suppress(OSError):  # it has been said
                self.replay.sync()
        assert self.directory is not None
        self.get_logger().info(f"Run folder: {self.directory.path}")

    # What comes in, on the executor thread.

    def _on_transitions(self, message: TransitionBatch) -> None:
        now = time.monotonic()
        try:
            rows = transitions_from_message(message)
            self._check_task_and_sizes(message)
        except ValueError as error:
            self._refuse(message, str(error), now)
            return
        if self.replay is None and not self._learn_sizes(message):
            return
        key = message.actor_id, message.actor_session
        cursor, new = self._intake.accept(
            key, message.first_sequence, message.oldest_sequence, len(rows), message.dropped, now
        )
        if not self._store(key, cursor, rows[new]):
            return
        self._acknowledge_soon()
        self._last_batch = now
        if self._transitions < self.parameters.training_starts or not self._training:
            self.get_logger().info(
                f"Filling up replay buffer: {self._transitions}/{self.parameters.training_starts}"
            )
        self._wake.set()

    def _learn_sizes(self, message: TransitionBatch) -> bool:
        """Make agent and replay for the first actor; whether that was possible."""
        self._task = self._task or message.task
        sizes = message.observation_size, message.action_size
        try:
            self.on_main_thread(lambda: self._make_agent(*sizes, f"actor {message.actor_id}"))
        except CancelledError:
            return False
        except UserError as error:
            self._say_fault(str(error))
            return False
        return True

    def _check_task_and_sizes(self, message: TransitionBatch) -> None:
        p = self.parameters
        if self._task and message.task != self._task:
            raise ValueError(
                f"it is of task {printable(message.task)!r}, this learner has {self._task!r}"
            )
        known = (p.observation_size, p.action_size)
        origin = "its parameters"
        if self.replay is not None:
            known = (self.replay.layout.observation_size, self.replay.layout.action_size)
            origin = self._sizes_from
        theirs = (message.observation_size, message.action_size)
        if any(ours and ours != their for ours, their in zip(known, theirs, strict=True)):
            raise ValueError(
                f"it has {theirs[0]} observations and {theirs[1]} actions, this learner has "
                f"{known[0] or 'any'} and {known[1] or 'any'} (from {origin})"
            )

    def _refuse(self, message: TransitionBatch, reason: str, now: float) -> None:
        """Count and name a batch that cannot be used, and acknowledge it, so that it ends."""
        self._rejected_at = now
        self._rejection = f"batch of actor {printable(message.actor_id)!r} refused: {reason}"
        self._refused_batches += 1
        self.get_logger().error(self._rejection, throttle_duration_sec=10.0)
        if not is_identifier(message.actor_id) or message.first_sequence > MAX_COUNT:
            return  # nobody to answer
        key = message.actor_id, message.actor_session
        rows = len(message.rewards)
        cursor = self._intake.refuse(key, message.first_sequence, rows, now)
        if self._keep(key, cursor):
            self._acknowledge_soon()

    def _keep(self, key: Key, cursor: Cursor, insert: Callable[[], None] | None = None) -> bool:
        """Store a cursor, and the rows that belong to it, at once; whether the disk took them."""
        try:
            with self._intake.keeping(key, cursor):
                if self.replay is not None:
                    before, self.replay.state = self.replay.state, self._intake.state()
                    try:
                        (insert or self.replay.commit)()
                    except BaseException:
                        self.replay.state = before
                        raise
        except OSError as error:
            path = self.directory.replay_file if self.directory else ""
            self._say_fault(
                f"{path} cannot be written: {error.strerror}; rows are not acknowledged until "
                "it can, training goes on with those that are there"
            )
            return False
        if self._fault:
            self._fault = ""
            self.get_logger().info("The replay file can be written again")
        return True

    def _say_fault(self, fault: str) -> None:
        if fault != self._fault:
            self.get_logger().error(fault)
        self._fault = fault

    def _store(self, key: Key, cursor: Cursor, rows: Transitions) -> bool:
        """Store a cursor and its new rows; whether the disk took them."""
        replay = self.replay
        assert replay is not None and self.agent is not None
        if not self._first_transition:
            self._first_transition = time.monotonic()

        def insert() -> None:
            replay.insert(
                rows.observations,
                rows.actions,
                rows.rewards,
                1.0 - rows.terminated.astype(np.float32),
                rows.next_observations,
            )

        if not self._keep(key, cursor, insert):
            return False
        if len(rows):
            self._count_returns(key, rows)
            self._staleness = max(0.0, self.agent.step - float(rows.policy_version[-1]))
        return True

    def _count_returns(self, key: Key, rows: Transitions) -> None:
        """Add up the rewards of this actor's episode, and keep the sum of each that ended."""
        if len(self._episode_returns) > len(self._intake.cursors):
            self._episode_returns.clear()  # sessions that are forgotten
        total = self._episode_returns.get(key, 0.0)
        for reward, done in zip(
            rows.rewards.tolist(), (rows.terminated | rows.truncated).tolist(), strict=True
        ):
            total += reward
            if done:
                self._returns.append(total)
                total = 0.0
        self._episode_returns[key] = total

    def _acknowledge_soon(self) -> None:
        """Now, unless that was done a moment ago: many batches may share an acknowledgement."""
        self._unacknowledged = True
        if time.monotonic() - self._acknowledged < ACK_PERIOD:
            self._wake.set()
        else:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._acknowledged, self._unacknowledged = time.monotonic(), False
        message = TransitionAck(learner_id=self.get_name(), learner_session=self.session)
        message.header.stamp = self.get_clock().now().to_msg()
        message.actors = [
            TransitionCursor(
                actor_id=actor_id,
                actor_session=session,
                next_sequence=cursor.next_sequence,
                rejected=cursor.rejected,
                missed=cursor.missed,
            )
            for (actor_id, session), cursor in tuple(self._intake.cursors.items())
        ]
        self._acks.publish(message)

    def _on_actor_status(self, status: ActorStatus) -> None:
        try:
            check_actor_status(status)
        except ValueError as error:
            self._rejected_at = time.monotonic()
            self._rejection = f"status of {printable(status.actor_id)!r} ignored: {error}"
            self.get_logger().error(self._rejection, throttle_duration_sec=10.0)
            return
        self._policies.in_use(status.policy_version)
        success = status.evaluation_success_rate
        evaluation = Evaluation(
            policy_version=status.evaluation_policy_version,
            episodes=status.evaluation_episodes,
            return_mean=status.evaluation_return_mean,
            return_std=status.evaluation_return_std,
            success_rate=success if 0.0 <= success <= 1.0 else float("nan"),
        )
        key = status.actor_id, status.actor_session
        if not self._intake.knows(key):
            return  # whoever gave no transition does not decide what is best
        is_evaluating = status.state == "evaluating"
        if not self._evaluations.hear(key, is_evaluating, status.evaluations, evaluation):
            return
        if self.agent is None or self.metrics is None:
            return
        self.metrics.evaluation(
            self.agent.step,
            {
                "transitions": self._transitions,
                "policy_version": evaluation.policy_version,
                "return_mean": evaluation.return_mean,
                "return_std": evaluation.return_std,
                "episodes": evaluation.episodes,
                "success_rate": evaluation.success_rate,
            },
        )
        if evaluation.beats(self._evaluations.best) and self._keep_best(evaluation):
            self._stop_at_success(evaluation)

    def _keep_best(self, evaluation: Evaluation) -> bool:
        """Save the weights that were evaluated; whether they are still remembered."""
        tensors = self._policies.get(evaluation.policy_version)
        if tensors is None:
            return False
        self._evaluations.best = evaluation
        metadata = self._metadata() | {
            "step": evaluation.policy_version,
            "evaluation": evaluation.figures(),
        }
        assert self.directory is not None
        try:
            save_best(self.directory.checkpoints, tensors, metadata)
        except OSError as error:
            self.get_logger().error(f"The best policy could not be saved: {error}")
            return False
        return True

    def _stop_at_success(self, evaluation: Evaluation) -> None:
        """End the run once an evaluation, whose policy is saved, has met the criterion."""
        wanted = self.parameters.stop_at_success
        if wanted <= 0.0 or not evaluation.success_rate >= wanted or self._complete:
            return
        self._complete = True
        seconds = time.monotonic() - self._first_transition
        self.get_logger().info(
            f"Complete: {evaluation.success_rate:.1%} of {evaluation.episodes} evaluation "
            f"episodes succeeded (criterion {wanted:.0%}), {seconds:.1f} s after the first "
            f"transition, {self._transitions:,} environment steps"
        )
        self.stopping.set()
        self._wake.set()

    # Checkpoints.

    def _metadata(self) -> dict[str, object]:
        assert self.agent is not None
        return {
            "task": self._task,
            "config": self.agent.config.to_dict(),
            "transitions": self._transitions,
            "seed": self.parameters.seed,
        }

    def _try_to_save(self) -> None:
        """Save a checkpoint; training goes on without if the disk does not let us."""
        try:
            self._save()
        except (OSError, ValueError) as error:  # the second: weights that are not finite
            self.get_logger().error(f"The checkpoint could not be saved: {error}; training goes on")

    def _save(self) -> Path:
        assert self.agent is not None and self.replay is not None and self.directory is not None
        tensors, agent_metadata = self.agent.state()
        policy, step = self.agent.policy_tensors(), self.agent.step
        metadata = self._metadata() | {
            "agent": agent_metadata,
            "replay_random_state": self.replay.rng_state(),
        }
        self._last_saved_step = step
        kept = self.parameters.checkpoints_kept
        return save_checkpoint(self.directory.checkpoints, step, policy, tensors, metadata, kept)

    def _load(self, checkpoint: Checkpoint) -> int:
        """Put agent and random state back to a checkpoint; its step. Raises ValueError."""
        if self.agent is None or self.replay is None:
            raise ValueError(
                "sizes are not known yet: wait for the first actor, or set observation_size and "
                "action_size"
            )
        theirs = checkpoint.metadata["task"]
        if self._task and theirs and theirs != self._task:
            raise ValueError(
                f"{checkpoint.path}: its task is {theirs!r}, this learner's is {self._task!r}"
            )
        agent, generator = (
            checkpoint.metadata.get(name) for name in ("agent", "replay_random_state")
        )
        if checkpoint.state is None or not isinstance(agent, dict) or generator is None:
            raise ValueError(
                f"{checkpoint.path} holds a policy only; expected a whole checkpoint (step_…)"
            )
        self.agent.load_state(checkpoint.state, agent)
        self.replay.set_rng_state(generator)
        self._steps_before_training = self._last_saved_step = self.agent.step
        self._transitions_before_training = self._transitions
        self._next_publication = 0.0
        return self.agent.step

    def _on_save(
        self, _request: SaveCheckpoint.Request, response: SaveCheckpoint.Response
    ) -> SaveCheckpoint.Response:
        if self.agent is None:
            response.message = "nothing to save yet: no actor has been heard"
            return response
        try:
            response.path = str(self.on_main_thread(self._save))
            response.success = True
            response.message = f"saved learner step {self.agent.step}"
        except OSError as error:
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

    def _state(self) -> str:
        if not self.active.is_set():
            return "paused"
        if self._transitions == 0:
            return "waiting"
        if not self._training:
            return "filling"
        return "limited" if self._limited else "training"

    def _every_second(self) -> None:
        now = time.monotonic()
        silent = now - self._last_batch > SILENCE and not self._evaluations.under_way
        if silent and self.active.is_set() and not self._complete:
            self._last_batch = now
            self.get_logger().warning(self._what_is_missing())
        self._acknowledge()
        self._status.publish(self._make_status())

    def _what_is_missing(self) -> str:
        topic = self.resolve_topic_name("sac/transitions")
        publishers = self.count_publishers(topic)
        so_far = f"{self._transitions}/{self.parameters.training_starts} transitions"
        if publishers == 0:
            return (
                f"Waiting for transitions on {topic} ({so_far}): no actor publishes there. Start "
                "one with 'ros2 run sac_actor actor', in the same ROS_DOMAIN_ID and namespace"
            )
        return (
            f"Waiting for transitions on {topic} ({so_far}): {publishers} actors are there and "
            "send nothing; are they active?"
        )

    def _log_line(self) -> None:
        """Average the figures of the period, log them in words, and write them everywhere."""
        now = time.monotonic()
        then, transitions, step = self._mark
        self._last_line = now
        if self.agent is None or self.metrics is None:
            return
        elapsed = max(now - then, 1e-9)
        self._mark = (now, self._transitions, self.agent.step)
        if self._window:
            means = torch.stack(self._window).mean(dim=0).tolist()
            self._figures.update(zip(self._window_keys, means, strict=True))
            self._window = []
        if not self._training:
            return
        f = self._figures
        nan = float("nan")
        f["steps_per_second"] = (self.agent.step - step) / elapsed
        f["transitions_per_second"] = (self._transitions - transitions) / elapsed
        f["episode_return"] = float(np.mean(self._returns)) if self._returns else nan
        ratio = self._updates() / self._training_transitions()
        row = {
            "transitions": self._transitions,
            "replay_size": len(self.replay or ()),
            "critic_updates_per_second": f["steps_per_second"] * self.parameters.utd_ratio,
            "steps_per_second": f["steps_per_second"],
            "transitions_per_second": f["transitions_per_second"],
            "update_to_data_ratio": ratio,
            "policy_staleness": self._staleness,
            "episode_return": f["episode_return"],
        }
        for key in ("critic_loss", "actor_loss", "temperature", "entropy", "q_mean"):
            row[key] = f.get(key, nan)
        self.metrics.training(self.agent.step, row)
        evaluation = ""
        if self._evaluations.count:
            newest, best = self._evaluations.newest, self._evaluations.best
            evaluation = f", evaluation {newest.return_mean:.1f} (best {best.return_mean:.1f})"
            if np.isfinite(newest.success_rate):
                evaluation += f", success {newest.success_rate:.0%}"
        self.get_logger().info(
            f"step {self.agent.step:,} ({row['steps_per_second']:.1f}/s, "
            f"{row['critic_updates_per_second']:.0f} critic updates/s), "
            f"{self._transitions:,} transitions ({row['transitions_per_second']:.0f}/s), "
            f"{ratio:.2f} updates per transition; critic loss {row['critic_loss']:.3g}, "
            f"actor loss {row['actor_loss']:.3g}, temperature {row['temperature']:.3g}; "
            f"return {row['episode_return']:.1f}{evaluation}"
        )

    def _make_status(self) -> LearnerStatus:
        f = self._figures
        steps_per_second = f.get("steps_per_second", 0.0)
        status = LearnerStatus(
            learner_id=self.get_name(),
            learner_session=self.session,
            task=self._task,
            state=self._state(),
            step=self.agent.step if self.agent else 0,
            transitions=self._transitions,
            fault=self._fault,
            rejected=self._intake.rejected,
            missed=self._intake.missed,
            replay_size=len(self.replay) if self.replay else 0,
            replay_capacity=self.parameters.replay_capacity,
            actors=self._intake.heard_since(time.monotonic() - 10.0),
            transitions_per_second=f.get("transitions_per_second", 0.0),
            steps_per_second=steps_per_second,
            critic_updates_per_second=steps_per_second * self.parameters.utd_ratio,
            policy_staleness=self._staleness,
            critic_loss=f.get("critic_loss", 0.0),
            actor_loss=f.get("actor_loss", 0.0),
            temperature=f.get("temperature", 0.0),
            entropy=f.get("entropy", 0.0),
            q_mean=f.get("q_mean", 0.0),
            published_version=self._publisher_thread.version if self._publisher_thread else 0,
            evaluations=self._evaluations.count,
            evaluation_return=self._evaluations.newest.return_mean,
            best_evaluation_return=self._evaluations.best.return_mean,
            evaluation_success_rate=self._evaluations.newest.success_rate,
            run_directory=str(self.directory.path) if self.directory else "",
        )
        if self.replay is not None:
            status.observation_size = self.replay.layout.observation_size
            status.action_size = self.replay.layout.action_size
        if self._training:
            status.update_to_data_ratio = self._updates() / self._training_transitions()
        status.header.stamp = self.get_clock().now().to_msg()
        return status

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        values: dict[str, object] = {
            "state": self._state(),
            "transitions": self._transitions,
            "rejected": self._intake.rejected,
            "batches_refused": self._refused_batches,
            "missed": self._intake.missed,
            "dropped_by_actors": self._intake.dropped,
            "step": self.agent.step if self.agent else 0,
            "steps_per_second": f"{self._figures.get('steps_per_second', 0.0):.1f}",
        }
        if self._fault:
            return DiagnosticStatus.ERROR, self._fault, values
        values["last_refusal"] = self._rejection or "none"
        if time.monotonic() - self._rejected_at < REFUSAL_SHOWN:
            return DiagnosticStatus.ERROR, self._rejection, values
        if self._transitions == 0:
            return DiagnosticStatus.WARN, "no transitions yet", values
        return DiagnosticStatus.OK, self._state(), values


def main() -> None:
    """Entry point of `ros2 run sac_learner learner`."""
    node.main(Learner, "sac_learner")
