"""Train in any Gymnasium environment: one learner and one or more actors.

ros2 launch sac_bringup gym_train.launch.py env_id:=HalfCheetah-v4 num_actors:=2

Takes the arguments of train.launch.py.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "env_id", default_value="HalfCheetah-v4", description="Gymnasium environment"
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([ThisLaunchFileDir(), "train.launch.py"])
                ),
                launch_arguments={"env_id": LaunchConfiguration("env_id"), "task": ""}.items(),
            ),
        ]
    )
