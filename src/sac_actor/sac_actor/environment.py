"""A Gymnasium environment as the actor sees it: flat float32 observations, actions in [-1, 1]."""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sac_ros.parameters import UserError

Float32 = NDArray[np.float32]


class GymEnvironment:
    """One environment; `reset` and `step` as in Gymnasium, without the info dictionaries.

    Observations of any Box, Dict or Tuple space are flattened to `(observation_size,) float32`.
    Actions `(action_size,)` in [-1, 1] are scaled to the bounds of the environment's Box.
    Raises UserError for an unknown id or a space that SAC cannot handle.
    """

    def __init__(self, env_id: str) -> None:
        gymnasium.logger.min_level = gymnasium.logger.ERROR  # "v4 is out of date" helps nobody here
        try:
            self._environment = gymnasium.make(env_id)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"environment {env_id!r} cannot be made: {reason}") from error
        self.env_id = env_id
        action_space = self._environment.action_space
        observation_space = self._environment.observation_space
        if not isinstance(action_space, gymnasium.spaces.Box) or not action_space.is_bounded():
            raise UserError(
                f"environment {env_id!r}: expected a bounded continuous action space (Box), "
                f"got {action_space}"
            )
        if not observation_space.is_np_flattenable:
            raise UserError(
                f"environment {env_id!r}: expected an observation space that can be flattened to "
                f"a vector, got {observation_space}"
            )
        self._observation_space = observation_space
        self._action_shape = action_space.shape
        self._action_center = (action_space.high.ravel() + action_space.low.ravel()) / 2
        self._action_half_range = (action_space.high.ravel() - action_space.low.ravel()) / 2
        self.observation_size = int(gymnasium.spaces.flatdim(observation_space))
        self.action_size = int(np.prod(action_space.shape))

    def _flatten(self, observation: object) -> Float32:
        flat = gymnasium.spaces.flatten(self._observation_space, observation)
        return np.asarray(flat, np.float32)

    def reset(self, seed: int | None = None) -> Float32:
        """Start an episode; its first observation."""
        observation, _info = self._environment.reset(seed=seed)
        return self._flatten(observation)

    def step(self, action: Float32) -> tuple[Float32, float, bool, bool]:
        """Next observation, reward, terminated, truncated."""
        scaled = self._action_center + self._action_half_range * action
        scaled = scaled.reshape(self._action_shape).astype(np.float32)
        observation, reward, terminated, truncated, _info = self._environment.step(scaled)
        flat, reward = self._flatten(observation), float(reward)
        if not (np.isfinite(flat).all() and np.isfinite(reward)):
            raise UserError(
                f"environment {self.env_id!r} returned values that are not finite: "
                f"reward {reward}, observation {flat}"
            )
        return flat, reward, bool(terminated), bool(truncated)

    def close(self) -> None:
        """Give back what the environment holds."""
        self._environment.close()
