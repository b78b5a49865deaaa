"""The main job: train a simulated Franka behind the topics of the real one.

ros2 launch sac_bringup sim_train.launch.py task:=pick_cube num_actors:=1 rviz:=false seed:=0

Takes the arguments of train.launch.py as well.
"""

from launch.actions import IncludeLaunchDescription, OpaqueFunction, SetLaunchConfiguration
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from sac_bringup.arguments import declared, is_true, number, value
from sac_bringup.restart import restarted
from sac_bringup.simulation import simulated_robot
from sac_bringup.viewers import rviz

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import security
from sac_bringup import teleoperation as teleop

ARGUMENTS = {
    "task": ("pick_cube", "Task: reach, pick_cube, pick_cube_sparse …"),
    "num_actors": ("1", "Robots, each simulated and with an actor of its own"),
    "seed": ("0", "Seed of networks, exploration and episodes"),
    "rviz": ("false", "Open rviz (on a ROS host)"),
    "speed_factor": (
        "",
        "Simulated time per time: 0 = as fast as it goes, 1 = the robot's pace; empty = 1 with a "
        "teleop, else 0",
    ),
    "teleop": ("none", "How a person may take over from the first actor: keyboard, joy, none"),
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
    "recovery": ("automatic", "After a fault of the robot: automatic, acknowledge or manual"),
    "namespace": ("", "Namespace of all nodes"),
}
PASSED_ON = tuple(name for name in ARGUMENTS if name not in ("rviz", "speed_factor"))


def paced(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """A person who may take over needs the robot's pace."""
    if value(context, "speed_factor"):
        return []
    factor = "0.0" if teleop.device(context) == "none" else "1.0"
    return [SetLaunchConfiguration("speed_factor", factor)]


def secured(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Every enclave is checked before the first node starts, those of train.launch.py as well."""
    optional = {
        "learner": LaunchConfiguration("learner", default="true").perform(context) == "true",
        "render": is_true(context, "video"),
        "rviz": is_true(context, "rviz"),
        "monitor": is_true(context, "rviz"),
        "teleop": teleop.device(context) != "none",
    }
    chosen = [name for name, is_wanted in optional.items() if is_wanted]
    return security.enforced(context, "robot", "actor", *chosen)


def simulations(context: LaunchContext) -> list[Node]:
    """One bridge for each actor, under the namespace that train.launch.py gives the actor."""
    namespace = value(context, "namespace").strip("/")
    seed, robots = int(value(context, "seed")), int(value(context, "num_actors"))
    bridges = []
    for index in range(robots):
        own = f"{namespace}/robot_{index}" if robots > 1 else namespace
        parameters = {
            "visuals": LaunchConfiguration("visuals"),
            "seed": seed + index,
            "motion_controller": f"{value(context, 'command')}_controller",
        }
        bridges.append(simulated_robot(own.strip("/"), parameters, **restarted()))
    return bridges


def viewer(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    if not is_true(context, "rviz"):
        return []
    return rviz(value(context, "namespace"), simulated=True)


def training(context: LaunchContext) -> list[IncludeLaunchDescription]:
    """Learner and actors; at the robot's pace with the task's settings for it."""
    at_robots_pace = number(context, "speed_factor") > 0.0
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
            *declared(ARGUMENTS),
            *security.arguments(),
            OpaqueFunction(function=paced),
            OpaqueFunction(function=secured),
            OpaqueFunction(function=simulations),
            OpaqueFunction(function=viewer),
            OpaqueFunction(function=training),
        ]
    )
