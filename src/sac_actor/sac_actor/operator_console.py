"""What robot, actor and watchdog want from a person, and the answers, in a terminal.

    ros2 run sac_actor operator

    Enter      the objects are placed          n   they cannot be
    a          recover, I have made it safe    c   clear the watchdog
    s          stop the robot now

Each is a letter and Enter. All of it are services that `ros2 service call` reaches as well.
"""

from __future__ import annotations

import argparse
import os
import select
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from sac_msgs.msg import ActorStatus, WatchdogStatus
from sac_ros import qos
from sac_ros.codecs import printable
from sac_ros.node import set_up_fast_dds

LONGEST = 300  # characters of what somebody else says
PERIOD = 0.1  # s between two looks at the keyboard
HELP = (
    "Enter: placed   n: cannot be placed   a: recover   c: clear the watchdog   s: STOP   q: quit"
)


class Console:
    """Shows what changes, and does what a person types."""

    def __init__(self, node: Node, actor: str) -> None:
        self._node = node
        self._shown: dict[str, str] = {}
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        node.create_subscription(
            String,
            "robot_reset/prompt",
            lambda m: self._show("robot_reset asks", m.data),
            qos.STATUS,
        )
        node.create_subscription(
            ActorStatus, "sac/actor/status", self._on_actor, qos.STATUS_OF_MANY, **options
        )
        node.create_subscription(
            WatchdogStatus, "watchdog/status", self._on_watchdog, qos.STATUS, **options
        )
        self._answer = node.create_publisher(Bool, "robot_reset/answer", qos.ANSWER)
        self._clients = {
            "": node.create_client(Trigger, "robot_reset/objects_placed"),
            "a": node.create_client(Trigger, f"{actor}/acknowledge"),
            "c": node.create_client(Trigger, "sac_watchdog/clear"),
            "s": node.create_client(Trigger, "sac_watchdog/stop"),
        }
        self._pending: list[Future] = []

    def _on_actor(self, status: ActorStatus) -> None:
        self._show(f"{printable(status.actor_id)}: {status.state}", status.fault)

    def _on_watchdog(self, status: WatchdogStatus) -> None:
        tripped = status.state == "tripped"
        self._show("watchdog tripped", status.reason if tripped else "")

    def _show(self, who: str, text: str) -> None:
        """Print what is new."""
        who, shown = who.partition(":")[0], printable(text, LONGEST)
        if shown and self._shown.get(who) != shown:
            print(f"{who}: {shown}", flush=True)
        self._shown[who] = shown

    def do(self, key: str) -> bool:
        """Do what a key stands for; no when the person wants to leave."""
        if key == "q":
            return False
        if key == "n":
            self._answer.publish(Bool(data=False))
        elif key not in self._clients:
            print(HELP, flush=True)
        elif not self._clients[key].service_is_ready():
            print(f"nobody offers {self._clients[key].service_name}", flush=True)
        else:
            future = self._clients[key].call_async(Trigger.Request())
            future.add_done_callback(self._answered)
        return True

    @staticmethod
    def _answered(future: Future) -> None:
        answer = future.result()
        done = "done" if answer.success else "refused"
        print(
            f"{done}: {printable(answer.message, LONGEST)}" if answer.message else done, flush=True
        )


class Keyboard:
    """Lines that were typed, without waiting for them."""

    def __init__(self) -> None:
        self._rest = b""

    def lines(self) -> list[str]:
        """What was typed since the last call, without spaces; "q" at the end of the input."""
        if not select.select([0], [], [], 0.0)[0]:
            return []
        data = os.read(0, 1024)
        *lines, self._rest = (self._rest + data).split(b"\n")
        texts = [line.decode("ascii", errors="replace").strip().lower() for line in lines]
        return texts if data else [*texts, "q"]


def main() -> int:
    """Entry point of `ros2 run sac_actor operator`."""
    parser = argparse.ArgumentParser(prog="operator", description=__doc__.splitlines()[0])
    parser.add_argument("--actor", default="sac_actor", help="the actor's node (sac_actor)")
    actor = parser.parse_args(remove_ros_args(sys.argv)[1:]).actor
    set_up_fast_dds()
    rclpy.init()
    node = Node("sac_operator", enable_rosout=False)
    try:
        console, keyboard = Console(node, actor), Keyboard()
        print(HELP, flush=True)
        while True:
            rclpy.spin_once(node, timeout_sec=PERIOD)
            if not all(console.do(line) for line in keyboard.lines()):
                return 0
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
