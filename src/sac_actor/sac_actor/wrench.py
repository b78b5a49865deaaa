"""The external wrench at the tool as the robot estimates it, for the safety filter's limit."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import WrenchStamped
from rclpy.node import Node

from sac_actor.environment import EpisodeCut
from sac_envs.robots import Float64
from sac_ros import qos
from sac_ros.robot_input import nanoseconds

TOPIC = "franka_robot_state_broadcaster/external_wrench_in_base_frame"
MAX_AGE = 200_000_000  # ns of robot time that it may be older than the state it is used with


class ExternalWrench:
    """Subscribes on a node that somebody else spins; a message that is not finite is left out.

    `value` `(6,)`: force in N and torque in N·m that the robot exerts (libfranka: O_F_ext_hat_K).
    """

    def __init__(self, node: Node, patience: float) -> None:
        self._patience = patience  # s of waiting for it
        self.value: Float64 = np.zeros(6)
        self._stamp = -1
        self._topic = node.resolve_topic_name(TOPIC)
        node.create_subscription(
            WrenchStamped,
            TOPIC,
            self.take,
            qos.ROBOT_STATE,
            qos_overriding_options=qos.OVERRIDABLE,
        )

    def take(self, message: WrenchStamped) -> None:
        """Keep a message, unless it is malformed."""
        force, torque = message.wrench.force, message.wrench.torque
        value = np.array([force.x, force.y, force.z, torque.x, torque.y, torque.z])
        if np.isfinite(value).all():
            self._stamp = nanoseconds(message.header.stamp)
            self.value = value

    def wait(self, now: int, spin: Callable[[float], None]) -> None:
        """Have a wrench that is new enough for the state stamped `now` (ns); EpisodeCut if none is.

        `spin(timeout)` takes in messages.
        """
        deadline = time.monotonic() + self._patience
        while self._stamp < now - MAX_AGE:
            if time.monotonic() > deadline:
                age = f"is {(now - self._stamp) / 1e9:.2f} s old" if self._stamp >= 0 else "is none"
                raise EpisodeCut(
                    f"the external wrench on {self._topic} {age}: max_force and max_torque need "
                    "one; is franka_robot_state_broadcaster active?"
                )
            spin(0.05)
