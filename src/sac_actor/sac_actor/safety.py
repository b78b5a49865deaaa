"""The safety filter: between every action of a policy and the robot, always on.

It does not trust the task: what comes out lies inside the workspace, near the measured pose, and
asks for joint positions, velocities and accelerations inside the robot's conservative limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sac_envs.kinematics import rotation_error, rotation_of
from sac_envs.robots import Float64, Robot
from sac_envs.task import Command, Float32, RobotState, Task
from sac_ros.parameters import UserError

REFUSED = "not_finite"
SCALE = "action_scale"
WRENCH = "wrench"
WORKSPACE = "workspace"
DISTANCE = "distance"
JOINT_VELOCITY = "joint_velocity"
JOINT_ACCELERATION = "joint_acceleration"
JOINT_BOX = "joint_box"
REASONS = (
    REFUSED,
    SCALE,
    WRENCH,
    WORKSPACE,
    DISTANCE,
    JOINT_VELOCITY,
    JOINT_ACCELERATION,
    JOINT_BOX,
)
MAX_ROTATION = 0.3  # rad between measured and target orientation; the controllers' own error clip


@dataclass(frozen=True)
class Workspace:
    """A box for the tool in the robot's base frame: corners `(3,)` in m.

    Raises UserError when it is empty, inverted or not finite. A bound of exactly 0.0 is a bound.
    """

    low: Float64
    high: Float64

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise UserError(
                f"the workspace is empty, inverted or not finite: low {low}, high {high}; expected "
                "low < high in m along x, y and z"
            )

    @classmethod
    def of(cls, task: Task, low: tuple[float, ...], high: tuple[float, ...]) -> Workspace:
        """What a task's box and a lab's have in common: a lab can only make it smaller."""
        lab = cls(np.array(low), np.array(high))
        try:
            own = cls(np.asarray(task.workspace_low), np.asarray(task.workspace_high))
            return cls(np.maximum(own.low, lab.low), np.minimum(own.high, lab.high))
        except UserError as error:
            raise UserError(
                f"task {task.name} within workspace_low {lab.low} and workspace_high {lab.high}: "
                f"{error}"
            ) from None


@dataclass
class SafetyFilter:
    """Checks and clips commands of one task on one robot; counts what it had to change."""

    robot: Robot
    workspace: Workspace
    max_distance: float  # m between measured and target position, along each axis
    period: float  # s between two commands
    speed: float = 1.0  # share of conservative velocities and of accelerations that is allowed
    max_force: float = -1.0  # N of the external wrench; negative: no limit
    max_torque: float = -1.0  # N·m; negative: no limit
    clips: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    changed: int = 0  # commands that were not let through as they were
    latest: tuple[str, ...] = ()  # what was wrong with the newest command

    def __post_init__(self) -> None:
        self._velocity = self.speed * self.robot.conservative_velocity
        self._acceleration = self.speed * self.robot.acceleration_max
        self._reasons: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """An episode begins: the arm is at rest, and nothing has been asked of it."""
        self._asked = np.zeros(7)  # mean joint velocities of the newest command, rad/s

    @property
    def watches_wrench(self) -> bool:
        """Whether `filter` needs the external wrench."""
        return self.max_force >= 0.0 or self.max_torque >= 0.0

    def action(self, action: Float32) -> Float32:
        """An action `(action_size,)` within [-1, 1]; zeros when it is not finite."""
        if not np.isfinite(action).all():
            self._reasons.add(REFUSED)
            return np.zeros_like(action)
        clipped = np.minimum(np.maximum(action, -1.0), 1.0)
        if (clipped != action).any():
            self._reasons.add(SCALE)
        return clipped

    def filter(
        self,
        command: Command,
        state: RobotState,
        q: Float64,
        jacobian: Float64,
        wrench: Float64 | None = None,
    ) -> tuple[Command, Float64]:
        """The command that may go out, and the joint displacement `(7,)` in rad it asks for.

        Joint displacements come from the damped inverse of the tool's Jacobian `(6, 7)` at `q`.
        `wrench` `(6,)` is the external one, in N and N·m; above its limit the tool stays where it
        is, so that a compliant arm yields. What is no pose asks to stay, too.
        """
        here, orientation = state.tool_position, state.tool_rotation
        position, rotation = command.position, command.rotation
        if not (np.isfinite(position).all() and _is_rotation(rotation)):
            self._reasons.add(REFUSED)
            position, rotation = here, orientation
        if self._presses(wrench):
            self._reasons.add(WRENCH)
            position, rotation = here, orientation
        else:
            position = self._near(position, here)
            rotation = self._turned_little(rotation, orientation)
        step = np.empty(6)
        step[:3] = position - here
        step[3:] = rotation_error(rotation, orientation)
        displacement = joint_displacement(jacobian, step)
        share = self._allowed_share(q, displacement)
        if share < 1.0:
            displacement = share * displacement
            position = here + share * step[:3]
            rotation = rotation_of(share * step[3:]) @ orientation
        self._asked = displacement / self.period
        self._count()
        return Command(position, rotation, command.close_gripper), displacement

    def _count(self) -> None:
        self.latest = tuple(reason for reason in REASONS if reason in self._reasons)
        self.changed += bool(self.latest)
        for reason in self.latest:
            self.clips[reason] += 1
        self._reasons.clear()

    def _presses(self, wrench: Float64 | None) -> bool:
        if wrench is None or not self.watches_wrench:
            return False
        force, torque = float(np.linalg.norm(wrench[:3])), float(np.linalg.norm(wrench[3:]))
        return (0.0 <= self.max_force < force) or (0.0 <= self.max_torque < torque)

    def _near(self, position: Float64, here: Float64) -> Float64:
        """Inside the workspace and near; from outside it, on the way in."""
        inside = np.minimum(np.maximum(position, self.workspace.low), self.workspace.high)
        if (inside != position).any():
            self._reasons.add(WORKSPACE)
        near = np.minimum(np.maximum(inside, here - self.max_distance), here + self.max_distance)
        if (near != inside).any():
            self._reasons.add(DISTANCE)
        return near

    def _turned_little(self, rotation: Float64, orientation: Float64) -> Float64:
        turn = rotation_error(rotation, orientation)
        angle = float(np.linalg.norm(turn))
        if angle <= MAX_ROTATION:
            return rotation
        self._reasons.add(DISTANCE)
        return rotation_of(MAX_ROTATION / angle * turn) @ orientation

    def _allowed_share(self, q: Float64, displacement: Float64) -> float:
        """How much of a joint displacement stays inside the joints' limits, 0 to 1.

        It counts as a mean velocity over one period. That may be as fast as the joint is allowed to
        be, and differ from what was asked before by what the joint's acceleration gives; a reversal
        that is too fast passes through a stop. Less is always allowed: how the arm slows down is
        for who sends it.
        """
        share = 1.0
        amount = np.abs(displacement)
        # Seen in the direction that each joint is to move: the last velocity, the room to the box.
        forward = displacement > 0.0
        asked = np.where(forward, self._asked, -self._asked)
        room = np.where(forward, self.robot.conservative_max - q, q - self.robot.conservative_min)
        for reason, allowed in (
            (JOINT_VELOCITY, self._velocity * self.period),
            (JOINT_ACCELERATION, (asked + self._acceleration * self.period) * self.period),
            (JOINT_BOX, room),
        ):
            allowed = np.maximum(allowed, 0.0)
            beyond = share * amount > allowed
            if beyond.any():
                self._reasons.add(reason)
                share = float((allowed[beyond] / amount[beyond]).min())
        return share


def _is_rotation(matrix: Float64) -> bool:
    entries = float(np.abs(matrix).max())  # NaN stays NaN
    return entries < 1.001 and float(np.abs(matrix @ matrix.T - np.eye(3)).max()) < 1e-3


def joint_displacement(jacobian: Float64, step: Float64) -> Float64:
    """Joint displacement `(7,)` for a small tool displacement `(6,)` (damped least squares)."""
    gram = jacobian @ jacobian.T
    gram.flat[::7] += 1e-4
    return jacobian.T @ np.linalg.solve(gram, step)
