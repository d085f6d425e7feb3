"""What the agent sees of a task: returns tracked, figures checked, observations normalised.

Imports Stable-Baselines3, so it is imported only when a run begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecEnvWrapper,
    VecNormalize,
    unwrap_vec_normalize,
    unwrap_vec_wrapper,
)

from hpsearch.exceptions import Diverged
from hpsearch.objectives.spaces import CRITIC_GROUP

CLIP_OBSERVATIONS = 10.0
"""In standard deviations; the default of Stable-Baselines3, as published."""

N_RECENT_EPISODES = 100


def check_finite(values: Any, what: str) -> None:
    """Checks an array, or a dict of arrays.

    Raises:
      Diverged: it holds NaN or infinity.
    """
    arrays = values.values() if isinstance(values, dict) else (values,)
    if not all(np.isfinite(array).all() for array in arrays):
        raise Diverged(detail=f"{what} is not finite")


class WatchedVecEnv(VecEnvWrapper):  # type: ignore[misc]
    """Keeps the returns of the latest episodes, and ends a run at the first figure not finite.

    It lies below the normalisation, which would clip an infinite observation to a usual one.

    Attributes:
      returns: undiscounted, of the latest 100 episodes.
      lengths: of these episodes, in steps.
    """

    def __init__(self, venv: VecEnv) -> None:
        """Watches `venv`."""
        super().__init__(venv)
        self.returns: deque[float] = deque(maxlen=N_RECENT_EPISODES)
        self.lengths: deque[float] = deque(maxlen=N_RECENT_EPISODES)
        self._earned = np.zeros(venv.num_envs)
        self._steps = np.zeros(venv.num_envs)

    def reset(self) -> Any:
        """Resets all environments and checks what they show."""
        observations = self.venv.reset()
        self._earned[:] = self._steps[:] = 0.0
        check_finite(observations, "an observation")
        return observations

    def step_async(self, actions: Any) -> None:
        """Checks the actions `[num_envs, action_dim]` and sends them on."""
        check_finite(actions, "an action")
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """Returns the step's results, checked."""
        observations, rewards, dones, infos = self.venv.step_wait()
        check_finite(observations, "an observation")
        check_finite(rewards, "a reward")
        self._earned += rewards
        self._steps += 1
        for index in np.flatnonzero(dones):
            if "terminal_observation" in infos[index]:
                check_finite(infos[index]["terminal_observation"], "an observation")
            self.returns.append(float(self._earned[index]))
            self.lengths.append(float(self._steps[index]))
            self._earned[index] = self._steps[index] = 0.0
        return observations, rewards, dones, infos


class OneGroup(VecEnvWrapper):  # type: ignore[misc]
    """Shows one group of observations as if there were no other."""

    def __init__(self, venv: VecEnv, group: str) -> None:
        """Shows `group` of the observations of `venv`."""
        super().__init__(venv, observation_space=venv.observation_space[group])
        self._group = group

    def reset(self) -> Any:
        """Resets all environments."""
        return self.venv.reset()[self._group]

    def step_wait(self) -> Any:
        """Returns the step's results."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for index in np.flatnonzero(dones):
            if "terminal_observation" in infos[index]:
                last = infos[index]["terminal_observation"][self._group]
                infos[index] = {**infos[index], "terminal_observation": last}
        return observations[self._group], rewards, dones, infos


def without_critic(env: VecEnv) -> VecEnv:
    """Returns `env` as one vector, without the group that only critics may see."""
    if not isinstance(env.observation_space, spaces.Dict):
        return env
    (group,) = set(env.observation_space.spaces) - {CRITIC_GROUP}
    return OneGroup(env, group)


def wrapped(env: VecEnv, *, normalize: bool) -> VecEnv:
    """Returns `env` watched and, if asked, with normalised observations.

    Rewards are never normalised. Closing the result closes `env`.

    Args:
      env: as the task made it.
      normalize: by running mean and standard deviation, clipped at 10.
    """
    env = WatchedVecEnv(env)
    if normalize:
        env = VecNormalize(env, norm_obs=True, norm_reward=False, clip_obs=CLIP_OBSERVATIONS)
    return env


def watched(env: VecEnv) -> WatchedVecEnv:
    """Returns who watches an environment that is `wrapped`."""
    found: WatchedVecEnv = unwrap_vec_wrapper(env, WatchedVecEnv)
    return found


def unwatched(env: VecEnv) -> VecEnv:
    """Returns what the task made, from below what `wrapped` put around it."""
    watcher = unwrap_vec_wrapper(env, WatchedVecEnv)
    return env if watcher is None else watcher.venv


@contextmanager
def statistics_frozen(env: VecEnv) -> Iterator[None]:
    """Keeps the observation statistics as they are in the block, whatever happens there.

    Afterwards they are updated again if they were before: a flag that is not put back would
    freeze them for the rest of training.
    """
    normalization = unwrap_vec_normalize(env)
    if normalization is None:
        yield
        return
    was_training = normalization.training
    normalization.training = False
    try:
        yield
    finally:
        normalization.training = was_training
