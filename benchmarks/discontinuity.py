"""How near random policies come to the robot's limits, through each command adapter and without it.

The actor's own filter and adapters get the actions of random policies (uniform, bang-bang, steps,
smooth) at 10, 20 and 50 Hz. What they send arrives late, and a controller makes of it what the
robot gets every millisecond, with the gains of config/controllers.yaml, on a simulated arm:

* joint_trajectory: the controller's spline, and its PID on effort. Velocity, acceleration and jerk
  are the spline's.
* joint_velocity: the newest command, held. Velocity, acceleration and jerk are the command's.
* cartesian_impedance: filter, error clip, stiffness and torque-rate saturation of CRISP. There is
  no joint reference: velocity, acceleration and jerk are those with which the joints move.

Each is given as the largest share of the FR3's limit, and so is the rate of the torques. Beside it
the same policies without shaping: each command goes out as one step.

    make bench B=discontinuity
    make bench B=discontinuity ARGS="--plot docs/discontinuity.png"
"""

from __future__ import annotations

import argparse
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
import yaml
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from franka_sim_bridge.commands import points_of
from franka_sim_bridge.motion_controllers import JointTrajectoryController
from sac_actor.commands import ADAPTERS, SECOND, CommandAdapter, Target
from sac_actor.safety import SafetyFilter, Workspace
from sac_actor.stream import Stream
from sac_envs.control import CartesianImpedance, JointImpedance, JointVelocity, Law
from sac_envs.gains import CartesianGains
from sac_envs.kinematics import (
    TOOL_DOWN,
    forward,
    inverse,
    quaternion_to_rotation,
    rotation_to_quaternion,
)
from sac_envs.robots import FR3, HAND, HOME, Float64
from sac_envs.task import RobotState
from sac_envs.tasks.reach import Reach
from sac_envs.world import World
from sac_ros.robot_input import Joints

ROOT = Path(__file__).resolve().parents[1]
CYCLE = 1_000_000  # ns of the robot's interface
EPISODE = 10.0  # s
STREAM_RATE = 500.0  # Hz, the actor's default
THINKING = (0.001, 0.006)  # s from a state to the command that answers it
TRANSPORT = (0.0003, 0.0025)  # s on the way to the controller
RATES = (10.0, 20.0, 50.0)  # Hz of the policy
ABOVE_TABLE = (-1.0, -1.0, 0.06)  # m: a contact is not the adapters' doing
QUANTITIES = ("velocity", "acceleration", "jerk", "torque_rate")


def configuration(controller: str) -> dict[str, Any]:
    """The parameters of a controller in config/controllers.yaml."""
    text = (ROOT / "config" / "controllers.yaml").read_text().replace("$(var arm)", "fr3")
    parameters: dict[str, Any] = yaml.safe_load(text)["/**"][controller]["ros__parameters"]
    return parameters


# Policies: each yields one action (3,) in [-1, 1] after another.


def uniform(random: np.random.Generator, rate: float) -> Iterator[Float64]:
    """Another action each time."""
    while True:
        yield random.uniform(-1.0, 1.0, 3)


def bang_bang(random: np.random.Generator, rate: float) -> Iterator[Float64]:
    """Full speed one way or the other, along each axis."""
    while True:
        yield random.choice((-1.0, 1.0), 3)


def steps(random: np.random.Generator, rate: float) -> Iterator[Float64]:
    """An action that is held for 0.1 to 1 s."""
    while True:
        action = random.uniform(-1.0, 1.0, 3)
        yield from itertools.repeat(action, max(1, round(random.uniform(0.1, 1.0) * rate)))


def smooth(random: np.random.Generator, rate: float) -> Iterator[Float64]:
    """Sines of 0.2 to 1 Hz."""
    frequency, phase = random.uniform(0.2, 1.0, 3), random.uniform(0.0, 2.0 * np.pi, 3)
    for step in itertools.count():
        yield np.sin(2.0 * np.pi * frequency * step / rate + phase)


POLICIES = (uniform, bang_bang, steps, smooth)


# Controllers at 1 kHz.


class Controller:
    """What the robot's own millisecond brings: torques, and how the joints are to move."""

    law: Law

    def start(self, world: World, time: float) -> None:
        """Take over where the arm is."""
        self.law.start(world)

    def read(self, message: Any) -> Any:
        """What a message says; its sender may use it again."""
        raise NotImplementedError

    def take(self, said: Any) -> None:
        """A message has arrived."""
        raise NotImplementedError

    def torques(self, world: World, time: float) -> Float64:
        """Torques `(7,)` of this cycle."""
        return self.law.torques(world)

    def velocity(self, world: World) -> Float64:
        """Joint velocities `(7,)` that are to be judged."""
        raise NotImplementedError


