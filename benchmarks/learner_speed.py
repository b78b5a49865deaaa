#!/usr/bin/env python3
"""Learner steps per second, side by side with Stable-Baselines3 and plain PyTorch.

A learner step, the same for all: sample 2,048 transitions from a replay buffer of 200,000; eight
critic updates on consecutive slices of 256, each followed by a Polyak update; one actor and one
temperature update on all 2,048. HalfCheetah sizes (17 observations, 6 actions), two critics and
an actor of 256 x 256 ReLU units without LayerNorm, Adam, float32. Only whole steps are timed.

* Stable-Baselines3: its own replay buffer, networks, optimisers and Polyak update, called in the
  order and style of its ``SAC.train``; that method itself ties one actor update to every critic
  update.
* Plain PyTorch: networks and losses as modules, one optimiser each, in the single-file style that
  CleanRL made common.
* The learner of this project, in float32 and, where the processor multiplies it natively, with
  bfloat16 matrix products; also with LayerNorm in the critics, as it is configured by default.

The roof is the rate of large products of the networks' shapes, measured in the same run; the share
of the roof counts the multiplications that a step needs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from common import (
    fail,
    has_cpu_flag,
    interleaved,
    median_ratio,
    print_json,
    print_table,
    rounded,
)

try:
    import gymnasium
    import stable_baselines3
    import torch
    import torch.nn.functional as F
    from stable_baselines3.common.utils import polyak_update
    from torch import Tensor, nn

    from sac_core.agent import SACAgent
    from sac_core.config import SACConfig
    from sac_core.replay import ReplayBuffer
except ImportError as error:
    fail(f"{error}: needs the built workspace, and stable-baselines3 from PyPI")

OBSERVATION_SIZE, ACTION_SIZE, HIDDEN = 17, 6, 256
BATCH, SLICES, TRANSITIONS = 256, 8, 200_000
ROWS = BATCH * SLICES
DISCOUNT, POLYAK, LEARNING_RATE = 0.99, 0.005, 3e-4
TARGET_ENTROPY = -ACTION_SIZE / 2

Step = Callable[[], object]


def random_transitions() -> tuple[np.ndarray, ...]:
    """Observations, actions, rewards, terminated, next observations."""
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((TRANSITIONS, OBSERVATION_SIZE), np.float32)
    actions = np.tanh(rng.standard_normal((TRANSITIONS, ACTION_SIZE), np.float32))
    rewards = rng.standard_normal(TRANSITIONS, np.float32)
    terminated = (rng.random(TRANSITIONS) < 0.01).astype(np.float32)
    return observations, actions, rewards, terminated, np.roll(observations, -1, axis=0)


def this_learner(transitions: tuple[np.ndarray, ...], precision: str, layer_norm: bool) -> Step:
    observations, actions, rewards, terminated, next_observations = transitions
    replay = ReplayBuffer(TRANSITIONS, OBSERVATION_SIZE, ACTION_SIZE)
    replay.insert(observations, actions, rewards, 1 - terminated, next_observations)
    config = SACConfig(precision=precision, critic_layer_norm=layer_norm)
    agent = SACAgent(OBSERVATION_SIZE, ACTION_SIZE, config)
    return lambda: agent.update(replay.sample(ROWS))


class SpacesOnly(gymnasium.Env[np.ndarray, np.ndarray]):
    """What Stable-Baselines3 asks an environment for before training."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)


