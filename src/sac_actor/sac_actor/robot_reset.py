"""Begin episodes on the robot: the same service that the simulation offers, done with its means.

Motion controller off, hand open, a joint motion to the start, the operator places what the task
needs, motion controller on. It uses nothing but the interface of franka_ros2 and ros2_control, so
it can be tried against the simulation.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import numpy as np
from controller_manager_msgs.srv import ListControllers, SwitchController
from franka_msgs.action import Move, PTPMotion
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from sac_envs.robots import HAND, ROBOTS, Float64
from sac_envs.task import Start, start_positions
from sac_envs.tasks import TASKS, make_task
from sac_msgs.srv import ResetEpisode
from sac_ros import node, qos
from sac_ros.parameters import NodeParameters, UserError, parameter

ARRIVED = 0.02  # rad that each joint may be off at the start
ANSWER = 5.0  # s that a service may take
GOAL_PERIOD = 0.1  # s between two publications of a task's goal poses


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the reset node."""

    task: str = parameter("pick_cube", "Task whose episodes begin here", choices=tuple(TASKS))
    robot_type: str = parameter("fr3", "Arm", choices=tuple(ROBOTS))
    motion_controller: str = parameter(
        "cartesian_impedance_controller", "Controller that the policy speaks to"
    )
    joint_velocity: float = parameter(
        0.5, "rad/s of the motion to the start", minimum=0.05, maximum=1.0
    )
    motion_timeout: float = parameter(20.0, "s that a motion may take", minimum=1.0)
    ask_operator: bool = parameter(
        True, "Wait for ~/objects_placed before each episode of a task that has objects"
    )
    operator_timeout: float = parameter(300.0, "s to wait for the operator", minimum=1.0)


class ResetFailed(Exception):
    """The start was not reached; the message says why."""


