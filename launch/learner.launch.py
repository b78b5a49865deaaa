"""The learner alone, for actors on robot PCs: no robot, no simulation.

ros2 launch sac_bringup learner.launch.py task:=pick_cube run_name:=first

Takes the arguments of train.launch.py. With real_time, which is the default here, it has the
settings for data at a robot's pace.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("task", description="Task of the actors: reach, pick_cube …"),
            DeclareLaunchArgument(
                "real_time",
                default_value="true",
                description="Data comes at a robot's pace: settings for few steps, not for speed",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([ThisLaunchFileDir(), "train.launch.py"])
                ),
                launch_arguments={"num_actors": "0", "learner": "true"}.items(),
            ),
        ]
    )
