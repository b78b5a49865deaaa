"""Train in any Gymnasium environment: one learner and one or more actors.

ros2 launch sac_bringup gym_train.launch.py env_id:=HalfCheetah-v4 num_actors:=2
"""

from datetime import datetime

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

# Arguments that are parameters of the nodes: empty leaves what the parameter file says.
LEARNER_ARGUMENTS = {
    "max_steps": (int, "Environment steps after which the run is complete, 0 = never"),
    "max_updates_per_step": (float, "Critic updates per environment step at most, 0 = unbounded"),
    "precision": (str, "Matrix products: float32 or bfloat16"),
    "device": (str, "PyTorch device"),
    "torch_threads": (int, "PyTorch threads, 0 = as many as cores"),
    "checkpoint": (str, "Checkpoint to begin from"),
    "wandb_project": (str, "Weights & Biases project"),
}
ACTOR_ARGUMENTS = {
    "step_rate": (float, "Environment steps per second of each actor, 0 = as fast as it can"),
    "eval_period": (int, "Steps between two evaluations, 0 = never"),
    "eval_episodes": (int, "Episodes of one evaluation"),
}


def declare_arguments() -> list[DeclareLaunchArgument]:
    own = [
        DeclareLaunchArgument(
            "env_id", default_value="HalfCheetah-v4", description="Gymnasium environment"
        ),
        DeclareLaunchArgument(
            "run_name", default_value="", description="Folder under runs/; empty = env and time"
        ),
        DeclareLaunchArgument("num_actors", default_value="1", description="Actors to start"),
        DeclareLaunchArgument(
            "seed", default_value="0", description="Seed; actors add their index"
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


def nodes(context: LaunchContext) -> list[Node]:
    env_id = LaunchConfiguration("env_id").perform(context)
    seed = int(LaunchConfiguration("seed").perform(context))
    name = LaunchConfiguration("run_name").perform(context)
    if not name:
        name = f"{env_id.replace('/', '_')}-{datetime.now():%Y%m%d-%H%M%S}"
    common = {
        "namespace": LaunchConfiguration("namespace"),
        "output": "screen",
        "ros_arguments": ["--log-level", LaunchConfiguration("log_level")],
        "on_exit": Shutdown(),  # none is of use without the others
    }
    autostart = {"autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool)}
    learner = Node(
        package="sac_learner",
        executable="learner",
        name="sac_learner",
        parameters=[
            LaunchConfiguration("learner_params_file"),
            {"task": env_id, "run_directory": f"runs/{name}", "seed": seed},
            autostart,
            given(context, LEARNER_ARGUMENTS),
        ],
        **common,
    )
    actors = []
    for index in range(int(LaunchConfiguration("num_actors").perform(context))):
        parameters = {"env_id": env_id, "seed": seed + index}
        parameters.update(given(context, ACTOR_ARGUMENTS))
        if index > 0:
            parameters["eval_period"] = 0  # the first actor's evaluations are enough
        actors.append(
            Node(
                package="sac_actor",
                executable="actor",
                name=f"sac_actor_{index}",
                parameters=[LaunchConfiguration("actor_params_file"), parameters, autostart],
                **common,
            )
        )
    return [learner, *actors]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare_arguments(), OpaqueFunction(function=nodes)])
