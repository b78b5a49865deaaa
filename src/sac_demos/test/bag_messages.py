"""Messages as bags hold them, for tests."""

from __future__ import annotations

from rclpy.serialization import serialize_message
from std_msgs.msg import String

from sac_demos.definitions import definition
from sac_demos.mcap_file import Channel, Message, Schema

STRING = Schema("std_msgs/msg/String", "ros2msg", definition("std_msgs/msg/String").encode())
CHATTER = Channel("/chatter", STRING)


def said(number: int, channel: Channel = CHATTER) -> Message:
    """One message that can be told from others."""
    data = serialize_message(String(data=f"message {number}"))
    return Message(channel, number, 10**9 + number * 10**7, 10**9 + number * 10**7 - 500, data)
