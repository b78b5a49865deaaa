"""What the numbers of a task mean, for the files that a policy is exported to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from sac_core.specification import Quantity, Specification
from sac_envs.task import Component, Task


def task_specification(task: Task, robot_type: str) -> Specification:
    """The specification of a policy for `task` on that arm."""
    return Specification(
        task=task.name,
        robot_type=robot_type,
        control_rate=task.control_rate,
        observations=_quantities(task.observations),
        actions=_quantities(task.actions),
    )


def _quantities(components: Iterable[Component]) -> tuple[Quantity, ...]:
    return tuple(Quantity(**dataclasses.asdict(component)) for component in components)
