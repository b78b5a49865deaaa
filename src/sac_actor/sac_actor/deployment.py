"""A policy that is used, not learnt: in place of the delivery to a learner there is a file."""

from __future__ import annotations

from pathlib import Path

from rclpy.clock import ClockType
from rclpy.time import Time

from sac_actor.environment import Environment
from sac_actor.queue import TransitionQueue
from sac_core.checkpoint import CheckpointError
from sac_core.policy import Policy
from sac_core.policy_file import load_policy
from sac_ros.parameters import UserError


class Deployment:
    """Has the policy of `checkpoint` from the beginning, and lets go of every row at once.

    It has what the actor asks of a `Delivery`. Raises UserError for a file that cannot be used.
    """

    topic = ""
    connected = False
    followed = False
    policies_received = policies_rejected = rejected_rows = 0

    def __init__(self, checkpoint: str, queue: TransitionQueue) -> None:
        self._queue = queue
        try:
            self._stored = load_policy(Path(checkpoint).expanduser())
        except CheckpointError as error:
            raise UserError(str(error)) from error
        self.newest_policy: Policy | None = self._stored.policy
        written = self._stored.path.stat().st_mtime_ns
        self.newest_policy_stamp = Time(nanoseconds=written, clock_type=ClockType.ROS_TIME)

    def open(self, environment: Environment) -> None:
        """Refuse an environment for which the policy was not made (UserError)."""
        try:
            self._stored.check(environment.specification)
        except CheckpointError as error:
            raise UserError(str(error)) from error

    def close(self) -> None:
        """Nothing to give back."""

    def is_due(self, steps: int) -> bool:
        """Each step is let go of by itself."""
        return True

    def send(self, whole: bool = False) -> bool:
        """Let go of all rows: nobody learns from them."""
        return self._queue.acknowledge(self._queue.next)

    def finish(self) -> None:
        """Let go of the rest."""
        self.send()

    def __str__(self) -> str:
        return f"{self._stored.path}, learner step {self._stored.policy.version}"
