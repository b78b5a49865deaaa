"""The simulated robot: one clock that never goes back, and the same run from the same seed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import FER, FR3, HOME
from sac_envs.tasks import make_task


def make(task: str = "pick_cube", physics_step: float = 0.0025) -> Simulation:
    return Simulation(make_task(task), FR3, physics_step)


def run(simulation: Simulation, steps: int) -> None:
    for _ in range(steps):
        simulation.step()


def state(simulation: Simulation) -> bytes:
    data = simulation.world.data
    return b"".join(np.ascontiguousarray(a).tobytes() for a in (data.qpos, data.qvel, data.ctrl))


def test_time_is_counted_exactly_and_goes_on_over_resets() -> None:
    simulation = make()
    times = []
    for seed in range(20):
        simulation.reset_episode(seed)
        times.append(simulation.time_ns)
        run(simulation, 7)
        times.append(simulation.time_ns)
    assert times == sorted(set(times))
    assert times[-1] == 20 * 8 * 2_500_000
    assert simulation.time == times[-1] * 1e-9


def test_a_reset_takes_one_physics_step() -> None:
    simulation = make(physics_step=0.001)
    simulation.reset_episode(1)
    assert simulation.time_ns == 1_000_000


def test_the_same_seed_and_commands_give_the_same_states_whatever_was_before() -> None:
    def episode(simulation: Simulation, seed: int) -> list[bytes]:
        simulation.reset_episode(seed)
        states = [state(simulation)]
        rng = np.random.default_rng(5)
        for i in range(10):
            target = simulation.world.tcp_position + rng.uniform(-0.05, 0.05, 3)
            controller = simulation.manager.controllers["cartesian_impedance_controller"]
            controller.target(target, np.diag([1.0, -1.0, -1.0]))
            if i == 3:
                simulation.gripper.grasp()
            run(simulation, 40)
            states.append(state(simulation))
        return states

    fresh, used = make(), make()
    episode(used, 77)
    assert episode(fresh, 7) == episode(used, 7)
    assert episode(fresh, 8) != episode(used, 7)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_an_episode_starts_as_the_task_draws_it(seed: int) -> None:
    simulation = make()
    simulation.reset_episode(seed)
    start = simulation.task.start(np.random.default_rng(seed))
    assert simulation.world.tcp_position == pytest.approx(start.tool_position, abs=1e-3)
    cube = simulation.object_poses()["cube"]
    assert cube.position == pytest.approx(start.objects["cube"].position)
    assert simulation.world.width == pytest.approx(start.gripper_width)


def test_goals_are_shown_as_objects_until_the_next_episode() -> None:
    simulation = make("reach")
    simulation.reset_episode(3)
    expected = simulation.task.start(np.random.default_rng(3)).objects["target"]
    run(simulation, 10)
    assert simulation.object_poses()["target"].position == pytest.approx(expected.position)
    simulation.reset_episode(4)
    assert (simulation.object_poses()["target"].position != expected.position).any()


def test_the_world_can_be_put_back_without_an_episode() -> None:
    simulation = make()
    simulation.reset_episode(3)
    run(simulation, 10)
    before = simulation.time_ns
    simulation.reset_world()
    assert simulation.world.q == pytest.approx(np.array(HOME))
    assert simulation.object_poses()["cube"].position == pytest.approx([0.52, 0.0, 0.02])
    assert simulation.time_ns > before


def test_a_panda_is_simulated_as_well() -> None:
    simulation = Simulation(make_task("pick_cube"), FER)
    simulation.reset_episode(0)
    run(simulation, 400)
    start = simulation.task.start(np.random.default_rng(0))
    assert simulation.world.tcp_position == pytest.approx(start.tool_position, abs=0.01)


def test_listeners_are_called_every_20_ms_of_simulated_time() -> None:
    simulation = make()
    calls: list[int] = []
    simulation.listeners.append(lambda: calls.append(simulation.time_ns))
    run(simulation, 80)
    assert calls == [20_000_000 * i for i in range(1, 11)]


# What other threads want done.


class Runner:
    """A simulation that runs on a thread of its own."""

    def __init__(self) -> None:
        self.simulation = make()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            self.simulation.run_jobs()
            self.simulation.step()

    def end(self) -> None:
        self.stop.set()
        self.thread.join()
        self.simulation.end()


def test_a_job_runs_on_the_simulations_thread_and_its_result_comes_back() -> None:
    runner = Runner()
    try:
        assert runner.simulation.call(threading.get_ident) == runner.thread.ident
        before = runner.simulation.call(lambda: runner.simulation.steps)
        assert runner.simulation.call(lambda: runner.simulation.steps) >= before
    finally:
        runner.end()


def test_what_a_job_raises_is_raised_where_it_was_asked_for() -> None:
    runner = Runner()

    def wrong() -> None:
        raise ValueError("no")

    try:
        with pytest.raises(ValueError, match="no"):
            runner.simulation.call(wrong)
        assert runner.simulation.call(lambda: 1) == 1, "the simulation goes on"
    finally:
        runner.end()


def test_a_job_may_call_for_another() -> None:
    runner = Runner()
    try:
        assert runner.simulation.call(lambda: runner.simulation.call(lambda: 5)) == 5
    finally:
        runner.end()


def test_a_waiting_job_wakes_the_simulation() -> None:
    simulation = make()
    woken = threading.Event()
    simulation.wake = woken.set
    results: list[int] = []
    caller = threading.Thread(target=lambda: results.append(simulation.call(lambda: 3)))
    caller.start()
    assert woken.wait(10.0)
    simulation.run_jobs()
    caller.join()
    assert results == [3]


def test_when_the_simulation_has_ended_nobody_waits_for_it() -> None:
    simulation = make()
    results: list[int] = []
    woken = threading.Event()
    simulation.wake = woken.set
    caller = threading.Thread(target=lambda: results.append(simulation.call(lambda: 1)))
    caller.start()
    assert woken.wait(10.0)
    simulation.end()
    caller.join(10.0)
    late = threading.Thread(target=lambda: results.append(simulation.call(lambda: 2)))
    late.start()
    late.join(10.0)
    assert results == [1, 2]
