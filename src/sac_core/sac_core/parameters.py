"""A network's parameters in one flat tensor, so that Adam and Polyak are one operation each."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam


class Parameters:
    """Named float32 tensors that share the memory of ``flat``, (P,).

    ``trainable`` asks autograd for gradients; ``frozen`` is the same memory as constants, for a
    pass that needs gradients with respect to its inputs only.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: torch.device) -> None:
        self.shapes = dict(shapes)
        self.flat = torch.zeros(sum(map(math.prod, shapes.values())), device=device)
        self.frozen = self.unflatten(self.flat)
        self.trainable = {
            name: tensor.detach().requires_grad_() for name, tensor in self.frozen.items()
        }

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views of a tensor that is laid out like ``flat``."""
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }


class Adam:
    """Adam (arXiv:1412.6980) with its usual constants, fused over all parameters of a network."""

    def __init__(self, parameters: Parameters, learning_rate: float) -> None:
        self._parameters = parameters
        self._learning_rate = learning_rate
        self.first_moment = torch.zeros_like(parameters.flat)
        self.second_moment = torch.zeros_like(parameters.flat)
        # Counts on the device: reading it there would stall the update.
        self.step_count = torch.zeros((), device=parameters.flat.device)

    def minimize(self, loss: Tensor) -> None:
        """One gradient step on a scalar loss of the parameters' ``trainable`` tensors."""
        gradients = torch.autograd.grad(loss, list(self._parameters.trainable.values()))
        self.apply(torch.cat([gradient.reshape(-1) for gradient in gradients]))

    def apply(self, gradient: Tensor) -> None:
        """One step along a gradient laid out like the parameters' ``flat``."""
        adam(
            [self._parameters.flat],
            [gradient],
            [self.first_moment],
            [self.second_moment],
            [],
            [self.step_count],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
