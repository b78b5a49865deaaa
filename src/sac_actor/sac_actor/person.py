"""What a person at a teleoperation asks for, between the topic's thread and the loop's."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from sac_actor.environment import Float32
from sac_msgs.msg import TeleopAction
from sac_ros.codecs import printable, teleop_action_from_message


class Heard(NamedTuple):
    """One message of a teleoperation."""

    session: int
    operator_name: str
    engaged: bool  # acts instead of the policy
    action: Float32  # (action_size,) in [-1, 1]
    at: float  # s, time.monotonic


class Person:
    """Keeps the newest wish of one teleoperation, and forgets it after `timeout` s."""

    def __init__(self, action_size: int, timeout: float) -> None:
        self._action_size = action_size
        self._timeout = timeout
        self._newest: Heard | None = None
        self._forgotten = float("-inf")  # s; motion that was asked for until then is over
        self.refused = 0  # messages

    def take(self, message: TeleopAction) -> None:
        """Keep a message; ValueError says why it is refused.

        One session is listened to at a time, until nothing has been heard of it for `timeout`.
        """
        try:
            action = teleop_action_from_message(message, self._action_size)
            other = self.heard
            if other is not None and other.session != message.teleop_session:
                raise ValueError(
                    f"two teleoperations: this actor listens to that of "
                    f"{printable(other.operator_name)!r} (session {other.session:016x}); this is "
                    f"{message.teleop_session:016x}: stop one of them"
                )
        except ValueError:
            self.refused += 1
            raise
        self._newest = Heard(
            message.teleop_session,
            message.operator_name,
            message.engaged,
            action,
            time.monotonic(),
        )

    def forget_motion(self) -> None:
        """What was asked for until now was meant for an episode that has ended.

        Whoever had taken over still has: the policy gets no step in between.
        """
        self._forgotten = time.monotonic()

    @property
    def heard(self) -> Heard | None:
        """The newest wish, unless it is too old to count."""
        newest = self._newest
        if newest is None or time.monotonic() - newest.at > self._timeout:
            return None
        if newest.at <= self._forgotten:
            return newest._replace(action=np.zeros(self._action_size, np.float32))
        return newest
