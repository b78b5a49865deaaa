"""The watchdog: a process of its own on the robot's computer that stops what nobody controls.

While a motion controller is active, commands, joint states and the actor have to be heard, and not
too many commands; while robot_reset drives the arm to a start it has to be heard in the place of
commands, and not for too long. Otherwise, and whenever somebody calls for it, the motion controller
is deactivated through controller_manager, again and again until it is, and every one that becomes
active afterwards, until an operator clears the watchdog.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import SwitchController
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from sac_actor import activity
from sac_actor.activity import DRIVER, Activity, Inquiry
from sac_actor.calls import Request
from sac_actor.vigilance import CONTROLLER, EMERGENCY_STOP, REQUEST, Cause, Limits, Vigilance
from sac_envs.kinematics import forward
from sac_envs.robots import ROBOTS, Float64, Robot
from sac_msgs.msg import ActorStatus, WatchdogStatus
from sac_ros import node, qos
from sac_ros.codecs import printable
from sac_ros.inbox import Inbox
from sac_ros.parameters import NodeParameters, parameter
from sac_ros.robot_input import JOINT_STATES, JointInput

PERIOD = 0.02  # s between two looks at what has come
STATUS_PERIOD = 0.2  # s between two statuses; changes come at once
LIST_PERIOD = 1.0  # s between two lists of the controllers
RETRY = 0.3  # s after which a deactivation that is not confirmed is asked for again
UNREACHABLE = 1.0  # s without success after which a person is told to press the user stop
MAX_TEXT = 512  # characters, as in WatchdogStatus.msg
LARGEST_COMMAND = 2**20  # bytes of a command that is looked into
# What asks for motion: rad/s, rad and m from where the robot is.
LEAST_VELOCITY, LEAST_ANGLE, LEAST_DISTANCE = 0.01, 0.005, 0.005


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the watchdog."""

    robot_type: str = parameter("fr3", "Arm", choices=tuple(ROBOTS))
    arm_prefix: str = parameter("", "Before the names of the arm's joints, with an underscore")
    command: str = parameter(
        "cartesian_impedance", "Motion controller that is guarded", choices=activity.COMMANDS
    )
    actor_id: str = parameter("", "Actor that has to be heard; empty = any on the topic")
    command_timeout: float = parameter(
        0.5, "s that the newest command may be old", minimum=0.05, maximum=10.0
    )
    first_command_timeout: float = parameter(
        2.0, "s until the first command after the controller became active", minimum=0.05
    )
    reset_timeout: float = parameter(
        30.0, "s that robot_reset may drive the arm to a start", minimum=1.0
    )
    max_command_rate: float = parameter(
        1000.0, "Commands per s, more are a flood", minimum=1.0, maximum=3000.0
    )
    state_timeout: float = parameter(
        0.2, "s that the newest joint state may be old", minimum=0.02, maximum=10.0
    )
    frozen_timeout: float = parameter(
        1.0,
        "s of the very same joint values while commands ask for motion, 0 = not watched",
        minimum=0.0,
    )
    max_state_latency: float = parameter(
        0.2, "s from a joint state's stamp to its arrival, 0 = not watched", minimum=0.0
    )
    actor_timeout: float = parameter(
        3.0, "s that the actor's status may be old, 0 = not watched", minimum=0.0
    )


def _pose_asks(message: PoseStamped, q: Float64, robot: Robot) -> bool:
    p = message.pose.position
    position, _, _ = forward(q)
    return float(np.abs(np.array([p.x, p.y, p.z]) - position).max()) > LEAST_DISTANCE


def _trajectory_asks(message: JointTrajectory, q: Float64, robot: Robot) -> bool:
    if not message.points:
        return False
    target = dict(zip(message.joint_names, message.points[-1].positions, strict=False))
    off = [abs(target.get(name, q[i]) - q[i]) for i, name in enumerate(robot.joint_names)]
    return max(off) > LEAST_ANGLE


def _velocity_asks(message: Float64MultiArray, q: Float64, robot: Robot) -> bool:
    return any(abs(value) > LEAST_VELOCITY for value in message.data[:7])


@dataclass(frozen=True)
class CommandTopic:
    """Where a motion controller is commanded, and whether a command asks for motion."""

    name: str
    kind: type
    asks: Callable[[Any, Float64, Robot], bool]


