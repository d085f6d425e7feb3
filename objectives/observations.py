"""Observations as the agents see them: flat, the actor's part first, with running statistics.

Letters of shapes: `N` environments, `O` figures of an observation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd

from hpsearch.objectives.environment import CLIP_OBSERVATIONS
from hpsearch.objectives.replay_buffer import Statistics
from hpsearch.objectives.spaces import CRITIC_GROUP

EPSILON = 1e-8

Flat = npt.NDArray[np.float32]


class Observations:
    """Flattens observations of one space.

    Attributes:
      dim: `O`, figures that the critics see.
      actor_dim: figures that the actor sees; they come first.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        """Reads the space.

        Args:
          space: a Box of one dimension, or a Dict of such.
        """
        self._groups: list[str] | None = None
        if isinstance(space, spaces.Dict):
            names = [name for name in space.spaces if name != CRITIC_GROUP]
            both = [*names, *(name for name in space.spaces if name == CRITIC_GROUP)]
            sizes = {name: math.prod(space[name].shape or ()) for name in both}
            self._groups = both
            self.dim = sum(sizes.values())
            self.actor_dim = self.dim - sizes.get(CRITIC_GROUP, 0)
        else:
            self.dim = self.actor_dim = math.prod(space.shape or ())

    def flat(self, observations: Any) -> Flat:
        """Returns `[N, O]` float32; groups in the order of the space, the critics' own last."""
        if self._groups is None:
            return np.asarray(observations, np.float32)
        parts = [np.asarray(observations[name], np.float32) for name in self._groups]
        return np.concatenate(parts, axis=-1)


class RunningStatistics:
    """Mean and variance of all observations so far, as Stable-Baselines3 counts them."""

    def __init__(self, dim: int, *, used: bool) -> None:
        """Begins without observations.

        Args:
          dim: `O`.
          used: False to leave observations as they are.
        """
        self._used = used
        self._running = RunningMeanStd(shape=(dim,))
        zeros, ones = np.zeros(dim, np.float32), np.ones(dim, np.float32)
        clip = np.float32(CLIP_OBSERVATIONS if used else np.inf)
        self.now = Statistics(zeros, ones, clip)

    def see(self, observations: Flat) -> None:
        """Counts `[N, O]`."""
        if not self._used:
            return
        self._running.update(observations)
        scale = 1.0 / np.sqrt(self._running.var + EPSILON)
        mean = self._running.mean.astype(np.float32)
        self.now = Statistics(mean, scale.astype(np.float32), self.now.clip)
