"""A simulated robot, its actor and its watchdog as whole-system tests use them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from operator import itemgetter
from time import time_ns
from typing import Any, NamedTuple

import psutil
from action_msgs.msg import GoalStatus, GoalStatusArray
from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import (
    ListControllers,
    SetHardwareComponentState,
    SwitchController,
)
from ears import Ear
from franka_msgs.action import ErrorRecovery
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from std_srvs.srv import Trigger
from system import Program, Start, call, spin_until

from sac_msgs.msg import ActorStatus, WatchdogStatus
from sac_ros import qos
from sac_ros.robot_input import TOOL_POSE

CARTESIAN = "cartesian_impedance_controller"
TRAJECTORY, VELOCITY = "joint_trajectory_controller", "joint_velocity_controller"
HARDWARE = "FrankaHardwareInterface"
BROADCASTERS = ["joint_state_broadcaster", "franka_robot_state_broadcaster"]
INJECTED = {"drop_joint_states": False, "freeze_joint_states": False, "state_latency": 0.0}
INJECTED |= {"drop_object_poses": False, "reactivation_delay": 0.0}


def program(
    start: Start, package: str, executable: str, parameters: tuple[str, ...], remap: tuple[str, ...]
) -> Program:
    """`ros2 run` with parameters `name:=value` and remappings."""
    command = ["ros2", "run", package, executable, "--ros-args"]
    for parameter in parameters:
        command += ["-p", parameter]
    for rule in remap:
        command += ["-r", rule]
    return start(*command)


def bridge(start: Start, *parameters: str, remap: str = "") -> Program:
    """In lockstep, as fast as it goes, but for what `parameters` say."""
    given = {"task": "reach", "lockstep": "true", "speed_factor": "0.0", "lockstep_timeout": "0.3"}
    given |= dict(parameter.split(":=") for parameter in parameters)
    joined = tuple(f"{name}:={value}" for name, value in given.items())
    rules = (remap,) if remap else ()
    simulation = program(start, "franka_sim_bridge", "franka_sim_bridge", joined, rules)
    simulation.wait_for("Simulating")
    return simulation


def real_time(start: Start, *parameters: str, remap: str = "") -> Program:
    """A bridge at the robot's pace, whose time does not wait for commands."""
    return bridge(start, "lockstep:=false", "speed_factor:=1.0", *parameters, remap=remap)


def actor(start: Start, *parameters: str, remap: str = "") -> Program:
    rules = (remap,) if remap else ()
    given = ("task:=reach", "eval_period:=0", *parameters)
    return program(start, "sac_actor", "actor", given, rules)


def watchdog(start: Start, *parameters: str, remap: str = "") -> Program:
    """Patient enough for a loaded machine, but for what `parameters` say."""
    given = {"state_timeout": "2.0", "command_timeout": "2.0", "first_command_timeout": "60.0"}
    given |= {"actor_timeout": "60.0", "max_state_latency": "0.0"}
    given |= dict(parameter.split(":=") for parameter in parameters)
    joined = tuple(f"{name}:={value}" for name, value in given.items())
    rules = (remap,) if remap else ()
    guard = program(start, "sac_actor", "watchdog", joined, rules)
    guard.wait_for("Guarding")
    return guard


def process_of(program: Program) -> psutil.Process:
    """The node itself, below the `ros2 run` that started it."""
    return (program.descendants() or [psutil.Process(program.process.pid)])[-1]


class Newest:
    """The newest message of a topic that is latched."""

    def __init__(self, node: Node, kind: type, topic: str) -> None:
        self.node = node
        self.status: Any = kind()
        node.create_subscription(kind, topic, self._take, qos.STATUS)

    def _take(self, status: Any) -> None:
        self.status = status

    def until(self, condition: Callable[[Any], bool], what: str) -> Any:
        spin_until(self.node, lambda: condition(self.status), 60.0, what)
        return self.status


