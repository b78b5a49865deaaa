"""Who controls the robot: the actor, from when it has activated the motion controller until it has
deactivated it again, something went wrong, or a watchdog has stopped the robot.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import SwitchController
from rclpy.client import Client
from rclpy.node import Node
from rclpy.subscription import Subscription

from sac_actor import activity
from sac_actor.activity import Activity, Inquiry
from sac_actor.calls import ANSWER, Caller, CallFailed
from sac_actor.environment import EpisodeCut
from sac_actor.vigilance import SILENCE
from sac_msgs.msg import WatchdogStatus
from sac_ros import qos
from sac_ros.codecs import printable

THERE = 0.2  # s for a service to be found that should be there
LAST_SWITCH = 1.0  # s to wait when control is given back; whoever waits for us has little time
SWITCHED = 2.0  # s until a switched controller is seen in its new state
WATCHES = 2.0  # s until a watchdog has seen that it has something to watch
# How control is lost.
STOPPED, DEACTIVATED, WATCHDOG = "stopped", "deactivated", "watchdog"
UNLATCHED = "unlatched"  # the watchdog had stopped it, and nobody has cleared it
# Held by a person, or in an error: whoever begins episodes may find the robot so. ros2_control sees
# neither while nothing is controlled.
HELD, IN_ERROR = "held", "in error"


def switch(
    caller: Caller,
    client: Client,
    activate: list[str],
    deactivate: list[str],
    timeout: float = ANSWER,
    patience: float = ANSWER,
    strictness: int = SwitchController.Request.STRICT,
) -> None:
    """Switch controllers, all or none; CallFailed says why not. Times as of `Caller.call`."""
    request = SwitchController.Request(
        activate_controllers=activate,
        deactivate_controllers=deactivate,
        strictness=strictness,
        activate_asap=True,
    )
    answer = caller.call(client, request, timeout, patience)
    if not answer.ok:
        what = " and ".join(
            f"{', '.join(names)} not {done}"
            for names, done in ((activate, "activated"), (deactivate, "deactivated"))
            if names
        )
        raise CallFailed(f"{what}: {printable(answer.message, 200) or 'no reason given'}")


class Control:
    """Control of a robot through one motion controller. Made before its node's inbox.

    `lost` says why control was lost and `loss` how, until somebody forgets it. `on_loss` is called
    at once, in the thread that takes in messages. `watchdog_timeout` s without a word of a watchdog
    are a reason not to act; 0: none is needed. `joints_heard` tells when a joint state last came
    (monotonic, s). `prepare` has the motion controller told, before it becomes active, to stay
    where the robot is.
    """

    def __init__(
        self,
        node: Node,
        controller: str,
        arm_prefix: str,
        watchdog_timeout: float,
        joints_heard: Callable[[], float],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._node = node
        self.controller = controller
        self._watchdog_timeout = watchdog_timeout
        self._joints_heard = joints_heard
        self._prepare = prepare
        self.activity = Activity(arm_prefix)
        self.taken = False
        self._sure = False  # whether what is known of the controllers is not a moment old
        self.lost = self.loss = ""
        self.active_before: list[str] = []  # controllers, when control was lost
        self.on_loss: Callable[[], None] = lambda: None
        self._watchdog = WatchdogStatus()
        self._watchdog_heard: float | None = None
        self._unwatched: float | None = None  # since when we act and the watchdog waits
        # The watchdog first: it says why the controller is going to be inactive.
        self._subscriptions = [
            self._subscribe(WatchdogStatus, "watchdog/status", self._on_watchdog),
            self._subscribe(ControllerManagerActivity, activity.TOPIC, self._on_activity),
        ]
        self.switch_client = node.create_client(
            SwitchController, "controller_manager/switch_controller"
        )
        self._inquiry = Inquiry(node, self.activity)

    def _subscribe(self, kind: type, topic: str, callback: object) -> Subscription:
        return self._node.create_subscription(
            kind, topic, callback, qos.STATUS, qos_overriding_options=qos.OVERRIDABLE
        )

    # What comes in.

    def listen(self) -> None:
        """Take in what controller_manager and watchdog have said by now; costs next to nothing."""
        for subscription in self._subscriptions:
            taken = subscription.handle.take_message(subscription.msg_type, False)
            if taken is not None:
                subscription.callback(taken[0])

    def _on_activity(self, message: ControllerManagerActivity) -> None:
        before = self._active()
        self.activity.take(message)
        self._judge(before)

    def _active(self) -> list[str]:
        return [name for name, state in self.activity.controllers.items() if state == "active"]

    def _judge(self, before: list[str]) -> None:
        """Give up control that is lost by what is known now; `before` that, these were active."""
        if not self.taken:
            return
        why = self.activity.stopped()
        if why:
            self._lose(STOPPED, why)
        elif not self.activity.is_active(self.controller):
            self._lose(DEACTIVATED, f"{self.controller} was deactivated")
        if not self.taken:
            self.active_before = before

    def _inquire(self) -> None:
        """Find out whether the robot has stopped, without waiting for the answer."""
        before = self._active()
        if self._inquiry.take():
            self._judge(before)
        self._inquiry.ask()

    def _on_watchdog(self, message: WatchdogStatus) -> None:
        before, self._watchdog, self._watchdog_heard = self._watchdog, message, time.monotonic()
        if before.state == "tripped" != message.state and message.trips < before.trips:
            # Nobody has cleared it: another process has taken its place.
            reason = printable(before.reason, 200)
            self._lose(UNLATCHED, f"the watchdog was started anew while tripped: {reason}")
        if message.state == "tripped" and (self.taken or self.loss in (DEACTIVATED, UNLATCHED)):
            self._lose(WATCHDOG, self._tripped())

    def _lose(self, how: str, why: str) -> None:
        self.taken = self._sure = False
        self.loss, self.lost = how, why
        self.on_loss()

    def forget_loss(self) -> None:
        """Control may be taken again."""
        self.lost = self.loss = ""

    def stopped(self) -> str:
        """Why nothing can be controlled before a recovery; whoever is silent is asked first."""
        if self._is_silent():
            self._inquire()
        return self.activity.stopped()

    # The watchdog.

    def _tripped(self) -> str:
        clear = self._node.resolve_service_name("sac_watchdog/clear")
        return (
            f"the watchdog has stopped the robot: {printable(self._watchdog.reason, 200)}; when "
            f"it is safe: ros2 service call {clear} std_srvs/srv/Trigger"
        )

    def check_watchdog(self) -> None:
        """Raise EpisodeCut while a watchdog objects, or is missing."""
        if self._watchdog.state == "tripped":
            raise EpisodeCut(self._tripped(), for_person=True)
        if self._watchdog_timeout == 0.0:
            return
        now, heard = time.monotonic(), self._watchdog_heard or 0.0
        if now - heard > self._watchdog_timeout:
            raise EpisodeCut(
                f"no watchdog on {self._node.resolve_topic_name('watchdog/status')} for "
                f"{self._watchdog_timeout:g} s: start it (ros2 run sac_actor watchdog), or set "
                "watchdog_timeout:=0.0"
            )
        if not self.taken or self._watchdog.state == "watching":
            self._unwatched = None
        elif self._unwatched is None:
            self._unwatched = now
        elif now - self._unwatched > WATCHES:
            raise EpisodeCut(
                f"the watchdog does not watch although {self.controller} is active: expected one "
                "on this robot, with the same namespace, command and arm_prefix as the actor"
            )

    # Control.

    def check(self) -> None:
        """Raise EpisodeCut if control was lost, or has to be given back."""
        stopped = self.stopped() if self._is_silent() else ""
        if self.lost or stopped:
            raise EpisodeCut(self.lost or stopped)
        self.check_watchdog()

    def take(self, caller: Caller) -> None:
        """Activate the motion controller and begin to control; EpisodeCut when that fails."""
        self.check_watchdog()
        name, known = self.controller, self.activity
        if known.known and not self._sure:
            self._find_out(caller)
        if known.known and not known.is_active(name):
            if name not in known.controllers:
                there = ", ".join(known.controllers)
                raise EpisodeCut(f"controller {name} is not loaded; there are: {there}")
            try:
                self._prepare()
                switch(caller, self.switch_client, [name], [])
                caller.wait(
                    lambda: known.is_active(name), SWITCHED, f"{name} was not seen to be active"
                )
            except CallFailed as error:
                raise EpisodeCut(f"no control of the robot: {error}") from error
        self.forget_loss()
        self.taken = self._sure = True

    def find_out(self, caller: Caller) -> None:
        """Know whether the robot has stopped, as far as it is not seen to run; EpisodeCut."""
        if self.activity.known and (not self._sure or self._is_silent()):
            self._find_out(caller)

    def _is_silent(self) -> bool:
        return time.monotonic() - self._joints_heard() > SILENCE

    def _find_out(self, caller: Caller) -> None:
        """Know the controllers for certain: a message of theirs may be seconds late, or not come.

        Raises EpisodeCut when nobody answers.
        """
        inquiry = self._inquiry

        def answered() -> bool:
            inquiry.take()
            return not inquiry.expects

        try:
            caller.wait(lambda: inquiry.ask(at_once=True), ANSWER, f"no service {inquiry.name}")
            caller.wait(answered, ANSWER, f"no answer of {inquiry.name}")
        except CallFailed as error:
            raise EpisodeCut(f"no control of the robot: {error}") from error

    def leave(self) -> None:
        """Leave the motion controller to whoever begins the next episode."""
        self.taken = False

    def give_back(self, caller: Caller) -> str:
        """Deactivate the motion controller, which nobody commands any more; why not, or empty."""
        self.taken = self._sure = False
        self.listen()  # a request that is not needed any more would come at the wrong time
        if self.activity.is_active(self.controller):
            try:
                client, mine = self.switch_client, [self.controller]
                switch(caller, client, [], mine, timeout=LAST_SWITCH, patience=THERE)
            except CallFailed as error:
                return str(error)
        return ""
