"""Run a policy from a checkpoint with its mean action, without a learner, and print its return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sac_actor.environment import EpisodeCut, Interrupted, Step, make_environment
from sac_actor.loop import evaluate
from sac_actor.parameters import RobotParameters
from sac_core.checkpoint import CheckpointError, load_checkpoint
from sac_core.policy import Policy
from sac_ros import node
from sac_ros.parameters import UserError, parameter


@dataclass(frozen=True)
class Parameters(RobotParameters):
    """Parameters of the evaluation."""

    checkpoint: str = parameter("", "A checkpoint folder, or a run folder for its newest")
    env_id: str = parameter("", "Gymnasium environment; empty = the one it was trained in")
    episodes: int = parameter(50, "Episodes to run", minimum=1)
    seed: int = parameter(1_000_000, "Seed of the environment", minimum=0)


class Evaluator(node.SacNode[Parameters]):
    """Evaluates once and ends."""

    def __init__(self) -> None:
        super().__init__("sac_evaluate", Parameters)

    def configure(self) -> None:
        p = self.parameters
        if not p.checkpoint:
            raise UserError("which checkpoint? Give checkpoint:=runs/<name>/checkpoints/best")
        try:
            checkpoint = load_checkpoint(Path(p.checkpoint).expanduser())
        except CheckpointError as error:
            raise UserError(str(error)) from error
        self.policy = Policy(checkpoint.policy, version=checkpoint.metadata["step"])
        trained_in = checkpoint.metadata["task"]
        if p.task and p.task != trained_in:
            raise UserError(f"{checkpoint.path} was trained in {trained_in!r}, not {p.task!r}")
        self.environment = make_environment(self, p, p.env_id or trained_in, self.active.is_set)
        theirs = (self.policy.observation_size, self.policy.action_size)
        ours = (self.environment.observation_size, self.environment.action_size)
        if ours != theirs:
            raise UserError(
                f"{checkpoint.path} was trained in {checkpoint.metadata['task']!r} and has "
                f"{theirs[0]} observations and {theirs[1]} actions; {self.environment.name!r} "
                f"has {ours[0]} and {ours[1]}"
            )
        self.get_logger().info(f"Evaluating {checkpoint.path} in {self.environment.name}")

    def work(self) -> None:
        p = self.parameters

        def report(episode: int, episode_return: float, last: Step) -> None:
            outcome = {True: ", success", False: ", no success", None: ""}[last.success]
            self.get_logger().info(
                f"Episode {episode + 1}/{p.episodes}: return {episode_return:.1f}{outcome}"
            )

        try:
            result = evaluate(
                self.environment, self.policy, p.episodes, self.active.is_set, p.seed, report
            )
        except Interrupted:
            result = None
        except EpisodeCut as cut:
            raise UserError(f"the evaluation was cut: {cut}") from cut
        if result is not None:
            if result.successes is not None:
                low, high = result.success_interval()
                self.get_logger().info(
                    f"Success rate {result.success_rate:.1%} ({result.successes} of "
                    f"{p.episodes}), 95 % interval {low:.1%} to {high:.1%}"
                )
            self.get_logger().info(
                f"Mean return {result.mean:.1f} ± {result.std:.1f} (min {min(result.returns):.1f}, "
                f"median {np.median(result.returns):.1f}, max {max(result.returns):.1f}) over "
                f"{p.episodes} episodes"
            )
        self.stopping.set()

    def cleanup(self) -> None:
        if hasattr(self, "environment"):
            self.environment.close()
            del self.environment


def main() -> None:
    """Entry point of `ros2 run sac_actor evaluate`."""
    node.main(Evaluator, "sac_evaluate")