class Watch(Newest):
    """The newest status of the actor."""

    def __init__(self, node: Node, namespace: str = "") -> None:
        super().__init__(node, ActorStatus, f"{namespace}sac/actor/status")

    def steps_beyond(self, steps: int) -> Any:
        return self.until(lambda s: s.steps > steps, f"more than {steps} steps")

    def acts_again(self) -> Any:
        """Wait for more steps, and agree to go on where that is asked for."""
        target = self.status.steps + 5

        def acts() -> bool:
            if self.status.state == "waiting":
                acknowledge(self.node)
            return bool(self.status.steps > target)

        spin_until(self.node, acts, 60.0, "it acts again")
        return self.status


class Guard(Newest):
    """The newest status of the watchdog, and what an operator asks of it."""

    def __init__(self, node: Node, namespace: str = "") -> None:
        self._services = f"{namespace}sac_watchdog"
        super().__init__(node, WatchdogStatus, f"{namespace}watchdog/status")

    def until_state(self, state: str, reason: str = "") -> Any:
        return self.until(
            lambda s: s.state == state and reason in s.reason, f"watchdog {state}: {reason}"
        )

    def ask(self, what: str) -> tuple[bool, str]:
        answer: Any = call(self.node, Trigger, f"{self._services}/{what}", Trigger.Request())
        return answer.success, answer.message

    def clear(self) -> None:
        """Clear it as soon as that is possible."""
        spin_until(self.node, lambda: self.ask("clear")[0], 60.0, "cleared")

    def until_commanded(self) -> None:
        """Wait until it watches, and has heard a command since: from then on commands must come."""
        since = Time.from_msg(self.until_state("watching").header.stamp)

        def heard(status: Any) -> bool:
            if status.state != "watching" or status.command_rate == 0.0:
                return False
            ago = Duration(seconds=status.command_age)
            return bool(Time.from_msg(status.header.stamp) - ago > since)

        self.until(heard, "a command since it watches")

    def until_later(self, seconds: float) -> None:
        """Let time pass in which nothing is to happen, by the watchdog's own stamps."""
        begin = Time.from_msg(self.status.header.stamp)
        wait = Duration(seconds=seconds)
        self.until(lambda s: Time.from_msg(s.header.stamp) - begin > wait, f"{seconds} s later")

    def stop_motion(self) -> None:
        """Nothing is injected, no motion controller is active, and the watchdog waits."""
        inject(self.node, **INJECTED)

        def stands() -> bool:
            active = {n for n, state in controllers(self.node).items() if state == "active"}
            if active - set(BROADCASTERS):
                switch(self.node, [], list(active - set(BROADCASTERS)))
            elif self.status.state == "tripped":
                self.ask("clear")
            return bool(self.status.state == "waiting")

        spin_until(self.node, stands, 60.0, "the robot stands and the watchdog waits")


class Commander:
    """Commands without end, from a thread of its own, to stay where the robot is."""

    def __init__(self, node: Node) -> None:
        self._node = node
        heard: list[PoseStamped] = []
        pose = node.create_subscription(PoseStamped, TOOL_POSE, heard.append, qos.ROBOT_STATE)
        spin_until(node, lambda: bool(heard), 60.0, TOOL_POSE)
        node.destroy_subscription(pose)
        self._target = heard[0]
        self._publisher = node.create_publisher(PoseStamped, "target_pose", qos.ROBOT_COMMAND)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            self._publisher.publish(self._target)

    def raise_target(self) -> None:
        """Ask for motion."""
        self._target.pose.position.z += 0.03

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._node.destroy_publisher(self._publisher)


def acknowledge(node: Node) -> tuple[bool, str]:
    """Agree to a recovery; whether one was waiting, and what the actor says."""
    answer: Any = call(node, Trigger, "sac_actor/acknowledge", Trigger.Request())
    return answer.success, answer.message


