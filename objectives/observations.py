"""Observations as the agents see them: flat, the actor's part first, with running statistics.

Letters of shapes: `N` environments, `O` figures of an observation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd

from hpsearch.exceptions import UnsupportedTask
from hpsearch.objectives.environment import CLIP_OBSERVATIONS
from hpsearch.objectives.replay_buffer import Statistics

CRITIC_GROUP = "critic"
"""Group of a Dict observation that only the critics see: what a simulator knows and a robot not."""

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

        Raises:
          UnsupportedTask: images, or anything else that is not a vector of numbers.
        """
        check_observation_space("this one", space)
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


def check_observation_space(task: str, space: Any) -> None:
    """Refuses observations that no agent here can learn from.

    Raises:
      UnsupportedTask: images, or anything else that is not a vector or a group of vectors.
    """
    parts: Mapping[str, Any] = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    if not set(parts) - {CRITIC_GROUP}:
        raise UnsupportedTask(name=task, problem="only its critics would see anything")
    for name, part in parts.items():
        which = f"its observation {name!r}" if name else "its observation"
        if not isinstance(part, spaces.Box):
            problem = f"{which} is a {type(part).__name__}, not a vector of numbers"
            raise UnsupportedTask(name=task, problem=problem)
        if len(part.shape) != 1:
            problem = f"{which} has shape {part.shape}, like an image"
            raise UnsupportedTask(name=task, problem=problem)


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
