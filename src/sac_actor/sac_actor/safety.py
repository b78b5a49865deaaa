"""The safety filter: between every action of a policy and the robot, always on.

It does not trust the task: what comes out lies inside the workspace, near the measured pose, and
asks for joint positions and velocities inside the robot's conservative limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sac_envs.robots import Float64, Robot
from sac_envs.task import Command, Float32, RobotState, Task
from sac_ros.parameters import UserError

REFUSED = "not_finite"
WORKSPACE = "workspace"
DISTANCE = "distance"
JOINT_BOX = "joint_box"
JOINT_VELOCITY = "joint_velocity"


@dataclass
class SafetyFilter:
    """Checks and clips commands of one task on one robot; counts what it had to change.

    Raises UserError when the workspace is empty or inverted. A bound of exactly 0.0 is a bound.
    """

    robot: Robot
    task: Task
    max_distance: float  # m between measured and target position, along each axis
    period: float  # s between two commands
    clips: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (REFUSED, WORKSPACE, DISTANCE, JOINT_BOX, JOINT_VELOCITY), 0
        )
    )

    def __post_init__(self) -> None:
        low, high = self.task.workspace_low, self.task.workspace_high
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise UserError(
                f"task {self.task.name}: the workspace is empty or inverted: low {low}, high {high}"
            )

    def action(self, action: Float32) -> Float32:
        """An action `(action_size,)` within [-1, 1]; zeros when it is not finite."""
        if not np.isfinite(action).all():
            self.clips[REFUSED] += 1
            return np.zeros_like(action)
        return np.minimum(np.maximum(action, -1.0), 1.0)

    def filter(
        self, command: Command, state: RobotState, q: Float64, jacobian: Float64
    ) -> tuple[Command, Float64]:
        """The command that may go out, and the joint displacement `(7,)` in rad it asks for.

        Joint displacements come from the damped inverse of the tool's Jacobian `(6, 7)` at `q`.
        """
        position = command.position
        if not (np.isfinite(position).all() and np.isfinite(command.rotation).all()):
            self.clips[REFUSED] += 1
            position, rotation = state.tool_position, state.tool_rotation
        else:
            rotation = command.rotation
        here = state.tool_position
        position = self._clip(
            position, here - self.max_distance, here + self.max_distance, DISTANCE
        )
        position = self._clip(
            position, self.task.workspace_low, self.task.workspace_high, WORKSPACE
        )
        step = np.zeros(6)
        step[:3] = position - here
        displacement = _joint_displacement(jacobian, step)
        share = self._allowed_share(q, displacement)
        if share < 1.0:
            position = here + share * (position - here)
            displacement = share * displacement
        return Command(position, rotation, command.close_gripper), displacement

    def _clip(self, position: Float64, low: Float64, high: Float64, what: str) -> Float64:
        clipped = np.minimum(np.maximum(position, low), high)
        if (clipped != position).any():
            self.clips[what] += 1
        return clipped

    def _allowed_share(self, q: Float64, displacement: Float64) -> float:
        """How much of a joint displacement stays inside velocity limits and joint box, 0 to 1."""
        share = 1.0
        fastest = float((np.abs(displacement) / self.robot.conservative_velocity).max())
        if fastest > self.period:
            self.clips[JOINT_VELOCITY] += 1
            share = self.period / fastest
        # Room is what is left to the box on the side that each joint moves to; outside it only
        # the way back is open.
        room = np.where(
            displacement > 0.0, self.robot.conservative_max - q, q - self.robot.conservative_min
        )
        wanted = share * np.abs(displacement)
        beyond = wanted > np.maximum(room, 0.0)
        if beyond.any():
            self.clips[JOINT_BOX] += 1
            share *= float((np.maximum(room, 0.0)[beyond] / wanted[beyond]).min())
        return share


def _joint_displacement(jacobian: Float64, step: Float64) -> Float64:
    """Joint displacement `(7,)` for a small tool displacement `(6,)` (damped least squares)."""
    gram = jacobian @ jacobian.T
    gram.flat[::7] += 1e-4
    return jacobian.T @ np.linalg.solve(gram, step)
