"""The robot's fault state machine: modes, errors, reflexes, recovery. No ROS in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from franka_sim_bridge.readings import ExternalTorques
from sac_envs.robots import Float64, Robot
from sac_envs.world import World

# robot_mode of franka_msgs/FrankaRobotState.
OTHER, IDLE, MOVE, GUIDING, REFLEX, USER_STOPPED, AUTOMATIC_ERROR_RECOVERY = range(7)


@dataclass(frozen=True)
class Thresholds:
    """Where contacts (lower) and collisions (upper) begin: torques `(7,)`, forces `(6,)`.

    N·m of the joints; N and N·m of the tool, in the base's axes.
    """

    lower_torques: Float64
    upper_torques: Float64
    lower_forces: Float64
    upper_forces: Float64


# Franka's own request (franka_example_controllers, CRISP).
FRANKA = Thresholds(
    lower_torques=np.array([25.0, 25.0, 22.0, 20.0, 19.0, 17.0, 14.0]),
    upper_torques=np.array([35.0, 35.0, 32.0, 30.0, 29.0, 27.0, 24.0]),
    lower_forces=np.array([30.0, 30.0, 30.0, 25.0, 25.0, 25.0]),
    upper_forces=np.array([40.0, 40.0, 40.0, 35.0, 35.0, 35.0]),
)
# For learning: a policy that explores bumps the fingers onto the table, and that is no accident.
# In 480 episodes of reach and pick_cube (random actions, full ones held for 0.5 s, pressing down, a
# scripted pick) that reached 71 N·m and 180 N, filtered as the robot does it: Franka's own request
# would have stopped 259 of them, this one none. It stops targets far below the table and worse.
LEARNING = Thresholds(
    lower_torques=FRANKA.lower_torques,
    upper_torques=np.array([87.0, 87.0, 87.0, 87.0, 40.0, 40.0, 40.0]),
    lower_forces=FRANKA.lower_forces,
    upper_forces=np.array([250.0, 250.0, 250.0, 60.0, 60.0, 60.0]),
)
PRESETS: Mapping[str, Thresholds] = {"franka": FRANKA, "learning": LEARNING}

LEVER = 0.1  # m; a force moves some joint by at least this lever, unless the arm is near singular
RECOVERY_TIME = 0.3  # s; on the robot 0.2 to 7 s
POSITION_MARGIN = 0.005  # rad beyond the limit, the simulated stop being soft
KINDS = {
    "reflex": "joint_reflex",
    "cartesian_reflex": "cartesian_reflex",
    "communication": "communication_constraints_violation",
    "discontinuity": "joint_motion_generator_acceleration_discontinuity",
}
HOLDS = ("user_stop", "guiding")  # what a person begins and ends


class Faults:
    """What is wrong with the robot, and what may be done about it.

    `on_fault` is called when an error arises or a person takes over; `moving` says whether a motion
    is under way. `joint_contact`, `joint_collision` `(7,)` and `cartesian_contact`,
    `cartesian_collision` `(6,)` are True beyond the lower and upper thresholds; a collision stays
    True until the next recovery (libfranka `robot_state.h`).
    """

    def __init__(
        self, world: World, robot: Robot, external: ExternalTorques, preset: str = "franka"
    ) -> None:
        self._world = world
        self._external = external
        self._robot = robot
        self.current_errors: frozenset[str] = frozenset()
        self.last_motion_errors: frozenset[str] = frozenset()
        self.on_fault: list[Callable[[], None]] = []
        self.moving: Callable[[], bool] = lambda: False
        self.joint_contact = np.zeros(7, bool)
        self.joint_collision = np.zeros(7, bool)
        self.cartesian_contact = np.zeros(6, bool)
        self.cartesian_collision = np.zeros(6, bool)
        self._held = ""  # one of HOLDS
        self._recovered_at: float | None = None
        self._steps = 0
        # Positions about the middle of their range, velocities, external torques, and what they
        # have to be within for nothing to be worth a closer look.
        self._middle = (robot.position_min + robot.position_max) / 2
        self._amounts = np.zeros((3, 7))
        self._unsuspicious = np.zeros((3, 7))
        self._unsuspicious[0] = (robot.position_max - robot.position_min) / 2 + POSITION_MARGIN
        self._unsuspicious[1] = robot.velocity_max
        self._suspicious = np.zeros((3, 7), bool)
        self._set_thresholds(PRESETS[preset])

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

    def set_thresholds(
        self,
        torques: npt.ArrayLike,
        forces: npt.ArrayLike,
        lower_torques: npt.ArrayLike | None = None,
        lower_forces: npt.ArrayLike | None = None,
    ) -> None:
        """Collision thresholds `(7,)` N·m and `(6,)` N, N·m, and those of contacts.

        Without lower ones contacts begin where collisions do. Raises ValueError for thresholds that
        are not positive.
        """
        chosen = {
            "upper torque": (torques, 7),
            "upper force": (forces, 6),
            "lower torque": (torques if lower_torques is None else lower_torques, 7),
            "lower force": (forces if lower_forces is None else lower_forces, 6),
        }
        arrays = {}
        for what, (values, size) in chosen.items():
            array = np.array(values, np.float64)
            if array.shape != (size,) or not np.isfinite(array).all() or (array <= 0.0).any():
                raise ValueError(f"{what} thresholds: expected {size} positive numbers")
            arrays[what.replace(" ", "_") + "s"] = array
        self._set_thresholds(Thresholds(**arrays))

    def _set_thresholds(self, thresholds: Thresholds) -> None:
        self.thresholds = t = thresholds
        least_torques = np.minimum(t.lower_torques, t.upper_torques)
        least_force = min(t.lower_forces.min(), t.upper_forces.min())
        self._unsuspicious[2] = np.minimum(least_torques, LEVER * least_force)

    def check(self, time: float) -> None:
        """Look for what the robot would stop for; once per physics step."""
        self._steps += 1
        if self._steps % ExternalTorques.PERIOD:
            return
        world, amounts = self._world, self._amounts
        self._external.update()
        if self._recovered_at is not None and time >= self._recovered_at:
            self._recovered_at, self.current_errors = None, frozenset()
        np.subtract(world.q, self._middle, out=amounts[0])
        amounts[1] = world.dq
        amounts[2] = self._external.torques
        np.abs(amounts, out=amounts)
        np.greater(amounts, self._unsuspicious, out=self._suspicious)
        if self._suspicious.any():
            self._look_closer()
        elif self.joint_contact.any() or self.cartesian_contact.any():
            self.joint_contact, self.cartesian_contact = np.zeros(7, bool), np.zeros(6, bool)

    def _look_closer(self) -> None:
        torques, wrench = self._amounts[2], np.abs(self._external.wrench())
        t = self.thresholds
        self.joint_contact = torques > t.lower_torques
        self.cartesian_contact = wrench > t.lower_forces
        if not self.clear:
            return
        if self._suspicious[0].any():
            self.raise_error("joint_position_limits_violation")
        elif self._suspicious[1].any():
            self.raise_error("joint_velocity_violation")
        elif (torques > t.upper_torques).any():
            self.joint_collision = torques > t.upper_torques
            self.raise_error("joint_reflex")
        elif (wrench > t.upper_forces).any():
            self.cartesian_collision = wrench > t.upper_forces
            self.raise_error("cartesian_reflex")

    def raise_error(self, error: str) -> None:
        """An error by its name in franka_msgs/Errors: the robot stops."""
        self.current_errors |= {error}
        self.last_motion_errors = self.current_errors
        self._recovered_at = None
        self._stop()

    def _stop(self) -> None:
        for listener in self.on_fault:
            listener()

    def inject(self, kind: str) -> None:
        """Make a fault happen: see KINDS, user_stop, release_user_stop, guiding, release_guiding.

        Raises ValueError for another kind.
        """
        released = kind.removeprefix("release_")
        if kind in KINDS:
            self.raise_error(KINDS[kind])
        elif kind in HOLDS:
            self._held, self._recovered_at = kind, None
            self._stop()
        elif released in HOLDS:
            if self._held == released:
                self._held = ""
        else:
            there = (*KINDS, *HOLDS, *(f"release_{hold}" for hold in HOLDS))
            raise ValueError(f"no fault {kind[:32]!r}; there are {', '.join(there)}")

    def recover(self, time: float) -> tuple[bool, str]:
        """Begin to clear the errors; False and why, if a person has to act first.

        It takes RECOVERY_TIME of simulated time. A cause that is still there raises its error
        again.
        """
        if self._held == "user_stop":
            return False, "the user stop is pressed: release it by hand"
        if self._held:
            return False, "the robot is being guided by hand"
        if self.current_errors:
            self._recovered_at = time + RECOVERY_TIME
            self.joint_collision = np.zeros(7, bool)
            self.cartesian_collision = np.zeros(6, bool)
        return True, ""
