"""Control steps per second of the simulated Franka: what topics cost on top of physics.

(a) bare physics under the Cartesian impedance law; (b) the Gymnasium environment in one process;
(b2) the actor's loop over it, with a policy; (c) the same loop over ROS topics, with the bridge as
a process of its own in lockstep. One control step is 0.1 s of simulated time, 40 physics steps.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass

import numpy as np
from common import fail, interleaved, median_ratio, print_json, print_table, rounded

os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 101))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import rclpy  # the domain has to be chosen first
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from sac_actor.environment import Environment, GymEnvironment
from sac_actor.franka import FrankaEnvironment
from sac_actor.loop import EnvironmentLoop
from sac_actor.parameters import RobotParameters
from sac_actor.queue import TransitionQueue
from sac_core.policy import Policy
from sac_envs.control import CartesianImpedance
from sac_envs.environment import FrankaEnv
from sac_envs.kinematics import TOOL_DOWN
from sac_envs.world import World

TASK = "pick_cube"
ENV_ID = "sac_envs:SacFranka/PickCube-v0"
PHYSICS_STEPS = 40
STEPS = 20  # control steps of one call of a unit
START_TIMEOUT = 30.0  # s


class Physics:
    """40 physics steps with the control law, towards changing targets."""

    def __init__(self) -> None:
        self._world = World()
        self._law = CartesianImpedance()
        self._law.start(self._world)
        self._random = np.random.default_rng(0)

    def run(self) -> None:
        world, law = self._world, self._law
        for _ in range(STEPS):
            target = np.array([0.5, 0.0, 0.3]) + self._random.uniform(-0.1, 0.1, 3)
            law.set_target(target, TOOL_DOWN)
            for _ in range(PHYSICS_STEPS):
                world.step(law.torques(world))


class InProcess:
    """The Gymnasium environment with random actions."""

    def __init__(self) -> None:
        self._environment = FrankaEnv(TASK)
        self._environment.action_space.seed(0)
        self._done = True

    def run(self) -> None:
        for _ in range(STEPS):
            if self._done:
                self._environment.reset(seed=None)
            action = self._environment.action_space.sample()
            _, _, terminated, truncated, _ = self._environment.step(action)
            self._done = terminated or truncated


class Loop:
    """The actor's loop over an environment, with the policy in use."""

    def __init__(self, environment: Environment) -> None:
        queue = TransitionQueue(2000, environment.observation_size, environment.action_size)
        self._loop = EnvironmentLoop(environment, queue, random_steps=0, seed=0)
        self._loop.policy = _policy(environment.observation_size, environment.action_size)

    def run(self) -> None:
        for _ in range(STEPS):
            self._loop.step()


def _policy(observation_size: int, action_size: int) -> Policy:
    """A policy that was never trained, of the usual size."""
    rng, tensors, into = np.random.default_rng(0), {}, observation_size
    sizes = {"hidden.0": 256, "hidden.1": 256, "mean": action_size, "log_std": action_size}
    for name, out in sizes.items():
        tensors[f"{name}.weight"] = rng.normal(0, 0.05, (out, into)).astype(np.float32)
        tensors[f"{name}.bias"] = np.zeros(out, np.float32)
        into = 256
    return Policy(tensors, version=1)


@dataclass(frozen=True)
class Robot(RobotParameters):
    """The parameters of an actor on the task."""

    task: str = TASK


class Bridge:
    """The bridge in a process of its own, and the actor's environment on its topics."""

    def __init__(self) -> None:
        parameters = {
            "task": TASK,
            "lockstep": "true",
            "speed_factor": "0.0",
            "joint_state_rate": "10.0",
            "convenience_publish_rate": "10.0",
        }
        command = ["ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self._process = subprocess.Popen(command, start_new_session=True)
        rclpy.init()
        self._node = rclpy.create_node("sim_speed")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._spinner = threading.Thread(target=self._spin, daemon=True)
        self._spinner.start()
        self.environment = FrankaEnvironment(self._node, Robot(), lambda: True)
        deadline = time.monotonic() + START_TIMEOUT
        while self._node.count_publishers("franka/joint_states") == 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.close()
                fail("the bridge did not start; its lines are above")
            time.sleep(0.05)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """End the process and ROS."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            self._process.wait()
        self.environment.close()
        self._executor.shutdown()
        self._spinner.join(5.0)
        rclpy.try_shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds in all")
    repeats, seconds = (2, 1.0) if parser.parse_args().quick else (5, 4.0)
    bridge = Bridge()
    try:
        units = {
            "physics and control law": Physics().run,
            "environment": InProcess().run,
            "actor's loop, one process": Loop(GymEnvironment(ENV_ID)).run,
            "actor and bridge over topics": Loop(bridge.environment).run,
        }
        calls = interleaved(units, repeats, seconds)
    finally:
        bridge.close()
    rates = {name: [STEPS * rate for rate in of_unit] for name, of_unit in calls.items()}
    last = "actor and bridge over topics"
    table = [
        [name, f"{statistics.median(r):.0f}", f"{median_ratio(rates[last], r):.2f}"]
        for name, r in rates.items()
    ]
    print_table(["", "control steps/s", "topics' share"], table)
    lockstep = statistics.median(rates[last])
    print_json(
        {
            "lockstep_steps_per_second": rounded(lockstep),
            "lockstep_share_of_loop": rounded(
                median_ratio(rates[last], rates["actor's loop, one process"])
            ),
            "times_real_time": rounded(lockstep / 10.0),
            "steps_per_second": {k: rounded(statistics.median(r)) for k, r in rates.items()},
        },
        threads=1,
    )


if __name__ == "__main__":
    main()
