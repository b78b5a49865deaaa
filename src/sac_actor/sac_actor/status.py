"""What runs and how it goes, in a terminal: a line for each actor, learner and watchdog.

    ros2 run sac_actor status           # refreshed every second, until Ctrl-C
    ros2 run sac_actor status --once    # once; exit status 1 when nothing is heard

It listens and says nothing, so that it may run on a robot PC over ssh. Lines that a person should
look at are red.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from sac_actor.status_board import StatusBoard
from sac_actor.status_lines import Line
from sac_ros.node import set_up_fast_dds

SETTLED = 0.5  # s without anything new after which all that is there has been heard
LONGEST_WAIT = 5.0  # s for the first status
RED, PLAIN = "\x1b[31m", "\x1b[0m"
INDENT = "    "


class Screen:
    """Where the lines go: drawn over the earlier ones in a terminal, one after the other else."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._red = self._terminal and "NO_COLOR" not in os.environ
        self._drawn = 0

    def show(self, lines: Sequence[Line]) -> None:
        """Show them now."""
        rows = [row for line in lines for row in self._rows(line)]
        back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        print(back + "\n".join(rows), flush=True)
        self._drawn = len(rows) if self._terminal else 0

    def _rows(self, line: Line) -> list[str]:
        if not self._terminal:
            return [line.text]
        columns = max(40, shutil.get_terminal_size().columns)
        rows = textwrap.wrap(line.text, columns, subsequent_indent=INDENT)
        return [f"{RED}{row}{PLAIN}" for row in rows] if line.alarm and self._red else rows


def nothing_heard() -> Line:
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    return Line(f"no actor, learner or watchdog heard yet in ROS_DOMAIN_ID {domain}", True)


def once(node: Node, board: StatusBoard, screen: Screen) -> int:
    """Show what there is as soon as nothing new comes; 1 if nothing is heard at all."""
    deadline = time.monotonic() + LONGEST_WAIT
    known, since = 0, time.monotonic()
    while time.monotonic() < deadline:
        board.look()
        rclpy.spin_once(node, timeout_sec=0.1)
        count = len(board.lines())
        if count != known:
            known, since = count, time.monotonic()
        elif known and time.monotonic() - since > SETTLED:
            break
    screen.show(board.lines() or [nothing_heard()])
    return 0 if known else 1


def refresh(node: Node, board: StatusBoard, screen: Screen, period: float) -> None:
    """Show it every `period` s, for ever."""
    due = time.monotonic() + period
    while True:
        board.look()
        rclpy.spin_once(node, timeout_sec=max(0.0, min(0.2, due - time.monotonic())))
        if time.monotonic() >= due:
            due += period
            screen.show(board.lines() or [nothing_heard()])


def main() -> int:
    """Entry point of `ros2 run sac_actor status`."""
    parser = argparse.ArgumentParser(
        prog="status", description="A line for each actor, learner and watchdog that is heard."
    )
    parser.add_argument("--once", action="store_true", help="show it once and end")
    parser.add_argument("--period", type=float, default=1.0, help="s between two looks (1.0)")
    given = parser.parse_args(remove_ros_args(sys.argv)[1:])
    if not 0.1 <= given.period <= 3600.0:
        parser.error(f"--period: expected 0.1 to 3600 s, got {given.period:g}")
    set_up_fast_dds()
    rclpy.init()
    node = Node("sac_status", enable_rosout=False)
    try:
        board, screen = StatusBoard(node), Screen()
        if given.once:
            return once(node, board, screen)
        refresh(node, board, screen, given.period)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
