"""Run a policy from a checkpoint with its mean action, without a learner, and print its return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sac_actor.environment import EpisodeCut, Interrupted, Step, make_environment
from sac_actor.loop import evaluate
from sac_actor.parameters import RobotParameters
from sac_core.checkpoint import CheckpointError
from sac_core.policy_file import load_policy
from sac_ros import node
from sac_ros.parameters import UserError, parameter


@dataclass(frozen=True)
class Parameters(RobotParameters):
    """Parameters of the evaluation."""

    checkpoint: str = parameter(
        "", "A checkpoint folder, a run folder for its newest, or a file of export_policy"
    )
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
            stored = load_policy(Path(p.checkpoint).expanduser())
            self.policy = stored.policy
            if p.task and p.task != stored.task:
                raise UserError(f"{stored.path} was trained in {stored.task!r}, not {p.task!r}")
            env_id = p.env_id or stored.task
            self.environment = make_environment(self, p, env_id, self.active.is_set)
            stored.check(self.environment.specification, any_task=bool(p.env_id))
        except CheckpointError as error:
            raise UserError(str(error)) from error
        self.get_logger().info(f"Evaluating {stored.path} in {self.environment.name}")

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
