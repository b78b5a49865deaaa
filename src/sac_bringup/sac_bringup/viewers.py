"""What a person looks at: rviz with the text of the status, each where it is installed."""

from __future__ import annotations

from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescriptionEntity
from sac_bringup import optional, security


def configuration(*path: str) -> PathJoinSubstitution:
    """A file in config/."""
    return PathJoinSubstitution([FindPackageShare("sac_bringup"), "config", *path])


def rviz(namespace: str, simulated: bool) -> list[LaunchDescriptionEntity]:
    """rviz on the topics in `namespace`, and the status as text in it."""
    # The simulation's frames are in its namespace; franka_ros2's are not.
    frames = [("/tf", "tf"), ("/tf_static", "tf_static")] if simulated else []
    viewer = optional.node(
        "3D view",
        "rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", configuration("rviz", "training.rviz")],
        ros_arguments=security.enclave("rviz"),
        parameters=[{"use_sim_time": simulated}],
        remappings=frames,
    )
    return [viewer, status_markers(namespace)] if isinstance(viewer, Node) else [viewer]


def status_markers(namespace: str) -> Node:
    """The status of everything as text for rviz."""
    return Node(
        package="sac_actor",
        executable="status_markers",
        name="sac_status_markers",
        namespace=namespace,
        output="screen",
        ros_arguments=security.enclave("monitor"),
    )
