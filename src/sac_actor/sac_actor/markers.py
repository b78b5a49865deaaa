"""What the actor does, for rviz: workspace, target and measured position, action, reward, who acts.

A target that the safety filter had to change is red, and the text says what was wrong with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from geometry_msgs.msg import Point
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from sac_actor.behaviour import SOURCE_HUMAN, SOURCE_POLICY, SOURCE_RANDOM, SOURCE_SCRIPTED
from sac_actor.safety import Workspace
from sac_envs.robots import Float64
from sac_envs.task import RobotState
from sac_ros import qos

PERIOD = 0.1  # s between two publications: rviz is for eyes
FRAME = "base"
CLIPS_SHOWN = 0.5  # s for which a clip is seen: commands come faster than pictures


def _color(red: float, green: float, blue: float, alpha: float) -> ColorRGBA:
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


ALLOWED = _color(0.95, 0.6, 0.1, 0.9)
CLIPPED = _color(0.9, 0.05, 0.05, 1.0)


def _point(position: Float64) -> Point:
    x, y, z = (float(value) for value in position)
    return Point(x=x, y=y, z=z)


# Who acts: in words, and the colour of the action.
ACTING = {
    SOURCE_RANDOM: ("random actions", _color(0.5, 0.5, 0.5, 0.9)),
    SOURCE_POLICY: ("policy", _color(0.9, 0.5, 0.1, 0.9)),
    SOURCE_HUMAN: ("a person acts", _color(0.8, 0.1, 0.7, 0.9)),
    SOURCE_SCRIPTED: ("scripted demonstration", _color(0.1, 0.4, 0.9, 0.9)),
}


class EpisodeMarkers:
    """Publishes `sac/actor/markers` at most every 0.1 s, and only while somebody looks."""

    def __init__(self, node: Node, workspace: Workspace) -> None:
        self._publisher = node.create_publisher(
            MarkerArray, "sac/actor/markers", qos.MARKERS, qos_overriding_options=qos.OVERRIDABLE
        )
        self._due = 0.0
        self._clips: tuple[str, ...] = ()
        self._clips_shown_until = 0.0
        self.acting = SOURCE_POLICY  # of the step that is shown next
        self._workspace = self._make("workspace", Marker.CUBE, _color(0.2, 0.5, 0.9, 0.08))
        middle = (workspace.low + workspace.high) / 2
        size = workspace.high - workspace.low
        self._workspace.pose.position = _point(middle)
        scale = self._workspace.scale
        scale.x, scale.y, scale.z = size.tolist()
        self._target = self._ball("target", ALLOWED)
        self._measured = self._ball("measured", _color(0.1, 0.7, 0.3, 0.9))
        self._action = self._make("action", Marker.ARROW, ACTING[self.acting][1])
        self._action.scale.x, self._action.scale.y = 0.008, 0.016  # m: shaft and head
        self._text = self._make("reward", Marker.TEXT_VIEW_FACING, ACTING[self.acting][1])
        self._text.pose.position = Point(x=0.0, y=0.0, z=0.95)
        self._text.scale.z = 0.05  # m, height of the letters

    @staticmethod
    def _make(namespace: str, kind: int, color: ColorRGBA) -> Marker:
        marker = Marker(ns=namespace, type=kind, color=color, action=Marker.ADD)
        marker.header.frame_id = FRAME
        marker.pose.orientation.w = 1.0
        return marker

    @classmethod
    def _ball(cls, namespace: str, color: ColorRGBA) -> Marker:
        marker = cls._make(namespace, Marker.SPHERE, color)
        marker.scale.x = marker.scale.y = marker.scale.z = 0.02
        return marker

    def show(
        self,
        state: RobotState,
        target: Float64,
        reward: float,
        so_far: float,
        clips: Sequence[str],
    ) -> None:
        """Show one step: the state it led to, where it wanted to go, its reward and the return.

        `clips` are the reasons for which the safety filter changed the target.
        """
        now = time.monotonic()
        if clips:
            self._clips = tuple(clips)
            self._clips_shown_until = now + CLIPS_SHOWN
        if now < self._due:
            return
        self._due = now + PERIOD
        if self._publisher.get_subscription_count() == 0:
            return
        self._target.pose.position = _point(target)
        self._measured.pose.position = _point(state.tool_position)
        self._action.points = [_point(state.tool_position), _point(target)]
        who, color = ACTING[self.acting]
        self._action.color = self._text.color = color
        self._text.text = f"{who}\nreward {reward:.2f}\nreturn {so_far:.2f}"
        clipped = now < self._clips_shown_until
        self._target.color = CLIPPED if clipped else ALLOWED
        if clipped:
            self._text.text += f"\nclipped: {', '.join(self._clips)}"
        # Stamp 0: shown in the newest frame, whichever clock rviz follows.
        self._publisher.publish(
            MarkerArray(
                markers=[self._workspace, self._target, self._measured, self._action, self._text]
            )
        )
