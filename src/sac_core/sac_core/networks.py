"""The networks of soft actor-critic as functions of named parameters, and the policy's density."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from sac_core.parameters import Parameters
from sac_core.policy import LOG_STD_MAX, LOG_STD_MIN

# Two critics, the smaller of which counts (arXiv:1802.09477).
CRITICS = 2
# As in RLPD's networks (arXiv:2302.02948).
LAYER_NORM_EPSILON = 1e-6


def policy_parameters(
    observation_size: int,
    action_size: int,
    hidden_sizes: tuple[int, ...],
    generator: torch.Generator,
) -> Parameters:
    """Fresh weights of the actor, named and shaped as in ``sac_core.policy``."""
    sizes = (observation_size, *hidden_sizes)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (inputs, outputs) in enumerate(zip(sizes, hidden_sizes, strict=False)):
        shapes[f"hidden.{i}.weight"] = (outputs, inputs)
        shapes[f"hidden.{i}.bias"] = (outputs,)
    for head in ("mean", "log_std"):
        shapes[f"{head}.weight"] = (action_size, sizes[-1])
        shapes[f"{head}.bias"] = (action_size,)
    return _initialise(Parameters(shapes, generator.device), generator)


def critic_parameters(
    input_size: int, hidden_sizes: tuple[int, ...], layer_norm: bool, generator: torch.Generator
) -> Parameters:
    """Fresh weights of both critics, stacked along the first dimension."""
    sizes = (input_size, *hidden_sizes)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (inputs, outputs) in enumerate(zip(sizes, hidden_sizes, strict=False)):
        shapes[f"hidden.{i}.weight"] = (CRITICS, outputs, inputs)
        shapes[f"hidden.{i}.bias"] = (CRITICS, 1, outputs)
        if layer_norm:
            shapes[f"norm.{i}.scale"] = (CRITICS, 1, outputs)
            shapes[f"norm.{i}.bias"] = (CRITICS, 1, outputs)
    shapes["value.weight"] = (CRITICS, 1, sizes[-1])
    shapes["value.bias"] = (CRITICS, 1, 1)
    return _initialise(Parameters(shapes, generator.device), generator)


def policy_distribution(
    tensors: Mapping[str, Tensor], observations: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Mean and log standard deviation before squashing, each (N, action_size) float32.

    The hidden layers' products are taken in ``dtype``; the heads, small and delicate, in float32.
    """
    hidden = observations.to(dtype)
    for i in range(_depth(tensors)):
        weight = tensors[f"hidden.{i}.weight"].to(dtype)
        bias = tensors[f"hidden.{i}.bias"].to(dtype)
        hidden = F.linear(hidden, weight, bias).relu_()
    hidden = hidden.float()
    mean = F.linear(hidden, tensors["mean.weight"], tensors["mean.bias"])
    log_std = F.linear(hidden, tensors["log_std.weight"], tensors["log_std.bias"])
    return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)


def critic_values(tensors: Mapping[str, Tensor], inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Both critics' values of observation-action rows (N, inputs): (2, N) float32.

    The hidden layers' products are taken in ``dtype``; the values in float32.
    """
    hidden = inputs.to(dtype).expand(CRITICS, -1, -1)
    for i in range(_depth(tensors)):
        weight = tensors[f"hidden.{i}.weight"].to(dtype)  # (2, outputs, inputs)
        bias = tensors[f"hidden.{i}.bias"].to(dtype)
        hidden = torch.baddbmm(bias, hidden, weight.mT)  # (2, N, outputs)
        if f"norm.{i}.scale" in tensors:
            normalised = F.layer_norm(hidden, hidden.shape[-1:], eps=LAYER_NORM_EPSILON)
            scale = tensors[f"norm.{i}.scale"].to(dtype)
            hidden = torch.addcmul(tensors[f"norm.{i}.bias"].to(dtype), normalised, scale)
        hidden = hidden.relu_()
    values = torch.baddbmm(tensors["value.bias"], hidden.float(), tensors["value.weight"].mT)
    return values.squeeze(-1)


def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions tanh(mean + std * noise), (N, A), and their log-probabilities, (N,).

    The log-probability is that of the Gaussian minus log |d tanh(u) / du| (arXiv:1801.01290,
    appendix C), the latter as 2 (log 2 - u - softplus(-2u)), which stays exact where
    log(1 - tanh(u)^2) has lost all its digits.
    """
    unsquashed = mean + log_std.exp() * noise
    gaussian = -0.5 * (noise.square() + math.log(2.0 * math.pi)) - log_std
    log_derivative = 2.0 * (math.log(2.0) - unsquashed - F.softplus(-2.0 * unsquashed))
    return unsquashed.tanh(), (gaussian - log_derivative).sum(-1)


def _depth(tensors: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("hidden.") for name in tensors) // 2


def _initialise(parameters: Parameters, generator: torch.Generator) -> Parameters:
    """Xavier-uniform weights, zero biases and unit scales, as in RLPD (arXiv:2302.02948)."""
    for name, tensor in parameters.frozen.items():
        if name.endswith(".weight"):
            outputs, inputs = tensor.shape[-2:]
            bound = math.sqrt(6.0 / (inputs + outputs))
            tensor.uniform_(-bound, bound, generator=generator)
        elif name.endswith(".scale"):
            tensor.fill_(1.0)
    return parameters
