"""The controllers that ros2_control gives a robot: what each takes, and its torques. No ROS here.

Each does what its counterpart of ros2_controllers, or CRISP, does with the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from franka_sim_bridge.trajectory import (
    INVALID_GOAL,
    Reference,
    Rejected,
    Trajectory,
    TrajectoryGoal,
    make_trajectory,
)
from sac_envs.control import (
    CartesianGains,
    CartesianImpedance,
    JointEffort,
    JointImpedance,
    JointVelocity,
    Law,
)
from sac_envs.robots import Float64, Robot
from sac_envs.world import World

# Of the hold, and of the robot's own position control as far as it is simulated.
STIFF_STIFFNESS = np.array([2000.0, 2000.0, 2000.0, 2000.0, 800.0, 400.0, 200.0])  # N·m/rad
STIFF_DAMPING = np.array([90.0, 90.0, 90.0, 90.0, 30.0, 20.0, 12.0])  # N·m·s/rad
GOAL_TOLERANCE = 0.02  # rad, when a goal of a trajectory names none
MILLISECOND = 1e-3  # s, the period of the robot's own interface
STATES = ("position", "velocity", "effort")


def stiff_hold() -> JointImpedance:
    """The law that holds the arm, and drives it point to point."""
    return JointImpedance(STIFF_STIFFNESS, STIFF_DAMPING)


class Controller:
    """One controller of the manager; by itself a broadcaster.

    `state` is unconfigured, inactive or active. `claimed` are the command interfaces that it needs,
    and claims while it is active.
    """

    is_motion = False

    def __init__(self, name: str, kind: str, robot: Robot, interface: str = "") -> None:
        self.name = name
        self.type = kind
        self.state = "inactive"
        self.loaded = True
        joints = robot.joint_names
        self.claimed = tuple(f"{joint}/{interface}" for joint in joints) if interface else ()
        self.required_state_interfaces = tuple(
            f"{joint}/{state}" for joint in joints for state in STATES
        )


class MotionController(Controller):
    """A controller that commands torques by a law; the manager starts and stops it."""

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
        """Desired joint positions and velocities; measured positions where there are none."""
        return world.q, np.zeros(7)


class GroupController(MotionController):
    """A number for each joint; the last command is held for ever, as ros2_controllers does.

    With `strict`, a command has to be one that the robot accepts with its rate limiters off, which
    is how franka_ros2 has them: the set-point, which stood since the last command, arrives within
    one millisecond, and velocity, acceleration and jerk that this implies must be within the
    robot's limits. Whatever a policy sends at 10 Hz is beyond them, unless it is very small (on a
    Research 3, 5e-6 rad or 0.005 rad/s). `reflex` is called with the robot's error then.
    """

    def __init__(self, name: str, kind: str, robot: Robot, interface: str, law: Law) -> None:
        super().__init__(name, kind, robot, interface, law)
        self._robot = robot
        self.strict = False
        self.broken: Callable[[str], None] = lambda reason: None  # the manager deactivates it
        self.reflex: Callable[[str], None] = lambda error: None

    def command(self, values: npt.ArrayLike) -> str | None:
        """Take a command `(7,)`; None, or why it was not taken.

        A wrong length is an error of the controller, as in ros2_controllers: it is deactivated.
        """
        if self.state != "active":
            return f"{self.name} is not active"
        array = np.array(values, np.float64)
        if array.shape != (7,):
            reason = f"{self.name}: expected 7 values, got {array.size}: controller deactivated"
            self.broken(reason)
            return reason
        if not np.isfinite(array).all():
            return f"{self.name}: values are not finite; the last command stays"
        if self.strict and (error := self._violation(array)):
            self.reflex(error)
            return f"{self.name}: {error}"
        self._set(array)
        return None

    def _set(self, values: Float64) -> None:
        raise NotImplementedError

    def _violation(self, values: Float64) -> str | None:
        """The robot's error for a set-point that it cannot take."""
        return None

    def _discontinuity(self, acceleration: Float64) -> str | None:
        if (np.abs(acceleration) > self._robot.acceleration_max).any():
            return "joint_motion_generator_velocity_discontinuity"
        if (np.abs(acceleration) / MILLISECOND > self._robot.jerk_max).any():
            return "joint_motion_generator_acceleration_discontinuity"
        return None


