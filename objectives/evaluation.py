"""Evaluation: what a policy earns, on its own seeds and with frozen observation statistics.

Letters of shapes: `N` environments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.objectives.environment import statistics_frozen

Policy = Callable[[Any], npt.NDArray[Any]]
"""From observations `[N, ...]` to actions `[N, action_dim]` in the environment's units."""

STANDING_STEPS = 1000
"""Bound of the standing evaluation: 20 s of a robot at 50 Hz."""


def evaluate(
    env: VecEnv,
    policy: Policy,
    n_episodes: int,
    *,
    seed: int,
    max_steps: int | None = None,
    stepped: Callable[[], None] = lambda: None,
) -> npt.NDArray[np.float64]:
    """Returns the undiscounted return of each of `n_episodes` episodes.

    Every environment plays a share that is fixed beforehand. Taking the first episodes to end
    instead would prefer short ones, that is robots that fall. The environments are reset before
    and left in the middle of episodes.

    Args:
      env: `N` environments, wrapped as in training.
      policy: chooses the actions.
      n_episodes: at least 1.
      seed: of the environments.
      max_steps: steps of every environment after which episodes still missing count with what
        they have earned, where they have begun; None for no bound.
      stepped: is called after each step.
    """
    # The first environments take one episode more where the division leaves a rest.
    each, rest = divmod(n_episodes, env.num_envs)
    missing = np.full(env.num_envs, each)
    missing[:rest] += 1
    earned = np.zeros(env.num_envs)
    returns: list[float] = []
    n_steps = 0
    with statistics_frozen(env):
        env.seed(seed)
        observations = env.reset()
        while missing.any() and (max_steps is None or n_steps < max_steps):
            observations, rewards, dones, _ = env.step(policy(observations))
            stepped()
            earned += rewards
            n_steps += 1
            for index in np.flatnonzero(dones):
                if missing[index]:
                    returns.append(float(earned[index]))
                    missing[index] -= 1
                earned[index] = 0.0
    returns.extend(float(value) for value in earned[missing > 0])
    return np.array(returns)


def standing_return(env: VecEnv, *, seed: int) -> float:
    """Returns the mean return of the zero action, an episode for each environment.

    It is the floor that a result is read against. Where the limits exclude zero, the nearest
    action is taken; episodes are cut at `STANDING_STEPS`.

    Args:
      env: `N` environments, wrapped as in training.
      seed: of the environments.
    """
    space = env.action_space
    still = np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
    actions = np.repeat(still[None], env.num_envs, axis=0)
    returns = evaluate(env, lambda _: actions, env.num_envs, seed=seed, max_steps=STANDING_STEPS)
    return float(returns.mean())
