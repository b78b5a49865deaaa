"""Services and actions with time-outs, for a thread that takes in its messages by itself.

Of an action only its services are used: status and feedback messages would wake up a thread that
has other things to do.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

ANSWER = 5.0  # s that a service may take
STEP = 0.05  # s for which messages are waited for at a time


class CallFailed(Exception):
    """A service or action is not there, did not answer in time, or refused; in one line."""


class Caller:
    """Waits for answers: `spin(s)` takes in messages for up to that long.

    `go_on` is asked meanwhile; it raises an exception of the caller's own to give up.
    """

    def __init__(self, spin: Callable[[float], None], go_on: Callable[[], None]) -> None:
        self._spin = spin
        self._go_on = go_on

    def wait(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        """Return once `done()`; raise CallFailed(`what` and the time) when that takes too long."""
        deadline = time.monotonic() + timeout
        while not done():
            self._go_on()
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise CallFailed(f"{what} within {timeout:g} s")
            self._spin(min(left, STEP))

    def pause(self, until: Callable[[], bool], timeout: float) -> bool:
        """Take in messages for `timeout` s, or until something holds; whether it does."""
        try:
            self.wait(until, timeout, "")
        except CallFailed:
            return False
        return True

    def call(
        self, client: Client, request: Any, timeout: float = ANSWER, patience: float = ANSWER
    ) -> Any:
        """The answer of a service, which may take `patience` s to appear."""
        name = client.service_name
        self.wait(client.service_is_ready, patience, f"no service {name}")
        future = client.call_async(request)
        try:
            self.wait(future.done, timeout, f"no answer of {name}")
        finally:
            if not future.done():
                client.remove_pending_request(future)
        return future.result()


class Request:
    """A service that is asked again when it has not answered for a while; never waited for."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._future: Future | None = None
        self._asked = -math.inf

    def ask(self, request: Any, now: float, patience: float) -> bool:
        """Ask, unless an answer is still to be expected; whether it was asked."""
        if self._future is not None and now - self._asked < patience:
            return False
        self.drop()
        self._asked = now
        if not self.client.service_is_ready():
            return False
        self._future = self.client.call_async(request)
        return True

    @property
    def expects(self) -> bool:
        """Whether an answer is still to come, or to be taken."""
        return self._future is not None

    @property
    def answered(self) -> bool:
        """Whether an answer is there to be taken."""
        return self._future is not None and bool(self._future.done())

    def answer(self) -> Any:
        """The answer, once; None while there is none."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        return future.result()

    def drop(self) -> None:
        """Expect no answer any more."""
        if self._future is not None:
            self.client.remove_pending_request(self._future)
            self._future = None


class Action:
    """An action through its services; make it with the node, before its inbox."""

    def __init__(self, node: Node, kind: Any, name: str) -> None:
        implementation = kind.Impl
        self.name = node.resolve_topic_name(name)
        self._request = implementation.SendGoalService.Request
        self._result = implementation.GetResultService.Request
        self._cancel = implementation.CancelGoalService.Request

        def client(service: Any, part: str) -> Client:
            return node.create_client(service, f"{name}/_action/{part}")

        self._send = client(implementation.SendGoalService, "send_goal")
        self._get = client(implementation.GetResultService, "get_result")
        self._stop = client(implementation.CancelGoalService, "cancel_goal")

    def run(self, caller: Caller, goal: Any, timeout: float) -> tuple[bool, Any]:
        """Have a goal done; whether it succeeded, and its result.

        Raises CallFailed when it is rejected or takes longer than `timeout` s. A goal that is not
        waited for any more is cancelled, also when it is not known whether it was accepted.
        """
        request = self._request(goal=goal)
        request.goal_id.uuid = list(uuid.uuid4().bytes)
        caller.wait(self._send.service_is_ready, ANSWER, f"no action {self.name}")
        answer = None
        try:
            if not caller.call(self._send, request).accepted:
                raise CallFailed(f"{self.name} rejected the goal")
            answer = caller.call(self._get, self._result(goal_id=request.goal_id), timeout)
        finally:
            if answer is None:
                self.cancel(request.goal_id)
        return answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result

    def cancel(self, goal_id: Any = None) -> None:
        """Ask for the end of a goal, or of all of them, without waiting for the answer."""
        request = self._cancel()
        if goal_id is not None:
            request.goal_info.goal_id = goal_id
        if self._stop.service_is_ready():
            self._stop.call_async(request)
