"""Soft actor-critic (arXiv:1812.05905) with many critic updates per actor update, in PyTorch.

One learner step is ``SACAgent.update``. The noise of all its actions is drawn up front, since the
policy does not change before the critics are done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from sac_core.config import SACConfig
from sac_core.networks import (
    critic_parameters,
    critic_values,
    policy_distribution,
    policy_parameters,
    squash,
)
from sac_core.parameters import Adam, Parameters
from sac_core.replay import RowLayout

Info = dict[str, Tensor]


class SACAgent:
    """Actor, two critics with their targets, temperature and optimisers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: SACConfig,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """Initial weights and all later noise come from one generator with this seed.

        Raises:
            ValueError: a size is smaller than 1.
        """
        self.layout = RowLayout(observation_size, action_size)
        self.config = config
        self.step = 0
        self.target_entropy = (
            -action_size / 2 if config.target_entropy is None else config.target_entropy
        )
        self._dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        self._device = torch.device(device)
        self._generator = torch.Generator(self._device).manual_seed(seed)

        input_size = observation_size + action_size
        self._policy = policy_parameters(
            observation_size, action_size, config.hidden_sizes, self._generator
        )
        self._critic = critic_parameters(
            input_size, config.hidden_sizes, config.critic_layer_norm, self._generator
        )
        self._target_critic = Parameters(self._critic.shapes, self._device)
        self._target_critic.flat.copy_(self._critic.flat)
        self._temperature = Parameters({"log_alpha": ()}, self._device)
        self._temperature.flat.fill_(math.log(config.initial_temperature))

        self._policy_adam = Adam(self._policy, config.actor_learning_rate)
        self._critic_adam = Adam(self._critic, config.critic_learning_rate)
        self._temperature_adam = Adam(self._temperature, config.temperature_learning_rate)

    def update(self, rows: npt.NDArray[np.float32]) -> Info:
        """One learner step: ``utd_ratio`` critic updates, then one of actor and temperature.

        The critics take consecutive slices of ``batch_size`` rows, each followed by a step of
        their target; actor and temperature take all rows, both gradients at the same parameters.

        Args:
            rows: (batch_size * utd_ratio, row_size) float32, laid out as ``RowLayout`` says.

        Returns:
            Scalars on the device, unread: critic_loss, q_mean and target_q_mean averaged over the
            slices, actor_loss, temperature_loss, temperature and entropy (nats, estimated from
            the actions sampled for the actor's loss).

        Raises:
            ValueError: rows has another shape or dtype.
        """
        batch = self._to_device(rows)
        layout = self.layout
        inputs = batch[:, layout.observation_action]
        temperature = self._temperature.flat.exp().squeeze(0)

        # Drawn per row, so it makes no difference that all slices' next actions come at once.
        with torch.no_grad():
            next_observations = batch[:, layout.next_observation]
            next_actions, next_log_probs = self._sample(self._policy.frozen, next_observations)
            next_inputs = torch.cat([next_observations, next_actions], dim=-1)
            entropy_cost = temperature * next_log_probs

        slices = (
            tensor.split(self.config.batch_size)
            for tensor in (
                inputs,
                batch[:, layout.reward],
                batch[:, layout.mask],
                next_inputs,
                entropy_cost,
            )
        )
        critic_infos = [self._update_critic(*parts) for parts in zip(*slices, strict=True)]

        actor_info = self._update_actor(inputs[:, layout.observation], temperature)
        temperature_info = self._update_temperature(actor_info["entropy"])
        self.step += 1
        return {
            **{
                name: torch.stack([info[name] for info in critic_infos]).mean()
                for name in critic_infos[0]
            },
            **actor_info,
            **temperature_info,
            "temperature": temperature,
        }

    def _update_critic(
        self,
        inputs: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_inputs: Tensor,
        entropy_cost: Tensor,
    ) -> Info:
        """Mean squared error to y = r + discount * mask * (min Q' - alpha log pi)."""
        with torch.no_grad():
            next_q = critic_values(self._target_critic.frozen, next_inputs, self._dtype).amin(0)
            if self.config.backup_entropy:
                next_q = next_q - entropy_cost
            target_q = rewards + self.config.discount * masks * next_q

        q = critic_values(self._critic.trainable, inputs, self._dtype)
        # The mean over both critics and the batch, as in RLPD (arXiv:2302.02948).
        loss = F.mse_loss(q, target_q.expand_as(q))
        self._critic_adam.minimize(loss)
        self._target_critic.flat.lerp_(self._critic.flat, self.config.soft_target_update_rate)
        return {
            "critic_loss": loss.detach(),
            "q_mean": q.detach().mean(),
            "target_q_mean": target_q.mean(),
        }

    def _update_actor(self, observations: Tensor, temperature: Tensor) -> Info:
        """Mean of alpha log pi - min Q over fresh actions (arXiv:1812.05905, equation 7)."""
        actions, log_probs = self._sample(self._policy.trainable, observations)
        inputs = torch.cat([observations, actions], dim=-1)
        q = critic_values(self._critic.frozen, inputs, self._dtype).amin(0)
        loss = (temperature * log_probs - q).mean()
        self._policy_adam.minimize(loss)
        return {"actor_loss": loss.detach(), "entropy": -log_probs.detach().mean()}

    def _update_temperature(self, entropy: Tensor) -> Info:
        """log alpha (entropy - target entropy): raises alpha while the entropy is too small.

        With log alpha in place of the alpha of arXiv:1812.05905, equation 18, as in the authors'
        code (github.com/rail-berkeley/softlearning): the step does not shrink with alpha.
        """
        log_alpha = self._temperature.trainable["log_alpha"]
        loss = log_alpha * (entropy - self.target_entropy)
        self._temperature_adam.minimize(loss)
        return {"temperature_loss": loss.detach()}

    def _sample(self, policy: Mapping[str, Tensor], observations: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (N, action_size) and their log-probabilities (N,)."""
        mean, log_std = policy_distribution(policy, observations, self._dtype)
        return squash(mean, log_std, self._draw_noise(len(observations)))

    def _draw_noise(self, n: int) -> Tensor:
        """Standard normal noise (n, action_size).

        An update draws twice: for the next actions of all rows, then for the actor's actions.
        """
        return torch.randn(
            n, self.layout.action_size, generator=self._generator, device=self._device
        )

    def policy_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies of the actor's weights, as ``sac_core.policy.Policy`` takes them."""
        return {name: _to_numpy(tensor) for name, tensor in self._policy.frozen.items()}

    def state(self) -> tuple[dict[str, npt.NDArray[np.generic]], dict[str, Any]]:
        """Everything the next update depends on: tensors (copies) and JSON-able metadata."""
        tensors: dict[str, npt.NDArray[Any]] = {
            name: _to_numpy(tensor) for name, tensor in self._state_tensors().items()
        }
        tensors["generator"] = self._generator.get_state().numpy().copy()
        metadata = {
            "step": self.step,
            "optimiser_steps": {
                name: int(optimiser.step_count) for name, optimiser in self._optimisers().items()
            },
            "observation_size": self.layout.observation_size,
            "action_size": self.layout.action_size,
            "config": self.config.to_dict(),
        }
        return tensors, metadata

    def load_state(
        self, tensors: Mapping[str, npt.NDArray[np.generic]], metadata: Mapping[str, Any]
    ) -> None:
        """Restores what ``state`` gave; the next update continues bit for bit.

        The options of this agent stay, so learning rates and the like may differ from those the
        state was made with. The generator is restored on the kind of device it was saved on.

        Raises:
            ValueError: sizes, names or shapes differ from this agent's; nothing was changed.
        """
        for name in ("observation_size", "action_size"):
            own = getattr(self.layout, name)
            if metadata.get(name) != own:
                raise ValueError(
                    f"{name} must be {own} as in this agent, the state has {metadata.get(name)!r}"
                )
        own_tensors = self._state_tensors()
        differing = (set(own_tensors) | {"generator"}) ^ set(tensors)
        if differing:
            raise ValueError(
                f"the state must have this agent's {len(own_tensors) + 1} tensors, it has "
                f"{len(tensors)}; in one only: {', '.join(sorted(differing))}"
            )
        for name, own_tensor in own_tensors.items():
            if tensors[name].shape != own_tensor.shape or tensors[name].dtype != np.float32:
                raise ValueError(
                    f"tensor {name!r} must be float32 {tuple(own_tensor.shape)} as in this agent, "
                    f"the state has {tensors[name].dtype} {tensors[name].shape}"
                )
        step, optimiser_steps = metadata.get("step"), metadata.get("optimiser_steps")
        counts = optimiser_steps if isinstance(optimiser_steps, dict) else {}
        if set(counts) != set(self._optimisers()) or not all(
            isinstance(count, int) and count >= 0 for count in (step, *counts.values())
        ):
            raise ValueError(
                f"the state must count steps and those of {', '.join(self._optimisers())}, "
                f"it has step {step!r} and optimiser_steps {optimiser_steps!r}"
            )

        for name, own_tensor in own_tensors.items():
            own_tensor.copy_(torch.from_numpy(np.array(tensors[name])))
        for name, optimiser in self._optimisers().items():
            optimiser.step_count.fill_(counts[name])
        generator_state = torch.from_numpy(np.array(tensors["generator"]))
        if generator_state.shape == self._generator.get_state().shape:
            self._generator.set_state(generator_state)
        assert isinstance(step, int)
        self.step = step

    def _optimisers(self) -> dict[str, Adam]:
        return {
            "policy": self._policy_adam,
            "critic": self._critic_adam,
            "temperature": self._temperature_adam,
        }

    def _state_tensors(self) -> dict[str, Tensor]:
        """Every float32 tensor of the state, by name, as views."""
        groups = {
            "policy": (self._policy, self._policy.flat),
            "critic": (self._critic, self._critic.flat),
            "target_critic": (self._critic, self._target_critic.flat),
            "temperature": (self._temperature, self._temperature.flat),
        }
        for name, optimiser in self._optimisers().items():
            parameters = groups[name][0]
            groups[f"{name}_adam.first_moment"] = (parameters, optimiser.first_moment)
            groups[f"{name}_adam.second_moment"] = (parameters, optimiser.second_moment)
        return {
            f"{group}.{name}": tensor
            for group, (parameters, flat) in groups.items()
            for name, tensor in parameters.unflatten(flat).items()
        }

    def _to_device(self, rows: npt.NDArray[np.float32]) -> Tensor:
        shape = (self.config.batch_size * self.config.utd_ratio, self.layout.row_size)
        if rows.shape != shape or rows.dtype != np.float32:
            raise ValueError(f"rows must be float32 {shape}, got {rows.dtype} {rows.shape}")
        return torch.from_numpy(rows).to(self._device)


def _to_numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().cpu().numpy().copy()
