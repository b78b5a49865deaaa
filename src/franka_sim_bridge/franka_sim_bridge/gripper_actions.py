"""The Franka Hand's actions and its stop service, as the node `franka_gripper` offers them.

Every goal is accepted, and a newer one replaces the one that runs, whose result is then a failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from control_msgs.action import GripperCommand
from franka_msgs.action import Grasp, Homing, Move
from rclpy.node import Node
from std_srvs.srv import Trigger

from franka_sim_bridge.actions import Ended, Ongoing, SimulatedActions
from franka_sim_bridge.simulation import Simulation
from sac_envs.robots import HAND

FEEDBACK_RATE = 30.0  # Hz
SAME_WIDTH = 1e-4  # m; gripper_action takes less than this for being there
EPSILON = 0.005  # m of a grasp by gripper_action, the default of franka_gripper


class HandGoal:
    """Motions of the hand one after the other; `ended` says how it went."""

    def __init__(
        self,
        simulation: Simulation,
        steps: tuple[Callable[[], None], ...],
        feedback: Callable[[float], Any],
        result: Callable[[float, bool, str], Any],
    ) -> None:
        self._gripper = simulation.gripper
        self._world = simulation.world
        self._steps = deque(steps)
        self._feedback = feedback
        self._result = result
        self.ended: Ended | None = None

    def start(self) -> None:
        """Begin the next motion; raises ValueError for what the hand cannot do."""
        self._steps.popleft()()
        self._motion = self._gripper.motion

    def poll(self) -> Ended | None:
        """How it ended, or None while it runs."""
        gripper = self._gripper
        if self.ended is None and gripper.motion is not self._motion:
            if gripper.result is None:
                self.end(False, "the world was put back meanwhile")
            elif not gripper.result:
                self.end(False, f"the fingers stopped at {self._world.width:.4f} m")
            elif self._steps:
                self.start()
            else:
                self.end(True, "")
        return self.ended

    def end(self, success: bool, error: str) -> None:
        """Finish, unless it is finished."""
        if self.ended is None:
            self.ended = Ended(self._result(self._world.width, success, error), success)

    def feedback(self) -> Any:
        """Feedback message with the present width."""
        return self._feedback(self._world.width)


class GripperActions:
    """Actions and the stop service of `franka_gripper` on a node."""

    def __init__(self, node: Node, simulation: Simulation, actions: SimulatedActions) -> None:
        self._node = node
        self._simulation = simulation
        self._current: HandGoal | None = None
        actions.serve(Homing, "franka_gripper/homing", self._homing)
        actions.serve(Move, "franka_gripper/move", self._move)
        actions.serve(Grasp, "franka_gripper/grasp", self._grasp)
        actions.serve(GripperCommand, "franka_gripper/gripper_action", self._command)
        self._service = node.create_service(Trigger, "franka_gripper/stop", self._on_stop)

    def destroy(self) -> None:
        """Give the service back."""
        self._node.destroy_service(self._service)

    # Goals, on the simulation's thread.

    def _homing(self, goal: Homing.Goal) -> Ongoing | Ended:
        gripper = self._simulation.gripper
        ends = (partial(gripper.move, 0.0), partial(gripper.move, HAND.width_max))
        return self._begin_franka(Homing, *ends)

    def _move(self, goal: Move.Goal) -> Ongoing | Ended:
        return self._begin_franka(
            Move, partial(self._simulation.gripper.move, goal.width, goal.speed)
        )

    def _grasp(self, goal: Grasp.Goal) -> Ongoing | Ended:
        epsilon = goal.epsilon
        if not (epsilon.inner >= 0.0 and epsilon.outer >= 0.0):
            error = f"epsilon {epsilon.inner}, {epsilon.outer} m: expected no negative numbers"
            return Ended(Grasp.Result(error=error), False)
        return self._begin_franka(
            Grasp,
            partial(
                self._simulation.gripper.grasp,
                goal.width,
                goal.speed,
                goal.force,
                epsilon.inner,
                epsilon.outer,
            ),
        )

    def _begin_franka(self, kind: Any, *steps: Callable[[], None]) -> Ongoing | Ended:
        return self._begin(
            steps,
            lambda width: kind.Feedback(current_width=width),
            lambda width, success, error: kind.Result(success=success, error=error),
        )

    def _command(self, goal: GripperCommand.Goal) -> Ongoing | Ended:
        """The goal is a finger's way, half the width; everything reported is the whole width."""
        gripper, now = self._simulation.gripper, self._simulation.world.width
        width, force = 2.0 * goal.command.position, goal.command.max_effort
        if not 0.0 <= width <= HAND.width_max:
            self._node.get_logger().error(
                f"gripper_action: expected a position of 0 to {HAND.width_max / 2} m (half the "
                f"width), got {goal.command.position}"
            )
            return Ended(_command_result(now, False), False)
        if abs(width - now) < SAME_WIDTH:
            return Ended(_command_result(now, True), True)
        step = partial(gripper.move, width)
        if width < now:
            step = partial(
                gripper.grasp,
                width,
                HAND.default_speed,
                force or HAND.default_force,
                EPSILON,
                EPSILON,
            )
        return self._begin(
            (step,),
            lambda width: GripperCommand.Feedback(position=width),
            lambda width, success, error: _command_result(width, success),
        )

    def _begin(
        self,
        steps: tuple[Callable[[], None], ...],
        feedback: Callable[[float], Any],
        result: Callable[[float, bool, str], Any],
    ) -> Ongoing | Ended:
        goal = HandGoal(self._simulation, steps, feedback, result)
        before = self._current
        if before is not None:
            before.poll()  # it may just have ended
        try:
            goal.start()
        except ValueError as error:  # what runs goes on
            goal.end(False, str(error))
            assert goal.ended is not None
            return goal.ended
        if before is not None:
            before.end(False, "replaced by another goal")
        self._current = goal
        return Ongoing(goal.poll, goal.feedback, self._stop)

    def _stop(self) -> None:
        if self._current is not None:
            self._current.poll()
            self._current.end(False, "stopped")
        self._simulation.gripper.stop()

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._simulation.call(self._stop)
        response.success = True
        return response


def _command_result(width: float, success: bool) -> GripperCommand.Result:
    return GripperCommand.Result(position=width, reached_goal=success)
