"""One learner step of soft actor-critic written out in NumPy float64, from the papers.

Nothing here shares code with the package: forward passes are loops over layers, gradients are
central differences of the losses, and Adam and Polyak are the textbook's lines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass
class Options:
    batch_size: int
    slices: int
    discount: float
    polyak: float
    learning_rates: tuple[float, float, float]  # critic, actor, temperature
    target_entropy: float
    backup_entropy: bool


def log_density(mean: np.ndarray, log_std: np.ndarray, unsquashed: np.ndarray) -> np.ndarray:
    """log pi(tanh(u)) = sum log N(u; mean, std) - log(1 - tanh(u)^2), with 1 - tanh^2 = cosh^-2."""
    std = np.exp(log_std)
    gaussian = -((unsquashed - mean) ** 2) / (2 * std**2) - log_std - 0.5 * np.log(2 * np.pi)
    log_cosh = np.logaddexp(unsquashed, -unsquashed) - np.log(2.0)
    return (gaussian + 2.0 * log_cosh).sum(-1)


def act(policy: Arrays, observations: np.ndarray, noise: np.ndarray):
    """Actions and log-probabilities."""
    hidden = observations
    layer = 0
    while f"hidden.{layer}.weight" in policy:
        hidden = hidden @ policy[f"hidden.{layer}.weight"].T + policy[f"hidden.{layer}.bias"]
        hidden = np.where(hidden > 0, hidden, 0.0)
        layer += 1
    mean = hidden @ policy["mean.weight"].T + policy["mean.bias"]
    log_std = hidden @ policy["log_std.weight"].T + policy["log_std.bias"]
    log_std = np.clip(log_std, -20.0, 2.0)
    unsquashed = mean + np.exp(log_std) * noise
    return np.tanh(unsquashed), log_density(mean, log_std, unsquashed)


def evaluate(critic: Arrays, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Values of both critics, (2, N)."""
    values = []
    for i in (0, 1):
        hidden = np.concatenate([observations, actions], axis=1)
        layer = 0
        while f"hidden.{layer}.weight" in critic:
            weight, bias = critic[f"hidden.{layer}.weight"][i], critic[f"hidden.{layer}.bias"][i, 0]
            hidden = hidden @ weight.T + bias
            if f"norm.{layer}.scale" in critic:
                centred = hidden - hidden.mean(1, keepdims=True)
                deviation = np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)
                scale, shift = critic[f"norm.{layer}.scale"][i, 0], critic[f"norm.{layer}.bias"][i]
                hidden = centred / deviation * scale + shift
            hidden = np.where(hidden > 0, hidden, 0.0)
            layer += 1
        values.append(hidden @ critic["value.weight"][i, 0] + critic["value.bias"][i, 0, 0])
    return np.stack(values)


def numerical_gradient(loss: Callable[[Arrays], float], parameters: Arrays) -> Arrays:
    """Central differences."""
    step = 1e-6
    gradient = {name: np.zeros_like(value) for name, value in parameters.items()}
    for name, value in parameters.items():
        for index in np.ndindex(value.shape):
            original = value[index]
            value[index] = original + step
            above = loss(parameters)
            value[index] = original - step
            below = loss(parameters)
            value[index] = original
            gradient[name][index] = (above - below) / (2 * step)
    return gradient


class AdamReference:
    """Algorithm 1 of arXiv:1412.6980."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.time = 0
        self.first: Arrays = {}
        self.second: Arrays = {}

    def descend(self, parameters: Arrays, gradient: Arrays) -> None:
        self.time += 1
        for name, slope in gradient.items():
            self.first[name] = 0.9 * self.first.get(name, 0.0) + 0.1 * slope
            self.second[name] = 0.999 * self.second.get(name, 0.0) + 0.001 * slope**2
            first = self.first[name] / (1 - 0.9**self.time)
            second = self.second[name] / (1 - 0.999**self.time)
            parameters[name] -= self.learning_rate * first / (np.sqrt(second) + 1e-8)


class Learner:
    """The state between learner steps."""

    def __init__(
        self, policy: Arrays, critic: Arrays, target: Arrays, log_alpha: float, options: Options
    ) -> None:
        self.policy, self.critic, self.target = policy, critic, target
        self.log_alpha = {"log_alpha": np.array(log_alpha)}
        self.options = options
        self.critic_adam, self.policy_adam, self.temperature_adam = map(
            AdamReference, options.learning_rates
        )

    def step(self, batch: Arrays, next_noise: np.ndarray, noise: np.ndarray) -> dict[str, float]:
        options = self.options
        alpha = float(np.exp(self.log_alpha["log_alpha"]))
        info: dict[str, list[float]] = {"critic_loss": [], "q_mean": [], "target_q_mean": []}
        for k in range(options.slices):
            part = slice(k * options.batch_size, (k + 1) * options.batch_size)
            o, a, r, mask, o2 = (
                batch[name][part]
                for name in ("observation", "action", "reward", "mask", "next_observation")
            )
            a2, log_pi2 = act(self.policy, o2, next_noise[part])
            value = evaluate(self.target, o2, a2).min(0)
            if options.backup_entropy:
                value = value - alpha * log_pi2
            y = r + options.discount * mask * value

            def critic_loss(critic: Arrays, o=o, a=a, y=y) -> float:
                return float(((evaluate(critic, o, a) - y) ** 2).mean())

            info["critic_loss"].append(critic_loss(self.critic))
            info["q_mean"].append(float(evaluate(self.critic, o, a).mean()))
            info["target_q_mean"].append(float(y.mean()))
            self.critic_adam.descend(self.critic, numerical_gradient(critic_loss, self.critic))
            for name, online in self.critic.items():
                self.target[name] = (1 - options.polyak) * self.target[name] + options.polyak * (
                    online
                )

        def actor_loss(policy: Arrays) -> float:
            actions, log_pi = act(policy, batch["observation"], noise)
            q = evaluate(self.critic, batch["observation"], actions).min(0)
            return float((alpha * log_pi - q).mean())

        _, log_pi = act(self.policy, batch["observation"], noise)
        entropy = float(-log_pi.mean())

        def temperature_loss(tensors: Arrays) -> float:
            return float(tensors["log_alpha"] * (entropy - options.target_entropy))

        actor_value, temperature_value = actor_loss(self.policy), temperature_loss(self.log_alpha)
        policy_gradient = numerical_gradient(actor_loss, self.policy)
        temperature_gradient = numerical_gradient(temperature_loss, self.log_alpha)
        self.policy_adam.descend(self.policy, policy_gradient)
        self.temperature_adam.descend(self.log_alpha, temperature_gradient)
        return {
            **{name: float(np.mean(values)) for name, values in info.items()},
            "actor_loss": actor_value,
            "temperature_loss": temperature_value,
            "temperature": alpha,
            "entropy": entropy,
        }