def stable_baselines3_learner(transitions: tuple[np.ndarray, ...]) -> Step:
    model = stable_baselines3.SAC(
        "MlpPolicy",
        SpacesOnly(),
        learning_rate=LEARNING_RATE,
        buffer_size=TRANSITIONS,
        target_entropy=TARGET_ENTROPY,
        device="cpu",
    )
    observations, actions, rewards, terminated, next_observations = transitions
    buffer = model.replay_buffer
    assert buffer is not None
    buffer.observations[:, 0] = observations
    buffer.actions[:, 0] = actions
    buffer.rewards[:, 0] = rewards
    buffer.dones[:, 0] = terminated
    buffer.next_observations[:, 0] = next_observations
    buffer.full = True
    actor, critic, critic_target = model.actor, model.critic, model.critic_target

    def step() -> None:
        data = buffer.sample(ROWS)
        ent_coef = torch.exp(model.log_ent_coef.detach())
        for k in range(SLICES):
            part = slice(k * BATCH, (k + 1) * BATCH)
            with torch.no_grad():
                next_actions, next_log_prob = actor.action_log_prob(data.next_observations[part])
                next_q_values = torch.cat(
                    critic_target(data.next_observations[part], next_actions), dim=1
                )
                next_q_values, _ = torch.min(next_q_values, dim=1, keepdim=True)
                next_q_values = next_q_values - ent_coef * next_log_prob.reshape(-1, 1)
                target_q_values = (
                    data.rewards[part] + (1 - data.dones[part]) * DISCOUNT * next_q_values
                )
            current_q_values = critic(data.observations[part], data.actions[part])
            critic_loss = 0.5 * sum(F.mse_loss(q, target_q_values) for q in current_q_values)
            critic.optimizer.zero_grad()
            critic_loss.backward()
            critic.optimizer.step()
            polyak_update(critic.parameters(), critic_target.parameters(), POLYAK)

        actions_pi, log_prob = actor.action_log_prob(data.observations)
        log_prob = log_prob.reshape(-1, 1)
        ent_coef_loss = -(model.log_ent_coef * (log_prob + TARGET_ENTROPY).detach()).mean()
        model.ent_coef_optimizer.zero_grad()
        ent_coef_loss.backward()
        model.ent_coef_optimizer.step()
        q_values_pi = torch.cat(critic(data.observations, actions_pi), dim=1)
        min_qf_pi, _ = torch.min(q_values_pi, dim=1, keepdim=True)
        actor_loss = (ent_coef * log_prob - min_qf_pi).mean()
        actor.optimizer.zero_grad()
        actor_loss.backward()
        actor.optimizer.step()

    model.policy.set_training_mode(True)
    return step


class PlainCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(OBSERVATION_SIZE + ACTION_SIZE, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.fc3 = nn.Linear(HIDDEN, 1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        x = torch.cat([observations, actions], 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x).view(-1)


class PlainActor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(OBSERVATION_SIZE, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.fc_mean = nn.Linear(HIDDEN, ACTION_SIZE)
        self.fc_logstd = nn.Linear(HIDDEN, ACTION_SIZE)

    def get_action(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.fc1(observations))
        x = F.relu(self.fc2(x))
        std = self.fc_logstd(x).clamp(-20, 2).exp()
        normal = torch.distributions.Normal(self.fc_mean(x), std)
        unsquashed = normal.rsample()
        action = torch.tanh(unsquashed)
        log_prob = normal.log_prob(unsquashed) - torch.log(1 - action.pow(2) + 1e-6)
        return action, log_prob.sum(1)


def plain_learner(transitions: tuple[np.ndarray, ...]) -> Step:
    rng = np.random.default_rng(0)
    actor = PlainActor()
    qf1, qf2, qf1_target, qf2_target = (PlainCritic() for _ in range(4))
    qf1_target.load_state_dict(qf1.state_dict())
    qf2_target.load_state_dict(qf2.state_dict())
    q_optimizer = torch.optim.Adam([*qf1.parameters(), *qf2.parameters()], lr=LEARNING_RATE)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=LEARNING_RATE)
    log_alpha = torch.zeros(1, requires_grad=True)
    a_optimizer = torch.optim.Adam([log_alpha], lr=LEARNING_RATE)

    def step() -> None:
        indices = rng.integers(0, TRANSITIONS, ROWS)
        batch = [torch.as_tensor(array[indices]) for array in transitions]
        alpha = log_alpha.detach().exp()
        for k in range(SLICES):
            o, a, r, terminated, o2 = (part[k * BATCH : (k + 1) * BATCH] for part in batch)
            with torch.no_grad():
                a2, log_pi2 = actor.get_action(o2)
                min_q = torch.min(qf1_target(o2, a2), qf2_target(o2, a2)) - alpha * log_pi2
                y = r + (1 - terminated) * DISCOUNT * min_q
            qf_loss = F.mse_loss(qf1(o, a), y) + F.mse_loss(qf2(o, a), y)
            q_optimizer.zero_grad()
            qf_loss.backward()
            q_optimizer.step()
            for online, target in ((qf1, qf1_target), (qf2, qf2_target)):
                parameters = zip(online.parameters(), target.parameters(), strict=True)
                for parameter, target_parameter in parameters:
                    target_parameter.data.copy_(
                        POLYAK * parameter.data + (1 - POLYAK) * target_parameter.data
                    )

        pi, log_pi = actor.get_action(batch[0])
        min_qf_pi = torch.min(qf1(batch[0], pi), qf2(batch[0], pi))
        actor_loss = (alpha * log_pi - min_qf_pi).mean()
        actor_optimizer.zero_grad()
        actor_loss.backward()
        actor_optimizer.step()
        alpha_loss = (-log_alpha.exp() * (log_pi.detach() + TARGET_ENTROPY)).mean()
        a_optimizer.zero_grad()
        alpha_loss.backward()
        a_optimizer.step()

    return step


def step_flops() -> int:
    """Floating-point operations of the matrix products that one learner step needs."""
    actor_heads = HIDDEN * 2 * ACTION_SIZE
    actor = OBSERVATION_SIZE * HIDDEN + HIDDEN * HIDDEN + actor_heads
    critic = (OBSERVATION_SIZE + ACTION_SIZE) * HIDDEN + HIDDEN * HIDDEN + HIDDEN
    critic_inner = HIDDEN * HIDDEN + HIDDEN  # what gradients pass to reach the first layer
    per_row = (
        actor  # next actions
        + 2 * critic  # target values
        + 2 * (critic + critic + critic_inner)  # values, weight gradients, inner gradients
        + actor  # actions
        + 2 * critic  # their values
        + critic_inner + ACTION_SIZE * HIDDEN  # action gradient of the smaller value
        + actor + HIDDEN * HIDDEN + actor_heads  # weight and inner gradients of the actor
    )  # fmt: skip
    return 2 * ROWS * per_row


def product(dtype: torch.dtype) -> Step:
    """A product of the networks' shapes: two critics' hidden layers on all rows."""
    left = torch.randn(2, ROWS, HIDDEN).to(dtype)
    right = torch.randn(2, HIDDEN, HIDDEN).to(dtype)
    result = torch.empty(2, ROWS, HIDDEN, dtype=dtype)
    return lambda: torch.bmm(left, right, out=result)


PRODUCT_FLOPS = 2 * 2 * ROWS * HIDDEN * HIDDEN
PEERS = ("Stable-Baselines3", "plain PyTorch")
OWN = {"float32": "this learner, float32", "bfloat16": "this learner, bfloat16"}


def measure(threads: int, repeats: int, seconds: float, precisions: list[str]) -> dict[str, Any]:
    """One table and its figures."""
    torch.set_num_threads(threads)
    transitions = random_transitions()
    units: dict[str, Step] = {
        "Stable-Baselines3": stable_baselines3_learner(transitions),
        "plain PyTorch": plain_learner(transitions),
    }
    for precision in precisions:
        units[OWN[precision]] = this_learner(transitions, precision, layer_norm=False)
        name = f"{OWN[precision]}, LayerNorm"
        units[name] = this_learner(transitions, precision, layer_norm=True)
        units[f"roof, {precision}"] = product(getattr(torch, precision))
    rates = interleaved(units, repeats, seconds)

    best_peer = max(PEERS, key=lambda name: statistics.median(rates[name]))
    rows, steps_per_second = [], {}
    for name, values in rates.items():
        if name.startswith("roof"):
            continue
        precision = "bfloat16" if "bfloat16" in name else "float32"
        rate = statistics.median(values)
        share = median_ratio(values, rates[f"roof, {precision}"]) * step_flops() / PRODUCT_FLOPS
        ratio = median_ratio(values, rates[best_peer])
        steps_per_second[name] = rounded(rate)
        rows.append((name, f"{rate:.1f}", f"{ratio:.2f}", f"{100 * share:.0f} %"))
    print_table(
        (f"{threads} thread{'s' * (threads > 1)}", "steps/s", "to best peer", "share of roof"), rows
    )
    figures: dict[str, Any] = {"steps_per_second": steps_per_second, "best_peer": best_peer}
    for precision in precisions:
        suffix = "" if precision == "float32" else "_bfloat16"
        own, roof = rates[OWN[precision]], rates[f"roof, {precision}"]
        gflops = statistics.median(roof) * PRODUCT_FLOPS / 1e9
        figures[f"roof_gflops{suffix}"] = rounded(gflops)
        figures[f"ratio_to_best_peer{suffix}"] = rounded(median_ratio(own, rates[best_peer]))
        figures[f"share_of_roof{suffix}"] = rounded(
            median_ratio(own, roof) * step_flops() / PRODUCT_FLOPS
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--quick", action="store_true", help="two short repeats")
    options = parser.parse_args()
    if min(options.threads) < 1:
        fail(f"--threads must be at least 1, got {min(options.threads)}")
    precisions = ["float32"]
    if has_cpu_flag("avx512_bf16", "amx_bf16"):
        precisions.append("bfloat16")
    else:
        print("bfloat16 is left out: this processor does not multiply it natively\n")
    repeats, seconds = (2, 0.3) if options.quick else (5, 1.0)
    by_threads = {
        str(threads): measure(threads, repeats, seconds, precisions) for threads in options.threads
    }
    # The figures of the first thread count at the top level, all of them by thread count.
    print_json(
        {**by_threads[str(options.threads[0])], "by_threads": by_threads}, threads=options.threads
    )


if __name__ == "__main__":
    main()
