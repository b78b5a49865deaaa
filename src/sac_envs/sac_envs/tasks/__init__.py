"""The tasks by name. A task of one's own: its file in this folder, and its line here."""

from __future__ import annotations

from sac_envs.task import Task
from sac_envs.tasks.pick_cube import PickCube, PickCubeSparse
from sac_envs.tasks.reach import Reach

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        Reach,
        PickCube,
        PickCubeSparse,
    )
}


def make_task(name: str) -> Task:
    """The task of that name; ValueError names those that there are."""
    try:
        return TASKS[name]()
    except KeyError:
        raise ValueError(f"no task {name!r}; there are: {', '.join(TASKS)}") from None
