"""A simulated robot, its actor and its watchdog as whole-system tests use them."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

from action_msgs.msg import GoalStatus, GoalStatusArray
from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import ListControllers, SwitchController
from ears import Ear
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from system import Program, Start, call, spin_until

from sac_msgs.msg import ActorStatus, WatchdogStatus
from sac_ros import qos

CARTESIAN = "cartesian_impedance_controller"
TRAJECTORY, VELOCITY = "joint_trajectory_controller", "joint_velocity_controller"
HARDWARE = "FrankaHardwareInterface"
BROADCASTERS = ["joint_state_broadcaster", "franka_robot_state_broadcaster"]


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


def inject(node: Node, name: str, value: bool | str | float, namespace: str = "") -> None:
    """Set a parameter of the bridge."""
    parameter = Parameter(name, value=value).to_parameter_msg()
    request = SetParameters.Request(parameters=[parameter])
    answer: Any = call(node, SetParameters, f"{namespace}franka_sim_bridge/set_parameters", request)
    assert answer.results[0].successful, answer.results[0].reason


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


class Tape(NamedTuple):
    """What happened on the robot's topics, in the order of publication (ns of one clock)."""

    commands: list[int]
    activity: list[tuple[int, dict[str, str]]]  # states of controllers and hardware together
    recoveries: list[tuple[int, int]]  # status of the newest error_recovery goal

    def after(self, when: int) -> list[str]:
        """What became active after `when`, and `error_recovery` when that succeeded, in order."""
        events = [
            (time, "error_recovery")
            for time, status in self.recoveries
            if status == GoalStatus.STATUS_SUCCEEDED
        ]
        before: dict[str, str] = {}
        for time, states in self.activity:
            events += [
                (time, name)
                for name, state in states.items()
                if state == "active" and before.get(name, "active") != "active"
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
            if statuses:
                tape.recoveries.append((heard.published, statuses[-1].status))
        return tape

    def close(self) -> None:
        self.node.destroy_node()
