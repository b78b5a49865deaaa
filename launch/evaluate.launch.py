"""Run a policy from a checkpoint with its mean action: no learner, no critics, no PyTorch.

ros2 launch sac_bringup evaluate.launch.py checkpoint:=runs/<name>/checkpoints/best
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    def parameter(name: str, kind: type) -> ParameterValue:
        return ParameterValue(LaunchConfiguration(name), value_type=kind)

    return LaunchDescription(
        [
            DeclareLaunchArgument("checkpoint", description="A checkpoint folder, or a run folder"),
            DeclareLaunchArgument(
                "env_id", default_value="", description="Environment; empty = the one trained in"
            ),
            DeclareLaunchArgument("episodes", default_value="10", description="Episodes to run"),
            DeclareLaunchArgument("seed", default_value="1000000", description="Seed"),
            Node(
                package="sac_actor",
                executable="evaluate",
                name="sac_evaluate",
                output="screen",
                parameters=[
                    {
                        "checkpoint": parameter("checkpoint", str),
                        "env_id": parameter("env_id", str),
                        "episodes": parameter("episodes", int),
                        "seed": parameter("seed", int),
                    }
                ],
                on_exit=Shutdown(),
            ),
        ]
    )
