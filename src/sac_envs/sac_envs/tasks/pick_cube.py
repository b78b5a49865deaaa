"""Lift a cube from the table."""

from __future__ import annotations

import numpy as np

from sac_envs.demonstration import Hand
from sac_envs.robots import Float64
from sac_envs.task import OPEN, Box, Component, Float32, Pose, RobotState, Start, Task, vector

CUBE_SIZE = 0.04  # m
LIFT = 0.15  # m that the cube must gain
FAR = 0.5  # m beyond which distance costs no more: a cube that was flung away is lost anyway
TOUCH = 0.05  # m: farther from the tool than this the cube is not held


class PickCube(Task):
    """A cube lies anywhere on the table; grasp it and lift it by 0.15 m.

    ### Observation
    | index | name | unit | bounds |
    |---|---|---|---|
    | 0-2 | tool position x, y, z | 0.2 m, about (0.52, 0, 0.15) | -inf .. inf |
    | 3-5 | tool velocity x, y, z | 0.5 m/s | -inf .. inf |
    | 6 | gripper width | 0.08 m | -inf .. inf |
    | 7 | gripper commanded to close | | -1 or 1 |
    | 8-10 | cube position x, y, z | as the tool's | -inf .. inf |
    | 11-13 | cube minus tool, far: x, y, z | 0.2 m | -2 .. 2 |
    | 14-16 | cube minus tool, near: x, y, z | 0.025 m | -2 .. 2 |
    | 17 | lift: height gained over 0.15 m | | -inf .. inf |

    ### Action
    As of every `Task`: displacement of the tool (0.05 m) and gripper.

    ### Reward
    −d − (1 − lift) and +5 on success, with d the distance from tool to cube in m, at most 0.5, and
    lift cut to 0 .. 1. It is negative until success, so that finishing early is worth it.

    ### Start
    Cube uniformly in x 0.42 .. 0.64 m, y ±0.20 m; tool near (0.52, 0, 0.25) ± 0.05 m, open gripper.

    ### Episode end
    Terminated when the cube is lifted by 0.15 m and within 0.05 m of the tool. Truncated after 40
    actions of 0.1 s.
    """

    name = "pick_cube"
    objects = (Box("cube", (CUBE_SIZE,) * 3, 0.05, (0.52, 0.0, CUBE_SIZE / 2)),)
    cube_low = np.array([0.42, -0.20])
    cube_high = np.array([0.64, 0.20])
    tool_start = np.array([0.52, 0.0, 0.25])
    tool_spread = 0.05
    success_reward = 5.0

    _center = np.array([0.52, 0.0, 0.15])

    @property
    def observations(self) -> tuple[Component, ...]:
        inf = float("inf")
        return (
            *vector("tool_position", "m", scale=0.2, offset=self._center),
            *vector("tool_velocity", "m/s", scale=0.5),
            Component("gripper_width", "m", -inf, inf, scale=OPEN),
            Component("gripper_closed", "", -1.0, 1.0),
            *vector("cube_position", "m", scale=0.2, offset=self._center),
            *vector("cube_from_tool_far", "m", 2.0, scale=0.2),
            *vector("cube_from_tool_near", "m", 2.0, scale=0.025),
            Component("lift", "m", -inf, inf, scale=LIFT),
        )

    def start(self, random: np.random.Generator) -> Start:
        x, y = random.uniform(self.cube_low, self.cube_high)
        tool = self.tool_start + random.uniform(-self.tool_spread, self.tool_spread, 3)
        cube = Pose(np.array([x, y, CUBE_SIZE / 2]))
        return Start(tool, self.rotation, OPEN, {"cube": cube})

    def observe(self, state: RobotState) -> Float32:
        cube = state.objects["cube"].position
        apart = cube - state.tool_position
        out = np.empty(18, np.float32)
        out[0:3] = (state.tool_position - self._center) / 0.2
        out[3:6] = state.tool_velocity[:3] / 0.5
        out[6] = state.gripper_width / OPEN
        out[7] = 1.0 if state.gripper_closed else -1.0
        out[8:11] = (cube - self._center) / 0.2
        np.clip(apart / 0.2, -2.0, 2.0, out=out[11:14])
        np.clip(apart / 0.025, -2.0, 2.0, out=out[14:17])
        out[17] = self._lift(state)
        return out

    @staticmethod
    def _lift(state: RobotState) -> float:
        return float(state.objects["cube"].position[2] - CUBE_SIZE / 2) / LIFT

    @staticmethod
    def _distance(state: RobotState) -> float:
        return float(np.linalg.norm(state.objects["cube"].position - state.tool_position))

    def success(self, state: RobotState) -> bool:
        return self._lift(state) >= 1.0 and self._distance(state) < TOUCH

    def reward(self, state: RobotState) -> float:
        lift = min(max(self._lift(state), 0.0), 1.0)
        bonus = self.success_reward if self.success(state) else 0.0
        return bonus - min(self._distance(state), FAR) - (1.0 - lift)

    def demonstrator(self, random: np.random.Generator) -> PickDemonstrator:
        return PickDemonstrator(random, Hand(random, self.action_scale))


class PickDemonstrator:
    """Goes above the cube, down to it, closes the gripper, and lifts; each time a little otherwise.

    A cube that slipped away is tried again.
    """

    AT = 0.012  # m from the grasp at which the fingers close
    HELD_WIDTH = (0.6 * CUBE_SIZE, 1.1 * CUBE_SIZE)  # of the gripper around a cube

    def __init__(self, random: np.random.Generator, hand: Hand) -> None:
        self._hand = hand
        self._height = float(random.uniform(0.05, 0.12))  # m above the cube, on the way to it
        self._above = float(random.uniform(0.01, 0.03))  # m beside the cube where it goes down
        self._grasp = random.uniform(-0.006, 0.006, 3)  # m from the cube's centre

    def act(self, state: RobotState) -> Float32:
        cube, tool = state.objects["cube"].position, state.tool_position
        grasp = cube + self._grasp
        beside = float(np.linalg.norm((grasp - tool)[:2]))
        at_cube = beside < self.AT and abs(float(tool[2] - grasp[2])) < self.AT
        close = at_cube or (state.gripper_closed and self._around(cube, tool))
        if close and self._holds(state):
            target = tool + np.array([0.0, 0.0, LIFT])
        elif close or beside < self._above:
            target = grasp
        else:
            target = grasp + np.array([0.0, 0.0, self._height])
        motion = self._hand.towards(target, tool)
        return np.array([*motion, 1.0 if close else -1.0], np.float32)

    @staticmethod
    def _around(cube: Float64, tool: Float64) -> bool:
        return float(np.linalg.norm(cube - tool)) < TOUCH

    def _holds(self, state: RobotState) -> bool:
        low, high = self.HELD_WIDTH
        return state.gripper_closed and low < state.gripper_width < high


class PickCubeSparse(PickCube):
    """As `PickCube`, with reward 1 on success and 0 before."""

    name = "pick_cube_sparse"

    def reward(self, state: RobotState) -> float:
        return 1.0 if self.success(state) else 0.0
