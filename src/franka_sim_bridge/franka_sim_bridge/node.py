"""The node that stands for robot, controller_manager and gripper: a simulation behind their topics.

The simulation runs on the main thread; services and actions are served on the executor's thread
and hand what they want done to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from mujoco_ros2_control_msgs.srv import ResetWorld, SetPause, StepSimulation
from rclpy.parameter import Parameter

from franka_sim_bridge.commands import Commands
from franka_sim_bridge.faults import GUIDING, KINDS, PRESETS, USER_STOPPED
from franka_sim_bridge.interface import Interface
from franka_sim_bridge.publishers import StatePublishers
from franka_sim_bridge.robot_services import MODES
from franka_sim_bridge.simulation import Simulation
from sac_envs.menagerie import MenagerieUnavailable
from sac_envs.robots import ROBOTS
from sac_envs.tasks import TASKS, make_task
from sac_envs.world import PHYSICS_STEP, VISUALS
from sac_msgs.srv import ResetEpisode
from sac_ros import node
from sac_ros.parameters import NodeParameters, UserError, parameter

CATCH_UP = 0.1  # s of wall time that a delayed simulation tries to make good
MOST_STEPS = 100_000  # physics steps of one call
SLICE = 0.01  # s of wall time after which the simulation looks for jobs and signals
HELD = (USER_STOPPED, GUIDING)  # modes that a person ends
INJECTIONS = (
    "fault",
    "drop_joint_states",
    "freeze_joint_states",
    "state_latency",
    "drop_object_poses",
    "reactivation_delay",
)


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the bridge."""

    task: str = parameter("pick_cube", "Task whose objects are there", choices=tuple(TASKS))
    robot_type: str = parameter("fr3", "Arm", choices=tuple(ROBOTS))
    arm_prefix: str = parameter("", "Before the names of joints, links and hardware, with _")
    load_gripper: bool = parameter(True, "Whether the hand's topics and actions are there")
    load_franka_robot_state_broadcaster: bool = parameter(
        True, "Whether that controller and its topics are there"
    )
    seed: int = parameter(0, "Seed of the first episode's start", minimum=0)
    physics_step: float = parameter(
        PHYSICS_STEP, "Simulated s per physics step", minimum=0.0005, maximum=0.004
    )
    speed_factor: float = parameter(
        1.0, "Simulated s per s, 0 = as fast as possible", minimum=0.0, maximum=1000.0, live=True
    )
    lockstep: bool = parameter(
        False, "Simulate one control period per motion command, and wait for the next command"
    )
    lockstep_timeout: float = parameter(
        1.0, "s without a command after which lockstep runs on in real time", minimum=0.01
    )
    control_rate: float = parameter(
        10.0, "Control periods per simulated s in lockstep", minimum=0.1, maximum=1000.0
    )
    joint_state_rate: float = parameter(
        100.0, "Hz of franka/joint_states, up to 1 / physics_step", minimum=1.0, maximum=2000.0
    )
    convenience_publish_rate: float = parameter(
        100.0, "Hz of poses, wrenches and objects", minimum=1.0, maximum=1000.0
    )
    robot_state_rate: float = parameter(
        30.0, "Hz of franka_robot_state_broadcaster/robot_state", minimum=0.0, maximum=1000.0
    )
    marker_rate: float = parameter(5.0, "Hz of markers, 0 = none", minimum=0.0, maximum=30.0)
    camera_rate: float = parameter(
        0.0, "Hz of camera/image_raw, 0 = none", minimum=0.0, maximum=60.0
    )
    visuals: str = parameter(
        "primitive",
        "Looks of the arm in the camera; menagerie: its meshes, downloaded once",
        choices=VISUALS,
    )
    motion_controller: str = parameter(
        "cartesian_impedance_controller",
        "Motion controller that is active at the start",
        choices=(
            "cartesian_impedance_controller",
            "joint_trajectory_controller",
            "joint_velocity_controller",
            "joint_effort_controller",
            "joint_position_controller",
        ),
    )
    collision_thresholds: str = parameter(
        "learning", "Collision thresholds at the start", choices=tuple(PRESETS)
    )
    strict_motion_generators: bool = parameter(
        False, "Steps of position and velocity commands raise the robot's discontinuity errors"
    )
    fault: str = parameter(
        "none",
        "Inject a fault, once for each time it is set",
        choices=(
            "none",
            *KINDS,
            "user_stop",
            "release_user_stop",
            "guiding",
            "release_guiding",
            "nan_joint_states",
        ),
        live=True,
    )
    drop_joint_states: bool = parameter(
        False, "Inject: franka/joint_states falls silent", live=True
    )
    freeze_joint_states: bool = parameter(
        False, "Inject: franka/joint_states with old values and fresh stamps", live=True
    )
    state_latency: float = parameter(
        0.0, "Inject: s by which state is published late", minimum=0.0, maximum=5.0, live=True
    )
    drop_object_poses: bool = parameter(
        False, "Inject: the poses of objects and goals fall silent", live=True
    )
    reactivation_delay: float = parameter(
        0.0,
        "Inject: s that set_hardware_component_state takes, and all services with it",
        minimum=0.0,
        maximum=60.0,
        live=True,
    )


