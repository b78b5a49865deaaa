"""Render a few episodes of a policy into evaluation.mp4 of its run folder, without ROS topics.

The world, the controller and the task are those of the training; only the topics are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sac_actor.specification import task_specification
from sac_core.checkpoint import CheckpointError
from sac_core.policy_file import load_policy
from sac_envs.environment import FrankaEnv
from sac_envs.menagerie import MenagerieUnavailable
from sac_envs.rendering import RenderingUnavailable, write_video
from sac_envs.robots import ROBOTS
from sac_ros import node
from sac_ros.parameters import NodeParameters, UserError, parameter


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the rendering."""

    checkpoint: str = parameter(
        "", "A checkpoint folder, a run folder for its best policy, or a file of export_policy"
    )
    output: str = parameter("", "File to write; empty = evaluation.mp4 in the run folder")
    robot_type: str = parameter("fr3", "Arm", choices=tuple(ROBOTS))
    visuals: str = parameter(
        "primitive",
        "Looks of the arm; menagerie: its meshes, downloaded once",
        choices=("primitive", "menagerie"),
    )
    episodes: int = parameter(5, "Episodes to render", minimum=1, maximum=100)
    seed: int = parameter(1_000_000, "Seed of the episodes", minimum=0)


class Renderer(node.SacNode[Parameters]):
    """Renders once and ends."""

    def __init__(self) -> None:
        super().__init__("sac_render", Parameters)

    def configure(self) -> None:
        p = self.parameters
        if not p.checkpoint:
            raise UserError("which checkpoint? Give checkpoint:=runs/<name>")
        path = Path(p.checkpoint).expanduser()
        best = path / "checkpoints" / "best"
        try:
            stored = load_policy(best if best.is_dir() else path)
        except CheckpointError as error:
            raise UserError(str(error)) from error
        self._policy = stored.policy
        try:
            self._environment = FrankaEnv(
                stored.task, p.robot_type, render_mode="rgb_array", visuals=p.visuals
            )
            stored.check(task_specification(self._environment.task, p.robot_type))
        except (CheckpointError, MenagerieUnavailable) as error:
            raise UserError(str(error)) from error
        except ValueError as error:
            raise UserError(f"{stored.path}: {error}") from error
        folder = path.parent if path.is_file() else path
        self._output = Path(p.output or folder / "evaluation.mp4").expanduser()

    def work(self) -> None:
        self.stopping.set()
        try:
            frames, successes = self._episodes()
            written = write_video(self._output, frames, int(self._environment.task.control_rate))
        except RenderingUnavailable as error:
            self.get_logger().warning(f"No video: {error}")
            return
        except OSError as error:
            raise UserError(f"{self._output} cannot be written: {error.strerror}") from error
        self.get_logger().info(
            f"{written}: {self.parameters.episodes} episodes, {successes} succeeded"
        )

    def _episodes(self) -> tuple[list[Any], int]:
        environment, frames, successes = self._environment, [], 0
        for episode in range(self.parameters.episodes):
            observation, _ = environment.reset(seed=self.parameters.seed + episode)
            frames.append(environment.render())
            done = False
            while not done and not self._told_to_stop():
                action = self._policy.mean(observation)
                observation, _, terminated, truncated, _ = environment.step(action)
                frames.append(environment.render())
                done = terminated or truncated
                successes += int(terminated)
            frames += [frames[-1]] * 5  # half a second to look at the end
        return frames, successes

    def _told_to_stop(self) -> bool:
        return not self.active.is_set()

    def cleanup(self) -> None:
        if hasattr(self, "_environment"):
            self._environment.close()
            del self._environment


def main() -> None:
    """Entry point of `ros2 run sac_actor render`."""
    node.main(Renderer, "sac_render")
