"""An actor as a node of a launch, and the launch arguments that are its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext
from sac_bringup import security
from sac_bringup.arguments import Parameters, declared_parameters, given, task_files, typed
from sac_bringup.restart import restarted

PARAMETERS: Parameters = {
    "step_rate": (float, "Environment steps per second of each actor, 0 = as fast as it can"),
    "eval_period": (int, "Steps between two evaluations, 0 = never"),
    "eval_episodes": (int, "Episodes of one evaluation"),
    "robot_type": (str, "Arm: fr3 or fer"),
    "command": (str, "cartesian_impedance, joint_trajectory or joint_velocity"),
    "recovery": (str, "After a fault of the robot: automatic, acknowledge or manual"),
}
# What actors in namespaces of their own share with the learner.
SHARED_TOPICS = ("transitions", "transitions_ack", "policy", "learner/status", "actor/status")


def arguments() -> list[DeclareLaunchArgument]:
    """Those of `actor`, besides task."""
    return [
        DeclareLaunchArgument("autostart", default_value="true", description="Activate the nodes"),
        DeclareLaunchArgument("log_level", default_value="info", description="Level of all nodes"),
        DeclareLaunchArgument(
            "actor_params_file",
            default_value=PathJoinSubstitution(
                [FindPackageShare("sac_bringup"), "config", "actor.yaml"]
            ),
            description="Parameters of the actors",
        ),
        *declared_parameters(PARAMETERS),
    ]


def name_in(namespace: str) -> str:
    """The name of a robot's actor: several in namespaces of their own share a learner's topics."""
    return "_".join(["sac_actor", *namespace.strip("/").split("/")]).rstrip("_")


def actor(
    context: LaunchContext,
    name: str,
    namespace: str,
    shared: str,
    parameters: dict[str, Any],
    *,
    variants: Sequence[str] = (),
    enclave: str = "actor",
    **options: Any,
) -> Node:
    """The actor `name` in `namespace`, whose learner is in the namespace `shared`.

    `parameters` stand above those of the files, `task` among them; `options` go to the Node, and
    without an on_exit it comes back when it is killed.
    """
    topics = f"/{shared}/sac" if shared else "/sac"
    return Node(
        package="sac_actor",
        executable="actor",
        name=name,
        namespace=namespace,
        output="screen",
        ros_arguments=[
            "--log-level", LaunchConfiguration("log_level"), *security.enclave(enclave)
        ],
        parameters=[
            LaunchConfiguration("actor_params_file"),
            *task_files(context, parameters["task"], "actor", variants),
            {**given(context, PARAMETERS), "autostart": typed("autostart", bool), **parameters},
        ],
        remappings=[(f"sac/{topic}", f"{topics}/{topic}") for topic in SHARED_TOPICS],
        **({} if "on_exit" in options else restarted()),
        **options,
    )  # fmt: skip
