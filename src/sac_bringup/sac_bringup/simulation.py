"""The simulated robot as a node of a launch."""

from __future__ import annotations

from typing import Any

from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from sac_bringup import security
from sac_bringup.arguments import typed


def simulated_robot(
    namespace: str, parameters: dict[str, Any] | None = None, **options: Any
) -> Node:
    """franka_sim_bridge in lockstep, for the launch arguments task, robot_type and speed_factor.

    `parameters` come on top; `options` go to the Node.
    """
    return Node(
        package="franka_sim_bridge",
        executable="franka_sim_bridge",
        name="franka_sim_bridge",
        namespace=namespace,
        output="screen",
        ros_arguments=security.enclave("robot"),
        parameters=[
            PathJoinSubstitution(
                [FindPackageShare("sac_bringup"), "config", "franka_sim_bridge.yaml"]
            ),
            {
                "task": LaunchConfiguration("task"),
                "robot_type": LaunchConfiguration("robot_type"),
                "lockstep": True,
                "speed_factor": typed("speed_factor", float),
                **(parameters or {}),
            },
        ],
        **options,
    )
