"""The controllers and their manager, with the rules of ros2_control. No ROS in here.

One motion controller at a time turns commands into torques; the broadcasters only say whether state
may be published. A fault deactivates all of them, as on the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from franka_sim_bridge.readings import Desired, pose_of
from franka_sim_bridge.trajectory import (
    INVALID_GOAL,
    Rejected,
    Trajectory,
    TrajectoryGoal,
    make_trajectory,
)
from sac_envs.control import (
    CartesianImpedance,
    JointEffort,
    JointImpedance,
    JointVelocity,
    Law,
)
from sac_envs.robots import Float64, Robot
from sac_envs.world import World

HARDWARE = "FrankaHardwareInterface"
BEST_EFFORT, STRICT, AUTO, FORCE_AUTO = 1, 2, 3, 4  # of controller_manager_msgs/SwitchController
HOLD_STIFFNESS = np.array([2000.0, 2000.0, 2000.0, 2000.0, 800.0, 400.0, 200.0])  # N·m/rad
HOLD_DAMPING = np.array([90.0, 90.0, 90.0, 90.0, 30.0, 20.0, 12.0])  # N·m·s/rad
PEAK_OF_QUINTIC = 1.875  # greatest velocity of a quintic from rest to rest, over its mean
GOAL_TOLERANCE = 0.02  # rad, when a goal names none


class Controller:
    """One controller of the manager; by itself a broadcaster."""

    is_motion = False

    def __init__(self, name: str, kind: str, robot: Robot, interface: str = "") -> None:
        self.name = name
        self.type = kind
        self.state = "inactive"
        joints = robot.joint_names
        self.claimed = tuple(f"{joint}/{interface}" for joint in joints) if interface else ()
        self.required_state_interfaces = tuple(
            f"{joint}/{kind}" for joint in joints for kind in ("position", "velocity", "effort")
        )


class MotionController(Controller):
    """A controller that commands torques by a law."""

    is_motion = True

    def __init__(self, name: str, kind: str, robot: Robot, interface: str, law: Law) -> None:
        super().__init__(name, kind, robot, interface)
        self.law = law

    def start(self, world: World, time: float) -> None:
        """Take over at the present state."""
        self.law.start(world)

    def stop(self) -> None:
        """Hand over; whatever was under way ends."""

    def torques(self, world: World, time: float) -> Float64:
        """Torques `(7,)` for the next physics step."""
        return self.law.torques(world)

    def desired(self, world: World) -> tuple[Float64, Float64]:
        """Desired joint positions and velocities, where there are any."""
        return world.q, np.zeros(7)


class GroupController(MotionController):
    """Position, velocity or effort for each joint; the last command is held for ever."""

    def __init__(
        self, name: str, kind: str, robot: Robot, interface: str, law: Law, attribute: str
    ) -> None:
        super().__init__(name, kind, robot, interface, law)
        self._attribute = attribute
        self._robot = robot
        self.broken: Callable[[str], None] = lambda reason: None  # the manager deactivates it
        self.reflex: Callable[[str], None] = lambda error: None
        self.strict = False

    def command(self, values: npt.ArrayLike) -> str | None:
        """Take a command; None, or why it was not taken.

        A wrong length is an error of the controller, as in ros2_controllers: it is deactivated.
        """
        if self.state != "active":
            return f"{self.name} is not active"
        array = np.array(values, np.float64).ravel()
        if len(array) != 7:
            reason = f"{self.name}: expected 7 values, got {len(array)}: controller deactivated"
            self.broken(reason)
            return reason
        if not np.isfinite(array).all():
            return f"{self.name}: values are not finite; the last command stays"
        if self.strict and (error := self._discontinuity(array)):
            self.reflex(error)
            return f"{self.name}: {error}"
        setattr(self.law, self._attribute, array)
        return None

    def _discontinuity(self, values: Float64) -> str | None:
        """What the robot, without rate limiters, makes of a step at 1 kHz."""
        step = values - getattr(self.law, self._attribute)
        robot = self._robot
        if self._attribute == "target":  # positions
            if ((values < robot.position_min) | (values > robot.position_max)).any():
                return "joint_motion_generator_position_limits_violation"
            if (np.abs(step) / 1e-3 > robot.velocity_max).any():
                return "joint_motion_generator_velocity_discontinuity"
        elif self._attribute == "target_velocity":
            if (np.abs(values) > robot.velocity_max).any():
                return "joint_motion_generator_velocity_limits_violation"
            if (np.abs(step) / 1e-3 > 100.0 * robot.acceleration_max).any():
                return "joint_motion_generator_acceleration_discontinuity"
        return None

    def desired(self, world: World) -> tuple[Float64, Float64]:
        if isinstance(self.law, JointVelocity):
            return world.q, self.law.target_velocity
        if isinstance(self.law, JointImpedance):
            return self.law.target, np.zeros(7)
        return super().desired(world)


class JointTrajectoryController(MotionController):
    """Follows joint trajectories by joint impedance: position control on effort."""

    law: JointImpedance

    def __init__(self, name: str, robot: Robot) -> None:
        kind = "joint_trajectory_controller/JointTrajectoryController"
        super().__init__(name, kind, robot, "effort", JointImpedance())
        self._joint_names = robot.joint_names
        self._trajectory: Trajectory | None = None
        self._goal: TrajectoryGoal | None = None
        self._now = 0.0

    @property
    def reference_position(self) -> Float64:
        """Where the joints should be now, `(7,)`."""
        return self.law.target

    @property
    def reference_velocity(self) -> Float64:
        """How fast they should move now, `(7,)`."""
        return self.law.target_velocity

    def start(self, world: World, time: float) -> None:
        super().start(world, time)
        self._drop("the controller was started anew")
        self._now = time

    def stop(self) -> None:
        self._drop("the controller was deactivated")

    def _drop(self, reason: str) -> None:
        self._trajectory = None
        if self._goal is not None:
            self._goal.end(INVALID_GOAL, reason)
            self._goal = None

    def _make(
        self,
        joint_names: Sequence[str],
        times: Sequence[float],
        positions: Sequence[npt.ArrayLike],
        velocities: Sequence[npt.ArrayLike] | None,
        start: float | None,
    ) -> Trajectory:
        if self.state != "active":
            raise Rejected(INVALID_GOAL, f"{self.name} is not active")
        begin = self._now if start is None else start
        here = (self.law.target.copy(), self.law.target_velocity.copy())
        return make_trajectory(
            self._joint_names, joint_names, times, positions, velocities, begin, here
        )

    def trajectory(
        self,
        joint_names: Sequence[str],
        times: Sequence[float],
        positions: Sequence[npt.ArrayLike],
        velocities: Sequence[npt.ArrayLike] | None = None,
        start: float | None = None,
    ) -> str | None:
        """Replace what runs by these points; None, or why not (then what runs goes on)."""
        try:
            trajectory = self._make(joint_names, times, positions, velocities, start)
        except Rejected as rejected:
            return f"{self.name}: {rejected}"
        self._drop("replaced by a trajectory on the topic")
        self._trajectory = trajectory
        return None

    def goal(
        self,
        joint_names: Sequence[str],
        times: Sequence[float],
        positions: Sequence[npt.ArrayLike],
        velocities: Sequence[npt.ArrayLike] | None = None,
        start: float | None = None,
        path_tolerance: npt.ArrayLike = np.inf,
        goal_tolerance: npt.ArrayLike = GOAL_TOLERANCE,
        goal_time_tolerance: float = 0.0,
    ) -> TrajectoryGoal:
        """As `trajectory`, watched until its end. Raises Rejected."""
        trajectory = self._make(joint_names, times, positions, velocities, start)
        self._drop("replaced by another goal")
        self._trajectory = trajectory
        self._goal = TrajectoryGoal(
            trajectory,
            np.broadcast_to(np.asarray(path_tolerance, np.float64), 7),
            np.broadcast_to(np.asarray(goal_tolerance, np.float64), 7),
            goal_time_tolerance,
        )
        return self._goal

    def cancel(self, goal: TrajectoryGoal) -> None:
        """End a goal: the robot holds where it is."""
        if goal is self._goal:
            self._goal, self._trajectory = None, None
            self.law.target_velocity = np.zeros(7)
        goal.canceled = True
        goal.end(INVALID_GOAL, "canceled")

    def query(self, time: float) -> tuple[Float64, Float64]:
        """Reference position and velocity at a time."""
        if self._trajectory is None:
            return self.law.target, self.law.target_velocity
        return self._trajectory.at(time)

    def torques(self, world: World, time: float) -> Float64:
        self._now = time
        if self._trajectory is not None:
            self.law.target, self.law.target_velocity = self._trajectory.at(time)
            if self._goal is not None:
                self._goal.check(time, self.law.target, world.q)
                if self._goal.done:
                    self._goal = None
        return self.law.torques(world)

    def desired(self, world: World) -> tuple[Float64, Float64]:
        return self.law.target, self.law.target_velocity


class CartesianController(MotionController):
    """Cartesian impedance that follows a target pose: the contract of CRISP's controller."""

    law: CartesianImpedance

    def __init__(self, name: str, robot: Robot) -> None:
        kind = "crisp_controllers/CartesianController"
        super().__init__(name, kind, robot, "effort", CartesianImpedance())

    def target(self, position: Float64, rotation: Float64) -> str | None:
        """New target pose of the tool: `(3,)` in m, `(3, 3)`; None, or why it was not taken."""
        if self.state != "active":
            return f"{self.name} is not active"
        if not (np.isfinite(position).all() and np.isfinite(rotation).all()):
            return f"{self.name}: the target is not finite"
        self.law.set_target(position, rotation)
        return None

    def target_joint(self, positions: npt.ArrayLike) -> str | None:
        """New posture `(7,)` in rad for the null space, by index; None, or why not."""
        array = np.array(positions, np.float64).ravel()
        if len(array) != 7 or not np.isfinite(array).all():
            return f"{self.name}: expected 7 finite joint positions"
        self.law.posture = array
        return None