class RobotReset(node.SacNode[Parameters]):
    """Serves `reset_episode` on a robot."""

    def __init__(self) -> None:
        super().__init__("robot_reset", Parameters)
        self._placed = threading.Event()
        self._goals: dict[str, Any] = {}

    def configure(self) -> None:
        p = self.parameters
        self._task = make_task(p.task)
        self._robot = ROBOTS[p.robot_type]
        # Clients on a node of their own: the main thread spins it while the service waits.
        self._robot_node = node.side_node(self, f"{self.get_name()}_robot")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self._robot_node)
        make = self._robot_node.create_client
        self._list = make(ListControllers, "controller_manager/list_controllers")
        self._switch = make(SwitchController, "controller_manager/switch_controller")
        self._move: Any = ActionClient(self._robot_node, Move, "franka_gripper/move")
        self._drive: Any = ActionClient(self._robot_node, PTPMotion, "action_server/ptp_motion")
        self._joints: JointState | None = None
        self._robot_node.create_subscription(
            JointState, "franka/joint_states", self._on_joints, qos.ROBOT_STATE
        )
        self._goal_publishers = {
            name: self.create_publisher(PoseStamped, f"objects/{name}/pose", qos.ROBOT_STATE)
            for name in self._task.goals
        }
        self._offered = [
            self.create_service(ResetEpisode, "reset_episode", self._on_reset),
            self.create_service(Trigger, "~/objects_placed", self._on_placed),
        ]
        self._timer = self.create_timer(GOAL_PERIOD, self._publish_goals)
        self.get_logger().info(f"Begins episodes of {p.task} on {p.robot_type}")

    def cleanup(self) -> None:
        if not hasattr(self, "_robot_node"):
            return
        self._executor.shutdown()
        self._move.destroy()
        self._drive.destroy()
        self._robot_node.destroy_node()
        for service in self._offered:
            self.destroy_service(service)
        self.destroy_timer(self._timer)
        del self._robot_node

    def work(self) -> None:
        self._executor.spin_once(timeout_sec=0.05)

    def _on_joints(self, message: JointState) -> None:
        self._joints = message

    def _on_placed(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._placed.set()
        response.success = True
        return response

    def _publish_goals(self) -> None:
        for name, message in list(self._goals.items()):
            message.header.stamp = self.get_clock().now().to_msg()
            if self._joints is not None:
                message.header.stamp = self._joints.header.stamp  # the robot's own time
            self._goal_publishers[name].publish(message)

    # The reset, on the main thread; the executor thread waits for it.

    def _on_reset(
        self, request: ResetEpisode.Request, response: ResetEpisode.Response
    ) -> ResetEpisode.Response:
        if request.task not in ("", self._task.name):
            response.message = f"this robot runs {self._task.name!r}, not {request.task[:64]!r}"
            return response
        if not self.active.is_set():
            response.message = "the reset node is not active"
            return response
        self._placed.clear()
        try:
            start = self._task.start(np.random.default_rng(request.seed))
            q = start_positions(self._task, start, self.parameters.robot_type)
            self.on_main_thread(lambda: self._bring_to(start, q))
        except (ResetFailed, ValueError, UserError) as error:
            response.message = str(error)
            self.get_logger().error(f"No start: {error}")
            return response
        except CancelledError:
            response.message = "the reset node is stopping"
            return response
        assert self._joints is not None
        response.success = True
        response.stamp = self._joints.header.stamp
        return response

    def _bring_to(self, start: Start, q: Float64) -> None:
        self._switch_motion(active=False)
        self._open_hand(start.gripper_width)
        self._drive_to(q)
        for name in self._task.goals:
            self._goals[name] = self._goal_message(start, name)
        if self._task.objects and self.parameters.ask_operator:
            self._wait_for_operator()
        self._switch_motion(active=True)

    def _goal_message(self, start: Start, name: str) -> PoseStamped:
        pose, message = start.objects[name], PoseStamped()
        message.header.frame_id = "base"
        p, o = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = (float(value) for value in pose.position)
        o.x, o.y, o.z, o.w = (float(value) for value in pose.quaternion)
        return message

    def _wait(self, done: Any, timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            if not self.active.is_set():
                raise ResetFailed("the reset node was told to stop")
            if time.monotonic() > deadline:
                raise ResetFailed(f"{what} within {timeout:g} s")
            self._executor.spin_once(timeout_sec=0.05)

    def _result(self, future: Future, timeout: float, what: str) -> Any:
        self._wait(future.done, timeout, f"no answer of {what}")
        return future.result()

    def _call(self, client: Any, request: object) -> Any:
        name = client.srv_name
        self._wait(client.service_is_ready, ANSWER, f"no service {name}")
        return self._result(client.call_async(request), ANSWER, name)

    def _run(self, client: Any, goal: object, what: str) -> Any:
        self._wait(client.server_is_ready, ANSWER, f"no action server for {what}")
        handle = self._result(client.send_goal_async(goal), ANSWER, what)
        if not handle.accepted:
            raise ResetFailed(f"{what} was rejected")
        return self._result(handle.get_result_async(), self.parameters.motion_timeout, what).result

    def _switch_motion(self, active: bool) -> None:
        name = self.parameters.motion_controller
        listed = self._call(self._list, ListControllers.Request()).controller
        states = {controller.name: controller.state for controller in listed}
        if name not in states:
            raise ResetFailed(f"controller {name!r} is not loaded; there are {', '.join(states)}")
        if (states[name] == "active") == active:
            return
        request = SwitchController.Request(strictness=SwitchController.Request.STRICT)
        if active:
            request.activate_controllers = [name]
        else:
            request.deactivate_controllers = [name]
        answer = self._call(self._switch, request)
        if not answer.ok:
            wanted = "activated" if active else "deactivated"
            raise ResetFailed(f"controller {name!r} could not be {wanted}: {answer.message}")

    def _open_hand(self, width: float) -> None:
        if not self._task.uses_gripper:
            return
        goal = Move.Goal(width=width, speed=HAND.default_speed)
        result = self._run(self._move, goal, "the gripper's move")
        if not result.success:
            raise ResetFailed(f"the hand did not open: {result.error}")

    def _drive_to(self, q: Float64) -> None:
        goal = PTPMotion.Goal(
            goal_joint_configuration=q.tolist(),
            maximum_joint_velocities=[self.parameters.joint_velocity] * 7,
            goal_tolerance=ARRIVED,
        )
        result = self._run(self._drive, goal, "the motion to the start")
        off = self._off(q)
        if off > ARRIVED:  # joint states decide: the action's own report is not to be relied on
            reason = result.error_message or "no reason given"
            raise ResetFailed(f"the start was not reached: {off:.3f} rad off ({reason})")

    def _off(self, q: Float64) -> float:
        self._joints = None
        self._wait(lambda: self._joints is not None, ANSWER, "no joint state")
        assert self._joints is not None
        place = dict(zip(self._joints.name, self._joints.position, strict=True))
        try:
            measured = np.array([place[name] for name in self._robot.joint_names])
        except KeyError as error:
            raise ResetFailed(f"franka/joint_states has no joint {error}") from error
        return float(np.abs(measured - q).max())

    def _wait_for_operator(self) -> None:
        things = ", ".join(box.name for box in self._task.objects)
        service = f"{self.get_fully_qualified_name()}/objects_placed"
        self.get_logger().info(f"Place {things} on the table, then call {service}")
        self._wait(
            self._placed.is_set, self.parameters.operator_timeout, f"nobody called {service}"
        )


def main() -> None:
    """Entry point of `ros2 run sac_actor robot_reset`."""
    node.main(RobotReset, "robot_reset")
