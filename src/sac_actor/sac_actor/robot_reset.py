"""Begin episodes on the robot: the same service that the simulation offers, done with its means.

Motion controllers off, hand open, a joint motion to the start, the operator places what the task
needs. The actor then activates its motion controller. Nothing is used but the interface of
franka_ros2 and ros2_control, so that it can be tried against the simulation.

The arm is driven by joint_trajectory_controller, active for just that long, and not by the robot's
own ptp_motion: franka_ros2 answers a cancel of that only when the motion has ended, while a
controller can be taken away at any moment.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import ListControllers, SwitchController
from diagnostic_msgs.msg import DiagnosticStatus
from franka_msgs.action import Homing, Move
from franka_msgs.msg import FrankaRobotState
from geometry_msgs.msg import PoseStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sac_actor import activity
from sac_actor.activity import DRIVER, Activity, Inquiry, moves
from sac_actor.calls import Action, Caller, CallFailed
from sac_actor.commands import to_trajectory
from sac_actor.control import LAST_SWITCH, THERE, switch
from sac_actor.recovery import BY_A_PERSON, errors_of, hear_robot_state
from sac_actor.shaping import Limits, Reference
from sac_envs.robots import HAND, ROBOTS, Float64
from sac_envs.task import Start, start_positions
from sac_envs.tasks import TASKS, make_task
from sac_msgs.msg import WatchdogStatus
from sac_msgs.srv import ResetEpisode
from sac_ros import node, qos
from sac_ros.codecs import printable
from sac_ros.inbox import Inbox
from sac_ros.parameters import NodeParameters, UserError, parameter
from sac_ros.robot_input import JOINT_STATES, JointInput, Joints

# rad that each joint may be off at the start: 2 N m of friction at joint 7's 50 N m/rad
# (config/controllers.yaml).
ARRIVED = 0.04
AT_REST = 0.01  # rad/s of each joint, below which the arm stands
STANDING = 0.2  # s of standing after which nothing more is to be expected
SETTLING = 2.0  # s after the end of its trajectory in which the arm has to be there
POINTS = 20_000_000  # ns between two points of a trajectory
SIGN_OF_LIFE = 0.05  # s between two words to the watchdog while the arm is driven
INQUIRY = 0.5  # s between two questions whether the robot has stopped
STATES = 2.0  # s within which a joint state has to come
HOMING = 30.0  # s that homing of the hand may take
PERIOD = 0.02  # s between two looks at what has come
GOAL_PERIOD = 0.1  # s between two publications of a task's goal poses


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the reset node."""

    task: str = parameter("pick_cube", "Task whose episodes begin here", choices=tuple(TASKS))
    robot_type: str = parameter("fr3", "Arm", choices=tuple(ROBOTS))
    arm_prefix: str = parameter("", "Before the names of the arm's joints, with an underscore")
    joint_velocity: float = parameter(
        0.5, "rad/s of the motion to the start", minimum=0.05, maximum=1.0
    )
    joint_acceleration: float = parameter(1.0, "rad/s² of that motion", minimum=0.1, maximum=5.0)
    motion_timeout: float = parameter(20.0, "s that a motion may take", minimum=1.0)
    home_gripper: bool = parameter(True, "Home the hand once, before its first motion")
    ask_operator: bool = parameter(
        True, "Wait for ~/objects_placed before each episode of a task that has objects"
    )
    operator_timeout: float = parameter(300.0, "s to wait for the operator", minimum=1.0)


class ResetFailed(Exception):
    """The start was not reached; the message says why, `stopped_by` what has to happen first."""

    def __init__(self, reason: str, stopped_by: int = ResetEpisode.Response.NOTHING) -> None:
        super().__init__(reason)
        self.stopped_by = stopped_by


@dataclass(frozen=True)
class Order:
    """A reset that somebody waits for."""

    seed: int
    response: ResetEpisode.Response
    done: Future


