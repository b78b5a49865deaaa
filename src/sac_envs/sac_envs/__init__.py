"""Tasks for a Franka, their MuJoCo worlds, and their Gymnasium registration. No ROS.

Importing this package registers `SacFranka/Reach-v0`, `SacFranka/PickCube-v0` and
`SacFranka/PickCubeSparse-v0`. MuJoCo is loaded only when an environment is made: a robot PC that
uses a task does without.
"""

from __future__ import annotations

import gymnasium

from sac_envs.tasks import TASKS

for _name in TASKS:
    gymnasium.register(
        id=f"SacFranka/{_name.title().replace('_', '')}-v0",
        entry_point="sac_envs.environment:FrankaEnv",
        kwargs={"task": _name},
    )
