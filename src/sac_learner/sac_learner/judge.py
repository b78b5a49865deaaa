"""Hears how evaluated policies did: keeps the best, and says when a run is complete."""

from __future__ import annotations

import time
from collections.abc import Callable

from sac_learner.checkpoints import Checkpoints
from sac_learner.evaluations import Evaluation, Evaluations, RememberedPolicies
from sac_learner.metrics import Metrics
from sac_learner.parameters import Parameters
from sac_learner.storage import Storage
from sac_learner.training import Training
from sac_msgs.msg import ActorStatus
from sac_ros.codecs import check_actor_status, printable
from sac_ros.node import SacNode
from sac_ros.refusals import Refusals


class Judge:
    """Decides on what actors say of their evaluations, on the executor thread.

    Attributes:
        policies: weights that may be evaluated; whoever publishes them adds them.
        evaluations: the newest, the best, and who is evaluating.
        metrics: where evaluations are written; None while there is nowhere.
    """

    def __init__(
        self,
        node: SacNode[Parameters],
        storage: Storage,
        training: Training,
        checkpoints: Checkpoints,
        refusals: Refusals,
        complete: Callable[[str], None],
    ) -> None:
        """`complete` is called, with why, when an evaluation meets the run's criterion."""
        self.policies = RememberedPolicies()
        self.evaluations = Evaluations()
        self.metrics: Metrics | None = None
        self._node = node
        self._storage = storage
        self._training = training
        self._checkpoints = checkpoints
        self._refusals = refusals
        self._complete = complete

    def on_actor_status(self, status: ActorStatus) -> None:
        """Take in what an actor says."""
        try:
            check_actor_status(status)
        except ValueError as error:
            self._refusals.add(
                "status", f"status of {printable(status.actor_id)!r} ignored: {error}"
            )
            return
        self.policies.in_use(status.policy_version)
        success = status.evaluation_success_rate
        evaluation = Evaluation(
            policy_version=status.evaluation_policy_version,
            episodes=status.evaluation_episodes,
            return_mean=status.evaluation_return_mean,
            return_std=status.evaluation_return_std,
            success_rate=success if 0.0 <= success <= 1.0 else float("nan"),
        )
        key = status.actor_id, status.actor_session
        if not self._storage.intake.knows(key):
            return  # whoever gave no transition does not decide what is best
        is_evaluating = status.state == "evaluating"
        if self.evaluations.hear(key, is_evaluating, status.evaluations, evaluation):
            self._judge(evaluation)

    def _judge(self, evaluation: Evaluation) -> None:
        if self._training.agent is None or self.metrics is None:
            return
        self.metrics.evaluation(
            self._training.step,
            {
                "transitions": self._storage.transitions,
                "policy_version": evaluation.policy_version,
                "return_mean": evaluation.return_mean,
                "return_std": evaluation.return_std,
                "episodes": evaluation.episodes,
                "success_rate": evaluation.success_rate,
            },
        )
        if evaluation.beats(self.evaluations.best) and self._keep_best(evaluation):
            self._stop_at_success(evaluation)

    def _keep_best(self, evaluation: Evaluation) -> bool:
        """Save the weights that were evaluated; whether they are still remembered."""
        tensors = self.policies.get(evaluation.policy_version)
        if tensors is None:
            return False
        self.evaluations.best = evaluation
        return self._checkpoints.save_best(evaluation, tensors)

    def _stop_at_success(self, evaluation: Evaluation) -> None:
        """End the run once an evaluation, whose policy is saved, has met the criterion."""
        wanted = self._node.parameters.stop_at_success
        if wanted <= 0.0 or not evaluation.success_rate >= wanted:
            return
        seconds = time.monotonic() - self._storage.first_transition
        self._complete(
            f"{evaluation.success_rate:.1%} of {evaluation.episodes} evaluation "
            f"episodes succeeded (criterion {wanted:.0%}), {seconds:.1f} s after the first "
            f"transition, {self._storage.transitions:,} environment steps"
        )
