"""Watch a training or a robot: rviz, TensorBoard, diagnostics; Foxglove and PlotJuggler on request.

ros2 launch sac_bringup monitor.launch.py logdir:=runs foxglove:=true

What is not installed is named in one line, and the rest starts. Nothing listens beyond this PC.
In a terminal, also over ssh: ros2 run sac_actor status.
"""

from launch.actions import OpaqueFunction
from sac_bringup.arguments import declared, is_true, value
from sac_bringup.viewers import configuration, rviz

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import optional, security

LOOPBACK = "127.0.0.1"
ARGUMENTS = {
    "rviz": ("true", "3D view: robot, workspace, target, clips, reward, status"),
    "tensorboard": ("true", "Learning curves of the runs below logdir"),
    "diagnostics": ("true", "Group /diagnostics into /diagnostics_agg (for rqt_robot_monitor)"),
    "foxglove": ("false", "foxglove_bridge; the layout is config/foxglove/training.json"),
    "plotjuggler": ("false", "PlotJuggler with its layout, config/plotjuggler.xml"),
    "namespace": ("", "Namespace of the robot to show in rviz"),
    "use_sim_time": ("false", "The robot is simulated"),
    "logdir": ("runs", "Folder of the runs, for TensorBoard"),
    "tensorboard_port": ("6006", "TensorBoard is at http://127.0.0.1:<port>"),
    "foxglove_port": ("8765", "Foxglove connects to ws://127.0.0.1:<port>"),
}


def viewers(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    simulated = is_true(context, "use_sim_time")
    found: list[LaunchDescriptionEntity] = []
    if is_true(context, "rviz"):
        found += rviz(value(context, "namespace"), simulated)
    if is_true(context, "tensorboard"):
        command = [
            "tensorboard", "--logdir", value(context, "logdir"), "--host", LOOPBACK,
            "--port", value(context, "tensorboard_port"),
        ]  # fmt: skip
        found.append(optional.program("TensorBoard", command, "pip install tensorboard"))
    if is_true(context, "diagnostics"):
        found.append(diagnostics())
    if is_true(context, "foxglove"):
        found.append(foxglove(context, simulated))
    if is_true(context, "plotjuggler"):
        found.append(plotjuggler())
    return found


def diagnostics() -> LaunchDescriptionEntity:
    return optional.node(
        "grouped diagnostics",
        "diagnostic_aggregator",
        executable="aggregator_node",
        output="screen",
        ros_arguments=security.enclave("monitor"),
        parameters=[configuration("diagnostics.yaml")],
    )


def foxglove(context: LaunchContext, simulated: bool) -> LaunchDescriptionEntity:
    """It shows topics, and can neither publish, nor call services, nor set parameters."""
    return optional.node(
        "Foxglove",
        "foxglove_bridge",
        executable="foxglove_bridge",
        name="foxglove_bridge",
        output="screen",
        ros_arguments=security.enclave("rviz"),
        parameters=[
            {
                "address": LOOPBACK,
                "port": int(value(context, "foxglove_port")),
                "capabilities": ["connectionGraph", "assets"],
                "use_sim_time": simulated,
            }
        ],
    )


def plotjuggler() -> LaunchDescriptionEntity:
    return optional.node(
        "PlotJuggler",
        "plotjuggler",
        executable="plotjuggler",
        arguments=["--nosplash", "--layout", configuration("plotjuggler.xml")],
        ros_arguments=security.enclave("rviz"),
    )


def secured(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    return security.enforced(context, "rviz", "monitor")


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *declared(ARGUMENTS),
            *security.arguments(),
            OpaqueFunction(function=secured),
            OpaqueFunction(function=viewers),
        ]
    )