def inject(node: Node, name: str = "", value: Any = None, /, **more: Any) -> None:
    """Set parameters of the bridge."""
    values = more | ({name: value} if name else {})
    parameters = [Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
    request = SetParameters.Request(parameters=parameters)
    answer: Any = call(node, SetParameters, "franka_sim_bridge/set_parameters", request)
    for result in answer.results:
        assert result.successful, result.reason


def controllers(node: Node, namespace: str = "") -> dict[str, str]:
    """The states of the controllers."""
    name = f"{namespace}controller_manager/list_controllers"
    answer: Any = call(node, ListControllers, name, ListControllers.Request())
    return {controller.name: controller.state for controller in answer.controller}


def switch(node: Node, on: list[str], off: list[str], namespace: str = "") -> bool:
    """Activate and deactivate controllers, all or nothing."""
    request = SwitchController.Request(
        activate_controllers=on,
        deactivate_controllers=off,
        strictness=SwitchController.Request.STRICT,
    )
    name = f"{namespace}controller_manager/switch_controller"
    answer: Any = call(node, SwitchController, name, request)
    return bool(answer.ok)


def set_hardware(node: Node, state: State) -> None:
    """Bring the robot's hardware component to a state."""
    request = SetHardwareComponentState.Request(name=HARDWARE, target_state=state)
    name = "controller_manager/set_hardware_component_state"
    answer: Any = call(node, SetHardwareComponentState, name, request)
    assert answer.ok


def bring_back(node: Node) -> None:
    """What a person does after a fault, in the only order that works, as far as it is needed."""
    inject(node, fault="release_user_stop")
    inject(node, fault="release_guiding")
    goal = ErrorRecovery.Impl.SendGoalService.Request()
    goal.goal_id.uuid = list(uuid.uuid4().bytes)
    action = "action_server/error_recovery/_action"
    call(node, ErrorRecovery.Impl.SendGoalService, f"{action}/send_goal", goal)
    result = ErrorRecovery.Impl.GetResultService.Request(goal_id=goal.goal_id)
    call(node, ErrorRecovery.Impl.GetResultService, f"{action}/get_result", result)
    if controllers(node)[BROADCASTERS[0]] == "active":
        return  # nothing was controlled: ros2_control has seen nothing
    set_hardware(node, State(id=State.PRIMARY_STATE_ACTIVE, label="active"))
    assert switch(node, BROADCASTERS, [])


class Tape(NamedTuple):
    """What happened on the robot's topics, in the order of publication (ns of one clock)."""

    commands: list[int]
    activity: list[tuple[int, dict[str, str]]]  # states of controllers and hardware together
    recoveries: list[tuple[int, int]]  # status of the newest error_recovery goal

    def after(self, when: int) -> list[str]:
        """What became active after `when`, and `error_recovery` when that succeeded, in order.

        At `when` the robot has stopped, which is not published: nothing is active.
        """
        events = [
            (time, "error_recovery")
            for time, status in self.recoveries
            if status == GoalStatus.STATUS_SUCCEEDED
        ]
        before: dict[str, str] = {}
        for time, states in self.activity:
            if time > when:
                events += [
                    (time, name)
                    for name, state in states.items()
                    if state == "active" and before.get(name) != "active"
                ]
                before = states
        return [name for time, name in sorted(events, key=itemgetter(0)) if time > when]

    def when(self, name: str, state: str, after: int = 0) -> int:
        """When something first was in a state."""
        for time, states in self.activity:
            if time > after and states.get(name) == state:
                return time
        raise AssertionError(f"{name} was never {state}: {self.activity}")


class Recorder:
    """Records a robot's commands, the states of its controllers, and recoveries."""

    COMMANDS = "target_pose"
    ACTIVITY = "controller_manager/activity"
    RECOVERY = "action_server/error_recovery/_action/status"

    def __init__(self, context: Any) -> None:
        self.node = Node("tape", context=context)  # no executor spins it
        self._begin = time_ns()
        self._ear = Ear(self.node)
        self._ear.listen(self.ACTIVITY, ControllerManagerActivity, latched=True)
        self._ear.listen(self.RECOVERY, GoalStatusArray, latched=True)
        self._ear.listen(self.COMMANDS, PoseStamped)
        self._tape = Tape([], [], [])

    def tape(self) -> Tape:
        """All so far."""
        tape = self._tape
        tape.commands.extend(heard.published for heard in self._ear.take(self.COMMANDS))
        for heard in self._ear.take(self.ACTIVITY):
            items = (*heard.message.controllers, *heard.message.hardware_components)
            tape.activity.append((heard.published, {i.name: i.state.label for i in items}))
        for heard in self._ear.take(self.RECOVERY):
            statuses = heard.message.status_list
            if statuses and heard.published > self._begin:
                tape.recoveries.append((heard.published, statuses[-1].status))
        return tape

    def close(self) -> None:
        self.node.destroy_node()
