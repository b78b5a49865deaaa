"""Nodes that come back when they are killed, in a launch that ends when one ends by itself."""

from __future__ import annotations

import signal
import time
from collections import deque
from typing import Any

from launch.actions import EmitEvent, LogInfo, Shutdown
from launch.events import matches_action
from launch.events.process import ProcessExited, ShutdownProcess

from launch import LaunchContext, LaunchDescriptionEntity

DELAY = 2.0  # s between a node's death and its restart
RESTARTS = 5  # of one node within PERIOD; one more death is a crash loop and ends the launch
PERIOD = 300.0  # s
ASKED_TO_END = (signal.SIGINT, signal.SIGTERM)


def restarted(when_complete: LaunchDescriptionEntity | None = None) -> dict[str, Any]:
    """Options for a Node: `Node(…, **restarted())`.

    A node that is killed by a signal (out of memory, a crash in a library, `kill -9`) is started
    again. A node that ends by itself stays down: with exit status 0 `when_complete` follows, with
    any other, and without `when_complete`, the end of the launch.
    """
    deaths: deque[float] = deque(maxlen=RESTARTS + 1)

    def on_exit(
        event: ProcessExited, context: LaunchContext
    ) -> list[LaunchDescriptionEntity] | None:
        if context.is_shutdown:
            return None
        # `respawn` starts a process again however it ended, unless it was shut down.
        stay_down = EmitEvent(event=ShutdownProcess(process_matcher=matches_action(event.action)))
        if event.returncode >= 0 or -event.returncode in ASKED_TO_END:
            completed = event.returncode == 0 and when_complete is not None
            return [stay_down, when_complete if completed else Shutdown()]
        cause = signal.Signals(-event.returncode).name
        deaths.append(time.monotonic())
        if len(deaths) > RESTARTS and deaths[-1] - deaths[0] < PERIOD:
            reason = f"{event.process_name} died {len(deaths)} times within {PERIOD:g} s"
            return [stay_down, LogInfo(msg=f"{reason}, now by {cause}"), Shutdown(reason=reason)]
        return [LogInfo(msg=f"{event.process_name} was killed by {cause}: starting it again")]

    return {"respawn": True, "respawn_delay": DELAY, "on_exit": on_exit}