class Trajectory(Controller):
    """The bridge's joint_trajectory_controller, which has the splines of ros2_controllers."""

    def __init__(self) -> None:
        gains = configuration("joint_trajectory_controller")["gains"]
        self._controller = JointTrajectoryController("joint_trajectory_controller", FR3)
        self._controller.state = "active"
        self._controller.law = JointImpedance(
            np.array([gains[joint]["p"] for joint in FR3.joint_names]),
            np.array([gains[joint]["d"] for joint in FR3.joint_names]),
        )

    def start(self, world: World, time: float) -> None:
        self._controller.start(world, time)

    def read(self, message: JointTrajectory) -> dict[str, Any]:
        return points_of(message)

    def take(self, said: dict[str, Any]) -> None:
        refusal = self._controller.trajectory(**said)
        if refusal is not None:
            common.fail(refusal)

    def torques(self, world: World, time: float) -> Float64:
        return self._controller.torques(world, time)

    def velocity(self, world: World) -> Float64:
        return self._controller.reference_velocity


class Velocity(Controller):
    """joint_velocity_controller, and the robot's own loop under it."""

    def __init__(self) -> None:
        self.law = self._law = JointVelocity()

    def read(self, message: Float64MultiArray) -> Float64:
        return np.array(message.data)

    def take(self, said: Float64) -> None:
        self._law.target_velocity = said

    def velocity(self, world: World) -> Float64:
        return self._law.target_velocity


class Crisp(Controller):
    """CRISP's controller: the target passes a first-order filter."""

    def __init__(self) -> None:
        given = configuration("cartesian_impedance_controller")
        task, clip = given["task"], given["task"]["error_clip"]
        self._kept = given["filter"]["target_pose"]
        self.law = self._law = CartesianImpedance(
            CartesianGains(
                k_pos=task["k_pos_x"],
                k_rot=task["k_rot_x"],
                damping_ratio=task["d_pos_x"] / (2.0 * np.sqrt(task["k_pos_x"])),
                clip_pos=clip["x"],
                clip_rot=clip["rx"],
                k_null=given["nullspace"]["stiffness"],
                d_null=given["nullspace"]["damping"],
                torque_rate=given["max_delta_tau"] * 1e3,
            )
        )

    def start(self, world: World, time: float) -> None:
        self._law.start(world)
        self._position = self._filtered = world.tcp_position.copy()
        self._rotation = world.tcp_rotation.copy()

    def read(self, message: PoseStamped) -> tuple[Float64, Float64]:
        p, o = message.pose.position, message.pose.orientation
        rotation = quaternion_to_rotation(np.array([o.x, o.y, o.z, o.w]))
        return np.array([p.x, p.y, p.z]), rotation

    def take(self, said: tuple[Float64, Float64]) -> None:
        self._position, self._rotation = said

    def torques(self, world: World, time: float) -> Float64:
        self._filtered = self._kept * self._filtered + (1.0 - self._kept) * self._position
        self._law.set_target(self._filtered, self._rotation)
        return self._law.torques(world)

    def velocity(self, world: World) -> Float64:
        return world.dq


CONTROLLERS: dict[str, type[Controller]] = {
    "joint_trajectory": Trajectory,
    "joint_velocity": Velocity,
    "cartesian_impedance": Crisp,
}


class Steps:
    """Stands where `Stream` does, and sends each command as one step."""

    def __init__(self, adapter: str, publish: Callable[[Any], None], period: float) -> None:
        self._message = {
            "cartesian_impedance": self._pose,
            "joint_trajectory": self._point,
            "joint_velocity": self._velocity,
        }[adapter]
        self._publish = publish
        self._period = period

    def begin(self, state: RobotState, joints: Joints) -> None:
        """Nothing to prepare."""

    def time_passed(self, stamp: int) -> None:
        """It does not matter."""

    def advance(self) -> None:
        """Nothing is sent between two ticks."""

    def hold(self) -> None:
        """The last command stays, but for velocities."""
        if self._message == self._velocity:
            self._publish(Float64MultiArray(data=[0.0] * 7))

    def send(self, target: Target) -> None:
        """One message, for one control period."""
        self._publish(self._message(target))

    def _pose(self, target: Target) -> PoseStamped:
        command = target.command
        message = PoseStamped()
        p, o = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = command.position.tolist()
        o.x, o.y, o.z, o.w = rotation_to_quaternion(command.rotation).tolist()
        return message

    def _point(self, target: Target) -> JointTrajectory:
        goal = target.joints.q + target.displacement
        point = JointTrajectoryPoint(positions=goal.tolist())
        point.time_from_start.nanosec = round(self._period * SECOND)
        return JointTrajectory(joint_names=list(FR3.joint_names), points=[point])

    def _velocity(self, target: Target) -> Float64MultiArray:
        return Float64MultiArray(data=(target.displacement / self._period).tolist())


