"""Control steps per second of the simulated Franka: bare, in one process, and behind its topics.

* physics: the world of pick_cube under the Cartesian impedance law, 40 physics steps each.
* environment: the same as a Gymnasium environment, with random actions.
* in-process loop: the actor's own loop (policy of two 256-unit layers, queue) over the same.
* lockstep: that loop over ROS topics, the simulation being franka_sim_bridge in a process of its
  own that waits for the command of each control step.

Resets of episodes are included from "environment" on.

    make bench B=sim_speed
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import threading
from collections.abc import Callable

import common
import gymnasium
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from sac_actor.behaviour import Learnt
from sac_actor.environment import Environment, GymEnvironment
from sac_actor.franka import FrankaEnvironment
from sac_actor.loop import EnvironmentLoop
from sac_actor.parameters import RobotParameters
from sac_actor.queue import TransitionQueue
from sac_core.policy import Policy
from sac_envs.control import CartesianImpedance
from sac_envs.robots import FR3
from sac_envs.tasks import make_task
from sac_envs.world import PHYSICS_STEP, World

TASK, ENVIRONMENT = "pick_cube", "SacFranka/PickCube-v0"
HIDDEN = 256
PHYSICS, GYM, LOOP, LOCKSTEP = "physics", "environment", "in-process loop", "lockstep"


def physics() -> Callable[[], object]:
    """One control period of the world under its control law."""
    task = make_task(TASK)
    world, law = World(FR3, task.objects), CartesianImpedance()
    law.start(world)
    steps = round(1.0 / task.control_rate / PHYSICS_STEP)

    def unit() -> None:
        for _ in range(steps):
            world.step(law.torques(world))

    return unit


def environment() -> Callable[[], object]:
    """One step of the Gymnasium environment, and a reset where an episode ends."""
    env = gymnasium.make(ENVIRONMENT)
    env.action_space.seed(0)
    env.reset(seed=0)

    def unit() -> None:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()

    return unit


def policy(observations: int, actions: int) -> Policy:
    """A policy of the actor's size with random weights."""
    rng = np.random.default_rng(0)
    shapes = {
        "hidden.0": (HIDDEN, observations),
        "hidden.1": (HIDDEN, HIDDEN),
        "mean": (actions, HIDDEN),
        "log_std": (actions, HIDDEN),
    }
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = rng.normal(0.0, 0.05, shape).astype(np.float32)
        tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return Policy(tensors)


def loop(env: Environment) -> Callable[[], object]:
    """One step of the actor's loop."""
    queue = TransitionQueue(2000, env.observation_size, env.action_size)
    learnt = Learnt(env.action_size, random_steps=0, seed=0)
    learnt.policy = policy(env.observation_size, env.action_size)
    return EnvironmentLoop(env, queue, learnt, seed=0).step


class Bridge:
    """A bridge process in lockstep, and an actor's environment that speaks to it."""

    def __init__(self) -> None:
        # In this process alone it would compete with what is measured.
        command = ["ros2", "run", "franka_sim_bridge", "franka_sim_bridge", "--ros-args"]
        settings = {"task": TASK, "lockstep": "true", "speed_factor": "0.0"}
        settings["lockstep_timeout"] = "600.0"  # it rests while the others are measured
        for name, value in settings.items():
            command += ["-p", f"{name}:={value}"]
        self._process = subprocess.Popen(command, start_new_session=True)
        rclpy.init()
        self._node = Node("sim_speed")
        self.environment = FrankaEnvironment(
            self._node, RobotParameters(task=TASK, state_timeout=30.0), lambda: True
        )
        self._spinner = threading.Thread(target=self._spin)
        self._spinner.start()

    def _spin(self) -> None:
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    def end(self) -> None:
        """End our nodes and the process."""
        self.environment.close()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        rclpy.shutdown()
        self._spinner.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    options = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(common.free_domain()))
    bridge = Bridge()
    try:
        units = {
            PHYSICS: physics(),
            GYM: environment(),
            LOOP: loop(GymEnvironment(ENVIRONMENT)),
            LOCKSTEP: loop(bridge.environment),
        }
        rates = common.interleaved(
            units, repeats=3 if options.quick else 9, seconds=1.0 if options.quick else 3.0
        )
    finally:
        bridge.end()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    share = common.median_ratio(rates[LOCKSTEP], rates[LOOP])
    common.print_table(
        ("pick_cube, 0.1 s a control step", "steps/s", "times real time", "ms/step"),
        [
            (name, f"{rate:.0f}", f"{rate * 0.1:.0f}", f"{1e3 / rate:.2f}")
            for name, rate in medians.items()
        ],
    )
    print(f"Lockstep over topics reaches {share:.0%} of the same loop in one process.")
    common.print_json(
        {
            "physics_steps_per_second": common.rounded(medians[PHYSICS]),
            "environment_steps_per_second": common.rounded(medians[GYM]),
            "in_process_steps_per_second": common.rounded(medians[LOOP]),
            "lockstep_steps_per_second": common.rounded(medians[LOCKSTEP]),
            "lockstep_over_in_process": common.rounded(share),
        },
        threads=1,
    )


if __name__ == "__main__":
    main()
