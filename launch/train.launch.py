"""One learner and one or more actors, in a Gymnasium environment or in a task on a robot's topics.

gym_train, sim_train and learner.launch.py include this file and pass their arguments on.
"""

from collections.abc import Sequence
from datetime import datetime

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare
from sac_bringup.actors import actor
from sac_bringup.arguments import (
    declared,
    declared_parameters,
    given,
    is_true,
    task_files,
    typed,
    value,
)
from sac_bringup.restart import restarted
from sac_bringup.teleoperation import teleoperation

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import actors, security
from sac_bringup import teleoperation as teleop

ARGUMENTS = {
    "env_id": ("HalfCheetah-v4", "Gymnasium environment"),
    "task": ("", "Task on the robot's topics; empty = env_id"),
    "run_name": ("", "Folder under runs/; empty = env and time"),
    "num_actors": ("1", "Actors to start"),
    "learner": ("true", "Start the learner; false = it runs elsewhere"),
    "seed": ("0", "Seed; actors add their index"),
    "video": ("false", "Render evaluation.mp4 at the end (tasks)"),
    "visuals": ("primitive", "Looks: primitive or menagerie"),
    "real_time": ("false", "Data comes at a robot's pace: settings for few steps, not for speed"),
    "namespace": ("", "Namespace of all nodes"),
    "teleop": ("none", "How a person may take over from the first actor: keyboard, joy, none"),
    **teleop.ARGUMENTS,
}
# Parameters of the learner that are arguments.
LEARNER = {
    "max_steps": (int, "Environment steps after which the run is complete, 0 = never"),
    "stop_at_success": (float, "Success rate at which the run is complete, 0 = never"),
    "max_updates_per_step": (float, "Critic updates per environment step at most, 0 = unbounded"),
    "preload_rlds_path": (str, "RLDS dataset of demonstrations, or several with : between them"),
    "demo_ratio": (float, "Share of demonstrations in each batch, 0 = one buffer for all"),
    "precision": (str, "Matrix products: float32 or bfloat16"),
    "device": (str, "PyTorch device"),
    "torch_threads": (int, "PyTorch threads, 0 = as many as cores"),
    "resume": (bool, "Go on with the run that the folder holds; false = refuse to"),
    "checkpoint": (str, "Checkpoint to begin from"),
    "wandb_project": (str, "Weights & Biases project"),
}


def training(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The learner, if it is not elsewhere, and the actors."""
    task, env_id = value(context, "task"), value(context, "env_id")
    name = value(context, "run_name")
    if not name:
        name = f"{(task or env_id).replace('/', '_')}-{datetime.now():%Y%m%d-%H%M%S}"
    variants = ["real_time"] if is_true(context, "real_time") else []
    variants += ["demos"] if value(context, "preload_rlds_path") else []
    learns = is_true(context, "learner")
    films = learns and task != "" and is_true(context, "video")
    count = int(value(context, "num_actors"))
    started = actor_nodes(context, count, variants)
    if learns:
        started.insert(0, learner(context, name, variants, video(context, name) if films else None))
    helped = count > 0 and teleop.device(context) != "none"
    if helped:
        started += teleoperation(context, *first_actor(context, count))
    wanted = {"learner": learns, "render": films, "actor": count > 0, "teleop": helped}
    enclaves = [enclave for enclave, is_wanted in wanted.items() if is_wanted]
    return [*security.enforced(context, *enclaves), *started]


def learner(
    context: LaunchContext, run_name: str, variants: Sequence[str], when_complete: Node | None
) -> Node:
    task = value(context, "task")
    return Node(
        package="sac_learner",
        executable="learner",
        name="sac_learner",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        ros_arguments=[
            "--log-level", LaunchConfiguration("log_level"), *security.enclave("learner")
        ],
        parameters=[
            LaunchConfiguration("learner_params_file"),
            *task_files(context, task, "learner", variants),
            {
                "task": task or value(context, "env_id"),
                "run_directory": f"runs/{run_name}",
                "seed": typed("seed", int),
                "autostart": typed("autostart", bool),
            },
            given(context, LEARNER),
        ],
        **restarted(when_complete=when_complete),
    )  # fmt: skip


def video(context: LaunchContext, run_name: str) -> Node:
    """What renders the best policy, and ends the launch."""
    return Node(
        package="sac_actor",
        executable="render",
        name="sac_render",
        output="screen",
        ros_arguments=security.enclave("render"),
        parameters=[
            {"checkpoint": f"runs/{run_name}", "visuals": LaunchConfiguration("visuals")},
            given(context, {"robot_type": (str, "")}),
        ],
        on_exit=Shutdown(),
    )


def actor_nodes(
    context: LaunchContext, count: int, variants: Sequence[str]
) -> list[LaunchDescriptionEntity]:
    """One actor for each robot, or for each environment of its own."""
    task = value(context, "task")
    shared = value(context, "namespace").strip("/")
    found = []
    for index in range(count):
        # Several robots: each with its actor in a namespace of its own.
        own = f"{shared}/robot_{index}" if task and count > 1 else shared
        parameters = {
            "env_id": value(context, "env_id"),
            "task": task,
            "seed": int(value(context, "seed")) + index,
        }
        if index > 0:
            parameters["eval_period"] = 0  # the first actor's evaluations are enough
        found.append(
            actor(
                context,
                f"sac_actor_{index}",
                own.strip("/"),
                shared,
                parameters,
                variants=variants,
            )
        )
    return found


def first_actor(context: LaunchContext, count: int) -> tuple[str, str, str]:
    """Name, namespace, and namespace of the learner of the first actor."""
    if not value(context, "task"):
        raise RuntimeError("teleop: a person takes over in a task; give task:=… or teleop:=none")
    shared = value(context, "namespace").strip("/")
    own = f"{shared}/robot_0" if count > 1 else shared
    return "sac_actor_0", own.strip("/"), shared


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *declared(ARGUMENTS),
            *actors.arguments(),
            DeclareLaunchArgument(
                "learner_params_file",
                default_value=PathJoinSubstitution(
                    [FindPackageShare("sac_bringup"), "config", "learner.yaml"]
                ),
                description="Parameters of the learner",
            ),
            *declared_parameters(LEARNER),
            *security.arguments(),
            OpaqueFunction(function=training),
        ]
    )
