"""The lines of `ros2 run sac_actor status` as text above the robot, for rviz."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from builtin_interfaces.msg import Duration
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from sac_actor.markers import FRAME
from sac_actor.status_board import StatusBoard
from sac_actor.status_lines import Line
from sac_ros import node, qos
from sac_ros.parameters import NodeParameters, parameter

LETTER = 0.03  # m, height
COLUMNS = 80
TOP = 1.5  # m above the base
ORDINARY = ColorRGBA(r=0.1, g=0.1, b=0.1, a=1.0)
ALARM = ColorRGBA(r=0.85, g=0.1, b=0.1, a=1.0)


@dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the text in rviz."""

    rate: float = parameter(2.0, "Hz at which the text is renewed", minimum=0.1, maximum=30.0)


class StatusMarkers(node.SacNode[Parameters]):
    """Publishes `sac/status_markers` while somebody looks."""

    def __init__(self) -> None:
        super().__init__("sac_status_markers", Parameters)

    def configure(self) -> None:
        self._board = StatusBoard(self)
        self._publisher = self.create_publisher(
            MarkerArray, "sac/status_markers", qos.MARKERS, qos_overriding_options=qos.OVERRIDABLE
        )
        self._timer = self.create_timer(1.0 / self.parameters.rate, self._publish)

    def cleanup(self) -> None:
        if hasattr(self, "_timer"):
            self.destroy_timer(self._timer)
            self.destroy_publisher(self._publisher)
            del self._timer

    def work(self) -> None:
        self.stopping.wait()  # everything happens in callbacks

    def _publish(self) -> None:
        self._board.look()
        if self._publisher.get_subscription_count():
            self._publisher.publish(markers(self._board.lines(), 2.0 / self.parameters.rate))


def markers(lines: list[Line], lifetime: float) -> MarkerArray:
    """A text for each line, one below the other, that goes after `lifetime` s."""
    seconds, rest = divmod(round(lifetime * 1e9), 1_000_000_000)
    out, height = [], TOP
    for index, line in enumerate(lines):
        rows = textwrap.wrap(line.text, COLUMNS, subsequent_indent="  ")
        height -= LETTER * len(rows) / 2
        marker = Marker(
            ns="status", id=index, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD,
            color=ALARM if line.alarm else ORDINARY, text="\n".join(rows),
            lifetime=Duration(sec=seconds, nanosec=rest),
        )  # fmt: skip
        marker.header.frame_id = FRAME
        marker.pose.position.z = height
        marker.pose.orientation.w = 1.0
        marker.scale.z = LETTER
        out.append(marker)
        height -= LETTER * (len(rows) / 2 + 0.5)
    return MarkerArray(markers=out)


def main() -> None:
    """Entry point of `ros2 run sac_actor status_markers`."""
    node.main(StatusMarkers, "sac_status_markers")
