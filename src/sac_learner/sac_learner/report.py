"""What a person sees of the learner: status, the line on the console, figures, diagnostics."""

from __future__ import annotations

import math
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from sac_learner.evaluations import Evaluations
from sac_learner.metrics import Metrics
from sac_learner.parameters import Parameters
from sac_learner.receiver import Receiver
from sac_learner.storage import Storage
from sac_learner.training import Training
from sac_msgs.msg import LearnerStatus
from sac_ros.node import SacNode
from sac_ros.refusals import Refusals

RECENT = 10.0  # s for which an actor that was heard counts as there


class Report:
    """Puts figures of the last log period and the state of everything into words and messages."""

    def __init__(
        self,
        node: SacNode[Parameters],
        storage: Storage,
        training: Training,
        receiver: Receiver,
        evaluations: Evaluations,
        refusals: Refusals,
    ) -> None:
        self._node = node
        self._storage = storage
        self._training = training
        self._receiver = receiver
        self._evaluations = evaluations
        self._refusals = refusals
        self._figures: dict[str, float] = {}
        self.begin_period()

    def begin_period(self) -> None:
        """Rates of the next line count from now."""
        self._begun = time.monotonic()
        self._mark = self._storage.transitions, self._training.step

    @property
    def state(self) -> str:
        """What the learner does, in one word of LearnerStatus."""
        if not self._node.active.is_set():
            return "paused"
        if self._storage.transitions == 0:
            return "waiting"
        if not self._training.begun:
            return "filling"
        return "limited" if self._training.limited else "training"

    @property
    def is_due(self) -> bool:
        """Whether the log period is over."""
        return time.monotonic() - self._begun >= self._node.parameters.log_period

    def period(self, metrics: Metrics) -> None:
        """Average the figures of the period, log them in words, and write them everywhere."""
        training = self._training
        elapsed = max(time.monotonic() - self._begun, 1e-9)
        transitions, step = self._mark
        self.begin_period()
        self._figures.update(training.take_figures())
        if not training.begun:
            return
        f, p = self._figures, self._node.parameters
        f["steps_per_second"] = (training.step - step) / elapsed
        f["transitions_per_second"] = (self._storage.transitions - transitions) / elapsed
        row = {
            "transitions": self._storage.transitions,
            "replay_size": len(self._storage.replay or ()),
            "critic_updates_per_second": f["steps_per_second"] * p.utd_ratio,
            "steps_per_second": f["steps_per_second"],
            "transitions_per_second": f["transitions_per_second"],
            "update_to_data_ratio": training.update_to_data_ratio,
            "policy_staleness": self._receiver.staleness,
            "episode_return": self._receiver.episode_return,
        }
        for key in ("critic_loss", "actor_loss", "temperature", "entropy", "q_mean"):
            row[key] = f.get(key, math.nan)
        row["human_share"] = self._receiver.human_share
        row["demonstrations"] = self._demonstrations
        metrics.training(training.step, row)
        self._node.get_logger().info(self._line(row))

    def _line(self, row: dict[str, Any]) -> str:
        return (
            f"step {self._training.step:,} ({row['steps_per_second']:.1f}/s, "
            f"{row['critic_updates_per_second']:.0f} critic updates/s), "
            f"{row['transitions']:,} transitions ({row['transitions_per_second']:.0f}/s), "
            f"{row['update_to_data_ratio']:.2f} updates per transition; "
            f"critic loss {row['critic_loss']:.3g}, "
            f"actor loss {row['actor_loss']:.3g}, temperature {row['temperature']:.3g}; "
            f"return {row['episode_return']:.1f}{self._evaluation()}{self._people()}"
        )

    def _people(self) -> str:
        share = self._receiver.human_share
        return f", {share:.0%} of the steps a person's" if share else ""

    @property
    def _demonstrations(self) -> int:
        return self._storage.mixture.demonstrations if self._storage.mixture is not None else 0

    @property
    def _demo_ratio(self) -> float:
        """Share of a batch that is drawn from demonstrations, as things are."""
        mixture, p = self._storage.mixture, self._node.parameters
        if mixture is None:
            return 0.0
        return mixture.demonstrations_in(p.batch_size, p.demo_ratio) / p.batch_size

    def _evaluation(self) -> str:
        if not self._evaluations.count:
            return ""
        newest, best = self._evaluations.newest, self._evaluations.best
        text = f", evaluation {newest.return_mean:.1f} (best {best.return_mean:.1f})"
        if math.isfinite(newest.success_rate):
            text += f", success {newest.success_rate:.0%}"
        return text

    def status(self, published_version: int, run_directory: str) -> LearnerStatus:
        """The learner at a glance."""
        f, p, node, storage = self._figures, self._node.parameters, self._node, self._storage
        steps_per_second = f.get("steps_per_second", 0.0)
        status = LearnerStatus(
            learner_id=node.get_name(),
            learner_session=node.session,
            task=storage.task,
            state=self.state,
            step=self._training.step,
            transitions=storage.transitions,
            fault=storage.fault,
            rejected=storage.intake.rejected,
            missed=storage.intake.missed,
            replay_size=len(storage.replay) if storage.replay else 0,
            replay_capacity=p.replay_capacity,
            actors=storage.intake.heard_since(time.monotonic() - RECENT),
            transitions_per_second=f.get("transitions_per_second", 0.0),
            steps_per_second=steps_per_second,
            critic_updates_per_second=steps_per_second * p.utd_ratio,
            demonstrations=self._demonstrations,
            demo_ratio=self._demo_ratio,
            human_steps=storage.human_steps,
            human_share=self._receiver.human_share,
            policy_staleness=self._receiver.staleness,
            critic_loss=f.get("critic_loss", 0.0),
            actor_loss=f.get("actor_loss", 0.0),
            temperature=f.get("temperature", 0.0),
            entropy=f.get("entropy", 0.0),
            q_mean=f.get("q_mean", 0.0),
            published_version=published_version,
            evaluations=self._evaluations.count,
            evaluation_return=self._evaluations.newest.return_mean,
            best_evaluation_return=self._evaluations.best.return_mean,
            evaluation_success_rate=self._evaluations.newest.success_rate,
            run_directory=run_directory,
        )
        if storage.replay is not None:
            status.observation_size, status.action_size = storage.sizes
        if self._training.begun:
            status.update_to_data_ratio = self._training.update_to_data_ratio
        status.header.stamp = node.get_clock().now().to_msg()
        return status

    def diagnosis(self) -> tuple[bytes, str, dict[str, object]]:
        """Level, one-line message and values for /diagnostics."""
        storage = self._storage
        values: dict[str, object] = {
            "state": self.state,
            "transitions": storage.transitions,
            "rejected": storage.intake.rejected,
            "batches_refused": self._receiver.refused,
            "missed": storage.intake.missed,
            "dropped_by_actors": storage.intake.dropped,
            "demonstrations": self._demonstrations,
            "human_steps": storage.human_steps,
            "step": self._training.step,
            "steps_per_second": f"{self._figures.get('steps_per_second', 0.0):.1f}",
        }
        if storage.fault:
            return DiagnosticStatus.ERROR, storage.fault, values
        values["last_refusal"] = self._refusals.newest or "none"
        if self._refusals.recent:
            return DiagnosticStatus.ERROR, self._refusals.newest, values
        if storage.transitions == 0:
            return DiagnosticStatus.WARN, "no transitions yet", values
        return DiagnosticStatus.OK, self.state, values
