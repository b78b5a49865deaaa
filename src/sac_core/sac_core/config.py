"""The options of soft actor-critic: one frozen dataclass, checked when it is made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class SACConfig:
    """Options of the algorithm. Raises ValueError, one line, for a value out of range."""

    # Transitions per critic update.
    batch_size: int = 256
    # Critic updates per learner step; actor and temperature are updated once per learner step.
    utd_ratio: int = 8
    # Weight of the next state's value; the horizon is about 1 / (1 - discount) steps.
    discount: float = 0.99
    # Share of the critic that enters its target after each critic update (Polyak averaging).
    soft_target_update_rate: float = 0.005
    # Adam's learning rates.
    critic_learning_rate: float = 3e-4
    actor_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    # Weight of the entropy in the objective before the first update; larger explores longer.
    initial_temperature: float = 1.0
    # Entropy in nats that the temperature steers to; None means -action_size / 2.
    target_entropy: float | None = None
    # Whether the target value contains the entropy of the next action.
    backup_entropy: bool = True
    # Units of the hidden layers, of actor and critics alike.
    hidden_sizes: tuple[int, ...] = (256, 256)
    # LayerNorm before each activation of the critics; steadies high update-to-data ratios.
    critic_layer_norm: bool = True
    # Number format of the hidden layers' matrix products: "float32" or "bfloat16" (faster on CPUs
    # with AVX512-BF16 or AMX and on GPUs). Weights and Adam's moments are float32 in both cases.
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("batch_size", "utd_ratio"):
            _expect(_is_count(getattr(self, name)), name, "a positive integer", self)
        for name in ("critic_learning_rate", "actor_learning_rate", "temperature_learning_rate"):
            value = getattr(self, name)
            _expect(_is_number(value) and value > 0.0, name, "a positive number", self)
        discount = self.discount
        _expect(_is_number(discount) and 0.0 <= discount <= 1.0, "discount", "in [0, 1]", self)
        rate = self.soft_target_update_rate
        rate_is_valid = _is_number(rate) and 0.0 < rate <= 1.0
        _expect(rate_is_valid, "soft_target_update_rate", "in (0, 1]", self)
        temperature_is_valid = _is_number(self.initial_temperature) and self.initial_temperature > 0
        _expect(temperature_is_valid, "initial_temperature", "a positive number", self)
        entropy_is_valid = self.target_entropy is None or _is_number(self.target_entropy)
        _expect(entropy_is_valid, "target_entropy", "a number of nats or None", self)
        for name in ("backup_entropy", "critic_layer_norm"):
            _expect(isinstance(getattr(self, name), bool), name, "True or False", self)
        sizes = self.hidden_sizes
        sizes_are_valid = (
            isinstance(sizes, tuple) and len(sizes) > 0 and all(_is_count(size) for size in sizes)
        )
        _expect(sizes_are_valid, "hidden_sizes", "a tuple of positive integers", self)
        precision_is_valid = self.precision in ("float32", "bfloat16")
        _expect(precision_is_valid, "precision", "'float32' or 'bfloat16'", self)

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON-able values."""
        return {**dataclasses.asdict(self), "hidden_sizes": list(self.hidden_sizes)}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> SACConfig:
        """The inverse of ``to_dict``; absent options take their defaults.

        Raises:
            ValueError: an option is unknown or out of range.
        """
        values = dict(options)
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"unknown option of SACConfig: {', '.join(map(str, unknown))}")
        if isinstance(values.get("hidden_sizes"), list):
            values["hidden_sizes"] = tuple(values["hidden_sizes"])
        return cls(**values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)  # type: ignore[arg-type]


def _expect(is_valid: bool, name: str, expected: str, config: SACConfig) -> None:
    if not is_valid:
        raise ValueError(f"{name} must be {expected}, got {getattr(config, name)!r}")
