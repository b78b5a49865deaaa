"""What an adapter has to say, said to its controller in the robot's own time.

On a robot time goes on by itself: between two ticks a thread sends the reference at a fixed rate,
and goes on with it until it stands when no tick comes, whatever keeps the control loop. A
simulation in lockstep stands still until it gets its one command of a tick: there that command says
where the reference is at the tick's end, and nothing is sent in between. Which of the two it is
shows in the joint states: only time that goes on by itself brings any between two ticks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sac_actor.commands import SECOND, CommandAdapter, Target
from sac_envs.task import RobotState
from sac_ros.robot_input import SAME_INSTANT, Joints

STOPPING = 2.0  # s of wall time that coming to rest may take


class Stream:
    """Gives commands to a robot through an adapter; `rate` messages per second where it streams.

    `time_passed` must be called with the stamp (ns) of every new joint state. All methods may be
    called from any thread. Without a thread of its own somebody else calls `advance`.
    """

    def __init__(
        self,
        adapter: CommandAdapter,
        period: int,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        threaded: bool = True,
    ) -> None:
        self._adapter = adapter
        self._time = clock
        self._threaded = threaded
        self._period = period  # ns between two ticks
        self._interval = round(SECOND / rate)  # ns between two messages of the stream
        self._condition = threading.Condition()
        self._due = (0, 0)  # stamps of the newest tick and of the next one
        self._clock = (0, 0.0)  # newest stamp, and when it came (monotonic, s)
        self._said = 0  # stamp up to which the stream has said everything
        self._flows: bool | None = None  # whether time goes on by itself; None: not known yet
        self._moving = False  # whether there is more to say
        self._silent = True  # until an episode begins
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def topic(self) -> str:
        """Where commands go, as the adapter names it."""
        return self._adapter.topic

    def prepare(self, state: RobotState, joints: Joints) -> None:
        """The controller is about to become active, where the robot is."""
        with self._condition:
            self._adapter.prepare(state, joints)

    def begin(self, state: RobotState, joints: Joints) -> None:
        """An episode begins: the robot holds where it is."""
        with self._condition:
            self._moving = self._silent = False
            self._adapter.begin(state, joints)
            self._clock = (joints.stamp, self._time())
            self._due = (joints.stamp, joints.stamp)
            self._said = joints.stamp
            if self._flows:
                self._flows = None  # it may be another one by now

    def send(self, target: Target) -> None:
        """Ask for something at a tick."""
        with self._condition:
            if self._silent:
                return
            stamp = target.joints.stamp
            due = stamp + self._period
            had_ticks = self._due[0] != self._due[1]
            if self._flows is None and had_ticks:
                self._flows = False
            self._due = (stamp, due)
            if self._adapter.streams and self._flows is not False:
                # What has been said is said: the new way leaves the old one after it.
                self._adapter.aim(target, max(stamp, self._said))
                self._say_next()
                self._moving = True
                self._wake()
            else:
                self._adapter.aim(target, stamp)
                self._adapter.say(stamp, due)

    def time_passed(self, stamp: int) -> None:
        """A joint state stamped `stamp` (ns) has come."""
        self._clock = (stamp, self._time())
        if self._flows:
            return
        # Only between two ticks: after the last one of an episode a reset moves time on by a bit.
        start, due = self._due
        if start + SAME_INSTANT < stamp < due - SAME_INSTANT:
            with self._condition:
                self._flows = True
                self._wake()

    def hold(self) -> None:
        """Have the robot come to rest; returns at once."""
        with self._condition:
            if self._silent:
                return
            if not self._flows:
                self._moving = False
                self._adapter.halt()
                return
            start = max(self._now(), self._said)
            self._adapter.stop(start)
            if self._adapter.streams:
                self._moving = True
                self._wake()
            else:
                self._adapter.say(start, start + self._period)

    def rest(self) -> None:
        """Where time goes on by itself: `hold`, and return when the robot has come to rest."""
        if not self._flows:
            return
        self.hold()
        deadline = time.monotonic() + STOPPING
        with self._condition:
            while self._flows and (self._moving or self._now() < self._adapter.end):
                if time.monotonic() > deadline:
                    return
                self._condition.wait(self._interval / SECOND)

    def silence(self) -> None:
        """Say nothing more until an episode begins: the robot has stopped by itself."""
        with self._condition:
            self._silent, self._moving = True, False

    def close(self) -> None:
        """Come to rest, and end the thread; nothing may be called any more."""
        self.hold()
        self.rest()
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()
        del self._adapter  # ruckig's objects complain when they are left over at the very end

    def _now(self) -> int:
        """The robot's time, ns; between two states it goes on as ours does."""
        stamp, came = self._clock
        return stamp + round((self._time() - came) * SECOND)

    def advance(self) -> None:
        """Say what is next, if there is anything."""
        with self._condition:
            if self._moving and self._flows:
                self._moving = self._say_next()

    def _say_next(self) -> bool:
        self._said = max(self._now() + self._interval, self._said)
        return self._adapter.stream(self._said)

    def _wake(self) -> None:
        if self._thread is None and self._threaded:
            self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _run(self) -> None:
        """Say what is next, `rate` times a second, while there is something to say."""
        interval = self._interval / SECOND
        while True:
            began = time.monotonic()
            with self._condition:
                while not (self._ended or (self._moving and self._flows)):
                    self._condition.wait()
                if self._ended:
                    return
            self.advance()
            time.sleep(max(interval / 2, interval - (time.monotonic() - began)))
