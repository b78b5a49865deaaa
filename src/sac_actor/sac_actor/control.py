"""Who controls the robot: the actor, from when it has activated the motion controller until it has
deactivated it again, something went wrong, or a watchdog has stopped the robot.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import ListControllers, SwitchController
from rclpy.client import Client
from rclpy.node import Node
from rclpy.subscription import Subscription

from sac_actor import activity
from sac_actor.activity import JOINT_BROADCASTER, Activity
from sac_actor.calls import ANSWER, Caller, CallFailed
from sac_actor.environment import EpisodeCut
from sac_msgs.msg import WatchdogStatus
from sac_ros import qos
from sac_ros.codecs import printable

THERE = 0.2  # s for a service to be found that should be there
LAST_SWITCH = 1.0  # s to wait when control is given back; whoever waits for us has little time
SWITCHED = 2.0  # s until a switched controller is seen in its new state
# How control is lost.
STOPPED, DEACTIVATED, WATCHDOG = "stopped", "deactivated", "watchdog"
UNLATCHED = "unlatched"  # the watchdog had stopped it, and nobody has cleared it


def switch(
    caller: Caller,
    client: Client,
    activate: list[str],
    deactivate: list[str],
    timeout: float = ANSWER,
    patience: float = ANSWER,
) -> None:
    """Switch controllers, all or none; CallFailed says why not. Times as of `Caller.call`."""
    request = SwitchController.Request(
        activate_controllers=activate,
        deactivate_controllers=deactivate,
        strictness=SwitchController.Request.STRICT,
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
    are a reason not to act; 0: none is needed.
    """

    def __init__(
        self, node: Node, controller: str, arm_prefix: str, watchdog_timeout: float
    ) -> None:
        self._node = node
        self.controller = controller
        self._watchdog_timeout = watchdog_timeout
        self.activity = Activity(arm_prefix)
        self.taken = False
        self._sure = False  # whether what is known of the controllers is not a moment old
        self.lost = self.loss = ""
        self.active_before: list[str] = []  # controllers, when control was lost
        self.on_loss: Callable[[], None] = lambda: None
        self._watchdog = WatchdogStatus()
        self._watchdog_heard: float | None = None
        # The watchdog first: it says why the controller is going to be inactive.
        self._subscriptions = [
            self._subscribe(WatchdogStatus, "watchdog/status", self._on_watchdog),
            self._subscribe(ControllerManagerActivity, activity.TOPIC, self._on_activity),
        ]
        self.switch_client = node.create_client(
            SwitchController, "controller_manager/switch_controller"
        )
        self._list_client = node.create_client(
            ListControllers, "controller_manager/list_controllers"
        )

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
        before = [name for name, state in self.activity.controllers.items() if state == "active"]
        self.activity.take(message)
        if not self.taken:
            return
        why = self.stopped()
        if why:
            self._lose(STOPPED, why)
        elif not self.activity.is_active(self.controller):
            self._lose(DEACTIVATED, f"{self.controller} was deactivated")
        if not self.taken:
            self.active_before = before

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
        """Why nothing can be controlled before a recovery; empty: nothing is known against it."""
        known = self.activity
        stopped = known.stopped_hardware()
        if stopped:
            return (
                f"the robot has stopped ({', '.join(stopped)} is {known.hardware[stopped[0]]}): a "
                "reflex, the user stop or a lost connection; the log of franka_ros2 says which"
            )
        state = known.controllers.get(JOINT_BROADCASTER, "active")
        return "" if state == "active" else f"{JOINT_BROADCASTER} is {state}"

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
        heard = self._watchdog_heard or 0.0
        if 0.0 < self._watchdog_timeout < time.monotonic() - heard:
            raise EpisodeCut(
                f"no watchdog on {self._node.resolve_topic_name('watchdog/status')} for "
                f"{self._watchdog_timeout:g} s: start it (ros2 run sac_actor watchdog), or set "
                "watchdog_timeout:=0.0"
            )

    # Control.

    def check(self) -> None:
        """Raise EpisodeCut if control was lost, or has to be given back."""
        if self.lost:
            raise EpisodeCut(self.lost)
        self.check_watchdog()

    def take(self, caller: Caller) -> None:
        """Activate the motion controller and begin to control; EpisodeCut when that fails."""
        self.check_watchdog()
        name, known = self.controller, self.activity
        if known.known and not self._sure:
            self._ask(caller)
        if known.known and not known.is_active(name):
            if name not in known.controllers:
                there = ", ".join(known.controllers)
                raise EpisodeCut(f"controller {name} is not loaded; there are: {there}")
            try:
                switch(caller, self.switch_client, [name], [])
                caller.wait(
                    lambda: known.is_active(name), SWITCHED, f"{name} was not seen to be active"
                )
            except CallFailed as error:
                raise EpisodeCut(f"no control of the robot: {error}") from error
        self.forget_loss()
        self.taken = self._sure = True

    def _ask(self, caller: Caller) -> None:
        """Know the controllers for certain: a message of theirs may be seconds late."""
        changes = self.activity.changes
        try:
            answer = caller.call(self._list_client, ListControllers.Request())
        except CallFailed as error:
            raise EpisodeCut(f"no control of the robot: {error}") from error
        self.activity.take_list(answer.controller, changes)

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
