"""Export the policy of a checkpoint to one file, with what each of its numbers means.

    ros2 run sac_actor export_policy runs/first/checkpoints/best pick_cube.safetensors

The file is what deploy, evaluate and render take as `checkpoint:=…`, and all that another program
needs to use the weights (docs/real_robot.md says how).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sac_actor.environment import GymEnvironment
from sac_actor.specification import task_specification
from sac_core.checkpoint import CheckpointError
from sac_core.policy_file import load_policy, save_policy
from sac_core.specification import Specification
from sac_envs.robots import ROBOTS
from sac_envs.tasks import TASKS, make_task
from sac_ros.parameters import UserError


def export(checkpoint: Path, output: Path | None, robot_type: str) -> str:
    """Write the file; a line that says what is in it.

    Raises CheckpointError or UserError with one line.
    """
    stored = load_policy(checkpoint)
    specification = specification_of(stored.task, robot_type)
    stored.check(specification)
    step = stored.policy.version
    path = output or Path(f"{stored.task.replace('/', '_')}_{step}.safetensors")
    try:
        save_policy(path, stored.tensors, step, specification)
    except ValueError as error:
        raise UserError(f"{stored.path} cannot be exported: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    rate = f", {specification.control_rate:g} Hz" if specification.control_rate else ""
    robot = f" on {robot_type}" if specification.robot_type else ""
    return (
        f"{path}: policy of {stored.task}{robot}, learner step {step}, "
        f"{len(specification.observations)} observations, {len(specification.actions)} actions"
        f"{rate}, {path.stat().st_size / 1e3:.0f} kB"
    )


def specification_of(name: str, robot_type: str) -> Specification:
    """That of a task on an arm, else of a Gymnasium environment; UserError if it is neither."""
    if name in TASKS:
        return task_specification(make_task(name), robot_type)
    environment = GymEnvironment(name)
    environment.close()
    return environment.specification


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `ros2 run sac_actor export_policy`."""
    parser = argparse.ArgumentParser(
        prog="export_policy", description="Export the policy of a checkpoint to one file."
    )
    parser.add_argument("checkpoint", type=Path, help="a checkpoint folder, or a run folder")
    parser.add_argument(
        "output", type=Path, nargs="?", help="file to write (<task>_<step>.safetensors)"
    )
    parser.add_argument(
        "--robot-type", default="fr3", choices=tuple(ROBOTS), help="arm it was trained on (fr3)"
    )
    given = parser.parse_args(arguments)
    try:
        print(export(given.checkpoint.expanduser(), given.output, given.robot_type))
    except (CheckpointError, UserError) as error:
        print(f"export_policy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
