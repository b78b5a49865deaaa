"""One learner and one or more actors, in a Gymnasium environment or in a task on a robot's topics.

gym_train.launch.py and sim_train.launch.py include this file and pass their arguments on.
"""

from datetime import datetime
from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from sac_bringup.restart import restarted

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sac_bringup import security

# Arguments that are parameters of the nodes: empty leaves what the parameter file says.
LEARNER_ARGUMENTS = {
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
ACTOR_ARGUMENTS = {
    "step_rate": (float, "Environment steps per second of each actor, 0 = as fast as it can"),
    "eval_period": (int, "Steps between two evaluations, 0 = never"),
    "eval_episodes": (int, "Episodes of one evaluation"),
    "robot_type": (str, "Arm: fr3 or fer"),
    "command": (str, "cartesian_impedance, joint_trajectory or joint_velocity"),
}
# What actors in namespaces of their own share with the learner.
SHARED_TOPICS = ("transitions", "transitions_ack", "policy", "learner/status", "actor/status")


def declare_arguments() -> list[DeclareLaunchArgument]:
    own = [
        DeclareLaunchArgument(
            "env_id", default_value="HalfCheetah-v4", description="Gymnasium environment"
        ),
        DeclareLaunchArgument(
            "task", default_value="", description="Task on the robot's topics; empty = env_id"
        ),
        DeclareLaunchArgument(
            "run_name", default_value="", description="Folder under runs/; empty = env and time"
        ),
        DeclareLaunchArgument("num_actors", default_value="1", description="Actors to start"),
        DeclareLaunchArgument(
            "learner",
            default_value="true",
            description="Start the learner; false = it runs elsewhere",
        ),
        DeclareLaunchArgument(
            "seed", default_value="0", description="Seed; actors add their index"
        ),
        DeclareLaunchArgument(
            "video", default_value="false", description="Render evaluation.mp4 at the end (tasks)"
        ),
        DeclareLaunchArgument(
            "visuals", default_value="primitive", description="Looks: primitive or menagerie"
        ),
        DeclareLaunchArgument(
            "real_time",
            default_value="false",
            description="Data comes at a robot's pace: settings for few steps, not for speed",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of all nodes"),
        DeclareLaunchArgument("autostart", default_value="true", description="Activate the nodes"),
        DeclareLaunchArgument("log_level", default_value="info", description="Level of all nodes"),
        DeclareLaunchArgument(
            "learner_params_file",
            default_value=PathJoinSubstitution(
                [FindPackageShare("sac_bringup"), "config", "learner.yaml"]
            ),
            description="Parameters of the learner",
        ),
        DeclareLaunchArgument(
            "actor_params_file",
            default_value=PathJoinSubstitution(
                [FindPackageShare("sac_bringup"), "config", "actor.yaml"]
            ),
            description="Parameters of the actors",
        ),
        *security.arguments(),
    ]
    passed_on = {**LEARNER_ARGUMENTS, **ACTOR_ARGUMENTS}
    return own + [
        DeclareLaunchArgument(
            name, default_value="", description=f"{text}; empty = as the parameter file says"
        )
        for name, (_kind, text) in passed_on.items()
    ]


def given(context: LaunchContext, arguments: dict[str, tuple[type, str]]) -> dict[str, object]:
    """The arguments that were given, as parameters of their type."""
    return {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, (kind, _text) in arguments.items()
        if LaunchConfiguration(name).perform(context) != ""
    }


def task_file(context: LaunchContext, task: str, name: str) -> list[str]:
    """config/<task>/<name>.yaml, if the task has one."""
    share = Path(FindPackageShare("sac_bringup").perform(context))
    path = share / "config" / task / f"{name}.yaml"
    return [str(path)] if task and path.is_file() else []


def nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    task = LaunchConfiguration("task").perform(context)
    env_id = LaunchConfiguration("env_id").perform(context)
    seed = int(LaunchConfiguration("seed").perform(context))
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    actors = int(LaunchConfiguration("num_actors").perform(context))
    name = LaunchConfiguration("run_name").perform(context)
    if not name:
        name = f"{(task or env_id).replace('/', '_')}-{datetime.now():%Y%m%d-%H%M%S}"
    log_level = ["--log-level", LaunchConfiguration("log_level")]
    at_robots_pace = LaunchConfiguration("real_time").perform(context) == "true"
    has_demonstrations = LaunchConfiguration("preload_rlds_path").perform(context) != ""
    variants = [""]
    variants += ["_real_time"] if at_robots_pace else []
    variants += ["_demos"] if has_demonstrations else []
    autostart = {"autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool)}
    started = []
    enclaves = []
    if LaunchConfiguration("learner").perform(context) == "true":
        enclaves.append("learner")
        video = None
        if task and LaunchConfiguration("video").perform(context) == "true":
            enclaves.append("render")
            video = Node(
                package="sac_actor",
                executable="render",
                name="sac_render",
                output="screen",
                ros_arguments=security.enclave("render"),
                parameters=[
                    {"checkpoint": f"runs/{name}", "visuals": LaunchConfiguration("visuals")},
                    given(context, {"robot_type": (str, "")}),
                ],
                on_exit=Shutdown(),
            )
        learner = Node(
            package="sac_learner",
            executable="learner",
            name="sac_learner",
            namespace=namespace,
            output="screen",
            ros_arguments=[*log_level, *security.enclave("learner")],
            parameters=[
                LaunchConfiguration("learner_params_file"),
                *(path for v in variants for path in task_file(context, task, f"learner{v}")),
                {"task": task or env_id, "run_directory": f"runs/{name}", "seed": seed},
                autostart,
                given(context, LEARNER_ARGUMENTS),
            ],
            **restarted(when_complete=video),
        )
        started.append(learner)
    if actors > 0:
        enclaves.append("actor")
    for index in range(actors):
        parameters = {"env_id": env_id, "task": task, "seed": seed + index}
        parameters.update(given(context, ACTOR_ARGUMENTS))
        if index > 0:
            parameters["eval_period"] = 0  # the first actor's evaluations are enough
        # Several robots: each with its actor in a namespace of its own.
        own = f"{namespace}/robot_{index}" if task and actors > 1 else namespace
        shared = f"/{namespace}/sac" if namespace else "/sac"
        started.append(
            Node(
                package="sac_actor",
                executable="actor",
                name=f"sac_actor_{index}",
                namespace=own.strip("/"),
                output="screen",
                ros_arguments=[*log_level, *security.enclave("actor")],
                parameters=[
                    LaunchConfiguration("actor_params_file"),
                    *(path for v in variants for path in task_file(context, task, f"actor{v}")),
                    parameters,
                    autostart,
                ],
                remappings=[(f"sac/{topic}", f"{shared}/{topic}") for topic in SHARED_TOPICS],
                **restarted(),
            )
        )
    return [*security.enforced(context, *enclaves), *started]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare_arguments(), OpaqueFunction(function=nodes)])
