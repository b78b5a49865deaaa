"""What a person asks for, at whatever device, as messages to one actor.

`Teleoperation` is the node that every device shares: it publishes `sac/teleop_action`, marks
episodes through the actor's `~/mark_episode`, and follows what the actor says of itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rclpy.task import Future

from sac_msgs.msg import ActorStatus, EpisodeEvent, TeleopAction
from sac_msgs.srv import MarkEpisode
from sac_ros import qos
from sac_ros.codecs import (
    MAX_NAME_LENGTH,
    check_actor_status,
    check_episode_event,
    is_identifier,
    printable,
)
from sac_ros.node import SacNode
from sac_ros.parameters import NodeParameters, UserError, parameter
from sac_ros.refusals import Refusals

SILENCE = 3.0  # s after which an actor, which says how it is once a second, is gone
PERIOD = 0.05  # s between two actions: twice as often as a task at 10 Hz takes one
MOTIONS = 3  # numbers of an action that move the tool, x, y and z of the robot's base
SIZES = (MOTIONS, MOTIONS + 1)  # of an action: without and with a gripper

Float32 = NDArray[np.float32]


class Request(Enum):
    """What a key or a button asks for, besides motion."""

    GRIPPER = "close or open the gripper"
    TAKEOVER = "take over from the policy, or give back"
    START = "begin an episode"
    SUCCESS = "the task is done"
    FAILURE = "it cannot be done any more"
    DISCARD = "do not keep this episode"
    STOP = "stop, and begin no other episode"


MARKS = {
    Request.START: MarkEpisode.Request.START,
    Request.SUCCESS: MarkEpisode.Request.SUCCESS,
    Request.FAILURE: MarkEpisode.Request.FAILURE,
    Request.DISCARD: MarkEpisode.Request.DISCARD,
    Request.STOP: MarkEpisode.Request.STOP,
}


class Wish:
    """What a person wants of the robot: a motion, the gripper closed or open, to act at all.

    Until a key asks for it the gripper is left as it is; so it is again after a takeover, after
    giving back and in a new episode.
    """

    def __init__(self) -> None:
        self.motion: Float32 = np.zeros(MOTIONS, np.float32)  # each in [-1, 1]
        self.gripper = 0.0  # 1: closed, -1: open, 0: as it is
        self.engaged = False

    def toggle_gripper(self) -> None:
        """Close the gripper, or open it if this person closed it."""
        self.gripper = -1.0 if self.gripper > 0.0 else 1.0

    def toggle_engaged(self) -> None:
        """Take over, or give back."""
        self.engaged, self.gripper = not self.engaged, 0.0

    def forget_gripper(self) -> None:
        """Leave it as it is."""
        self.gripper = 0.0

    @property
    def asks(self) -> bool:
        """Whether there is anything to tell an actor."""
        return self.engaged or self.gripper != 0.0 or bool(self.motion.any())

    def action(self, size: int) -> Float32:
        """The action `(size,)`; `size` is one of SIZES."""
        return np.append(self.motion, np.float32(self.gripper))[:size]


@dataclass(frozen=True)
class TeleopParameters(NodeParameters):
    """Parameters of every teleoperation."""

    actor: str = parameter("sac_actor", "Name of the actor's node, which is teleoperated")
    operator_name: str = parameter("", "Who acts and judges; goes into the recordings")


P = TypeVar("P", bound=TeleopParameters)


class Teleoperation(SacNode[P]):
    """Base of the teleoperation nodes; a subclass implements `listen`, and may show what is said.

    An action is published every 0.05 s while the person asks for something, and once when that
    ends: so two devices of one person may stand side by side, as long as one is used at a time.
    """

    def __init__(self, name: str, parameters: type[P]) -> None:
        super().__init__(name, parameters)
        self.wish = Wish()
        self.status: ActorStatus | None = None  # of the actor
        self.episode: EpisodeEvent | None = None  # its newest
        self.refusals = Refusals(self)
        self._asked = False
        self._actor_heard = 0.0  # when the actor was, s

    def listen(self, period: float) -> None:
        """Take in what the person does for up to `period` s: set `wish`, call `ask`."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Tell the person something, in one line."""
        self.get_logger().info(text)

    def configure(self) -> None:
        p = self.parameters
        if not is_identifier(p.actor):
            raise UserError(f"actor: expected the name of a node, got {printable(p.actor)!r}")
        if len(p.operator_name) > MAX_NAME_LENGTH or not p.operator_name.isprintable():
            raise UserError(
                f"operator_name: expected at most {MAX_NAME_LENGTH} printable characters, got "
                f"{printable(p.operator_name)!r}"
            )
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        self._actions = self.create_publisher(
            TeleopAction, "sac/teleop_action", qos.TELEOP_ACTION, **options
        )
        self._subscriptions_ = [
            self.create_subscription(
                ActorStatus, "sac/actor/status", self._on_status, qos.STATUS_OF_MANY, **options
            ),
            self.create_subscription(
                EpisodeEvent, "sac/episode", self._on_episode, qos.EPISODE, **options
            ),
        ]
        self._marks = self.create_client(MarkEpisode, f"{p.actor}/mark_episode")

    def cleanup(self) -> None:
        if hasattr(self, "_marks"):
            self.destroy_client(self._marks)
            self.destroy_publisher(self._actions)
            for subscription in self._subscriptions_:
                self.destroy_subscription(subscription)
            del self._marks

    def work(self) -> None:
        self.listen(PERIOD)
        self._publish()

    def ask(self, request: Request) -> None:
        """Do what a key or button stands for."""
        if request is Request.GRIPPER:
            self.wish.toggle_gripper()
        elif request is Request.TAKEOVER:
            self.wish.toggle_engaged()
            self.say("You act" if self.wish.engaged else "The policy acts")
        else:
            self._mark(request)

    def _mark(self, request: Request) -> None:
        if not self._marks.service_is_ready():
            self.say(f"No actor offers {self._marks.srv_name}: is {self.parameters.actor} there?")
            return
        mark = MarkEpisode.Request(mark=MARKS[request], operator_name=self.parameters.operator_name)
        self._marks.call_async(mark).add_done_callback(self._on_answer)

    def _publish(self) -> None:
        size = self.status.action_size if self.status is not None else 0
        if size not in SIZES or not (self.wish.asks or self._asked):
            return
        self._asked = self.wish.asks
        message = TeleopAction(
            operator_name=self.parameters.operator_name,
            teleop_session=self.session,
            engaged=self.wish.engaged,
            action=self.wish.action(size).tolist(),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._actions.publish(message)

    # What the actor says, on the executor thread.

    def _on_answer(self, future: Future) -> None:
        answer = future.result()
        if answer is not None:
            self.say(("" if answer.success else "Not done: ") + printable(answer.message, 200))

    def _on_status(self, message: ActorStatus) -> None:
        if message.actor_id != self.parameters.actor:
            return
        try:
            check_actor_status(message)
        except ValueError as error:
            self.refusals.add("status", f"status of {self.parameters.actor} refused: {error}")
            return
        if self.status is None:
            self._greet(message)
        self.status, self._actor_heard = message, time.monotonic()

    @property
    def actor_is_there(self) -> bool:
        """Whether the actor has said lately how it is."""
        return self.status is not None and time.monotonic() - self._actor_heard < SILENCE

    def _greet(self, status: ActorStatus) -> None:
        if status.action_size in SIZES:
            self.say(f"{status.actor_id} is there: {status.task}")
            return
        self.refusals.add(
            "size",
            f"{status.actor_id} acts in {status.task} with {status.action_size} actions: expected "
            f"{' or '.join(map(str, SIZES))}, the displacement of a tool and a gripper",
        )

    def _on_episode(self, message: EpisodeEvent) -> None:
        if message.actor_id != self.parameters.actor:
            return
        try:
            check_episode_event(message)
        except ValueError as error:
            self.refusals.add("episode", f"episode of {self.parameters.actor} refused: {error}")
            return
        if message.event == EpisodeEvent.ENDED:
            self.wish.forget_gripper()  # the next one begins with the gripper as the task has it
        self.episode = message