class JointPositionController(GroupController):
    """Joint positions in rad."""

    law: JointImpedance

    def __init__(self, name: str, robot: Robot) -> None:
        kind = "position_controllers/JointGroupPositionController"
        super().__init__(name, kind, robot, "position", stiff_hold())

    def _set(self, values: Float64) -> None:
        self.law.target = values

    def _violation(self, values: Float64) -> str | None:
        robot = self._robot
        if ((values < robot.position_min) | (values > robot.position_max)).any():
            return "joint_motion_generator_position_limits_violation"
        velocity = (values - self.law.target) / MILLISECOND
        if (np.abs(velocity) > robot.velocity_max).any():
            return "joint_motion_generator_velocity_limits_violation"
        return self._discontinuity(velocity / MILLISECOND)

    def desired(self, world: World) -> tuple[Float64, Float64]:
        return self.law.target, np.zeros(7)


class JointVelocityController(GroupController):
    """Joint velocities in rad/s."""

    law: JointVelocity

    def __init__(self, name: str, robot: Robot) -> None:
        kind = "velocity_controllers/JointGroupVelocityController"
        super().__init__(name, kind, robot, "velocity", JointVelocity())

    def _set(self, values: Float64) -> None:
        self.law.target_velocity = values

    def _violation(self, values: Float64) -> str | None:
        if (np.abs(values) > self._robot.velocity_max).any():
            return "joint_motion_generator_velocity_limits_violation"
        return self._discontinuity((values - self.law.target_velocity) / MILLISECOND)

    def desired(self, world: World) -> tuple[Float64, Float64]:
        return world.q, self.law.target_velocity


class JointEffortController(GroupController):
    """Joint torques in N·m, without gravity. Nothing before the first command: the arm floats."""

    law: JointEffort

    def __init__(self, name: str, robot: Robot) -> None:
        kind = "effort_controllers/JointGroupEffortController"
        super().__init__(name, kind, robot, "effort", JointEffort())

    def _set(self, values: Float64) -> None:
        self.law.target = values


class JointTrajectoryController(MotionController):
    """Follows joint trajectories by joint impedance: position control on effort.

    A new trajectory replaces what runs, from the reference that it has reached
    (`interpolate_from_desired_state`); after the last point the robot holds it.
    """

    law: JointImpedance

    def __init__(self, name: str, robot: Robot) -> None:
        kind = "joint_trajectory_controller/JointTrajectoryController"
        super().__init__(name, kind, robot, "effort", JointImpedance())
        self._joint_names = robot.joint_names
        self._trajectory: Trajectory | None = None
        self._goal: TrajectoryGoal | None = None
        self._world: World | None = None
        self._now = 0.0
        self.reference_acceleration = np.zeros(7)  # (7,) rad/s², what the reference does now

    @property
    def reference_position(self) -> Float64:
        """Where the joints should be now, `(7,)` rad."""
        return self.law.target

    @property
    def reference_velocity(self) -> Float64:
        """How fast they should move now, `(7,)` rad/s."""
        return self.law.target_velocity

    def start(self, world: World, time: float) -> None:
        super().start(world, time)
        self._world, self._now = world, time
        self._replace(None, None, "the controller was started anew")

    def stop(self) -> None:
        self._replace(None, None, "the controller was deactivated")

    def trajectory(
        self,
        joint_names: Sequence[str],
        times: Sequence[float],
        positions: Sequence[npt.ArrayLike],
        velocities: Sequence[npt.ArrayLike] | None = None,
        start: float | None = None,
        accelerations: Sequence[npt.ArrayLike] | None = None,
    ) -> str | None:
        """Follow these points `(n, 7)`; None, or why not, and then what runs goes on.

        `times` `(n,)` are s after `start`, a simulated time, or now if None. The joints may come in
        any order.
        """
        try:
            trajectory = self._make(joint_names, times, positions, velocities, accelerations, start)
        except Rejected as rejected:
            return f"{self.name}: {rejected}"
        self._replace(trajectory, None, "replaced by a trajectory on the topic")
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
        accelerations: Sequence[npt.ArrayLike] | None = None,
    ) -> TrajectoryGoal:
        """As `trajectory`, watched until its end; when rejected, the goal is done at once."""
        goal = TrajectoryGoal(path_tolerance, goal_tolerance, goal_time_tolerance, self._hold)
        try:
            trajectory = self._make(joint_names, times, positions, velocities, accelerations, start)
        except Rejected as rejected:
            goal.end(rejected.code, f"{self.name}: {rejected}")
        else:
            self._replace(trajectory, goal, "replaced by another goal")
        return goal

    def query(self, time: float) -> tuple[Float64, Float64]:
        """Reference position and velocity `(7,)` at a simulated time."""
        if self._trajectory is None:
            return self.law.target, self.law.target_velocity
        position, velocity, _ = self._trajectory.at(time)
        return position, velocity

    def torques(self, world: World, time: float) -> Float64:
        self._now = time
        law, trajectory = self.law, self._trajectory
        if trajectory is not None:
            law.target, law.target_velocity, self.reference_acceleration = trajectory.at(time)
            goal = self._goal
            if goal is not None:
                goal.check(time - trajectory.end, law.target, world.q, world.dq)
                if goal.done:  # a violated tolerance has dropped it already
                    self._goal = None
        return law.torques(world)

    def desired(self, world: World) -> tuple[Float64, Float64]:
        return self.law.target, self.law.target_velocity

    def _make(
        self,
        joint_names: Sequence[str],
        times: Sequence[float],
        positions: Sequence[npt.ArrayLike],
        velocities: Sequence[npt.ArrayLike] | None,
        accelerations: Sequence[npt.ArrayLike] | None,
        start: float | None,
    ) -> Trajectory:
        if self.state != "active":
            raise Rejected(INVALID_GOAL, "it is not active")
        here = Reference(
            self._now, self.law.target, self.law.target_velocity, self.reference_acceleration
        )
        return make_trajectory(
            self._joint_names,
            joint_names,
            times,
            positions,
            velocities,
            accelerations,
            start,
            here,
        )

    def _replace(
        self, trajectory: Trajectory | None, goal: TrajectoryGoal | None, reason: str
    ) -> None:
        if self._goal is not None:
            self._goal.end(INVALID_GOAL, reason)
        self._trajectory, self._goal = trajectory, goal
        if trajectory is None:
            self.reference_acceleration = np.zeros(7)

    def _hold(self) -> None:
        """Stay where the robot is; a goal has just ended early."""
        assert self._world is not None
        self._trajectory = self._goal = None
        self.reference_acceleration = np.zeros(7)
        self.law.start(self._world)


