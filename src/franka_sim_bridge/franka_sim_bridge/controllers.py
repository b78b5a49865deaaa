"""The manager of the controllers, with the rules of ros2_control. No ROS in here.

One motion controller at a time turns commands into torques; the broadcasters only say whether state
may be published. A fault deactivates all of them, as on the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from franka_sim_bridge.motion_controllers import (
    CartesianController,
    Controller,
    GroupController,
    JointEffortController,
    JointPositionController,
    JointTrajectoryController,
    JointVelocityController,
    MotionController,
    stiff_hold,
)
from franka_sim_bridge.readings import Desired, pose_of
from sac_envs.robots import Float64, Robot
from sac_envs.world import World

HARDWARE = "FrankaHardwareInterface"  # after the prefix of the arm
STATE_BROADCASTER = "franka_robot_state_broadcaster"
HARDWARE_STATES = ("unconfigured", "inactive", "active")
BEST_EFFORT, STRICT, AUTO, FORCE_AUTO = 1, 2, 3, 4  # of controller_manager_msgs/SwitchController
SETTLING_TIME = 2.0  # s after which a motion that has not come close enough is given up
LEAST_TOLERANCE = 1e-3  # rad, what the hold can keep
# Of a quintic from rest to rest, as multiples of way / duration and way / duration².
PEAK_VELOCITY, PEAK_ACCELERATION = 1.875, 10.0 / np.sqrt(3.0)


@dataclass
class Motion:
    """A native motion of the arm to joint positions; `state` is executing, reached or aborted."""

    goal: Float64  # (7,) rad
    start: Float64  # (7,) rad
    begin: float  # s of simulated time
    duration: float  # s
    tolerance: float  # rad
    state: str = "executing"

    @property
    def end(self) -> float:
        """When the reference has arrived."""
        return self.begin + self.duration

    def at(self, time: float) -> tuple[Float64, Float64]:
        """Reference on a quintic from rest to rest."""
        s = min(max((time - self.begin) / self.duration, 0.0), 1.0)
        share = s**3 * (10.0 - 15.0 * s + 6.0 * s * s)
        rate = 30.0 * s * s * (1.0 - s) ** 2 / self.duration
        way = self.goal - self.start
        return self.start + share * way, rate * way


class ControllerManager:
    """Loads, configures, switches; gives the torques of whatever is active.

    `on_change` is called whenever a state of a controller or of the hardware changes; `warn` gets
    one line for each thing that went wrong in a controller. `may_activate` tells whether the robot
    is free of errors, `raise_error` gives it one.
    """

    def __init__(
        self,
        world: World,
        robot: Robot,
        warn: Callable[[str], None] = lambda text: None,
        active: str = "cartesian_impedance_controller",
        strict_motion_generators: bool = False,
        state_broadcaster: bool = True,
    ) -> None:
        self._world = world
        self._robot = robot
        self.hardware = f"{robot.arm_prefix}_{HARDWARE}" if robot.arm_prefix else HARDWARE
        self.warn = warn
        self.may_activate: Callable[[], bool] = lambda: True
        self.raise_error: Callable[[str], None] = lambda error: None
        self.on_change: list[Callable[[], None]] = []
        self.hardware_state = "active"
        # The values are of different classes, each with its own way to take commands.
        self.controllers: dict[str, Any] = {
            c.name: c
            for c in _make_controllers(robot)
            if state_broadcaster or c.name != STATE_BROADCASTER
        }
        for controller in self.controllers.values():
            if isinstance(controller, GroupController):
                controller.strict = strict_motion_generators
                controller.broken = self._breaker(controller)
                controller.reflex = lambda error: self.raise_error(error)
        if active not in self.motion_controllers:
            raise ValueError(
                f"no motion controller {active!r}; there are {', '.join(self.motion_controllers)}"
            )
        self._hold = stiff_hold()
        self._hold.start(world)
        self._motion: Motion | None = None
        self._time = 0.0
        self.active_motion: MotionController | None = None
        for controller in self.controllers.values():
            if not controller.is_motion or controller.name == active:
                self._activate(controller)

    @property
    def motion_controllers(self) -> tuple[str, ...]:
        """Names of the controllers that move the robot."""
        return tuple(name for name, c in self.controllers.items() if c.is_motion)

    @property
    def moving(self) -> bool:
        """Whether a motion controller is active or a native motion runs: the robot is not idle."""
        return self.active_motion is not None or self._motion is not None

    # The hot path.

    def torques(self, time: float) -> Float64:
        """Torques `(7,)` for the next physics step, at simulated `time` in s."""
        self._time = time
        controller = self.active_motion
        if controller is not None:
            return controller.torques(self._world, time)
        if self._motion is not None:
            self._follow(self._motion, time)
        return self._hold.torques(self._world)

    def _follow(self, motion: Motion, time: float) -> None:
        self._hold.target, self._hold.target_velocity = motion.at(time)
        if time >= motion.end:
            off = float(np.abs(motion.goal - self._world.q).max())
            if off <= motion.tolerance:
                motion.state, self._motion = "reached", None
            elif time > motion.end + SETTLING_TIME:
                motion.state, self._motion = "aborted", None

    # What it tells.

    def broadcasting(self, name: str) -> bool:
        """Whether a broadcaster is there and active."""
        return name in self.controllers and self.controllers[name].state == "active"

    def desired(self) -> Desired:
        """What the active controller wants: for the state topics."""
        world = self._world
        controller = self.active_motion
        if controller is None:
            q, dq = self._hold.target, self._hold.target_velocity
        else:
            q, dq = controller.desired(world)
        if isinstance(controller, CartesianController):
            law = controller.law
            pose = np.empty(7)
            pose[:3], pose[3:6] = law.target_position, law.target_quaternion[1:]
            pose[6] = law.target_quaternion[0]
        else:
            pose = pose_of(world.tcp_position, world.tcp_rotation)
        return Desired(q, dq, world.data.ctrl[:7], pose)

    # Controllers.

    def switch(
        self, activate: Sequence[str], deactivate: Sequence[str], strictness: int
    ) -> tuple[bool, str]:
        """Deactivate and activate at once; with STRICT either all of it or nothing.

        BEST_EFFORT (1, and 0) does what is possible; AUTO and FORCE_AUTO are taken as STRICT. A
        controller in both lists starts anew. The message names everything that was not possible.
        """
        strict = strictness not in (0, BEST_EFFORT)
        problems: list[str] = []
        off = self._select(deactivate, lambda c: bool(c.state == "active"), problems)
        wanted = self._select(activate, lambda c: c.state == "inactive" or c in off, problems)
        staying = [c for c in self.controllers.values() if c.state == "active" and c not in off]
        on: list[Controller] = []
        for controller in wanted:
            if obstacle := self._obstacle(controller, [*staying, *on]):
                problems.append(f"{controller.name}: {obstacle}")
            else:
                on.append(controller)
        message = "; ".join(problems)
        if strict and problems:
            return False, message
        for controller in off:
            self._deactivate(controller)
        for controller in on:
            self._activate(controller)
        if off or on:
            self._changed()
        return True, message

    def _select(
        self, names: Sequence[str], fits: Callable[[Controller], bool], problems: list[str]
    ) -> list[Controller]:
        chosen = []
        for name in dict.fromkeys(names):
            controller = self.controllers.get(name)
            if controller is None:
                problems.append(f"no controller {name[:64]!r}")
            elif not fits(controller):
                problems.append(f"{name} is {controller.state}")
            else:
                chosen.append(controller)
        return chosen

    def _obstacle(self, controller: Controller, others: Sequence[Controller]) -> str:
        """Why a controller cannot become active beside these others; "" if it can."""
        if self.hardware_state != "active":
            return f"{self.hardware} is {self.hardware_state}"
        if not self.may_activate():
            return "the robot is in error"
        # All of them need all joints, and the robot has one mode at a time.
        rivals = [other.name for other in others if other.is_motion and controller.is_motion]
        return f"{rivals[0]} has the joints" if rivals else ""

    def load(self, name: str) -> bool:
        """Load what was unloaded; False for what is loaded, as all are at first, or unknown."""
        controller = self.controllers.get(name)
        if controller is None or controller.loaded:
            return False
        controller.loaded = True
        return True

    def configure(self, name: str) -> bool:
        """unconfigured to inactive."""
        controller = self.controllers.get(name)
        if controller is None or not controller.loaded or controller.state != "unconfigured":
            return False
        controller.state = "inactive"
        self._changed()
        return True

    def unload(self, name: str) -> bool:
        """inactive to unconfigured; it stays listed, and can be loaded and configured again."""
        controller = self.controllers.get(name)
        if controller is None or not controller.loaded or controller.state == "active":
            return False
        controller.state, controller.loaded = "unconfigured", False
        self._changed()
        return True

    def _activate(self, controller: Controller) -> None:
        if isinstance(controller, MotionController):
            self.abort_motion()
            controller.start(self._world, self._time)
            self.active_motion = controller
        controller.state = "active"

    def _deactivate(self, controller: Controller) -> None:
        controller.state = "inactive"
        if isinstance(controller, MotionController):
            controller.stop()
            self.active_motion = None
            self._hold.start(self._world)

    def _breaker(self, controller: Controller) -> Callable[[str], None]:
        def broken(reason: str) -> None:
            self.warn(reason)
            self._deactivate(controller)
            self._changed()

        return broken

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    # Hardware.

    def set_hardware_state(self, target: str) -> tuple[bool, str]:
        """Bring the hardware to unconfigured, inactive or active; whether it is there, or why not.

        Controllers are deactivated on the way down, and not activated on the way up.
        """
        if target not in HARDWARE_STATES:
            return False, f"{self.hardware} cannot become {target[:32]!r}"
        if target == "active" and not self.may_activate():
            return False, "the robot is in error: recover first (action_server/error_recovery)"
        self._set_hardware(target)
        return True, ""

    def fault(self) -> None:
        """The robot has stopped for an error: nothing is active any more, and stays so.

        No listener hears of it: ros2_control tells nobody of what an error of the hardware's `read`
        or `write` has deactivated. While nothing is controlled franka_ros2 does not see it at all:
        its `read` throws in motion only.
        """
        if self.active_motion is not None:
            self._bring_hardware_to("unconfigured")
        self.abort_motion()

    def _set_hardware(self, target: str) -> None:
        self._bring_hardware_to(target)
        self._changed()

    def _bring_hardware_to(self, target: str) -> None:
        if target != "active":
            self.abort_motion()
            for controller in self.controllers.values():
                if controller.state == "active":
                    self._deactivate(controller)
        self.hardware_state = target

    def reset(self) -> None:
        """The world was put elsewhere: everything begins anew there."""
        self.abort_motion()
        self._hold.start(self._world)
        if self.active_motion is not None:
            self.active_motion.start(self._world, self._time)

    # The robot's own motions.

    def move_to(
        self, goal: npt.ArrayLike, max_velocities: npt.ArrayLike, tolerance: float
    ) -> Motion:
        """Drive to joint positions `(7,)` in rad, no joint faster than it may be `(7,)` in rad/s.

        The motion has reached its goal when every joint is within `tolerance` rad. Raises
        ValueError while the robot is not idle, and for what it cannot do.
        """
        if self.active_motion is not None:
            raise ValueError(f"{self.active_motion.name} is active: deactivate it first")
        if self._motion is not None:
            raise ValueError("a motion is under way")
        if self.hardware_state != "active" or not self.may_activate():
            raise ValueError("the robot is in error or its hardware inactive: recover first")
        robot, q = self._robot, self._world.q.copy()
        target, limits = np.array(goal, np.float64), np.array(max_velocities, np.float64)
        if target.shape != (7,) or limits.shape != (7,) or not np.isfinite(target).all():
            raise ValueError("expected 7 finite joint positions and 7 velocities")
        if ((target < robot.position_min) | (target > robot.position_max)).any():
            raise ValueError("the goal is outside the joint limits")
        if not ((limits > 0.0) & (limits <= robot.velocity_max)).all():
            raise ValueError("velocities must be positive and within the robot's limits")
        if not (np.isfinite(tolerance) and tolerance >= 0.0):
            raise ValueError(f"tolerance {tolerance}: expected a number that is not negative")
        way = np.abs(target - q)
        by_velocity = PEAK_VELOCITY * float((way / limits).max())
        by_acceleration = float(np.sqrt(PEAK_ACCELERATION * way / robot.acceleration_max).max())
        duration = max(by_velocity, by_acceleration, self._world.physics_step)
        self._motion = Motion(target, q, self._time, duration, max(tolerance, LEAST_TOLERANCE))
        return self._motion

    def abort_motion(self) -> None:
        """Stop the native motion that runs, if any, where the arm is."""
        if self._motion is not None:
            self._motion.state, self._motion = "aborted", None
            self._hold.start(self._world)


def _make_controllers(robot: Robot) -> tuple[Controller, ...]:
    def broadcaster(name: str, kind: str) -> Controller:
        return Controller(name, f"{name}/{kind}", robot)

    return (
        broadcaster("joint_state_broadcaster", "JointStateBroadcaster"),
        broadcaster(STATE_BROADCASTER, "FrankaRobotStateBroadcaster"),
        JointTrajectoryController("joint_trajectory_controller", robot),
        CartesianController("cartesian_impedance_controller", robot),
        JointVelocityController("joint_velocity_controller", robot),
        JointEffortController("joint_effort_controller", robot),
        JointPositionController("joint_position_controller", robot),
    )
