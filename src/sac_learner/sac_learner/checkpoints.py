"""The run's checkpoints: agent and random state, and the best policy so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sac_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    newest_usable_checkpoint,
    save_best,
    save_checkpoint,
)
from sac_learner.evaluations import Evaluation, PolicyTensors
from sac_learner.parameters import Parameters
from sac_learner.storage import Storage
from sac_learner.training import Training
from sac_ros.node import SacNode
from sac_ros.parameters import UserError


class Checkpoints:
    """Saves and restores training. For the main thread, but for `save_best`.

    Attributes:
        folder: where they are.
        last_saved_step: learner step of the newest.
    """

    def __init__(self, node: SacNode[Parameters], storage: Storage, training: Training) -> None:
        self.folder = Path()
        self.last_saved_step = 0
        self._node = node
        self._storage = storage
        self._training = training

    def find(self, resumed: bool) -> Checkpoint | None:
        """What to begin from: the newest of an earlier start, or the one that was asked for.

        Raises UserError if that cannot be read.
        """
        try:
            if resumed:
                checkpoint, left_out = newest_usable_checkpoint(self.folder)
                for line in left_out:
                    self._node.get_logger().warning(f"Left out: {line}")
                if checkpoint is not None:
                    return checkpoint
            given = self._node.parameters.checkpoint
            return load_checkpoint(Path(given).expanduser()) if given else None
        except (CheckpointError, OSError) as error:
            raise UserError(str(error)) from error

    def load(self, checkpoint: Checkpoint) -> int:
        """Put agent and random state back to a checkpoint; its step. Raises ValueError."""
        agent, storage = self._training.agent, self._storage
        if agent is None or storage.replay is None or storage.mixture is None:
            raise ValueError(
                "sizes are not known yet: wait for the first actor, or set observation_size and "
                "action_size"
            )
        theirs = checkpoint.metadata["task"]
        if storage.task and theirs and theirs != storage.task:
            raise ValueError(
                f"{checkpoint.path}: its task is {theirs!r}, this learner's is {storage.task!r}"
            )
        state, generator, of_demonstrations = (
            checkpoint.metadata.get(name)
            for name in ("agent", "replay_random_state", "demonstrations_random_state")
        )
        if checkpoint.state is None or not isinstance(state, dict) or generator is None:
            raise ValueError(
                f"{checkpoint.path} holds a policy only; expected a whole checkpoint (step_…)"
            )
        agent.load_state(checkpoint.state, state)
        storage.replay.set_rng_state(generator)
        if of_demonstrations is not None:
            storage.mixture.set_rng_state(of_demonstrations)
        self.last_saved_step = agent.step
        self._training.count_anew()
        return agent.step

    def save_if_due(self) -> None:
        """Save after every so many learner steps, as the parameters say."""
        period = self._node.parameters.checkpoint_period
        if period and self._training.step % period == 0:
            self.try_to_save()

    def save_unsaved(self) -> None:
        """Save what was learnt since the newest checkpoint."""
        if self._training.step > self.last_saved_step:
            self.try_to_save()

    def try_to_save(self) -> None:
        """Save a checkpoint; training goes on without if the disk does not let us."""
        try:
            self.save()
        except (OSError, ValueError) as error:  # the second: weights that are not finite
            self._node.get_logger().error(
                f"The checkpoint could not be saved: {error}; training goes on"
            )

    def save(self) -> Path:
        """Save a checkpoint; OSError if the disk does not take it, ValueError if it is unfit."""
        agent, storage = self._training.agent, self._storage
        assert agent is not None and storage.replay is not None and storage.mixture is not None
        tensors, agent_metadata = agent.state()
        policy, step = agent.policy_tensors(), agent.step
        metadata = self._metadata() | {
            "agent": agent_metadata,
            "replay_random_state": storage.replay.rng_state(),
            "demonstrations_random_state": storage.mixture.rng_state(),
        }
        self.last_saved_step = step
        kept = self._node.parameters.checkpoints_kept
        return save_checkpoint(self.folder, step, policy, tensors, metadata, kept)

    def save_best(self, evaluation: Evaluation, tensors: PolicyTensors) -> bool:
        """Save the weights that were evaluated; whether the disk took them."""
        metadata = self._metadata() | {
            "step": evaluation.policy_version,
            "evaluation": evaluation.figures(),
        }
        try:
            save_best(self.folder, tensors, metadata)
        except OSError as error:
            self._node.get_logger().error(f"The best policy could not be saved: {error}")
            return False
        return True

    def best_evaluation(self) -> Evaluation:
        """What the best policy of an earlier start had reached."""
        try:
            return Evaluation(**load_checkpoint(self.folder / "best").metadata["evaluation"])
        except (CheckpointError, KeyError, TypeError, ValueError):
            return Evaluation()  # there is none yet

    def _metadata(self) -> dict[str, Any]:
        assert self._training.agent is not None
        return {
            "task": self._storage.task,
            "config": self._training.agent.config.to_dict(),
            "transitions": self._storage.transitions,
            "seed": self._node.parameters.seed,
        }