class Wire:
    """Messages on their way to a controller: late, and in order."""

    def __init__(self, controller: Controller, random: np.random.Generator) -> None:
        self._controller = controller
        self._random = random
        self._under_way: deque[tuple[int, Any]] = deque()
        self.now = 0  # ns

    def publish(self, message: Any) -> None:
        """Send a message."""
        arrival = self.now + round(self._random.uniform(*TRANSPORT) * SECOND)
        if self._under_way:
            arrival = max(arrival, self._under_way[-1][0])
        self._under_way.append((arrival, self._controller.read(message)))

    def deliver(self) -> None:
        """Give the controller the newest of what has arrived: it keeps one."""
        said = None
        while self._under_way and self._under_way[0][0] <= self.now:
            _, said = self._under_way.popleft()
        if said is not None:
            self._controller.take(said)


class Record(NamedTuple):
    """One episode, a row each millisecond."""

    velocity: Float64  # (n, 7) rad/s
    torque: Float64  # (n, 7) N·m
    outside: float  # m, the farthest that the tool was outside its workspace

    def shares(self) -> Float64:
        """The largest shares of the limits `(4,)`, in the order of QUANTITIES."""
        acceleration = np.diff(self.velocity, axis=0) * 1e3
        jerk = np.diff(acceleration, axis=0) * 1e3
        torque_rate = np.diff(self.torque, axis=0) * 1e3
        of = (
            (self.velocity, FR3.velocity_max),
            (acceleration, FR3.acceleration_max),
            (jerk, FR3.jerk_max),
            (torque_rate, FR3.torque_rate_max),
        )
        return np.array([float((np.abs(rows) / limit).max()) for rows, limit in of])


class Arm:
    """A simulated arm at 1 kHz that does a task under random actions."""

    def __init__(self, adapter: str, rate: float, shaped: bool) -> None:
        self.world = World(FR3, (), CYCLE / SECOND)
        self.task = Reach()
        self.adapter, self.shaped = adapter, shaped
        self.period = round(SECOND / rate)
        self.safety = SafetyFilter(
            FR3,
            Workspace.of(self.task, ABOVE_TABLE, (1.0, 1.0, 1.0)),
            max_distance=self.task.action_scale,
            period=self.period / SECOND,
        )

    def episode(self, actions: Iterator[Float64], seed: int, seconds: float) -> Record:
        """Act, and hold in the last second."""
        random = np.random.default_rng(seed)
        controller = CONTROLLERS[self.adapter]()
        wire = Wire(controller, random)
        sender = self._sender(wire)
        self._start(random)
        controller.start(self.world, 1.0)
        cycles = round(seconds * SECOND / CYCLE)
        velocity, torque = np.empty((cycles, 7)), np.empty((cycles, 7))
        interval = round(SECOND / STREAM_RATE)
        answer: tuple[int, Target] | None = None
        outside = 0.0
        for cycle in range(cycles):
            wire.now = now = SECOND + cycle * CYCLE  # a stamp of 0 would mean now
            sender.time_passed(now)
            if now % self.period == 0 and cycle < cycles - 1000:
                state, joints = self._state(now)
                if cycle == 0:
                    self.safety.begin()
                    sender.begin(state, joints)
                outside = max(outside, self._outside(state))
                thinking = round(random.uniform(*THINKING) * SECOND / CYCLE) * CYCLE
                answer = now + thinking, self._answer(state, joints, next(actions))
            if answer is not None and now == answer[0]:
                sender.send(answer[1])
                answer = None
            if cycle == cycles - 1000:
                sender.hold()
            if now % interval == 0:
                sender.advance()
            wire.deliver()
            torque[cycle] = controller.torques(self.world, now / SECOND)
            velocity[cycle] = controller.velocity(self.world)
            self.world.step(torque[cycle])
        return Record(velocity, torque, outside)

    def _sender(self, wire: Wire) -> Stream | Steps:
        if not self.shaped:
            return Steps(self.adapter, wire.publish, self.period / SECOND)
        adapter: CommandAdapter = ADAPTERS[self.adapter](
            wire.publish, FR3, self.safety.workspace, STREAM_RATE
        )
        return Stream(
            adapter, self.period, STREAM_RATE, clock=lambda: wire.now / SECOND, threaded=False
        )

    def _start(self, random: np.random.Generator) -> None:
        box = self.safety.workspace
        q, error = inverse(FR3, random.uniform(box.low, box.high), TOOL_DOWN, np.array(HOME))
        assert error < 0.01
        self.world.reset(q, HAND.width_max, {})

    def _state(self, now: int) -> tuple[RobotState, Joints]:
        world = self.world
        joints = Joints(now, world.q.copy(), world.dq.copy())
        position, rotation = world.tcp_position.copy(), world.tcp_rotation.copy()
        state = RobotState(now / SECOND, position, rotation, np.zeros(6), 0.08, False, {})
        return state, joints

    def _answer(self, state: RobotState, joints: Joints, action: Float64) -> Target:
        _, _, jacobian = forward(joints.q)
        command = self.task.command(state, self.safety.action(action.astype(np.float32)))
        command, displacement = self.safety.filter(command, state, joints.q, jacobian)
        return Target(command, displacement, joints)

    def _outside(self, state: RobotState) -> float:
        box, here = self.safety.workspace, state.tool_position
        return float(np.maximum(box.low - here, here - box.high).max())


