"""Builds agents from plain hyper-parameters: SAC, TQC, PPO.

Imports jax, so it is imported only when a run begins, after `prepare_jax`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.base import Hyperparams
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.environment import without_critic, wrapped
from hpsearch.objectives.hyperparams import PpoHyperparams, of_algo
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.off_policy import Look, OffPolicyAgent
from hpsearch.objectives.ppo import PpoAgent
from hpsearch.objectives.spaces import check_bounds, check_groups, check_spaces


class Agent(Protocol):
    """What training needs of an agent.

    Attributes:
      env: the wrapped environments that it acts in; evaluation steps them too.
      num_timesteps: environment steps so far, over all environments.
      n_updates: gradient steps so far; of the critics, where there are.
      replay_on_host: whether its transitions did not fit the device.
    """

    env: VecEnv
    replay_on_host: bool

    @property
    def num_timesteps(self) -> int:
        """Environment steps so far."""
        ...

    @property
    def n_updates(self) -> int:
        """Gradient steps so far."""
        ...

    @property
    def returns(self) -> Sequence[float]:
        """Undiscounted, of the latest 100 episodes."""
        ...

    @property
    def lengths(self) -> Sequence[float]:
        """Steps of these episodes."""
        ...

    def compile(self) -> None:
        """Compiles all that training and evaluation call, without an update."""

    def learn(self, clock: BudgetClock, max_timesteps: int, look: Look) -> None:
        """Trains until `look`, which is asked between steps and updates, says no."""

    def predict(self, observations: Any) -> npt.NDArray[np.float32]:
        """Returns the actions `[num_envs, action_dim]` without noise."""
        ...

    @property
    def losses(self) -> dict[str, float]:
        """Those of the latest update by name."""
        ...


def build_agent(
    algo: str, hyperparams: Hyperparams, env: VecEnv, *, task: str, seed: int, normalize: bool,
    ledger: Ledger,
) -> Agent:  # fmt: skip
    """Returns a new agent.

    Args:
      algo: `sac`, `tqc`, `ppo` or `ppo-torch`.
      hyperparams: decoded.
      env: as the task made it.
      task: its name.
      seed: of parameters, exploration and replay; the environments have one of their own.
      normalize: whether it sees normalised observations.
      ledger: where updates are charged.

    Raises:
      UnknownHyperparam: the algorithm does not take one of them.
      InvalidValue: there is no such activation, optimizer or policy.
      UnsupportedTask: nothing here can learn from its observations, or act in it.
    """
    checked = of_algo(algo, hyperparams)
    check_spaces(task, env.observation_space, env.action_space)
    check_bounds(task, algo, env.action_space)
    check_groups(task, algo, hyperparams, env.observation_space)
    if isinstance(checked, PpoHyperparams):
        env = wrapped(without_critic(env), normalize=normalize)
        if algo == "ppo-torch":
            from hpsearch.objectives.ppo_torch import TorchPpoAgent

            return TorchPpoAgent(checked, env, seed=seed, ledger=ledger)
        return PpoAgent(checked, env, seed=seed, ledger=ledger)
    env = wrapped(env, normalize=False)
    return OffPolicyAgent(algo, checked, env, seed=seed, normalize=normalize, ledger=ledger)
