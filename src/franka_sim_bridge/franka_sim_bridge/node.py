"""The node that stands for robot, controller_manager and gripper: a simulation behind their topics.

The simulation runs on the main thread; services and actions are served on the executor's thread
and hand what they want done to it.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from franka_sim_bridge.commands import Commands
from franka_sim_bridge.publishers import StatePublishers
from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import ROBOTS
from sac_envs.tasks import TASKS, make_task
from sac_envs.world import PHYSICS_STEP
from sac_msgs.srv import ResetEpisode
from sac_ros import node
from sac_ros.parameters import NodeParameters, UserError, parameter

CATCH_UP = 0.1  # s of wall time that a delayed simulation tries to make good
SLICE = 0.01  # s of wall time after which the simulation looks for jobs and signals


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the bridge."""

    task: str = parameter("pick_cube", "Task whose objects are there", choices=tuple(TASKS))
    robot_type: str = parameter("fr3", "Arm", choices=tuple(ROBOTS))
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


class Bridge(node.SacNode[Parameters]):
    """A simulated Franka with the interface of franka_ros2 and ros2_control."""

    simulation: Simulation  # while configured

    def __init__(self) -> None:
        super().__init__("franka_sim_bridge", Parameters)
        self._armed = False  # in lockstep: whether time waits for commands
        self._reference = (0.0, 0)  # wall time and simulated ns that belong together
        self._rate_mark = (time.monotonic(), 0)

    def configure(self) -> None:
        p = self.parameters
        self._tick_steps = self._steps_per_tick()
        if p.joint_state_rate > 1.0 / p.physics_step * (1 + 1e-9):
            raise UserError(
                f"joint_state_rate {p.joint_state_rate:g} Hz: expected at most one message per "
                f"physics step, {1.0 / p.physics_step:g} Hz"
            )
        self.simulation = Simulation(make_task(p.task), ROBOTS[p.robot_type], p.physics_step)
        self.simulation.reset_episode(p.seed)
        self._commands = Commands(self, self.simulation)
        self.simulation.wake = self._commands.inbox.wake
        self._state = StatePublishers(
            self, self.simulation, p.joint_state_rate, p.convenience_publish_rate
        )
        self._services = [
            self.create_service(ResetEpisode, "reset_episode", self._on_reset_episode)
        ]
        gc.collect()
        gc.freeze()  # a full collection would look at half a million objects in mid-tick
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
            self.simulation.close()
            self._commands.destroy()
            for service in self._services:
                self.destroy_service(service)
            del self.simulation

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
        if self.parameters.lockstep and self._armed:
            self._lockstep()
        else:
            self._run_free()

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
            commands.inbox.wait(min(left, self._state.publish_clock()))
            self.simulation.run_jobs()
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
        return DiagnosticStatus.OK, "simulating", values


def main() -> None:
    """Entry point of `ros2 run franka_sim_bridge franka_sim_bridge`."""
    node.main(Bridge, "franka_sim_bridge")
