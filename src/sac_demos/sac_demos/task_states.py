"""The states of a recorded robot at the ticks of a task, as the live actor would have seen them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sac_demos.alignment import Values
from sac_demos.mapping import TIMES, Mapping
from sac_demos.mcap_file import Message
from sac_demos.series import Clock, Ticks
from sac_envs.robots import ROBOTS
from sac_envs.task import Gripping, RobotState
from sac_msgs.msg import EpisodeEvent
from sac_ros.codecs import check_episode_event
from sac_ros.robot_input import (
    GRIPPER_JOINT_STATES,
    JOINT_STATES,
    SAME_INSTANT,
    RobotInput,
    nanoseconds,
)

EPISODE = "sac/episode"
WINDOW = 1_000_000_000  # ns by which messages may be recorded out of the order of their stamps


@dataclass
class Span:
    """The ticks of one episode, or of a bag that says nothing of episodes."""

    started: Any = None  # EpisodeEvent
    ended: Any = None
    clock: Clock = field(default_factory=Clock)
    states: list[RobotState] = field(default_factory=list)  # gripper_closed is not decided yet
    good: list[bool] = field(default_factory=list)  # everything is there, and new enough
    due: int = -(2**62)  # ns

    @property
    def ticks(self) -> Ticks:
        return Ticks({kind: self.clock.times(kind) for kind in TIMES})


@dataclass(frozen=True)
class Seen:
    """What a task makes of the T states of a span."""

    observations: Values  # (T, observation_size)
    rewards: Values  # (T - 1,), for the state that each action led to
    succeeded: NDArray[np.bool_]  # (T,)


class TaskStates:
    """Takes messages in as they were recorded, and keeps the states at ticks."""

    def __init__(self, mapping: Mapping) -> None:
        assert mapping.task is not None
        self.task = mapping.task
        self._input = RobotInput(ROBOTS[mapping.robot_type], mapping.task)
        self._period = round(1e9 / mapping.task.control_rate)
        self._object_max_age = int(mapping.object_max_age * 1e9)
        prefix = "/" + mapping.namespace.strip("/") + "/" if mapping.namespace.strip("/") else "/"
        self._joints, self._episode = prefix + JOINT_STATES, prefix + EPISODE
        self._takers: dict[str, Callable[[Any], object]] = {
            prefix + GRIPPER_JOINT_STATES: self._input.take_gripper,
            **{prefix + pose.topic: pose.take for pose in self._input.poses},
        }
        self._types = {
            self._joints: "sensor_msgs/msg/JointState",
            self._episode: "sac_msgs/msg/EpisodeEvent",
            prefix + GRIPPER_JOINT_STATES: "sensor_msgs/msg/JointState",
            **{prefix + pose.topic: "geometry_msgs/msg/PoseStamped" for pose in self._input.poses},
        }
        self.topics = frozenset(self._types)
        self.spans = [Span()]
        self._waiting: list[tuple[int, int, Message, Any]] = []
        self._count = 0

    def add(self, message: Message, content: Any) -> None:
        """Take a message in; ValueError if it is of another type than the live actor takes."""
        topic, found = message.channel.topic, message.channel.schema.name
        if found != self._types[topic]:
            raise ValueError(f"{topic}: it is {found}, expected {self._types[topic]}")
        if topic == self._episode:
            _check_event(topic, content)
        stamp = nanoseconds(content.header.stamp)
        heapq.heappush(
            self._waiting, (self._place(message, content), self._count, message, content)
        )
        self._count += 1
        while self._waiting and self._waiting[0][0] < stamp - WINDOW:
            self._pass(*heapq.heappop(self._waiting)[2:])

    def settle(self) -> None:
        """There are no more messages."""
        while self._waiting:
            self._pass(*heapq.heappop(self._waiting)[2:])
        self.spans = [span for span in self.spans if span.states]

    def _place(self, message: Message, content: Any) -> int:
        """Where a message belongs: of one instant, poses come before joints, and ends after all."""
        stamp = nanoseconds(content.header.stamp)
        if message.channel.topic == self._joints:
            return stamp + SAME_INSTANT + 1
        if message.channel.topic == self._episode and content.event == EpisodeEvent.ENDED:
            return stamp + SAME_INSTANT + 2
        return stamp

    def _pass(self, message: Message, content: Any) -> None:
        topic = message.channel.topic
        if topic == self._joints:
            if self._input.take_joints(content):
                self._tick(message, content)
        elif topic == self._episode:
            self._turn(content)
        else:
            self._takers[topic](content)

    def _turn(self, event: Any) -> None:
        """An episode begins or ends."""
        if event.event == EpisodeEvent.STARTED:
            if self.spans[-1].started is None:  # what was before any episode is none
                self.spans.pop()
            self.spans.append(Span(started=event))
        elif self.spans[-1].started is not None and self.spans[-1].ended is None:
            self.spans[-1].ended = event

    def _tick(self, message: Message, content: Any) -> None:
        joints, span = self._input.joints, self.spans[-1]
        assert joints is not None
        if joints.stamp < span.due - SAME_INSTANT or span.ended is not None:
            return
        known = self._input
        ages = [joints.stamp - pose.stamp for pose in known.objects.values() if pose.stamp >= 0]
        good = (
            known.complete(joints)
            and len(ages) == len(known.objects)
            and max(ages, default=0) <= self._object_max_age
            and (known.width is not None or not self.task.uses_gripper)
        )
        if not good and not span.states:
            return  # it has not begun
        span.due = joints.stamp + self._period
        span.clock.add(message, content)
        span.good.append(good)
        span.states.append(known.state(joints, False)[0])

    def see(self, span: Span, actions: Values) -> Seen:
        """What the task makes of a span's states, with actions `(T - 1, action_size)` in between.

        The gripper counts as closed or open as the actions ask for it, as it does live.
        """
        gripping = Gripping(self.task.gripper_dwell)
        gripping.reset(False, span.states[0].time)
        states = []
        for number, state in enumerate(span.states):
            states.append(replace(state, gripper_closed=gripping.closed))
            if number < len(actions) and np.isfinite(actions[number]).all():
                command = self.task.command(states[-1], actions[number].astype(np.float32))
                gripping.decide(command.close_gripper, state.time)
        return Seen(
            np.array([self.task.observe(state) for state in states], np.float64),
            np.array([self.task.reward(state) for state in states[1:]], np.float64),
            np.array([self.task.success(state) for state in states], bool),
        )


def _check_event(topic: str, event: Any) -> None:
    try:
        check_episode_event(event)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{topic}: an EpisodeEvent of another version: {error}") from error
