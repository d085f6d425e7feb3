"""PPO as a baseline: that of sbx, within the same clock, ledger and evaluation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import sbx
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.exceptions import Diverged
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.environment import watched
from hpsearch.objectives.hyperparams import PpoHyperparams
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.networks import ACTIVATIONS, OPTIMIZERS
from hpsearch.objectives.off_policy import Look
from hpsearch.objectives.rollout import PacedBuffer

LOSSES = ("pg_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction")


class _Ppo(sbx.PPO):  # type: ignore[misc]
    """PPO whose rollouts and updates end with the budget."""

    ledger: Ledger
    progress: Callable[[], float] = staticmethod(lambda: 0.0)
    n_minibatches_learned = 0

    def _update_current_progress_remaining(self, *_: Any) -> None:
        self._current_progress_remaining = 1.0 - self.progress()

    def train(self) -> None:
        """Learns from a rollout.

        Raises:
          Diverged: a loss is NaN or infinite.
        """
        buffer = self.rollout_buffer
        buffer.n_yielded, buffer.stopped = 0, False
        with self.ledger.phase("update"):
            super().train()
        self.n_minibatches_learned += buffer.n_yielded
        for name in LOSSES:
            value = self.logger.name_to_value[f"train/{name}"]
            if not math.isfinite(value):
                raise Diverged(detail=f"{name} is {value} after {self._n_updates} epochs")


class PpoAgent:
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
        hp = self._hp = hyperparams
        self.env = env
        policy = {
            "net_arch": hp.net_arch if isinstance(hp.net_arch, dict) else list(hp.net_arch),
            "activation_fn": ACTIVATIONS[hp.activation_fn],
            "log_std_init": hp.log_std_init,
            # Else the first actions are three times as wide as meant, and not around zero: seed
            # post, appendix.
            "ortho_init": True,
        }
        if hp.optimizer_class is not None:
            policy["optimizer_class"] = OPTIMIZERS[hp.optimizer_class]
        if hp.optimizer_kwargs:
            policy["optimizer_kwargs"] = dict(hp.optimizer_kwargs)
        rate: Any = hp.learning_rate
        if hp.learning_rate_schedule == "linear":
            rate = lambda left: left * hp.learning_rate  # noqa: E731
        batch_size = max(2, env.num_envs * hp.n_steps // hp.n_minibatches)
        with warnings.catch_warnings():
            # Of a smaller rest of the rollout, which our buffer leaves out.
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            self._model = _Ppo(
                hp.policy, env, seed=seed, policy_kwargs=policy,
                learning_rate=rate, n_steps=hp.n_steps, batch_size=batch_size,
                n_epochs=hp.n_epochs, gamma=hp.gamma, gae_lambda=hp.gae_lambda,
                clip_range=hp.clip_range, normalize_advantage=hp.normalize_advantage,
                ent_coef=hp.ent_coef, vf_coef=hp.vf_coef, max_grad_norm=hp.max_grad_norm,
                target_kl=hp.target_kl, rollout_buffer_class=PacedBuffer,
            )  # fmt: skip
        self._model.ledger = ledger
        self._model.set_logger(Logger(None, []))

    def compile(self) -> None:
        """Compiles by learning from a rollout of zeros, whose effect is undone."""
        model = self._model
        policy, buffer = model.policy, model.rollout_buffer
        before = jax.tree.map(lambda leaf: leaf, (policy.actor_state, policy.vf_state))
        keys = model.key, policy.key, policy.noise_key
        random_state = np.random.get_state()
        shape = (self.env.num_envs, *self.env.observation_space.shape)
        observations = np.zeros(shape, np.float32)
        policy.reset_noise()
        for each in policy.predict_all(observations, policy.noise_key):
            np.asarray(each)
        for one in (observations, observations[:1]):
            np.asarray(model.vf.apply(policy.vf_state.params, one).flatten())
        self.predict(observations)
        buffer.reset()
        buffer.full, buffer.pos = True, model.n_steps
        # The second minibatch finds its learning rate as the optimizer gives it back.
        n_epochs, model.n_epochs = model.n_epochs, 2
        # A ledger that nobody reads: these updates are no training.
        ledger, model.ledger = model.ledger, Ledger()
        model.train()
        buffer.reset()
        model.ledger, model.n_epochs = ledger, n_epochs
        model._n_updates = model.n_minibatches_learned = 0
        if model.target_kl is not None:
            model.adaptive_lr.current_adaptive_lr = model.lr_schedule(1.0)
        policy.actor_state, policy.vf_state = before
        model.key, policy.key, policy.noise_key = keys
        np.random.set_state(random_state)

    @property
    def num_timesteps(self) -> int:
        """Environment steps so far, over all environments."""
        return int(self._model.num_timesteps)

    @property
    def n_updates(self) -> int:
        """Minibatches learned from so far."""
        return int(self._model.n_minibatches_learned)

    @property
    def returns(self) -> Sequence[float]:
        """Undiscounted, of the latest 100 episodes."""
        return watched(self.env).returns

    @property
    def lengths(self) -> Sequence[float]:
        """Steps of these episodes."""
        return watched(self.env).lengths

    @property
    def losses(self) -> dict[str, float]:
        """Those of the latest rollout by name; none before the first."""
        if not self.n_updates:
            return {}
        return {name: float(self._model.logger.name_to_value[f"train/{name}"]) for name in LOSSES}

    def predict(self, observations: Any) -> npt.NDArray[np.float32]:
        """Returns the actions `[num_envs, action_dim]` without noise."""
        actions: npt.NDArray[np.float32] = self._model.predict(observations, deterministic=True)[0]
        return actions

    def learn(self, clock: BudgetClock, max_timesteps: int, look: Look) -> None:
        """Trains until `look`, which is asked between steps and minibatches, says no."""
        self._model.progress = lambda: clock.progress(self.num_timesteps / max_timesteps)
        self._model.rollout_buffer.look = look
        self._model.learn(max_timesteps, callback=lambda *_: look(), log_interval=None)
