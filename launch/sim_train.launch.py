"""The main job: train a simulated Franka behind the topics of the real one.

ros2 launch sac_bringup sim_train.launch.py task:=pick_cube num_actors:=1 rviz:=false seed:=0

Takes the arguments of train.launch.py as well.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from sac_bringup.restart import restarted

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import security

ARGUMENTS = {
    "task": ("pick_cube", "Task: reach, pick_cube, pick_cube_sparse …"),
    "num_actors": ("1", "Robots, each simulated and with an actor of its own"),
    "seed": ("0", "Seed of networks, exploration and episodes"),
    "rviz": ("false", "Open rviz (on a ROS host)"),
    "speed_factor": (
        "0.0",
        "Simulated time per time: 0 = as fast as it goes, 1 = the robot's pace",
    ),
    "stop_at_success": ("0.95", "Success rate at which the run is complete, 0 = never"),
    "max_steps": ("200000", "Environment steps after which the run is complete, 0 = never"),
    "preload_rlds_path": ("", "RLDS dataset of demonstrations; several with : between them"),
    "demo_ratio": ("", "Share of demonstrations in each batch, 0 = one buffer for all"),
    "video": ("true", "Render evaluation.mp4 at the end"),
    "visuals": ("primitive", "Looks in video and camera: primitive or menagerie (meshes)"),
    "robot_type": ("fr3", "Arm: fr3 or fer"),
    "command": (
        "cartesian_impedance",
        "Controller: cartesian_impedance, joint_trajectory or joint_velocity",
    ),
    "namespace": ("", "Namespace of all nodes"),
}
PASSED_ON = tuple(name for name in ARGUMENTS if name not in ("rviz", "speed_factor"))


def secured(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Every enclave is checked before the first node starts, those of train.launch.py as well."""
    chosen = [
        name
        for name, argument in (("learner", "learner"), ("render", "video"), ("rviz", "rviz"))
        if LaunchConfiguration(argument, default="true").perform(context) == "true"
    ]
    return security.enforced(context, "robot", "actor", *chosen)


def simulations(context: LaunchContext) -> list[Node]:
    """One bridge for each actor, under the namespace that train.launch.py gives the actor."""
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    seed = int(LaunchConfiguration("seed").perform(context))
    robots = int(LaunchConfiguration("num_actors").perform(context))
    command = LaunchConfiguration("command").perform(context)
    bridges = []
    for index in range(robots):
        own = f"{namespace}/robot_{index}" if robots > 1 else namespace
        bridges.append(
            Node(
                package="franka_sim_bridge",
                executable="franka_sim_bridge",
                name="franka_sim_bridge",
                namespace=own.strip("/"),
                output="screen",
                ros_arguments=security.enclave("robot"),
                parameters=[
                    PathJoinSubstitution(
                        [FindPackageShare("sac_bringup"), "config", "franka_sim_bridge.yaml"]
                    ),
                    {
                        "task": LaunchConfiguration("task"),
                        "robot_type": LaunchConfiguration("robot_type"),
                        "visuals": LaunchConfiguration("visuals"),
                        "seed": seed + index,
                        "lockstep": True,
                        "speed_factor": ParameterValue(
                            LaunchConfiguration("speed_factor"), value_type=float
                        ),
                        "motion_controller": f"{command}_controller",
                    },
                ],
                **restarted(),
            )
        )
    return bridges


def rviz(context: LaunchContext) -> list[Node]:
    if LaunchConfiguration("rviz").perform(context) != "true":
        return []
    configuration = PathJoinSubstitution(
        [FindPackageShare("sac_bringup"), "config", "rviz", "training.rviz"]
    )
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", configuration],
            ros_arguments=security.enclave("rviz"),
            parameters=[{"use_sim_time": True}],
        )
    ]


def training(context: LaunchContext) -> list[IncludeLaunchDescription]:
    """Learner and actors; at the robot's pace with the task's settings for it."""
    factor = LaunchConfiguration("speed_factor").perform(context)
    try:
        at_robots_pace = float(factor) > 0.0
    except ValueError:
        raise RuntimeError(f"speed_factor: expected a number such as 1.0, got {factor!r}") from None
    arguments = {name: LaunchConfiguration(name) for name in PASSED_ON}
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                PathJoinSubstitution([ThisLaunchFileDir(), "train.launch.py"])
            ),
            launch_arguments={"real_time": str(at_robots_pace).lower(), **arguments}.items(),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            *security.arguments(),
            OpaqueFunction(function=secured),
            OpaqueFunction(function=simulations),
            OpaqueFunction(function=rviz),
            OpaqueFunction(function=training),
        ]
    )