class CartesianController(MotionController):
    """Cartesian impedance that follows a target pose: the contract of CRISP's controller.

    A target or posture that comes while it is inactive is kept, as CRISP does: the controller goes
    there as soon as it is active.
    """

    law: CartesianImpedance

    def __init__(self, name: str, robot: Robot) -> None:
        kind = "crisp_controllers/CartesianController"
        super().__init__(name, kind, robot, "effort", CartesianImpedance())
        self._kept_target: tuple[Float64, Float64] | None = None
        self._kept_posture: Float64 | None = None

    def start(self, world: World, time: float) -> None:
        super().start(world, time)
        if self._kept_target is not None:
            self.law.set_target(*self._kept_target)
        if self._kept_posture is not None:
            self.law.posture = self._kept_posture
        self._kept_target = self._kept_posture = None

    def set_gains(self, gains: CartesianGains) -> None:
        """Take other gains from the next step on."""
        self.law.set_gains(gains)

    def target(self, position: npt.ArrayLike, rotation: npt.ArrayLike) -> str | None:
        """New target of the tool: `(3,)` in m and `(3, 3)`; None, or why it was not taken."""
        p, r = np.array(position, np.float64), np.array(rotation, np.float64)
        if p.shape != (3,) or r.shape != (3, 3):
            return f"{self.name}: expected a position (3,) and a rotation (3, 3)"
        if not (np.isfinite(p).all() and np.isfinite(r).all()):
            return f"{self.name}: the target is not finite"
        if self.state == "active":
            self.law.set_target(p, r)
        else:
            self._kept_target = (p, r)
        return None

    def target_joint(self, positions: npt.ArrayLike) -> str | None:
        """New posture `(7,)` in rad for the null space, by index; None, or why not."""
        array = np.array(positions, np.float64)
        if array.shape != (7,) or not np.isfinite(array).all():
            return f"{self.name}: expected 7 finite joint positions"
        if self.state == "active":
            self.law.posture = array
        else:
            self._kept_posture = array
        return None