class Bridge(node.SacNode[Parameters]):
    """A simulated Franka with the interface of franka_ros2 and ros2_control."""

    simulation: Simulation  # while configured

    def __init__(self) -> None:
        super().__init__("franka_sim_bridge", Parameters)
        self._armed = False  # in lockstep: whether time waits for commands
        self._reference = (0.0, 0)  # wall time and simulated ns that belong together
        self._rate_mark = (time.monotonic(), 0)
        self._paused = False
        self.add_post_set_parameters_callback(self._on_parameters)

    def configure(self) -> None:
        p = self.parameters
        self._tick_steps = self._steps_per_tick()
        if p.joint_state_rate > 1.0 / p.physics_step * (1 + 1e-9):
            raise UserError(
                f"joint_state_rate {p.joint_state_rate:g} Hz: expected at most one message per "
                f"physics step, {1.0 / p.physics_step:g} Hz"
            )
        try:
            self.simulation = Simulation(
                make_task(p.task),
                ROBOTS[p.robot_type].prefixed(p.arm_prefix),
                p.physics_step,
                motion_controller=p.motion_controller,
                thresholds=p.collision_thresholds,
                strict_motion_generators=p.strict_motion_generators,
                visuals=p.visuals,
                state_broadcaster=p.load_franka_robot_state_broadcaster,
            )
        except MenagerieUnavailable as error:
            raise UserError(str(error)) from error
        self.simulation.manager.warn = lambda text: self.get_logger().error(text)
        self.simulation.faults.on_fault.append(self._on_fault)
        self.simulation.reset_episode(p.seed)
        self._commands = Commands(self, self.simulation)
        self.simulation.wake = self._commands.inbox.wake
        self._state = StatePublishers(
            self,
            self.simulation,
            joint_state_rate=p.joint_state_rate,
            convenience_publish_rate=p.convenience_publish_rate,
            robot_state_rate=p.robot_state_rate,
            marker_rate=p.marker_rate,
            camera_rate=p.camera_rate,
            gripper=p.load_gripper,
        )
        self._interface = Interface(self, self.simulation, self.fail, p.load_gripper)
        self._inject({name: getattr(p, name) for name in INJECTIONS})
        self._offered = [
            self.create_service(ResetEpisode, "reset_episode", self._on_reset_episode),
            self.create_service(SetPause, "sim/set_pause", self._on_set_pause),
            self.create_service(StepSimulation, "sim/step_simulation", self._on_step),
            self.create_service(ResetWorld, "sim/reset_world", self._on_reset_world),
        ]
        how = "in lockstep" if p.lockstep else f"speed factor {p.speed_factor:g}"
        self.get_logger().info(f"Simulating {p.robot_type} with task {p.task}, {how}")

    def _steps_per_tick(self) -> int:
        p = self.parameters
        steps = 1.0 / p.control_rate / p.physics_step
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
            raise UserError(
                f"control_rate {p.control_rate:g} Hz: expected a period of whole physics steps of "
                f"{p.physics_step:g} s, got {steps:g}"
            )
        return round(steps)

    def cleanup(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.end()
            self._state.close()
            self._interface.destroy()
            self._commands.destroy()
            for service in self._offered:
                self.destroy_service(service)
            del self.simulation

    def finish(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.end()

    def interrupt(self) -> None:
        if hasattr(self, "simulation"):
            self._commands.inbox.wake()

    def _run_jobs(self) -> None:
        super()._run_jobs()
        if hasattr(self, "simulation"):
            self.simulation.run_jobs()

    # The simulation, on the main thread.

    def work(self) -> None:
        self.simulation.run_jobs()
        if self._paused:
            self._commands.inbox.wait(min(0.05, self._state.publish_standing()))
        elif self.parameters.lockstep and self._armed and self._may_be_commanded():
            self._lockstep()
        else:
            self._run_free()

    def _may_be_commanded(self) -> bool:
        """Whether anything listens to commands: without it lockstep would wait for ever."""
        return self.simulation.manager.active_motion is not None

    def _on_parameters(self, parameters: list[Parameter]) -> None:
        values = {item.name: item.value for item in parameters if item.name in INJECTIONS}
        if values and hasattr(self, "simulation"):
            self.simulation.call(lambda: self._inject(values))

    def _inject(self, values: dict[str, Any]) -> None:
        """Do what these of the fault parameters say."""
        state = self._state
        state.drop = values.get("drop_joint_states", state.drop)
        state.freeze = values.get("freeze_joint_states", state.freeze)
        state.drop_objects = values.get("drop_object_poses", state.drop_objects)
        state.outbox.latency = values.get("state_latency", state.outbox.latency)
        manager = self._interface.manager
        manager.hardware_delay = values.get("reactivation_delay", manager.hardware_delay)
        fault = values.get("fault", "none")
        if fault == "none":
            return
        self.get_logger().warning(f"Injected: {fault}")
        if fault == "nan_joint_states":
            state.nan_once = True
        else:
            self.simulation.faults.inject(fault)

    def _on_fault(self) -> None:
        errors = ", ".join(sorted(self.simulation.faults.current_errors)) or "stopped by a person"
        self.get_logger().error(
            f"Robot stopped at simulated {self.simulation.time:.3f} s: {errors}. To go on: "
            "action_server/error_recovery, then set_hardware_component_state active, then "
            "activate the broadcasters and a motion controller"
        )

    def _run_free(self) -> None:
        """Simulate until something is due, and publish it when its time has come."""
        commands, state, simulation = self._commands, self._state, self.simulation
        commands.inbox.receive()
        if self.parameters.lockstep and commands.accepted:
            self._armed = True
            return
        due, slice_ends = state.next_ns, time.monotonic() + SLICE
        while simulation.time_ns < due and not simulation.has_jobs:
            simulation.step()
            if time.monotonic() > slice_ends:
                return
        self._hold_pace()
        state.publish_due()

    def _lockstep(self) -> None:
        """Wait for a command, then simulate one control period."""
        commands = self._commands
        timeout = self.parameters.lockstep_timeout
        silent_after = time.monotonic() + timeout
        while True:
            commands.inbox.receive()
            if commands.accepted:
                self._tick()
                return
            left = silent_after - time.monotonic()
            if left <= 0.0:
                break
            commands.inbox.wait(min(left, self._state.publish_standing()))
            self.simulation.run_jobs()
            if self._paused or not self._may_be_commanded():
                return
            if not self.active.is_set():
                return
        self._armed = False
        self.get_logger().warning(
            f"Lockstep: at simulated {self.simulation.time:.4f} s no command came on "
            f"{commands.active_topic} for {timeout:g} s; running on in real time until the next one"
        )

    def _tick(self) -> None:
        """One control period, then the state at its end."""
        self._commands.accepted = 0
        simulation = self.simulation
        for _ in range(self._tick_steps):
            simulation.step()
        if self.parameters.speed_factor > 0.0:
            self._hold_pace()
        self._state.publish_all()

    def _hold_pace(self) -> None:
        """Wait until simulated time is due; commands and jobs are taken meanwhile."""
        inbox, simulation = self._commands.inbox, self.simulation
        while self.active.is_set() and (ahead := self._ahead()) > 1e-4:
            inbox.wait(ahead)
            inbox.receive()
            simulation.run_jobs()

    def _ahead(self) -> float:
        """How many s of wall time the simulation is too early."""
        factor = self.parameters.speed_factor
        if factor == 0.0:
            if not self.parameters.lockstep:
                return 0.0
            factor = 1.0  # nobody commands: lockstep runs on in real time
        wall, simulated = self._reference
        now = time.monotonic()
        ahead = (self.simulation.time_ns - simulated) / (1e9 * factor) - (now - wall)
        if not -CATCH_UP < ahead < 1.0:  # it was delayed, or the factor has changed
            self._reference = (now, self.simulation.time_ns)
            return 0.0
        return ahead

    # What comes in, on the executor thread.

    def _on_reset_episode(
        self, request: ResetEpisode.Request, response: ResetEpisode.Response
    ) -> ResetEpisode.Response:
        task = self.parameters.task
        if request.task not in ("", task):
            response.message = f"this bridge runs task {task!r}, not {request.task[:64]!r}"
            return response

        def reset() -> int:
            self._expect_may_move(response)
            self.simulation.reset_episode(request.seed)
            self._commands.inbox.discard()
            self._commands.accepted = 0
            self._armed = True
            self._state.publish_all()
            return self.simulation.time_ns

        try:
            seconds, nanoseconds = divmod(self.simulation.call(reset), 10**9)
        except ValueError as error:
            response.message = str(error)
            return response
        response.success = True
        response.stamp = Time(sec=seconds, nanosec=nanoseconds)
        return response

    def _expect_may_move(self, response: ResetEpisode.Response) -> None:
        """As `robot_reset` on a robot: ValueError if it would have to refuse."""
        faults = self.simulation.faults
        if faults.robot_mode in HELD:
            response.stopped_by = ResetEpisode.Response.PERSON
            raise ValueError(f"the robot is not free: {MODES[faults.robot_mode]}")
        if not faults.clear:
            response.stopped_by = ResetEpisode.Response.ROBOT
            raise ValueError(f"the robot has stopped: {', '.join(sorted(faults.current_errors))}")

    def _on_set_pause(
        self, request: SetPause.Request, response: SetPause.Response
    ) -> SetPause.Response:
        def pause() -> None:
            self._paused = bool(request.paused)

        self.simulation.call(pause)
        response.success = True
        response.message = "paused" if request.paused else "running"
        return response

    def _on_step(
        self, request: StepSimulation.Request, response: StepSimulation.Response
    ) -> StepSimulation.Response:
        def step() -> str:
            if not self._paused:
                return "not paused: call sim/set_pause first"
            if not 0 < request.steps <= MOST_STEPS:
                return f"steps: expected 1 to {MOST_STEPS}, got {request.steps}"
            self._commands.inbox.receive()
            for _ in range(request.steps):
                self.simulation.step()
            self._state.publish_all()
            return ""

        response.message = self.simulation.call(step)
        response.success = not response.message
        return response

    def _on_reset_world(
        self, request: ResetWorld.Request, response: ResetWorld.Response
    ) -> ResetWorld.Response:
        overrides = request.state_overrides
        if request.keyframe not in ("", "home"):
            response.message = f"no keyframe {request.keyframe[:32]!r}: expected home"
        elif overrides.joint_states.name or overrides.free_joints:
            response.message = "state_overrides are not supported: expected none"
        else:
            self.simulation.call(self._reset_world)
            response.success = True
        return response

    def _reset_world(self) -> None:
        self.simulation.reset_world()
        self._state.publish_all()

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        if not hasattr(self, "simulation"):
            return DiagnosticStatus.WARN, "not configured", {}
        then, steps = self._rate_mark
        now = time.monotonic()
        speed = (self.simulation.steps - steps) * self.parameters.physics_step / (now - then)
        self._rate_mark = (now, self.simulation.steps)
        values: dict[str, object] = {
            "simulated_time": f"{self.simulation.time:.4f}",
            "speed": f"{speed:.2f}",
            "lockstep": "waiting for commands" if self._armed else "off",
        }
        faults = self.simulation.faults
        values["robot_mode"] = faults.robot_mode
        if not faults.clear:
            errors = ", ".join(sorted(faults.current_errors)) or "stopped by a person"
            return DiagnosticStatus.ERROR, errors, values
        return DiagnosticStatus.OK, "paused" if self._paused else "simulating", values


def main() -> None:
    """Entry point of `ros2 run franka_sim_bridge franka_sim_bridge`."""
    node.main(Bridge, "franka_sim_bridge")
