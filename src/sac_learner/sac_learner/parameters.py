"""The learner node's parameters; config/learner.yaml holds the same, with comments."""

from __future__ import annotations

import dataclasses

from sac_core.config import SACConfig
from sac_ros.parameters import NodeParameters, UserError, parameter


@dataclasses.dataclass(frozen=True)
class Parameters(NodeParameters):
    """Parameters of the learner node."""

    task: str = parameter("", "Name of the task, kept in checkpoints; empty = the actors' own")
    observation_size: int = parameter(
        0, "Numbers in an observation; 0 = as the first actor says", minimum=0
    )
    action_size: int = parameter(0, "Numbers in an action; 0 = as the first actor says", minimum=0)
    run_directory: str = parameter("runs/latest", "Folder for everything this run writes")
    resume: bool = parameter(
        True, "Go on with the run that run_directory already holds; false = refuse to"
    )
    checkpoint: str = parameter(
        "", "Checkpoint from which a new run begins; empty = from random weights"
    )
    seed: int = parameter(0, "Seed of networks, exploration noise and sampling", minimum=0)
    max_steps: int = parameter(
        0, "Environment steps after which the run is complete, 0 = never", minimum=0, live=True
    )
    stop_at_success: float = parameter(
        0.0,
        "Success rate of an evaluation at which the run is complete, 0 = never",
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    training_starts: int = parameter(
        300, "Transitions from actors before training starts", minimum=1
    )
    replay_capacity: int = parameter(1_000_000, "Transitions kept; the oldest go", minimum=1)
    preload_rlds_path: str = parameter(
        "", "RLDS dataset of demonstrations, or several with : between them; empty = none"
    )
    demo_ratio: float = parameter(
        0.5,
        "Share of demonstrations in each batch, once there are any; 0 = one buffer for all",
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    batch_size: int = parameter(256, "Transitions per critic update", minimum=1)
    utd_ratio: int = parameter(8, "Critic updates per learner step", minimum=1)
    max_updates_per_step: float = parameter(
        0.0, "Critic updates per environment step at most, 0 = free-running", minimum=0.0, live=True
    )
    discount: float = parameter(0.99, "Discount factor", minimum=0.0, maximum=1.0)
    soft_target_update_rate: float = parameter(
        0.005, "Polyak rate of the target critics", minimum=0.0, maximum=1.0
    )
    critic_learning_rate: float = parameter(3e-4, "Adam, critics", minimum=0.0)
    actor_learning_rate: float = parameter(8.5e-4, "Adam, actor", minimum=0.0)
    temperature_learning_rate: float = parameter(8.5e-4, "Adam, temperature", minimum=0.0)
    initial_temperature: float = parameter(0.1, "Entropy weight at the start", minimum=1e-9)
    target_entropy_per_action: float = parameter(
        -0.5, "Target entropy in nats divided by the action size"
    )
    backup_entropy: bool = parameter(True, "Keep the entropy term in the critics' target")
    critic_layer_norm: bool = parameter(True, "LayerNorm in the critics")
    hidden_units: int = parameter(256, "Units of each hidden layer", minimum=1)
    hidden_layers: int = parameter(2, "Hidden layers of actor and critics", minimum=1)
    precision: str = parameter("float32", "Matrix products", choices=("float32", "bfloat16"))
    device: str = parameter("cpu", "PyTorch device: cpu, cuda, cuda:1 …")
    torch_threads: int = parameter(
        0, "Threads of a learner on the CPU; 0 = as many as cores", minimum=0
    )
    publish_period: float = parameter(
        0.5, "Least time between two publications of weights, in seconds", minimum=0.0, live=True
    )
    log_period: float = parameter(
        5.0, "Time between two lines on the console, in seconds", minimum=0.1, live=True
    )
    checkpoint_period: int = parameter(
        500, "Learner steps between two checkpoints, 0 = only at the end", minimum=0, live=True
    )
    checkpoints_kept: int = parameter(3, "Checkpoints kept besides the best", minimum=1, live=True)
    wandb_project: str = parameter("", "Weights & Biases project; empty = none")

    def sac_config(self, action_size: int) -> SACConfig:
        """The algorithm's part of the parameters; UserError if they do not fit together."""
        own = {f.name for f in dataclasses.fields(self)}
        shared = {f.name for f in dataclasses.fields(SACConfig)} & own
        try:
            return SACConfig(
                target_entropy=self.target_entropy_per_action * action_size,
                hidden_sizes=(self.hidden_units,) * self.hidden_layers,
                **{name: getattr(self, name) for name in shared},
            )
        except ValueError as error:
            raise UserError(str(error)) from error