@dataclass
class Motion:
    """A native motion of the arm to joint positions."""

    goal: Float64
    begin: float
    duration: float
    start: Float64
    tolerance: float
    state: str = "executing"  # executing, reached, aborted

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
    one line for each thing that went wrong in a controller.
    """

    def __init__(
        self,
        world: World,
        robot: Robot,
        warn: Callable[[str], None] = lambda text: None,
        active: str = "cartesian_impedance_controller",
        strict_motion_generators: bool = False,
    ) -> None:
        self._world = world
        self.warn = warn
        self.may_activate: Callable[[], bool] = lambda: True  # no error is left
        self.raise_error: Callable[[str], None] = lambda error: None
        self.on_change: list[Callable[[], None]] = []
        self.hardware_state = "active"
        broadcasters = (
            Controller(
                "joint_state_broadcaster", "joint_state_broadcaster/JointStateBroadcaster", robot
            ),
            Controller(
                "franka_robot_state_broadcaster",
                "franka_robot_state_broadcaster/FrankaRobotStateBroadcaster",
                robot,
            ),
        )
        groups = (
            GroupController(
                "joint_velocity_controller",
                "velocity_controllers/JointGroupVelocityController",
                robot,
                "velocity",
                JointVelocity(),
                "target_velocity",
            ),
            GroupController(
                "joint_effort_controller",
                "effort_controllers/JointGroupEffortController",
                robot,
                "effort",
                JointEffort(),
                "target",
            ),
            GroupController(
                "joint_position_controller",
                "position_controllers/JointGroupPositionController",
                robot,
                "position",
                JointImpedance(HOLD_STIFFNESS, HOLD_DAMPING),
                "target",
            ),
        )
        for group in groups:
            group.strict = strict_motion_generators
            group.broken = self._breaker(group)
            group.reflex = lambda error: self.raise_error(error)
        self.controllers: dict[str, Any] = {
            controller.name: controller
            for controller in (
                *broadcasters,
                JointTrajectoryController("joint_trajectory_controller", robot),
                CartesianController("cartesian_impedance_controller", robot),
                *groups,
            )
        }
        if active not in self.motion_controllers:
            raise ValueError(
                f"no motion controller {active!r}; there are {', '.join(self.motion_controllers)}"
            )
        self._hold = JointImpedance(HOLD_STIFFNESS, HOLD_DAMPING)
        self._hold.start(world)
        self._motion: Motion | None = None
        self._time = 0.0
        self.active_motion: MotionController | None = None
        for controller in broadcasters:
            controller.state = "active"
        self._activate(self.controllers[active])

    @property
    def motion_controllers(self) -> tuple[str, ...]:
        """Names of the controllers that move the robot."""
        return tuple(name for name, c in self.controllers.items() if c.is_motion)

    def _breaker(self, controller: Controller) -> Callable[[str], None]:
        def broken(reason: str) -> None:
            self.warn(reason)
            self._deactivate(controller)
            self._changed()

        return broken

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
        if time >= motion.begin + motion.duration:
            off = float(np.abs(motion.goal - self._world.q).max())
            if off <= motion.tolerance:
                motion.state, self._motion = "reached", None
            elif time > motion.begin + motion.duration + 2.0:
                motion.state, self._motion = "aborted", None

    # What is asked of it.

    def broadcasting(self, name: str) -> bool:
        """Whether a broadcaster is active."""
        return bool(self.controllers[name].state == "active")

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

    def reset(self) -> None:
        """The world was put elsewhere: everything begins anew there."""
        self._abort_motion()
        self._hold.start(self._world)
        if self.active_motion is not None:
            self.active_motion.start(self._world, self._time)

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    def _activate(self, controller: Controller) -> None:
        if controller.is_motion:
            assert isinstance(controller, MotionController)
            self._abort_motion()
            controller.start(self._world, self._time)
            self.active_motion = controller
        controller.state = "active"

    def _deactivate(self, controller: Controller) -> None:
        controller.state = "inactive"
        if controller is self.active_motion:
            assert isinstance(controller, MotionController)
            controller.stop()
            self.active_motion = None
            self._hold.start(self._world)

    def _abort_motion(self) -> None:
        if self._motion is not None:
            self._motion.state, self._motion = "aborted", None

    def switch(
        self, activate: Sequence[str], deactivate: Sequence[str], strictness: int
    ) -> tuple[bool, str]:
        """Deactivate and activate at once; with STRICT either all of it or nothing.

        BEST_EFFORT (1, and 0) does what is possible; AUTO and FORCE_AUTO are taken as STRICT.
        """
        strict = strictness not in (0, BEST_EFFORT)
        problems: list[str] = []
        off = [self.controllers[n] for n in self._possible(deactivate, "active", problems)]
        on: list[Controller] = []
        for name in self._possible(activate, "inactive", problems):
            controller = self.controllers[name]
            staying = [c for c in self.controllers.values() if c.state == "active" and c not in off]
            rival = next((c for c in [*staying, *on] if c.is_motion and controller.is_motion), None)
            if self.hardware_state != "active":
                problems.append(f"{name}: {HARDWARE} is {self.hardware_state}")
            elif not self.may_activate():
                problems.append(f"{name}: the robot is in error")
            elif rival is not None:
                problems.append(f"{name}: {rival.name} has the joints")
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

    def _possible(self, names: Sequence[str], needed: str, problems: list[str]) -> Sequence[str]:
        possible = []
        for name in dict.fromkeys(names):
            controller = self.controllers.get(name)
            if controller is None:
                problems.append(f"no controller {name[:64]!r}")
            elif controller.state != needed:
                problems.append(f"{name} is {controller.state}")
            else:
                possible.append(name)
        return possible

    def load(self, name: str) -> bool:
        """Controllers are loaded from the beginning: False, as for a second load."""
        return False

    def configure(self, name: str) -> bool:
        """unconfigured to inactive."""
        return self._move_state(name, "unconfigured", "inactive")

    def unload(self, name: str) -> bool:
        """inactive to unconfigured; it stays listed and can be configured again."""
        return self._move_state(name, "inactive", "unconfigured")

    def _move_state(self, name: str, before: str, after: str) -> bool:
        controller = self.controllers.get(name)
        if controller is None or controller.state != before:
            return False
        controller.state = after
        self._changed()
        return True

    def set_hardware_state(self, target: str) -> tuple[bool, str]:
        """Bring the hardware to unconfigured, inactive or active."""
        if target not in ("unconfigured", "inactive", "active"):
            return False, f"{HARDWARE} cannot become {target[:32]!r}"
        if target == "active" and not self.may_activate():
            return False, "the robot is in error: recover first (action_server/error_recovery)"
        if target != "active":
            self._deactivate_all()
        self.hardware_state = target
        self._changed()
        return True, ""

    def _deactivate_all(self) -> None:
        for controller in self.controllers.values():
            if controller.state == "active":
                self._deactivate(controller)
        self._abort_motion()

    def fault(self) -> None:
        """The hardware has failed: nothing is active any more, and stays so."""
        self._deactivate_all()
        self.hardware_state = "unconfigured"
        self._changed()

    def move_to(self, goal: Float64, max_velocities: Float64, tolerance: float) -> Motion:
        """Drive to joint positions `(7,)` at no more than these velocities.

        Raises ValueError while a motion controller is active, and for a goal that is out of bounds.
        """
        world, robot = self._world, self._world.robot
        if self.active_motion is not None:
            raise ValueError(f"{self.active_motion.name} is active: deactivate it first")
        if not self.may_activate():
            raise ValueError("the robot is in error: recover first")
        goal, limits = np.array(goal, np.float64), np.array(max_velocities, np.float64)
        if goal.shape != (7,) or limits.shape != (7,) or not np.isfinite(goal).all():
            raise ValueError("expected 7 finite joint positions and 7 velocities")
        if ((goal < robot.position_min) | (goal > robot.position_max)).any():
            raise ValueError("the goal is outside the joint limits")
        if not ((limits > 0.0) & (limits <= robot.velocity_max)).all():
            raise ValueError("velocities must be positive and within the robot's limits")
        self._abort_motion()
        way = np.abs(goal - world.q)
        duration = max(float((way / limits).max()) * PEAK_OF_QUINTIC, 0.1)
        self._motion = Motion(goal, self._time, duration, world.q.copy(), max(tolerance, 1e-3))
        return self._motion
