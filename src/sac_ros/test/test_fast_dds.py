"""Fast DDS understands the profiles that the nodes bring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sac_ros.node import FAST_DDS_PROFILES

MAKE_A_NODE = "import rclpy; rclpy.init(); rclpy.create_node('n'); rclpy.shutdown()"


def complaints(profiles: Path) -> str:
    """What Fast DDS says of a file when a node is made."""
    environment = os.environ | {"FASTRTPS_DEFAULT_PROFILES_FILE": str(profiles)}
    command = [sys.executable, "-c", MAKE_A_NODE]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout + result.stderr


def test_it_takes_ours_and_would_say_so_if_not(tmp_path: Path) -> None:
    assert not complaints(FAST_DDS_PROFILES)
    misspelt = tmp_path / "profiles.xml"
    misspelt.write_text(FAST_DDS_PROFILES.read_text().replace("heartbeatPeriod", "heartbeats"))
    assert "heartbeats" in complaints(misspelt)
