"""Programs that a launch starts where they are installed, and else names in one line."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import ExecuteProcess, LogInfo
from launch_ros.actions import Node

from launch import LaunchDescriptionEntity


def installed(package: str) -> bool:
    """Whether the ROS package is there."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def debian(package: str) -> str:
    """What to install for a package of ROS."""
    return (
        f"apt-get install ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{package.replace('_', '-')}"
    )


def node(what: str, package: str, **options: Any) -> LaunchDescriptionEntity:
    """`Node(package=package, **options)`, or a line that `what` does without it."""
    if installed(package):
        return Node(package=package, **options)
    return LogInfo(msg=f"No {what}: {package} is not installed ({debian(package)})")


def program(what: str, command: list[str], remedy: str) -> LaunchDescriptionEntity:
    """The command as a process, or a line that `what` does without it."""
    if shutil.which(command[0]):
        return ExecuteProcess(cmd=command, output="screen")
    return LogInfo(msg=f"No {what}: {command[0]} is not installed ({remedy})")