class RobotReset(node.SacNode[Parameters]):
    """Serves `reset_episode` on a robot, one at a time."""

    def __init__(self) -> None:
        super().__init__("robot_reset", Parameters)
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._busy = False
        self._doing = "nothing"
        self._prompt_shown = ""
        self._answer: bool | None = None  # of the operator to the newest prompt
        self._goals: dict[str, Any] = {}
        self._driving: JointTrajectory | None = None  # where to, while the arm is driven
        self._told_at = -math.inf  # s; when the watchdog was told so last
        self._wake = threading.Event()

    def configure(self) -> None:
        p = self.parameters
        self._task = make_task(p.task)
        self._robot = ROBOTS[p.robot_type].prefixed(p.arm_prefix)
        # Clients on a node of their own, which the main thread looks after.
        self._robot_node = node.side_node(self, f"{self.get_name()}_robot")
        make = self._robot_node.create_client
        self._list = make(ListControllers, "controller_manager/list_controllers")
        self._switch = make(SwitchController, "controller_manager/switch_controller")
        self._home = Action(self._robot_node, Homing, "franka_gripper/homing")
        self._move = Action(self._robot_node, Move, "franka_gripper/move")
        self._drive = Action(
            self._robot_node, FollowJointTrajectory, f"{DRIVER}/follow_joint_trajectory"
        )
        self._homed = not p.home_gripper
        self._input = JointInput(self._robot)
        self._activity = Activity(p.arm_prefix)
        self._inquiry = Inquiry(self._robot_node, self._activity)
        self._watchdog = WatchdogStatus()
        hear = self._robot_node.create_subscription
        hear(JointState, JOINT_STATES, self._input.take_joints, qos.ROBOT_STATE)
        hear(ControllerManagerActivity, activity.TOPIC, self._activity.take, qos.STATUS)
        hear(WatchdogStatus, "watchdog/status", self._on_watchdog, qos.STATUS)
        self._inbox = Inbox(self._robot_node)
        self._caller = Caller(self._spin, self._check)
        self._last_calls = Caller(self._spin, lambda: None)  # also when told to stop
        self._goal_publishers = {
            name: self.create_publisher(PoseStamped, f"objects/{name}/pose", qos.ROBOT_STATE)
            for name in self._task.goals
        }
        self._prompt = self.create_publisher(String, "~/prompt", qos.STATUS)
        self._motion = self.create_publisher(JointTrajectory, "~/motion", qos.ROBOT_COMMAND)
        self._offered = [
            # While a reset is waited for, the operator's answer and other requests are heard.
            self.create_service(
                ResetEpisode,
                "reset_episode",
                self._on_reset,
                callback_group=ReentrantCallbackGroup(),
            ),
            self.create_service(Trigger, "~/objects_placed", self._on_placed),
        ]
        self._answers = self.create_subscription(Bool, "~/answer", self._on_answer, qos.ANSWER)
        self._timer = self.create_timer(GOAL_PERIOD, self._publish_goals)
        self.get_logger().info(f"Begins episodes of {p.task} on {p.robot_type}")

    def cleanup(self) -> None:
        if not hasattr(self, "_robot_node"):
            return
        self._robot_node.destroy_node()
        for service in self._offered:
            self.destroy_service(service)
        self.destroy_subscription(self._answers)
        for publisher in (self._prompt, self._motion, *self._goal_publishers.values()):
            self.destroy_publisher(publisher)
        self.destroy_timer(self._timer)
        del self._robot_node

    def interrupt(self) -> None:
        self._wake.set()

    # What comes in.

    def _on_watchdog(self, message: WatchdogStatus) -> None:
        self._watchdog = message

    def _on_placed(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._prompt_shown:
            self._answer = True
            response.success = True
        else:
            response.message = "nothing was asked for"
        return response

    def _on_answer(self, message: Bool) -> None:
        if self._prompt_shown:
            self._answer = bool(message.data)

    async def _on_reset(
        self, request: ResetEpisode.Request, response: ResetEpisode.Response
    ) -> ResetEpisode.Response:
        """On the executor thread, which goes on with other things while the main thread works."""
        if request.task not in ("", self._task.name):
            response.message = (
                f"this robot runs {self._task.name!r}, not {printable(request.task)!r}"
            )
        elif not self.active.is_set():
            response.message = "the reset node is not active"
        elif self._busy:
            response.message = f"another reset is under way: {self._doing}"
        else:
            self._busy = True
            done = Future(executor=self.executor)
            self._orders.put(Order(request.seed, response, done))
            self._wake.set()
            await done
        return response

    def _publish_goals(self) -> None:
        for name, message in list(self._goals.items()):
            message.header.stamp = self.get_clock().now().to_msg()
            joints = self._input.joints
            if joints is not None:  # the robot's own time
                stamp = message.header.stamp
                stamp.sec, stamp.nanosec = divmod(joints.stamp, 10**9)
            self._goal_publishers[name].publish(message)

    # The reset, on the main thread.

    def work(self) -> None:
        self._spin(0.05)
        if self._orders.empty():
            return
        order = self._orders.get()
        try:
            self._bring_to_start(order)
        except (ResetFailed, CallFailed, ValueError, UserError) as error:
            order.response.message = str(error)
            order.response.stopped_by = getattr(error, "stopped_by", ResetEpisode.Response.NOTHING)
            self.get_logger().error(f"No start: {error}")
        finally:
            self._busy = False
            self._do("nothing")
            order.done.set_result(None)
            if self.executor is not None:
                self.executor.wake()

    def _spin(self, timeout: float) -> None:
        """Take in a bounded amount of messages; joint states come at 1 kHz."""
        now = time.monotonic()
        if self._driving is not None and now - self._told_at >= SIGN_OF_LIFE:
            self._told_at = now
            self._motion.publish(self._driving)
        self._wake.wait(min(timeout, PERIOD))
        self._wake.clear()
        self._inbox.receive()

    def _check(self) -> None:
        """Whether the robot may be moved; asked while anything is waited for."""
        if not self.active.is_set():
            raise ResetFailed("the reset node was told to stop")
        if self._watchdog.state == "tripped":
            raise ResetFailed(
                f"the watchdog has stopped the robot: {printable(self._watchdog.reason, 200)}"
            )
        self._inquiry.take()
        if time.monotonic() - self._inquiry.asked > INQUIRY:
            self._inquiry.ask()  # a robot that has stopped does not say so
        stopped = self._activity.stopped()
        if stopped:
            raise ResetFailed(stopped)

    def _do(self, what: str) -> None:
        self._doing = what
        self.get_logger().debug(what)

    def _bring_to_start(self, order: Order) -> None:
        start = self._task.start(np.random.default_rng(order.seed))
        q = start_positions(self._task, start, self.parameters.robot_type)
        self._check()
        self._check_mode()
        self._do("motion controllers off")
        self._free_the_robot()
        self._prepare_hand(start.gripper_width)
        self._do("joint motion to the start")
        self._check_mode()
        try:
            self._drive_to(q)
        except (ResetFailed, CallFailed):
            self._check_mode()  # which may say more of it
            raise
        for name in self._task.goals:
            self._goals[name] = _goal(start, name)
        if self._task.objects and self.parameters.ask_operator:
            self._ask_operator()
        joints = self._new_joints()
        order.response.success = True
        order.response.stamp.sec, order.response.stamp.nanosec = divmod(joints.stamp, 10**9)

    def _check_mode(self) -> None:
        """Whether the robot may be moved, as far as it says: ros2_control sees this in motion only.

        A user stop that is released, or an arm that is let go of, must not be followed by a motion
        that nobody has asked for.
        """
        if not self.active.is_set():
            return
        state = hear_robot_state(self._robot_node, self._last_calls)
        if state is None:
            return
        if state.robot_mode in BY_A_PERSON:
            raise ResetFailed(BY_A_PERSON[state.robot_mode], ResetEpisode.Response.PERSON)
        if state.robot_mode == FrankaRobotState.ROBOT_MODE_REFLEX:
            reason = f"the robot has stopped in a reflex: {errors_of(state)}"
            raise ResetFailed(reason, ResetEpisode.Response.ROBOT)

    def _free_the_robot(self) -> None:
        """Deactivate whatever moves it; who drives it to the start has to be there, too."""
        listed = self._caller.call(self._list, ListControllers.Request()).controller
        states = {one.name: one.state for one in listed}
        if states.get(DRIVER, "not loaded") not in ("inactive", "active"):
            raise ResetFailed(
                f"{DRIVER} drives the arm to its start, and is {states.get(DRIVER, 'not loaded')}: "
                f"ros2 run controller_manager spawner {DRIVER} --inactive"
            )
        moving = [one.name for one in listed if one.state == "active" and moves(one)]
        if moving:
            switch(self._caller, self._switch, [], moving)

    def _prepare_hand(self, width: float) -> None:
        if not self._task.uses_gripper:
            return
        if not self._homed:
            self._do("homing of the hand")
            done, result = self._hand(self._home, Homing.Goal(), HOMING)
            if not (done and result.success):
                raise ResetFailed(f"the hand was not homed: {result.error or 'no reason given'}")
            self._homed = True
        self._do("opening of the hand")
        goal = Move.Goal(width=width, speed=HAND.default_speed)
        done, result = self._hand(self._move, goal, self.parameters.motion_timeout)
        if not (done and result.success):
            raise ResetFailed(f"the hand did not open: {result.error or 'no reason given'}")

    def _hand(self, action: Action, goal: object, timeout: float) -> tuple[bool, Any]:
        try:
            return action.run(self._caller, goal, timeout)
        except CallFailed as error:
            raise ResetFailed(
                f"{error}; task {self._task.name} needs the Franka Hand (franka.launch.py "
                "load_gripper:=true)"
            ) from error

    def _new_joints(self) -> Joints:
        """A joint state that comes from now on."""
        before = self._input.joints
        self._caller.wait(
            lambda: self._input.joints is not before,
            STATES,
            f"no joint state on {self._robot_node.resolve_topic_name(JOINT_STATES)}"
            + (f" (refused: {self._input.refusal})" if self._input.refusal else ""),
        )
        assert self._input.joints is not None
        return self._input.joints

    def _drive_to(self, q: Float64) -> None:
        """Have the arm driven, and see for ourselves that it arrives; then nothing moves it."""
        timeout = self.parameters.motion_timeout
        self._stand(timeout)
        target = JointTrajectoryPoint(positions=q.tolist())
        try:
            switch(self._caller, self._switch, [DRIVER], [])
            goal = self._goal_to(q)
            self._driving = JointTrajectory(
                joint_names=list(self._robot.joint_names), points=[target]
            )
            _, result = self._drive.run(self._caller, goal, timeout)
            off = float(np.abs(self._stand(timeout).q - q).max())
        finally:
            self._driving = None
            self._let_go()
        if off > ARRIVED:
            reason = printable(result.error_string, 200) or "no reason given"
            raise ResetFailed(f"the start was not reached: {off:.3f} rad off ({reason})")

    def _goal_to(self, q: Float64) -> FollowJointTrajectory.Goal:
        """From where the arm stands to `q` `(7,)`, in a straight line of the joints."""
        p, robot = self.parameters, self._robot
        limits = Limits(
            np.minimum(robot.conservative_velocity, p.joint_velocity),
            np.minimum(robot.acceleration_max, p.joint_acceleration),
            0.1 * robot.jerk_max,  # as JointTrajectoryAdapter has it
        )
        reference = Reference(limits, self._new_joints().q)
        if not reference.aim(q, 0):
            raise ResetFailed("there is no way to the start within the limits")
        if reference.end * 1e-9 + SETTLING > p.motion_timeout:
            raise ResetFailed(
                f"the way to the start takes {reference.end * 1e-9:.0f} s, and a motion may take "
                f"{p.motion_timeout:g} s: raise motion_timeout or joint_velocity"
            )
        goal = FollowJointTrajectory.Goal()
        goal.trajectory = to_trajectory(
            robot, reference, [*range(0, reference.end - POINTS // 2, POINTS), reference.end]
        )
        goal.goal_tolerance = [JointTolerance(name=n, position=ARRIVED) for n in robot.joint_names]
        goal.goal_time_tolerance.sec = int(SETTLING)
        return goal

    def _let_go(self) -> None:
        """Nothing drives the arm any more; in mid-motion this is what stops it."""
        try:
            switch(
                self._last_calls,
                self._switch,
                [],
                [DRIVER],
                LAST_SWITCH,
                THERE,
                SwitchController.Request.BEST_EFFORT,  # somebody may have done it already
            )
        except CallFailed as error:
            raise ResetFailed(f"{DRIVER} may be active still: {error}") from error

    def _stand(self, timeout: float) -> Joints:
        """Wait until the arm has stood for a while; where."""
        moved = time.monotonic()

        def standing() -> bool:
            nonlocal moved
            joints = self._input.joints
            if joints is not None and float(np.abs(joints.dq).max()) > AT_REST:
                moved = time.monotonic()
            return time.monotonic() - moved > STANDING

        self._new_joints()
        self._caller.wait(standing, timeout, "the arm did not come to rest")
        return self._new_joints()

    # The operator.

    def _ask_operator(self) -> None:
        """Show what is to be done, and wait for the answer."""
        things = ", ".join(box.name for box in self._task.objects)
        service = f"{self.get_fully_qualified_name()}/objects_placed"
        self._do(f"the operator places {things}")
        self._answer = None
        self._show(f"Place {things} on the table")
        self.get_logger().info(
            f"Place {things} on the table, then: ros2 service call {service} std_srvs/srv/Trigger "
            "(or press Enter in: ros2 run sac_actor operator)"
        )
        try:
            self._caller.wait(
                lambda: self._answer is not None,
                self.parameters.operator_timeout,
                f"nobody called {service}",
            )
        finally:
            self._show("")
        if not self._answer:
            raise ResetFailed(f"the operator could not place {things}")

    def _show(self, prompt: str) -> None:
        self._prompt_shown = prompt
        self._prompt.publish(String(data=prompt))

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        values: dict[str, object] = {
            "doing": self._doing,
            "prompt": self._prompt_shown or "none",
        }
        if self._prompt_shown:
            return DiagnosticStatus.WARN, f"waits for the operator: {self._prompt_shown}", values
        return DiagnosticStatus.OK, self._doing, values


def _goal(start: Start, name: str) -> PoseStamped:
    pose, message = start.objects[name], PoseStamped()
    message.header.frame_id = "base"
    p, o = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = (float(value) for value in pose.position)
    o.x, o.y, o.z, o.w = (float(value) for value in pose.quaternion)
    return message


def main() -> None:
    """Entry point of `ros2 run sac_actor robot_reset`."""
    node.main(RobotReset, "robot_reset")
