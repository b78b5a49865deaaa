"""The main job: train in simulation. Until the simulated Franka is there: HalfCheetah-v4.

    ros2 launch sac_bringup sim_train.launch.py

Takes the arguments of gym_train.launch.py.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "max_steps",
                default_value="400000",
                description="Environment steps after which the run is complete, 0 = never",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([ThisLaunchFileDir(), "gym_train.launch.py"])
                ),
                launch_arguments={
                    "env_id": "HalfCheetah-v4",
                    "max_steps": LaunchConfiguration("max_steps"),
                }.items(),
            ),
        ]
    )
