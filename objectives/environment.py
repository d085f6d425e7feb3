"""What the agent sees of a task: returns tracked, figures checked, observations normalised.

Imports Stable-Baselines3, so it is imported only when a run begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    unwrap_vec_normalize,
)

from hpsearch.exceptions import Diverged

CLIP_OBSERVATIONS = 10.0
"""In standard deviations; the default of Stable-Baselines3, as published."""


def _check(values: Any, what: str) -> None:
    """Raises Diverged if an array, or one in a dict of arrays, is not finite."""
    arrays = values.values() if isinstance(values, dict) else (values,)
    if not all(np.isfinite(array).all() for array in arrays):
        raise Diverged(detail=f"{what} is not finite")


class FiniteVecEnv(VecEnvWrapper):  # type: ignore[misc]
    """Ends a run at the first action, observation or reward that is NaN or infinite.

    It lies below the normalisation, which would clip an infinite observation to a usual one.
    """

    def reset(self) -> Any:
        """Resets all environments and checks what they show."""
        observations = self.venv.reset()
        _check(observations, "an observation")
        return observations

    def step_async(self, actions: Any) -> None:
        """Checks the actions `[num_envs, action_dim]` and sends them on."""
        _check(actions, "an action")
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """Returns the step's results, checked."""
        observations, rewards, dones, infos = self.venv.step_wait()
        _check(observations, "an observation")
        _check(rewards, "a reward")
        for index in np.flatnonzero(dones):
            if "terminal_observation" in infos[index]:
                _check(infos[index]["terminal_observation"], "an observation")
        return observations, rewards, dones, infos


def wrapped(env: VecEnv, *, normalize: bool) -> VecEnv:
    """Returns `env` with returns tracked, figures checked and, if asked, normalised observations.

    Rewards are never normalised. Closing the result closes `env`.

    Args:
      env: as the task made it.
      normalize: by running mean and standard deviation, clipped at 10.
    """
    if not any(env.env_is_wrapped(Monitor)):
        env = VecMonitor(env)
    env = FiniteVecEnv(env)
    if normalize:
        env = VecNormalize(env, norm_obs=True, norm_reward=False, clip_obs=CLIP_OBSERVATIONS)
    return env


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
