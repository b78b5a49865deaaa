"""The Franka Hand's motions in simulated time: move, grasp, stop, with the robot's results."""

from __future__ import annotations

from dataclasses import dataclass

from sac_envs.robots import HAND
from sac_envs.world import World

REACHED = 0.0015  # m, how near a move must come
STALL_SPEED = 0.002  # m/s of the width: slower than this the fingers stand
STALL_TIME = 0.05  # s that they must stand before a motion counts as ended
LEAD = 0.03  # m that the set-point may run ahead of blocked fingers in a move
HOLDING_FORCE = 70.0  # N while positioning


@dataclass(frozen=True)
class Motion:
    """A motion that was asked for. `force` is None for a move, else this is a grasp."""

    width: float  # m
    speed: float  # m/s of the width
    force: float | None = None
    epsilon_inner: float = 0.005  # m
    epsilon_outer: float = 0.005  # m


class Gripper:
    """Moves the fingers of a `World`; call `update` once per physics step.

    One motion at a time: a new one replaces what runs, whose result is then False.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.motion: Motion | None = None
        self.result: bool | None = None  # of the motion that ended last
        self.grasped = False
        self._goal = world.width_target
        self._stalled = 0.0

    def reset(self) -> None:
        """After the world's own reset: no motion, nothing grasped."""
        self.motion, self.result, self.grasped = None, None, False
        self._world.limit_grip(HOLDING_FORCE)

    def move(self, width: float, speed: float = HAND.default_speed) -> None:
        """Open or close to `width` at `speed`. Raises ValueError for what the hand cannot do."""
        self._begin(Motion(width, speed), goal=width, force=HOLDING_FORCE)

    def grasp(
        self,
        width: float = 0.0,
        speed: float = HAND.default_speed,
        force: float = HAND.default_force,
        epsilon_inner: float = 0.005,
        epsilon_outer: float = 0.005,
    ) -> None:
        """Close until something is between the fingers, then push with `force`.

        It succeeds when the final width d satisfies width − inner < d < width + outer, as libfranka
        defines it. Raises ValueError for what the hand cannot do.
        """
        motion = Motion(width, speed, force, epsilon_inner, epsilon_outer)
        self._begin(motion, goal=0.0, force=force)

    def stop(self) -> None:
        """Stay where the fingers are."""
        if self.motion is not None:
            self.motion, self.result = None, False
            self._world.width_target = self._world.width

    def _begin(self, motion: Motion, goal: float, force: float) -> None:
        if not 0.0 <= motion.width <= HAND.width_max:
            raise ValueError(f"width {motion.width} m: expected 0 to {HAND.width_max} m")
        if not 0.0 < motion.speed <= 2 * HAND.speed_max:
            raise ValueError(f"speed {motion.speed} m/s: expected up to {2 * HAND.speed_max} m/s")
        if not 0.0 < force <= HAND.force_max:
            raise ValueError(f"force {force} N: expected up to {HAND.force_max} N")
        self.motion, self.result, self.grasped = motion, None, False
        self._goal, self._stalled = goal, 0.0
        self._world.limit_grip(force)
        # What was squeezed may have left the set-point far behind the fingers.
        self._world.width_target = min(max(self._world.width, 0.0), HAND.width_max)

    def update(self) -> None:
        """Advance the set-point by one physics step, and notice when the motion has ended."""
        motion = self.motion
        if motion is None:
            return
        world = self._world
        step = motion.speed * world.physics_step
        target, width = world.width_target, world.width
        change = min(max(self._goal - target, -step), step)
        if motion.force is not None or abs(target + change - width) < LEAD:
            world.width_target = target + change
        at_goal = abs(width - self._goal) < REACHED
        standing = abs(float(world.data.qvel[7] + world.data.qvel[8])) < STALL_SPEED
        started = abs(change) < step or abs(world.width_target - width) > 0.005
        self._stalled = self._stalled + world.physics_step if standing and started else 0.0
        if (at_goal and motion.force is None) or self._stalled >= STALL_TIME:
            self._end(motion, width)

    def _end(self, motion: Motion, width: float) -> None:
        self.motion = None
        if motion.force is None:
            self.result = abs(width - self._goal) < REACHED
        else:
            low, high = motion.width - motion.epsilon_inner, motion.width + motion.epsilon_outer
            self.result = self.grasped = low < width < high
            self._world.width_target = 0.0  # goes on pushing, limited to the force
