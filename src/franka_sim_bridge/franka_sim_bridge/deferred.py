"""Action servers whose goals end in simulated time, without a thread or a coroutine that waits.

An accepted goal is begun on the simulation's thread; its listener asks from time to time how the
goal is doing, and only when that has ended rclpy executes the goal, with the result at hand.
(A coroutine that awaits would keep rclpy's executor spinning for as long as the goal lasts.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from franka_sim_bridge.simulation import Simulation

RESULT_TIMEOUT = 10  # s that a result is kept for whoever asks late
FEEDBACK_PERIOD = 1.0 / 30.0  # s, of simulated and of wall time, between two feedbacks

SUCCEEDED, ABORTED, CANCELED = "succeed", "abort", "canceled"


@dataclass
class Outcome:
    """How a goal ended: one of SUCCEEDED, ABORTED, CANCELED, and the result message."""

    status: str
    result: Any


@dataclass
class Course:
    """A goal that was begun; both callables are for the simulation's thread."""

    poll: Callable[[], Outcome | None]  # None: still under way
    cancel: Callable[[], None] = lambda: None
    feedback: Callable[[], Any] | None = None
    handle: Any = None
    canceling: bool = False
    fed_simulated: float = field(default=-1e9)
    fed_wall: float = field(default=-1e9)


class DeferredServer:
    """One action; `begin(goal)` runs on the simulation's thread and returns the goal's Course.

    It may return an Outcome at once.
    """

    def __init__(
        self,
        node: Node,
        simulation: Simulation,
        kind: Any,
        name: str,
        begin: Callable[[Any], Course | Outcome],
    ) -> None:
        self._simulation = simulation
        self._begin = begin
        self._courses: list[Course] = []
        self._server: Any = ActionServer(
            node,
            kind,
            name,
            execute_callback=self._never,
            handle_accepted_callback=self._accepted,
            cancel_callback=self._cancel,
            result_timeout=RESULT_TIMEOUT,
        )
        simulation.listeners.append(self._listen)

    def destroy(self) -> None:
        """Give the server back; goals that run are left."""
        self._simulation.listeners.remove(self._listen)
        self._server.destroy()

    @staticmethod
    def _never(_handle: ServerGoalHandle) -> Any:
        raise AssertionError("goals are executed with a callback of their own")

    # On the executor's thread.

    def _accepted(self, handle: ServerGoalHandle) -> None:
        self._simulation.call(lambda: self._start(handle))

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        def cancel() -> None:
            for course in self._courses:
                if course.handle.goal_id == handle.goal_id:
                    course.canceling = True
                    course.cancel()

        self._simulation.call(cancel)
        return CancelResponse.ACCEPT

    # On the simulation's thread.

    def _start(self, handle: ServerGoalHandle) -> None:
        begun = self._begin(handle.request)
        if isinstance(begun, Outcome):
            self._finish(handle, begun)
            return
        begun.handle = handle
        self._courses.append(begun)

    def _listen(self) -> None:
        for course in list(self._courses):
            outcome = course.poll()
            if outcome is not None:
                if course.canceling:
                    outcome.status = CANCELED
                self._courses.remove(course)
                self._finish(course.handle, outcome)
            elif course.feedback is not None:
                self._feed(course)

    def _feed(self, course: Course) -> None:
        simulated, wall = self._simulation.time, time.monotonic()
        if min(simulated - course.fed_simulated, wall - course.fed_wall) < FEEDBACK_PERIOD - 1e-6:
            return
        course.fed_simulated, course.fed_wall = simulated, wall
        assert course.feedback is not None
        course.handle.publish_feedback(course.feedback())

    @staticmethod
    def _finish(handle: ServerGoalHandle, outcome: Outcome) -> None:
        def execute(goal: ServerGoalHandle) -> Any:
            status = outcome.status
            if status == CANCELED and not goal.is_cancel_requested:
                status = ABORTED
            getattr(goal, status)()
            return outcome.result

        handle.execute(execute)
