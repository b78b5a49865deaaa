"""Action servers whose goals run in the simulation, without blocking the executor.

A goal begins in a job on the simulation's thread. A listener there asks every 0.02 s of simulated
time whether it has ended, completes the future that the goal's coroutine awaits, and wakes the
executor once for all that have ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from franka_sim_bridge.simulation import Simulation

# s for which the result of a finished goal can be asked for. Every status message lists all goals
# that are kept: with a gripper goal every 10 ms, a long time would make each of them long.
RESULT_TIMEOUT = 1.0


@dataclass(frozen=True)
class Ended:
    """How a goal ended: the action's result message, and whether that is a success."""

    result: Any
    success: bool


@dataclass
class Ongoing:
    """A goal that has begun. All of this is called on the simulation's thread.

    `poll` says how it ended, or None; `feedback` makes a message; without `cancel` it cannot be
    cancelled.
    """

    poll: Callable[[], Ended | None]
    feedback: Callable[[], Any] | None = None
    cancel: Callable[[], None] | None = None


class _Goal:
    """An accepted goal: what runs, and the future that its coroutine awaits."""

    def __init__(self, handle: ServerGoalHandle, ongoing: Ongoing, future: Future) -> None:
        self.handle = handle
        self.ongoing = ongoing
        self.future = future


class Pace:
    """Lets something happen at no more than `rate` Hz, of simulated and of wall time."""

    def __init__(self, simulation: Simulation, rate: float) -> None:
        self._simulation = simulation
        self._period = 1.0 / rate
        self._simulated = self._wall = float("-inf")

    def due(self) -> bool:
        """Whether it may happen now; then the period begins anew."""
        simulated = self._simulation.time
        if simulated - self._simulated < self._period - 1e-9:
            return False
        wall = time.monotonic()
        if wall - self._wall < self._period:
            return False
        self._simulated, self._wall = simulated, wall
        return True


class SimulatedActions:
    """All action servers of a node; `serve` adds one, `destroy` gives them back.

    Every goal is accepted; what cannot be done ends at once with its reason, as franka_gripper does
    it.
    """

    def __init__(self, node: Node, simulation: Simulation, feedback_rate: float) -> None:
        self._node = node
        self._simulation = simulation
        self._pace = Pace(simulation, feedback_rate)
        self._servers: list[ActionServer] = []
        self._goals: dict[bytes, _Goal] = {}
        self._lock = threading.Lock()
        simulation.listeners.append(self.look)

    def serve(self, kind: Any, name: str, begin: Callable[[Any], Ongoing | Ended]) -> None:
        """Serve an action; `begin` gets the goal message on the simulation's thread."""

        def accepted(handle: ServerGoalHandle) -> None:
            # Here and not in `execute`, whose tasks rclpy does not run in their order.
            begun = self._simulation.call(lambda: begin(handle.request))
            future = Future(executor=self._node.executor)
            if isinstance(begun, Ended):
                future.set_result(begun)
                begun = Ongoing(lambda: None)
            with self._lock:
                self._goals[_key(handle)] = _Goal(handle, begun, future)
            handle.execute()

        async def execute(handle: ServerGoalHandle) -> Any:
            goal = self._goals[_key(handle)]
            ended: Ended | None = await goal.future
            with self._lock:
                self._goals.pop(_key(handle), None)
            if ended is None:  # the interface is being destroyed
                return kind.Result()
            if ended.success:
                handle.succeed()
            elif handle.is_cancel_requested:
                handle.canceled()
            else:
                handle.abort()
            return ended.result

        server = ActionServer(
            self._node,
            kind,
            name,
            execute,
            handle_accepted_callback=accepted,
            cancel_callback=self._cancel,
            result_timeout=RESULT_TIMEOUT,
        )
        self._servers.append(server)

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        goal = self._goals.get(_key(handle))
        if goal is None or goal.ongoing.cancel is None:
            return CancelResponse.REJECT
        cancel = goal.ongoing.cancel

        def job() -> None:
            cancel()
            self.look()  # simulated time may stand still

        self._simulation.call(job)
        return CancelResponse.ACCEPT

    def look(self) -> None:
        """Complete the goals that have ended, and publish feedback of the others."""
        if not self._goals:
            return
        with self._lock:
            running = [goal for goal in self._goals.values() if not goal.future.done()]
        any_ended = False
        still: list[_Goal] = []
        for goal in running:
            ended = goal.ongoing.poll()
            if ended is None:
                still.append(goal)
            else:
                goal.future.set_result(ended)
                any_ended = True
        if any_ended and self._node.executor is not None:
            self._node.executor.wake()
        if still and self._pace.due():
            for goal in still:
                if goal.ongoing.feedback is not None:
                    goal.handle.publish_feedback(goal.ongoing.feedback())

    def destroy(self) -> None:
        """End what runs without a result, and give the servers back."""
        self._simulation.listeners.remove(self.look)
        for goal in self._goals.values():
            goal.future.cancel()
        for server in self._servers:
            server.destroy()


def _key(handle: ServerGoalHandle) -> bytes:
    return bytes(handle.goal_id.uuid)
