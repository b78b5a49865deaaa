"""The simulated robot as one thing: world, hand, controllers, faults and one clock. No ROS in here.

One thread steps it. Others ask for what they want done through `call`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from franka_sim_bridge.controllers import ControllerManager
from franka_sim_bridge.faults import Faults
from franka_sim_bridge.readings import ExternalTorques
from sac_envs.gripper import Gripper
from sac_envs.robots import HAND, HOME, Float64, Robot
from sac_envs.task import Pose, Task, start_positions
from sac_envs.world import PHYSICS_STEP, World

T = TypeVar("T")
LISTEN_PERIOD = 0.02  # s of simulated time between two calls of the listeners


class Simulation:
    """A world with its robot, whose time only ever goes forward.

    Time is counted in whole physics steps, so that stamps are exact and the same in every run.
    """

    def __init__(
        self,
        task: Task,
        robot: Robot,
        physics_step: float = PHYSICS_STEP,
        *,
        motion_controller: str = "cartesian_impedance_controller",
        thresholds: str = "franka",
        strict_motion_generators: bool = False,
        visuals: str = "primitive",
        state_broadcaster: bool = True,
    ) -> None:
        self.task = task
        self.robot = robot
        self.world = World(robot, task.objects, physics_step, visuals)
        self.gripper = Gripper(self.world)
        self.manager = ControllerManager(
            self.world,
            robot,
            active=motion_controller,
            strict_motion_generators=strict_motion_generators,
            state_broadcaster=state_broadcaster,
        )
        self.external = ExternalTorques(self.world)
        self.faults = Faults(self.world, robot, self.external, thresholds)
        self.manager.may_activate = lambda: self.faults.clear
        self.manager.raise_error = self.faults.raise_error
        self.faults.moving = lambda: self.manager.active_motion is not None
        self.faults.on_fault.append(self.manager.fault)
        self.goals: dict[str, Pose] = {}  # of the running episode: poses without a body
        self.listeners: list[Callable[[], None]] = []
        self.wake: Callable[[], None] = lambda: None  # called when a job waits for the simulation
        self.step_ns = round(physics_step * 1e9)
        self.steps = 0  # physics steps since the beginning, over all resets
        self._listen_steps = max(1, round(LISTEN_PERIOD / physics_step))
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._thread = threading.get_ident()
        self._ended = False

    @property
    def time_ns(self) -> int:
        """Simulated time in ns."""
        return self.steps * self.step_ns

    @property
    def time(self) -> float:
        """Simulated time in s."""
        return self.steps * self.step_ns * 1e-9

    def step(self) -> None:
        """Advance by one physics step."""
        self.gripper.update()
        time = self.steps * self.step_ns * 1e-9
        self.world.step(self.manager.torques(time))
        self.faults.check(time)
        self._advance()

    def _advance(self) -> None:
        self.steps += 1
        if self.steps % self._listen_steps == 0:
            for listener in self.listeners:
                listener()

    def reset_episode(self, seed: int) -> None:
        """Begin the episode that the task draws from `seed`; time goes on by one physics step.

        The same seed and the same commands afterwards give the same states, bit by bit. A fault
        stays: it is the robot's, not the episode's. Raises ValueError when the start is out of
        reach.
        """
        start = self.task.start(np.random.default_rng(seed))
        q = start_positions(self.task, start, self.robot.robot_type)
        bodies = {name: start.objects[name] for name in self.world.object_names}
        self.goals = {name: start.objects[name] for name in self.task.goals}
        self._reset(q, start.gripper_width, bodies)

    def reset_world(self) -> None:
        """Arm at home, hand open, objects where the task describes them; the goals stay."""
        self._reset(np.array(HOME), HAND.width_max, {})

    def _reset(self, q: Float64, width: float, objects: dict[str, Pose]) -> None:
        self.world.reset(q, width, objects)
        self.gripper.reset()
        self.manager.reset()
        self.external.reset()
        self._advance()

    def object_poses(self) -> dict[str, Pose]:
        """Poses of all objects and goals by name."""
        return {**self.world.object_poses(), **self.goals}

    # Jobs of other threads.

    def call(self, job: Callable[[], T]) -> T:
        """Run `job` on the simulation's thread between two physics steps, and return its result.

        Raises what `job` raises. Once the simulation has ended, jobs run where they are asked for.
        """
        if self._ended or threading.get_ident() == self._thread:
            return job()
        future: Future[T] = Future()
        self._jobs.put((job, future))
        self.wake()
        if self._ended:
            self.run_jobs()
        return future.result()

    def run_jobs(self) -> None:
        """Run what `call` has queued; the thread that calls this is the simulation's."""
        self._thread = threading.get_ident()
        while True:
            try:
                job, future = self._jobs.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(job())
            except Exception as error:  # it is raised again where the job was asked for
                future.set_exception(error)

    @property
    def has_jobs(self) -> bool:
        """Whether `run_jobs` would do anything."""
        return not self._jobs.empty()

    def end(self) -> None:
        """Nobody steps any more: do what is left to do, so that nobody waits for it."""
        self._ended = True
        self.run_jobs()