TOPICS = {
    "cartesian_impedance": CommandTopic("target_pose", PoseStamped, _pose_asks),
    "joint_trajectory": CommandTopic(
        "joint_trajectory_controller/joint_trajectory", JointTrajectory, _trajectory_asks
    ),
    "joint_velocity": CommandTopic(
        "joint_velocity_controller/commands", Float64MultiArray, _velocity_asks
    ),
}


# What robot_reset says over and over while it drives the arm: where to.
DRIVE = CommandTopic("robot_reset/motion", JointTrajectory, _trajectory_asks)


class Watchdog(node.SacNode[Parameters]):
    """Guards one robot. What it hears is taken in on the main thread, a bounded amount a time."""

    def __init__(self) -> None:
        super().__init__("sac_watchdog", Parameters)
        self._wake = threading.Event()
        self._state = "waiting"
        self._cause = Cause("", "")  # of the newest trip
        self._trips = 0
        self._tripped_at = -math.inf
        self._last_trip = Time()
        self._stopped = True  # whether no motion controller is left active since the trip
        self._complained = -math.inf

    def configure(self) -> None:
        p = self.parameters
        self._robot = ROBOTS[p.robot_type].prefixed(p.arm_prefix)
        self._controller = activity.motion_controller(p.command)
        self._guarded = tuple(dict.fromkeys((self._controller, DRIVER)))
        self._topic = TOPICS[p.command]
        self._watch = Vigilance(
            Limits(
                p.command_timeout,
                p.first_command_timeout,
                p.reset_timeout,
                p.max_command_rate,
                p.state_timeout,
                p.frozen_timeout,
                p.max_state_latency,
                p.actor_timeout,
            )
        )
        self._activity = Activity(p.arm_prefix)
        self._newest: tuple[CommandTopic, bytes] = (self._topic, b"")  # command
        self._commands = self._drives = 0  # since the last look
        self._input = JointInput(self._robot)
        self._active: list[str] = []  # motion controllers
        self._status_due = -math.inf
        self._make_clients()
        self._status = self.create_publisher(
            WatchdogStatus, "watchdog/status", qos.STATUS, qos_overriding_options=qos.OVERRIDABLE
        )
        self._offered = [
            self.create_service(Trigger, "~/stop", self._on_stop),
            self.create_service(Trigger, "~/clear", self._on_clear),
        ]
        self.get_logger().info(
            f"Guarding {self._controller}, commanded on "
            f"{self._robot_node.resolve_topic_name(self._topic.name)}"
        )

    def _make_clients(self) -> None:
        """Topics and clients on a node of their own: how much of them is taken in is up to us."""
        self._robot_node = robot = node.side_node(self, f"{self.get_name()}_robot")

        def hear(
            kind: type, topic: str, callback: Any, profile: qos.QoSProfile, raw: bool = False
        ) -> None:
            robot.create_subscription(kind, topic, callback, profile, raw=raw)

        hear(JointState, JOINT_STATES, self._on_joints, qos.ROBOT_STATE)
        hear(self._topic.kind, self._topic.name, self._on_command, qos.WATCHED_COMMANDS, raw=True)
        hear(DRIVE.kind, DRIVE.name, self._on_drive, qos.WATCHED_COMMANDS, raw=True)
        hear(ActorStatus, "sac/actor/status", self._on_actor, qos.WATCHED_STATUS)
        # A reliable reader does not hear best-effort senders, the other one may miss a message.
        for profile in qos.EMERGENCY_STOP:
            hear(Bool, "emergency_stop", self._on_emergency_stop, profile)
        hear(ControllerManagerActivity, activity.TOPIC, self._activity.take, qos.STATUS)
        self._switch = Request(
            robot.create_client(SwitchController, "controller_manager/switch_controller")
        )
        self._inquiry = Inquiry(robot, self._activity)
        self._inbox = Inbox(robot)

    def cleanup(self) -> None:
        if not hasattr(self, "_robot_node"):
            return
        self._robot_node.destroy_node()
        for service in self._offered:
            self.destroy_service(service)
        self.destroy_publisher(self._status)
        del self._robot_node

    def interrupt(self) -> None:
        self._wake.set()

    # What comes in, on the main thread.

    def _on_joints(self, message: JointState) -> None:
        if not self._input.take_joints(message):
            return
        self._input.went_back = False  # from here on stamps have to go on again
        joints = self._input.joints
        assert joints is not None
        latency = (self.get_clock().now().nanoseconds - joints.stamp) / 1e9
        changed = self._input.changed == joints.stamp
        self._watch.hear_state(changed, latency, time.monotonic())

    def _on_command(self, data: bytes) -> None:
        self._commands += 1
        self._newest = (self._topic, data)

    def _on_drive(self, data: bytes) -> None:
        if DRIVER in self._active:
            self._drives += 1
            self._newest = (DRIVE, data)

    def _on_actor(self, message: ActorStatus) -> None:
        if self.parameters.actor_id in ("", message.actor_id):
            self._watch.hear_actor(time.monotonic())

    def _on_emergency_stop(self, message: Bool) -> None:
        if message.data:
            self._trip(Cause(EMERGENCY_STOP, "emergency_stop is true"))
        self._watch.emergency_stop = bool(message.data)

    # The watch, on the main thread.

    def work(self) -> None:
        self._wake.wait(PERIOD)
        self._wake.clear()
        self._inbox.receive(qos.WATCHED)
        now = time.monotonic()
        self._watch.hear_commands(self._commands, now)
        self._watch.hear_drives(self._drives, now)
        self._commands = self._drives = 0
        self._inquire(now)
        self._follow_controllers(now)
        if self._state == "tripped":
            self._enforce(now)
        else:
            self._judge(now)
        if now >= self._status_due:
            self._publish_status()

    def _inquire(self, now: float) -> None:
        """Know which controllers are active, and which of them move the robot.

        A robot that stops by itself says nothing of it, and is silent.
        """
        inquiry = self._inquiry
        inquiry.take()
        if (
            inquiry.is_old
            or self._watch.is_silent(now)
            or (self._state == "tripped" and not self._stopped)
            or now - inquiry.asked > LIST_PERIOD
        ):
            inquiry.ask()

    def _follow_controllers(self, now: float) -> None:
        """Begin or end to watch as motion controllers become active or inactive."""
        active = self._activity.active_motion(self._guarded)
        if active == self._active:
            return
        for name in active:
            if name not in self._active:
                self._watch.activated(now, name == self._controller, name == DRIVER)
                self._newest = (self._topic, b"")  # what was asked of another is over
        self._active = active
        if not active:
            self._watch.deactivated()
        if self._state == "tripped":
            return
        self._state = "watching" if active else "waiting"
        if active:
            self.get_logger().info(f"Watching {', '.join(active)}")
        else:
            self.get_logger().info("Waiting: no motion controller is active")
        self._publish_status()

    def _judge(self, now: float) -> None:
        strangers = [name for name in self._active if name not in self._guarded]
        if strangers:
            self._trip(
                Cause(
                    CONTROLLER,
                    f"{', '.join(strangers)} is active, and this watchdog guards "
                    f"{self._controller}: give it the right command, or stop it for other work",
                )
            )
            return
        watch = self._watch
        if self._active and watch.is_suspicious():
            watch.frozen_while_asked = watch.frozen_while_asked or self._asked_to_move()
        cause = watch.cause(now)
        if cause is not None:
            self._trip(cause)

    def _asked_to_move(self) -> bool:
        """Whether the newest command wants the robot elsewhere than joint states have it."""
        topic, data = self._newest
        joints = self._input.joints
        if joints is None or not 0 < len(data) <= LARGEST_COMMAND:
            return False
        try:
            command = deserialize_message(data, topic.kind)
        except RuntimeError:  # no such message: it asks for nothing
            return False
        return topic.asks(command, joints.q, self._robot)

    def _trip(self, cause: Cause) -> None:
        """Stop the robot, and keep it so. A second cause changes nothing but what is shown."""
        if self._state == "tripped":
            return
        self._state, self._cause = "tripped", cause
        self._trips += 1
        self._tripped_at, self._last_trip = time.monotonic(), self.get_clock().now()
        self._stopped = False
        self._complained = self._tripped_at
        active = ", ".join(self._active) or "no motion controller"
        self.get_logger().error(f"Tripped: {cause.text}. Active: {active}")
        self._publish_status()
        self._switch.drop()
        self._enforce(self._tripped_at)

    def _enforce(self, now: float) -> None:
        """Deactivate every motion controller that is active, until none is."""
        answer = self._switch.answer()
        if answer is not None and not answer.ok:
            self.get_logger().error(
                f"Deactivation refused: {printable(answer.message, 200)}", throttle_duration_sec=1.0
            )
        # Unknown states are no reason to wait: what is not active is not deactivated.
        targets = self._active if self._activity.known else list(self._guarded)
        if not targets:
            if not self._stopped:
                self._stopped = True
                took = (now - self._tripped_at) * 1e3
                self.get_logger().info(f"No motion controller is active, {took:.0f} ms later")
            return
        if self._stopped:
            self._stopped, self._tripped_at, self._complained = False, now, now
            self.get_logger().error(
                f"{', '.join(targets)} became active while tripped: deactivating it again"
            )
        request = SwitchController.Request(
            deactivate_controllers=targets,
            strictness=SwitchController.Request.BEST_EFFORT,
            activate_asap=True,
        )
        self._switch.ask(request, now, RETRY)
        if now - self._complained > UNREACHABLE:
            self._complained = now
            name = self._robot_node.resolve_service_name("controller_manager/switch_controller")
            self.get_logger().error(
                f"{', '.join(targets)} is not confirmed inactive after "
                f"{now - self._tripped_at:.1f} s of calling {name}: PRESS THE USER STOP"
            )

    # Services, on the executor thread.

    def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.on_main_thread(lambda: self._trip(Cause(REQUEST, "stopped through ~/stop")))
        response.success, response.message = True, f"tripped: {self._cause.text}"
        return response

    def _on_clear(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.on_main_thread(self._clear)
        return response

    def _clear(self) -> tuple[bool, str]:
        if self._state != "tripped":
            return False, "not tripped"
        now = time.monotonic()
        if not self._stopped:
            return False, f"{', '.join(self._active)} is not confirmed inactive yet"
        persisting = self._watch.persists(
            self._cause.kind, self._tripped_at, now, bool(self._activity.stopped())
        )
        if persisting is not None:
            self.get_logger().warning(f"Not cleared: {persisting.text}")
            return False, f"not cleared: {persisting.text}"
        self._state = "waiting"
        self.get_logger().info("Cleared by an operator")
        self._publish_status()
        return True, "cleared"

    # What goes out.

    def _publish_status(self) -> None:
        now, watch = time.monotonic(), self._watch
        self._status_due = now + STATUS_PERIOD

        def age(heard: float) -> float:
            return now - heard if math.isfinite(heard) else math.nan

        message = WatchdogStatus(
            state=self._state,
            reason=self._cause.text[:MAX_TEXT],
            trips=self._trips,
            last_trip=self._last_trip.to_msg(),
            motion_controller=", ".join(self._active)[:256],
            command_age=age(watch.command_at),
            command_rate=watch.command_rate(),
            state_age=age(watch.state_at),
            actor_age=age(watch.actor_at),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        if not hasattr(self, "_robot_node"):
            return DiagnosticStatus.WARN, "not configured", {}
        now, watch = time.monotonic(), self._watch
        values: dict[str, object] = {
            "state": self._state,
            "motion_controller": ", ".join(self._active) or "none",
            "trips": self._trips,
            "last_reason": self._cause.text or "none",
            "command_age": f"{now - watch.command_at:.3f}",
            "command_rate": f"{watch.command_rate():.1f}",
            "state_age": f"{now - watch.state_at:.3f}",
            "state_latency": f"{watch.latency:.3f}",
            "actor_age": f"{now - watch.actor_at:.3f}",
            "joint_states_refused": self._input.refused,
            "refusal": self._input.refusal or "none",
        }
        if self._state == "tripped":
            return DiagnosticStatus.ERROR, f"tripped: {self._cause.text}", values
        if not self.active.is_set():
            return DiagnosticStatus.ERROR, "not watching: the node is not active", values
        if not self._activity.known:
            return DiagnosticStatus.WARN, "no controller_manager is heard", values
        return DiagnosticStatus.OK, self._state, values


def main() -> None:
    """Entry point of `ros2 run sac_actor watchdog`."""
    node.main(Watchdog, "sac_watchdog")