def largest(adapter: str, rate: float, shaped: bool, seconds: float) -> tuple[Float64, float]:
    """The largest shares `(4,)` over all policies, `seconds` for each, and the farthest way out."""
    arm = Arm(adapter, rate, shaped)
    shares, outside = np.zeros(4), 0.0
    length = min(EPISODE, seconds)
    for number, policy in enumerate(POLICIES):
        for episode in range(round(seconds / length)):
            seed = 1000 * number + episode
            actions = policy(np.random.default_rng(seed), rate)
            record = arm.episode(actions, seed, length)
            shares, outside = np.maximum(shares, record.shares()), max(outside, record.outside)
    return shares, outside


def draw(path: Path) -> None:
    """Two seconds of a bang-bang policy at 10 Hz: one joint, raw and shaped."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    joint, shown, policy = 3, slice(0, 2000), POLICIES[1]
    figure, axes = plt.subplots(2, len(ADAPTERS), figsize=(12, 5.5), sharex=True)
    for column, adapter in enumerate(ADAPTERS):
        for shaped, color in ((False, "tab:red"), (True, "tab:blue")):
            arm = Arm(adapter, 10.0, shaped)
            record = arm.episode(policy(np.random.default_rng(3), 10.0), 3, 4.0)
            label = "shaped" if shaped else "raw"
            for row, values in enumerate((record.velocity, record.torque)):
                lines = values[shown, joint]
                seconds = np.arange(len(lines)) * 1e-3
                axes[row, column].plot(seconds, lines, color=color, label=label, linewidth=1.1)
        moves = "as it moves" if adapter == "cartesian_impedance" else "as commanded"
        axes[0, column].set_title(f"{adapter}\nvelocity {moves}")
        axes[1, column].set_xlabel("s")
    axes[0, 0].set_ylabel(f"joint {joint + 1}, rad/s")
    axes[1, 0].set_ylabel(f"torque of joint {joint + 1}, N m")
    axes[0, 0].legend()
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="six minutes of simulated time")
    parser.add_argument("--plot", type=Path, help="draw an example into this file, and end")
    options = parser.parse_args()
    if options.plot:
        draw(options.plot)
        return
    total = 360.0 if options.quick else 3600.0
    each = total / (len(ADAPTERS) * len(RATES) * len(POLICIES))
    rows, figures = [], {}
    for shaped in (True, False):
        worst = 0.0
        for adapter, rate in itertools.product(ADAPTERS, RATES):
            shares, outside = largest(adapter, rate, shaped, each)
            worst = max(worst, float(shares.max()))
            numbers = [f"{share:.2f}" for share in shares]
            how = "shaped" if shaped else "raw"
            rows.append((adapter, f"{rate:g}", how, *numbers, f"{outside * 1e3:.0f}"))
            for quantity, share in zip(QUANTITIES, shares, strict=True):
                name = f"{how}_{adapter}_{quantity}"
                figures[name] = max(figures.get(name, 0.0), common.rounded(float(share)))
        figures["largest_share_of_limit" if shaped else "raw_largest_share_of_limit"] = (
            common.rounded(worst)
        )
    common.print_table(("share of limit", "Hz", "", *QUANTITIES, "outside (mm)"), rows)
    common.print_json({**figures, "simulated_seconds": total}, threads=1)
    if figures["largest_share_of_limit"] >= 1.0:
        common.fail("a shaped command exceeds a limit")


if __name__ == "__main__":
    main()
