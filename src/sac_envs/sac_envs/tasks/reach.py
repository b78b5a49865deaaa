"""Bring the tool to a place in the air."""

from __future__ import annotations

import numpy as np

from sac_envs.demonstration import Hand
from sac_envs.task import OPEN, Component, Float32, Pose, RobotState, Start, Task, vector

NEAR = 0.02  # m


class Reach(Task):
    """A target hangs in the workspace; bring the tool to within 0.02 m of it.

    The target is an object named "target" without a body: whoever resets the episode publishes it.

    ### Observation
    | index | name | unit | bounds |
    |---|---|---|---|
    | 0-2 | tool position x, y, z | 0.2 m, about (0.52, 0, 0.25) | -inf .. inf |
    | 3-5 | tool velocity x, y, z | 0.5 m/s | -inf .. inf |
    | 6-8 | target minus tool, far: x, y, z | 0.2 m | -2 .. 2 |
    | 9-11 | target minus tool, near: x, y, z | 0.025 m | -2 .. 2 |

    ### Action
    As of every `Task`, without the gripper: displacement of the tool (0.05 m).

    ### Reward
    −d, and +1 on success, with d the distance from tool to target in m.

    ### Start
    Target uniformly in x 0.42 .. 0.64, y ±0.20, z 0.10 .. 0.40 m; tool near (0.52, 0, 0.25)
    ± 0.05 m.

    ### Episode end
    Terminated within 0.02 m of the target. Truncated after 40 actions of 0.1 s.
    """

    name = "reach"
    uses_gripper = False
    goals = ("target",)
    target_low = np.array([0.42, -0.20, 0.10])
    target_high = np.array([0.64, 0.20, 0.40])
    tool_start = np.array([0.52, 0.0, 0.25])
    tool_spread = 0.05

    @property
    def observations(self) -> tuple[Component, ...]:
        return (
            *vector("tool_position", "m", scale=0.2, offset=self.tool_start),
            *vector("tool_velocity", "m/s", scale=0.5),
            *vector("target_from_tool_far", "m", 2.0, scale=0.2),
            *vector("target_from_tool_near", "m", 2.0, scale=0.025),
        )

    def start(self, random: np.random.Generator) -> Start:
        target = random.uniform(self.target_low, self.target_high)
        tool = self.tool_start + random.uniform(-self.tool_spread, self.tool_spread, 3)
        return Start(tool, self.rotation, OPEN, {"target": Pose(target)})

    def observe(self, state: RobotState) -> Float32:
        apart = state.objects["target"].position - state.tool_position
        out = np.empty(12, np.float32)
        out[0:3] = (state.tool_position - self.tool_start) / 0.2
        out[3:6] = state.tool_velocity[:3] / 0.5
        np.clip(apart / 0.2, -2.0, 2.0, out=out[6:9])
        np.clip(apart / 0.025, -2.0, 2.0, out=out[9:12])
        return out

    @staticmethod
    def _distance(state: RobotState) -> float:
        return float(np.linalg.norm(state.objects["target"].position - state.tool_position))

    def success(self, state: RobotState) -> bool:
        return self._distance(state) < NEAR

    def reward(self, state: RobotState) -> float:
        return (1.0 if self.success(state) else 0.0) - self._distance(state)

    def demonstrator(self, random: np.random.Generator) -> ReachDemonstrator:
        return ReachDemonstrator(Hand(random, self.action_scale))


class ReachDemonstrator:
    """Goes straight to the target, as straight as a hand goes."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    def act(self, state: RobotState) -> Float32:
        target = state.objects["target"].position
        return self._hand.towards(target, state.tool_position).astype(np.float32)
