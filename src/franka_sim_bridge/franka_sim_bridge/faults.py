"""The robot's fault state machine: modes, errors, reflexes, recovery. No ROS in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from franka_sim_bridge.readings import ExternalTorques
from sac_envs.robots import Float64, Robot
from sac_envs.world import World

# robot_mode of franka_msgs/FrankaRobotState.
OTHER, IDLE, MOVE, GUIDING, REFLEX, USER_STOPPED, AUTOMATIC_ERROR_RECOVERY = range(7)

# Franka's own request (franka_example_controllers, CRISP): lower bounds are contacts, upper ones
# collisions. N·m and N.
FRANKA_TORQUES = np.array([35.0, 35.0, 32.0, 30.0, 29.0, 27.0, 24.0])
FRANKA_FORCES = np.array([40.0, 40.0, 40.0, 35.0, 35.0, 35.0])
# For learning: a policy that explores bumps the fingers onto the table all the time, and that is no
# accident. Random actions reached 33 N·m and 104 N, pushing down on purpose 38 N·m and 97 N (60
# episodes each, filtered as the robot does it).
LEARNING_TORQUES = np.array([60.0, 60.0, 60.0, 60.0, 12.0, 24.0, 12.0])
LEARNING_FORCES = np.array([160.0, 160.0, 160.0, 40.0, 40.0, 40.0])
PRESETS: Mapping[str, tuple[Float64, Float64]] = {
    "franka": (FRANKA_TORQUES, FRANKA_FORCES),
    "learning": (LEARNING_TORQUES, LEARNING_FORCES),
}
FAR_FROM_ANY = 5.0  # N·m below which no force threshold can be reached
RECOVERY_TIME = 0.3  # s; on the robot 0.2 to 7 s
POSITION_MARGIN = 0.005  # rad beyond the limit, the simulated stop being soft
KINDS = {
    "reflex": "joint_reflex",
    "cartesian_reflex": "cartesian_reflex",
    "communication": "communication_constraints_violation",
    "discontinuity": "joint_motion_generator_acceleration_discontinuity",
}


class Faults:
    """What is wrong with the robot, and what may be done about it.

    `on_fault` is called when an error arises. `moving` says whether a motion is under way.
    """

    def __init__(
        self, world: World, robot: Robot, external: ExternalTorques, preset: str = "franka"
    ) -> None:
        self._world = world
        self._external = external
        self._robot = robot
        self.torque_thresholds, self.force_thresholds = (t.copy() for t in PRESETS[preset])
        self.current_errors: frozenset[str] = frozenset()
        self.last_motion_errors: frozenset[str] = frozenset()
        self.on_fault: list[Callable[[], None]] = []
        self.moving: Callable[[], bool] = lambda: False
        self._held = ""  # "user_stop" or "guiding": only a person ends it
        self._recovered_at: float | None = None
        self._steps = 0
        self._low = robot.position_min - POSITION_MARGIN
        self._high = robot.position_max + POSITION_MARGIN

    @property
    def robot_mode(self) -> int:
        """The mode as the robot reports it."""
        if self._held:
            return USER_STOPPED if self._held == "user_stop" else GUIDING
        if self._recovered_at is not None:
            return AUTOMATIC_ERROR_RECOVERY
        if self.current_errors:
            return REFLEX
        return MOVE if self.moving() else IDLE

    @property
    def clear(self) -> bool:
        """Whether nothing stands in the way of a motion."""
        return not (self._held or self.current_errors or self._recovered_at is not None)

    def set_thresholds(self, torques: npt.ArrayLike, forces: npt.ArrayLike) -> None:
        """Collision thresholds `(7,)` N·m and `(6,)` N, N·m; ValueError for impossible ones."""
        t, f = np.array(torques, np.float64), np.array(forces, np.float64)
        for what, array, size in (("torque", t, 7), ("force", f, 6)):
            if array.shape != (size,) or not np.isfinite(array).all() or (array <= 0.0).any():
                raise ValueError(f"{what} thresholds: expected {size} positive numbers")
        self.torque_thresholds, self.force_thresholds = t, f

    def check(self, time: float) -> None:
        """Look for what the robot would stop for; once per physics step."""
        self._steps += 1
        if self._steps % ExternalTorques.PERIOD:
            return
        self._external.update()
        if self._recovered_at is not None and time >= self._recovered_at:
            self._recovered_at, self.current_errors = None, frozenset()
        if not self.clear:
            return
        world = self._world
        q, dq, robot = world.q, world.dq, self._robot
        if (q < self._low).any() or (q > self._high).any():
            self.raise_error("joint_position_limits_violation")
        elif (np.abs(dq) > robot.velocity_max).any():
            self.raise_error("joint_velocity_violation")
        else:
            self._check_contacts()

    def _check_contacts(self) -> None:
        torques = np.abs(self._external.torques)
        if (torques > self.torque_thresholds).any():
            self.raise_error("joint_reflex")
        elif (
            float(torques.max()) > FAR_FROM_ANY
            and (np.abs(self._external.wrench()) > self.force_thresholds).any()
        ):
            self.raise_error("cartesian_reflex")

    def raise_error(self, error: str) -> None:
        """An error by its name in franka_msgs/Errors: the robot stops."""
        self.current_errors |= {error}
        self.last_motion_errors = self.current_errors
        self._recovered_at = None
        for listener in self.on_fault:
            listener()

    def inject(self, kind: str) -> None:
        """Make a fault happen: see KINDS, user_stop, release_user_stop, guiding, release_guiding.

        Raises ValueError for another kind.
        """
        if kind in KINDS:
            self.raise_error(KINDS[kind])
        elif kind in ("user_stop", "guiding"):
            self._held = kind
            for listener in self.on_fault:
                listener()
        elif kind in ("release_user_stop", "release_guiding"):
            if self._held == kind.removeprefix("release_"):
                self._held = ""
        else:
            there = (*KINDS, "user_stop", "release_user_stop", "guiding", "release_guiding")
            raise ValueError(f"no fault {kind[:32]!r}; there are {', '.join(there)}")

    def recover(self, time: float) -> tuple[bool, str]:
        """Begin to clear a reflex; False and why, if a person has to act first."""
        if self._held == "user_stop":
            return False, "the user stop is pressed: release it by hand"
        if self._held:
            return False, "the robot is being guided by hand"
        self._recovered_at = time + RECOVERY_TIME
        return True, ""
