"""Brings back a robot that has stopped, step by step, if it may.

After an error of the robot all its controllers are inactive, broadcasters too, and nothing comes
back by itself. The way back has three steps: the action error_recovery, the hardware component
active again, then the broadcasters. The motion controller comes after them, when the next episode
takes control: only then is it known where the arm is to stay. A user stop and guiding by hand are a
person's to end: they are never cleared here, and the robot refuses error_recovery meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from controller_manager_msgs.srv import ListControllers, SetHardwareComponentState
from franka_msgs.action import ErrorRecovery
from franka_msgs.msg import FrankaRobotState
from lifecycle_msgs.msg import State
from rclpy.node import Node
from std_srvs.srv import Trigger

from sac_actor.activity import moves
from sac_actor.calls import Action, Caller, CallFailed
from sac_actor.control import (
    HELD,
    IN_ERROR,
    STOPPED,
    SWITCHED,
    UNLATCHED,
    WATCHDOG,
    Control,
    switch,
)
from sac_actor.environment import EpisodeCut
from sac_ros import qos
from sac_ros.codecs import printable
from sac_ros.robot_input import of_franka_ros2

FIRST_WORD = 5.0  # s to wait for the first word of controller_manager
ERRORS = 10.0  # s that error_recovery may take; 0.2 to 7 on the robot
HARDWARE = 10.0  # s that activating the hardware may take; it is said to hang at times
STATES_BACK = 2.0  # s until joint states are back
MODE = 1.0  # s to wait for the robot's mode
SETTLING = 0.5  # s after which a recovery counts: what is wrong still stops it again at once
BACKOFF, BACKOFF_MOST = 2.0, 30.0  # s between two recoveries; doubles up to the latter
ROBOT_STATE = "franka_robot_state_broadcaster/robot_state"
ROBOT_MODES = ("other", "idle", "move", "guiding", "reflex", "user stopped", "recovering")
BY_A_PERSON = {
    FrankaRobotState.ROBOT_MODE_USER_STOPPED: "the user stop is pressed: release it",
    FrankaRobotState.ROBOT_MODE_GUIDING: "the arm is guided by hand: let go of it",
}
MAY_MOVE = (FrankaRobotState.ROBOT_MODE_IDLE, FrankaRobotState.ROBOT_MODE_MOVE)
AGAIN = "the robot has stopped again at once: is it in contact? Free it"
REFUSED = (
    "the robot refuses error_recovery: release the user stop, let go of the arm, and look into Desk"
)


class PersonNeeded(Exception):
    """The robot does not come back before a person has done something; the message says what."""


class Recovery:
    """Recovers one robot, counts how often, and asks a person where it has to.

    `mode`: automatic, acknowledge (a person agrees to each recovery), manual (a person recovers).
    After `max_strikes` recoveries without a whole episode a person is asked in any case.

    Made before the node's inbox; all but the service is for the thread that takes in messages.
    `joints_heard` tells when a joint state last came (monotonic, s).
    """

    def __init__(
        self,
        owner: Node,
        node: Node,
        control: Control,
        mode: str,
        max_strikes: int,
        joints_heard: Callable[[], float],
    ) -> None:
        self._owner = owner
        self._node = node
        self._control = control
        self._mode = mode
        self._max_strikes = max_strikes
        self._joints_heard = joints_heard
        self._logger = owner.get_logger()
        self.recoveries = 0
        self.strikes = 0
        self.step = "none"  # the newest
        self.waits_for = ""  # what a person has to do
        self._acknowledged = threading.Event()
        self._refused = ""  # why the robot takes no recovery now
        self._not_before = 0.0  # of the next recovery, monotonic s
        self._warned = False
        self._list = node.create_client(ListControllers, "controller_manager/list_controllers")
        self._set_hardware = node.create_client(
            SetHardwareComponentState, "controller_manager/set_hardware_component_state"
        )
        clear_errors = of_franka_ros2(
            "action_server/error_recovery", control.activity.arm_prefix, node.get_namespace()
        )
        self._errors = Action(node, ErrorRecovery, clear_errors)
        self._service = owner.create_service(Trigger, "~/acknowledge", self._on_acknowledge)

    def close(self) -> None:
        """Give the service back."""
        self._owner.destroy_service(self._service)

    def _on_acknowledge(
        self, _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """On the executor thread."""
        if not self.waits_for:
            response.message = "nothing waits for an acknowledgement"
            return response
        if self._mode == "manual" and self._control.activity.stopped():
            response.message = f"not yet: {self.waits_for}"
            return response
        response.success, response.message = True, f"acknowledged: {self.waits_for}"
        self._acknowledged.set()
        return response

    def forgive(self) -> None:
        """An episode came to its end without a fault: what went wrong before no longer counts."""
        self.strikes = 0

    def make_ready(self, caller: Caller) -> None:
        """Return once the robot may be controlled, after a recovery if need be.

        Raises EpisodeCut when that fails, or a person has to act first.
        """
        self._hear_manager(caller)
        self._control.listen()
        self._control.find_out(caller)
        self._control.check_watchdog()
        fault = self._fault()
        if not fault:
            self.waits_for = ""
            self._control.forget_loss()
            return
        try:
            self._permit(fault, caller)
            if self._control.activity.stopped() or self._is_in_error():
                self._recover(caller)
        except PersonNeeded as error:
            self.waits_for = str(error)
            raise EpisodeCut(self.waits_for, for_person=True) from None
        except CallFailed as error:
            self._not_before = time.monotonic() + self._backoff()
            raise EpisodeCut(f"recovery failed at {self.step}: {error}") from error
        self.waits_for = ""
        self._control.forget_loss()

    def _hear_manager(self, caller: Caller) -> None:
        known = self._control.activity
        if known.known or self._warned or caller.pause(lambda: known.known, FIRST_WORD):
            return
        self._warned = True
        self._logger.warning(
            "controller_manager is not heard: faults are seen only when joint states stop, and "
            "nothing is recovered"
        )

    def _fault(self) -> str:
        """What stands in the way of control; empty: nothing. A watchdog was cleared by a person."""
        control = self._control
        stopped = control.activity.stopped()
        if stopped and control.loss != STOPPED:
            control.loss, control.lost = STOPPED, stopped
        return "" if control.loss == WATCHDOG else control.lost

    def _is_in_error(self) -> bool:
        """Whether errors are to be cleared of which controller_manager knows nothing."""
        return self._control.loss == IN_ERROR and self._mode != "manual"

    # Whether.

    def _permit(self, fault: str, caller: Caller) -> None:
        """Return if a recovery may begin now; PersonNeeded says what it takes."""
        service = self._owner.resolve_service_name("~/acknowledge")
        then = f"make it safe, then: ros2 service call {service} std_srvs/srv/Trigger"
        if self._mode == "manual" and self._control.activity.stopped():
            self._acknowledged.clear()  # it has stopped once more since
            raise PersonNeeded(f"{fault}; recovery is manual: bring it back, {then}")
        if self._acknowledged.is_set():
            self._acknowledged.clear()
            self.waits_for = ""  # one agreement is for one recovery
            self.strikes, self._not_before = 0, 0.0
            return
        if self._mode != "automatic" or self._control.loss in (UNLATCHED, HELD):
            raise PersonNeeded(f"{fault}; {then}")
        if self.strikes >= self._max_strikes:
            raise PersonNeeded(
                f"{fault}; {self.strikes} recoveries and no whole episode since: {then}"
            )
        wait = self._not_before - time.monotonic()
        if wait > 0.0:
            if not self._refused:
                self._logger.info(f"Recovery in {wait:.0f} s")
            caller.pause(lambda: time.monotonic() >= self._not_before, wait + 1.0)

    def _backoff(self) -> float:
        return min(BACKOFF * 2.0 ** max(self.strikes - 1, 0), BACKOFF_MOST)

    # How.

    def _begin(self, step: str) -> None:
        self.step = step
        if not self._refused:  # once is enough
            self._logger.info(f"Recovery {self.recoveries + 1}: {step}")

    def _recover(self, caller: Caller) -> None:
        """The three steps. Raises PersonNeeded and CallFailed."""
        began, control = time.monotonic(), self._control
        self.strikes += 1
        if control.activity.is_active(control.controller):  # or it would move as soon as it can
            self._begin(f"{control.controller} off")
            switch(caller, control.switch_client, [], [control.controller])
        self._begin("step 1 of 3, error_recovery")
        self._clear_errors(caller)
        self._begin("step 2 of 3, hardware active")
        self._activate_hardware(caller)
        broadcasters = self._broadcasters(caller)
        self._begin(f"step 3 of 3, {', '.join(broadcasters) or 'no broadcaster'} active")
        if broadcasters:
            switch(caller, control.switch_client, broadcasters, [])
        since = time.monotonic()
        caller.wait(lambda: self._joints_heard() > since, STATES_BACK, "no joint state came")
        if caller.pause(lambda: bool(control.stopped()), SETTLING):
            raise CallFailed(AGAIN)
        self._check_mode(caller)
        self.recoveries += 1
        self.step = "recovered"
        self._not_before = time.monotonic() + self._backoff()
        self._logger.info(
            f"Recovered in {time.monotonic() - began:.1f} s; "
            f"{self.strikes} of at most {self._max_strikes} without a whole episode since"
        )

    def _clear_errors(self, caller: Caller) -> None:
        done, _ = self._errors.run(caller, ErrorRecovery.Goal(), ERRORS)
        if not done:
            raise self._refusal(REFUSED)
        self._refused = ""

    def _refusal(self, why: str) -> PersonNeeded:
        """That was no recovery: the robot takes none now."""
        self.strikes -= 1
        self._refused = why
        self._not_before = time.monotonic() + BACKOFF
        if self._mode == "automatic":
            return PersonNeeded(f"{why}; the actor goes on by itself then")
        service = self._owner.resolve_service_name("~/acknowledge")
        return PersonNeeded(f"{why}; then: ros2 service call {service} std_srvs/srv/Trigger")

    def _activate_hardware(self, caller: Caller) -> None:
        known = self._control.activity
        for name in known.stopped_hardware():
            request = SetHardwareComponentState.Request(
                name=name, target_state=State(id=State.PRIMARY_STATE_ACTIVE, label="active")
            )
            try:
                answer = caller.call(self._set_hardware, request, HARDWARE)
            except CallFailed as error:
                raise CallFailed(
                    f"{error}; franka_ros2 is known to hang here: start it anew"
                ) from error
            if not answer.ok:
                raise CallFailed(f"{name} does not become active, the log of franka_ros2 says why")
        caller.wait(
            lambda: not known.stopped_hardware(), SWITCHED, "the hardware is not seen to be active"
        )

    def _broadcasters(self, caller: Caller) -> list[str]:
        """Controllers that only read, are inactive, and were active before the fault."""
        listed = caller.call(self._list, ListControllers.Request()).controller
        before = self._control.active_before
        return [
            one.name
            for one in listed
            if one.state == "inactive"
            and not moves(one)
            and (one.name in before if before else one.type.endswith("Broadcaster"))
        ]

    def _check_mode(self, caller: Caller) -> None:
        """Go on only with a robot that may move, as far as its state is published."""
        state = hear_robot_state(self._node, caller)
        if state is None:
            return
        mode = state.robot_mode
        if mode in BY_A_PERSON:
            raise self._refusal(BY_A_PERSON[mode])
        if mode == FrankaRobotState.ROBOT_MODE_REFLEX:
            self._control.loss = IN_ERROR  # whatever controller_manager says
            raise CallFailed(f"{AGAIN} ({errors_of(state)})")
        if mode not in MAY_MOVE:
            name = ROBOT_MODES[mode] if mode < len(ROBOT_MODES) else str(mode)
            raise CallFailed(f"the robot's mode is {name}: {errors_of(state)}")
        self._logger.info(f"Recovery {self.recoveries + 1}: the robot names {errors_of(state)}")


def hear_robot_state(node: Node, caller: Caller) -> FrankaRobotState | None:
    """What the robot says of itself now; None if it does not, as fake hardware.

    The topic comes at 1 kHz: it is subscribed to for this moment only, and one message is read.
    """
    heard: list[FrankaRobotState] = []
    subscription = node.create_subscription(
        FrankaRobotState, ROBOT_STATE, lambda _: None, qos.ROBOT_STATE
    )

    def take() -> bool:
        taken = subscription.handle.take_message(FrankaRobotState, False)
        if taken is not None:
            heard.append(taken[0])
        return taken is not None

    try:
        caller.pause(take, MODE)
    finally:
        node.destroy_subscription(subscription)
    return heard[0] if heard else None


def errors_of(state: FrankaRobotState) -> str:
    """The robot's errors by name."""
    found = [
        name
        for errors in (state.current_errors, state.last_motion_errors)
        for name in errors.get_fields_and_field_types()
        if getattr(errors, name)
    ]
    return printable(", ".join(dict.fromkeys(found)), 200) or "no error"
