"""The node `franka_gripper`: move, grasp, homing, gripper_action and stop.

Every goal is accepted; a newer one replaces the one that runs, whose result is then a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from control_msgs.action import GripperCommand
from franka_msgs.action import Grasp, Homing, Move
from rclpy.node import Node
from std_srvs.srv import Trigger

from franka_sim_bridge.deferred import ABORTED, SUCCEEDED, Course, DeferredServer, Outcome
from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import HAND

SAME_WIDTH = 1e-4  # m: a gripper_action that wants less than this has succeeded at once
HOMING_TIME = 2.0  # s; the hand closes and opens
GRIPPER_ACTION_EPSILON = 0.005  # m, the gripper node's default_grasp_epsilon


class GripperActions:
    """Offers the hand of a simulation under `franka_gripper/`."""

    def __init__(self, node: Node, simulation: Simulation) -> None:
        self._simulation = simulation
        self._gripper = simulation.gripper
        self._newest = 0  # number of the goal that has the hand

        def server(
            kind: Any, name: str, begin: Callable[[Any], Course | Outcome]
        ) -> DeferredServer:
            return DeferredServer(node, simulation, kind, f"franka_gripper/{name}", begin)

        self._servers = [
            server(Move, "move", self._move),
            server(Grasp, "grasp", self._grasp),
            server(Homing, "homing", self._homing),
            server(GripperCommand, "gripper_action", self._command),
        ]
        self._node = node
        self._stop = node.create_service(Trigger, "franka_gripper/stop", self._on_stop)

    def destroy(self) -> None:
        """Give everything back."""
        for server in self._servers:
            server.destroy()
        self._node.destroy_service(self._stop)

    def _course(self, kind: Any, start: Callable[[], None], what: str) -> Course | Outcome:
        """Begin a motion of the hand and watch it; franka_msgs results and feedback."""
        try:
            start()
        except ValueError as error:
            return Outcome(ABORTED, kind.Result(success=False, error=str(error)))
        self._newest += 1
        number = self._newest

        def poll() -> Outcome | None:
            if number != self._newest:
                return Outcome(ABORTED, kind.Result(success=False, error="another goal came"))
            if self._gripper.motion is not None:
                return None
            if self._gripper.result:
                return Outcome(SUCCEEDED, kind.Result(success=True))
            error = f"{what} failed at a width of {self._width():.4f} m"
            return Outcome(ABORTED, kind.Result(success=False, error=error))

        return Course(poll, self._gripper.stop, lambda: kind.Feedback(current_width=self._width()))

    def _width(self) -> float:
        return self._simulation.world.width

    def _move(self, goal: Any) -> Course | Outcome:
        return self._course(Move, lambda: self._gripper.move(goal.width, goal.speed), "move")

    def _grasp(self, goal: Any) -> Course | Outcome:
        def start() -> None:
            inner, outer = goal.epsilon.inner, goal.epsilon.outer
            if not (inner >= 0.0 and outer >= 0.0):
                raise ValueError(f"epsilon {inner}, {outer} m: expected not negative")
            self._gripper.grasp(goal.width, goal.speed, goal.force, inner, outer)

        return self._course(Grasp, start, "grasp")

    def _homing(self, _goal: Any) -> Course | Outcome:
        speed = 2 * HAND.width_max / HOMING_TIME
        course = self._course(Homing, lambda: self._gripper.move(0.0, speed), "homing")
        if isinstance(course, Outcome):
            return course
        closed, opening = course.poll, [False]

        def poll() -> Outcome | None:
            outcome = closed()
            if outcome is None or opening[0] or "another" in outcome.result.error:
                return outcome
            opening[0] = True  # whatever was between the fingers: now open
            self._gripper.move(HAND.width_max, speed)
            return None

        course.poll = poll
        return course

    def _command(self, goal: Any) -> Course | Outcome:
        """control_msgs/GripperCommand: half the width in the goal, all of it in the result."""
        width = 2.0 * goal.command.position
        here = self._width()

        def result(reached: bool) -> Any:
            return GripperCommand.Result(
                position=self._width(), effort=0.0, stalled=not reached, reached_goal=reached
            )

        if not 0.0 <= width <= HAND.width_max:
            return Outcome(ABORTED, result(False))
        if abs(width - here) < SAME_WIDTH:
            return Outcome(SUCCEEDED, result(True))

        def start() -> None:
            if width > here:
                self._gripper.move(width, HAND.default_speed)
            else:
                force = goal.command.max_effort or HAND.default_force
                epsilon = GRIPPER_ACTION_EPSILON
                self._gripper.grasp(width, HAND.default_speed, force, epsilon, epsilon)

        course = self._course(Move, start, "gripper_action")
        if isinstance(course, Outcome):
            return Outcome(ABORTED, result(False))
        watch = course.poll

        def poll() -> Outcome | None:
            outcome = watch()
            if outcome is None:
                return None
            return Outcome(outcome.status, result(outcome.status == SUCCEEDED))

        course.poll = poll
        course.feedback = lambda: GripperCommand.Feedback(position=self._width())
        return course

    def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._simulation.call(self._gripper.stop)
        response.success = True
        return response
