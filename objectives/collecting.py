"""Collecting: one step of all environments, as rows of the replay table.

Letters of shapes: `N` environments, `O` figures of an observation, `A` actions, `W` columns of
the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.objectives.environment import watched
from hpsearch.objectives.observations import Flat, Observations, RunningStatistics
from hpsearch.objectives.replay_buffer import Layout, Statistics


class ActionUnits:
    """Between the agents' [-1, 1] and the environment's units."""

    def __init__(self, space: Any) -> None:
        """Takes a Box."""
        self._low = np.asarray(space.low, np.float32).reshape(-1)
        self._range = np.asarray(space.high - space.low, np.float32).reshape(-1)
        self._shape = space.shape

    def of(self, actions: Any) -> npt.NDArray[np.float32]:
        """Returns actions `[N, A]` of [-1, 1] in the environment's units and shape."""
        scaled = self._low + 0.5 * (np.asarray(actions) + 1.0) * self._range
        shaped: npt.NDArray[np.float32] = scaled.reshape((-1, *self._shape))
        return shaped.astype(np.float32, copy=False)


class Collector(Protocol):
    """Steps the environments of one run."""

    @property
    def statistics(self) -> Statistics:
        """Those of all observations so far."""
        ...

    @property
    def returns(self) -> Sequence[float]:
        """Undiscounted, of the latest 100 episodes."""
        ...

    @property
    def lengths(self) -> Sequence[float]:
        """Steps of these episodes."""
        ...

    def reset(self) -> Any:
        """Starts every episode anew; returns observations `[N, O]`."""
        ...

    def step(self, observations: Any, actions: Any) -> tuple[Any, Any]:
        """Makes a step.

        Args:
          observations: `[N, O]`, that the actions were chosen by.
          actions: `[N, A]`, in [-1, 1].

        Returns:
          The transitions `[N, W]`, and the observations `[N, O]` that follow.

        Raises:
          Diverged: an action, observation or reward was not finite.
        """
        ...


class HostCollector:
    """Steps a Stable-Baselines3 VecEnv."""

    def __init__(self, env: VecEnv, observations: Observations, layout: Layout, *,
                 normalize: bool) -> None:  # fmt: skip
        """Takes environments that are watched and not normalised.

        Args:
          env: `N` environments.
          observations: of their space.
          layout: of the table.
          normalize: whether statistics of the observations are kept.
        """
        self._env, self._observations, self._layout = env, observations, layout
        self._running = RunningStatistics(observations.dim, used=normalize)
        self._units = ActionUnits(env.action_space)

    @property
    def statistics(self) -> Statistics:
        """See `Collector`."""
        return self._running.now

    @property
    def returns(self) -> Sequence[float]:
        """See `Collector`."""
        return watched(self._env).returns

    @property
    def lengths(self) -> Sequence[float]:
        """See `Collector`."""
        return watched(self._env).lengths

    def reset(self) -> Flat:
        """See `Collector`."""
        observations = self._observations.flat(self._env.reset())
        self._running.see(observations)
        return observations

    def step(self, observations: Flat, actions: Any) -> tuple[Flat, Flat]:
        """See `Collector`."""
        shown, rewards, dones, infos = self._env.step(self._units.of(actions))
        following = self._observations.flat(shown)
        self._running.see(following)
        o, a = self._layout.observation_dim, self._layout.action_dim
        transitions = np.empty((self._layout.num_envs, self._layout.width), np.float32)
        transitions[:, :o] = observations
        transitions[:, o : o + a] = actions
        transitions[:, o + a : 2 * o + a] = following
        transitions[:, -3], transitions[:, -2], transitions[:, -1] = rewards, dones, 0.0
        for index in np.flatnonzero(dones):
            info = infos[index]
            if "terminal_observation" in info:
                last = self._observations.flat(info["terminal_observation"])
                transitions[index, o + a : 2 * o + a] = last
            transitions[index, -1] = bool(info.get("TimeLimit.truncated", False))
        return transitions, following
