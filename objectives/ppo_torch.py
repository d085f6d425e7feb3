"""PPO of Stable-Baselines3, in PyTorch: a second baseline within the same clock and ledger.

Imports torch, so it is imported only when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.exceptions import Diverged
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.environment import watched
from hpsearch.objectives.hyperparams import PpoHyperparams
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.off_policy import Look
from hpsearch.objectives.rollout import PacedBuffer

ACTIVATIONS = {"elu": torch.nn.ELU, "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
LOSSES = ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction")


class _Ppo(PPO):  # type: ignore[misc]
    """PPO whose updates are charged to the ledger and whose schedules follow the clock."""

    ledger: Ledger
    progress: Callable[[], float] = staticmethod(lambda: 0.0)
    n_epochs: int
    n_minibatches_learned = 0

    def _update_current_progress_remaining(self, *_: Any) -> None:
        self._current_progress_remaining = 1.0 - self.progress()

    def train(self) -> None:
        """Learns from a rollout.

        Raises:
          Diverged: a loss is NaN or infinite.
        """
        buffer, n_epochs = self.rollout_buffer, self.n_epochs
        buffer.n_yielded, buffer.stopped = 0, False
        with self.ledger.phase("update"):
            # One epoch at a time: one without any minibatch has no losses to take the mean of.
            self.n_epochs = 1
            for _ in range(n_epochs):
                super().train()
                if buffer.stopped or buffer.left:
                    break
        self.n_epochs = n_epochs
        self.n_minibatches_learned += buffer.n_yielded
        for name in LOSSES:
            value = self.logger.name_to_value[f"train/{name}"]
            if not math.isfinite(value):
                raise Diverged(detail=f"{name} is {value} after {self._n_updates} epochs")


class TorchPpoAgent:
    """One agent of PPO; see `Agent`."""

    replay_on_host = False

    def __init__(
        self, hyperparams: PpoHyperparams, env: VecEnv, *, seed: int, ledger: Ledger
    ) -> None:
        """Builds the agent.

        Args:
          hyperparams: checked.
          env: wrapped.
          seed: of parameters and exploration.
          ledger: is charged with `update` while it learns from a rollout.
        """
        hp = hyperparams
        self.env = env
        policy: dict[str, Any] = {
            "net_arch": hp.net_arch if isinstance(hp.net_arch, dict) else list(hp.net_arch),
            "activation_fn": ACTIVATIONS[hp.activation_fn],
            "log_std_init": hp.log_std_init,
        }
        if hp.optimizer_class is not None:
            policy["optimizer_class"] = OPTIMIZERS[hp.optimizer_class]
        if hp.optimizer_kwargs:
            policy["optimizer_kwargs"] = dict(hp.optimizer_kwargs)
        linear = hp.learning_rate_schedule == "linear"
        self._model = _Ppo(
            hp.policy, env, seed=seed, policy_kwargs=policy,
            learning_rate=(lambda left: left * hp.learning_rate) if linear else hp.learning_rate,
            n_steps=hp.n_steps, batch_size=max(2, env.num_envs * hp.n_steps // hp.n_minibatches),
            n_epochs=hp.n_epochs, gamma=hp.gamma, gae_lambda=hp.gae_lambda,
            clip_range=hp.clip_range, normalize_advantage=hp.normalize_advantage,
            ent_coef=hp.ent_coef, vf_coef=hp.vf_coef, max_grad_norm=hp.max_grad_norm,
            target_kl=hp.target_kl, device="auto", rollout_buffer_class=PacedBuffer,
        )  # fmt: skip
        self._model.ledger = ledger
        self._model.set_logger(Logger(None, []))

    def compile(self) -> None:
        """Does nothing: PyTorch runs each operation as it comes."""

    @property
    def num_timesteps(self) -> int:
        """Environment steps so far, over all environments."""
        return int(self._model.num_timesteps)

    @property
    def n_updates(self) -> int:
        """Minibatches learned from so far."""
        return int(self._model.n_minibatches_learned)

    @property
    def losses(self) -> dict[str, float]:
        """Those of the latest rollout by name; none before the first."""
        if not self.n_updates:
            return {}
        return {name: float(self._model.logger.name_to_value[f"train/{name}"]) for name in LOSSES}

    @property
    def returns(self) -> Sequence[float]:
        """Of the latest episodes."""
        return watched(self.env).returns

    @property
    def lengths(self) -> Sequence[float]:
        """Steps of these episodes."""
        return watched(self.env).lengths

    def predict(self, observations: Any) -> npt.NDArray[np.float32]:
        """Returns the actions `[num_envs, action_dim]` without noise."""
        actions: npt.NDArray[np.float32] = self._model.predict(observations, deterministic=True)[0]
        return actions

    def learn(self, clock: BudgetClock, max_timesteps: int, look: Look) -> None:
        """Trains until `look`, which is asked between steps and minibatches, says no."""
        self._model.progress = lambda: clock.progress(self.num_timesteps / max_timesteps)
        self._model.rollout_buffer.look = look
        self._model.learn(max_timesteps, callback=lambda *_: look(), log_interval=None)
