"""Builds agents from plain hyper-parameters; so far SAC of sbx.

Imports jax, so it is imported only when a run begins, after `prepare_jax`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import sbx
from sbx.common.type_aliases import ReplayBufferSamplesNp
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.base import Hyperparams
from hpsearch.exceptions import Diverged, InvalidValue, UnknownHyperparam
from hpsearch.objectives.ledger import Ledger

ACTIVATIONS: Mapping[str, Callable[..., Any]] = {"elu": nn.elu, "relu": nn.relu, "tanh": nn.tanh}
OPTIMIZERS: Mapping[str, Callable[..., Any]] = {"adam": optax.adam, "adamw": optax.adamw}

AGENT_HYPERPARAMS = (
    "policy", "learning_rate", "qf_learning_rate", "buffer_size", "learning_starts",
    "batch_size", "tau", "gamma", "train_freq", "gradient_steps", "policy_delay", "ent_coef",
    "target_entropy", "n_steps", "use_sde", "sde_sample_freq", "use_sde_at_warmup",
)  # fmt: skip
POLICY_HYPERPARAMS = (
    "net_arch", "activation_fn", "optimizer_class", "optimizer_kwargs", "layer_norm",
    "dropout_rate", "n_critics",
)  # fmt: skip

LOSSES = {"train/critic_loss": "the critic's loss", "train/actor_loss": "the actor's loss",
          "train/ent_coef": "the entropy coefficient"}  # fmt: skip


# sbx compiles its update anew for each policy delay and each place of a burst of gradient steps
# within it, although neither decides a shape; as arguments they need one program for all.
_UPDATE = jax.jit(sbx.SAC._train.__func__.__wrapped__, static_argnames=("cls", "gradient_steps"))


class CompiledSAC(sbx.SAC):  # type: ignore[misc]
    """SAC whose update is compiled ahead, charged to the ledger, and checked for NaN."""

    def __init__(self, *args: Any, ledger: Ledger, **kwargs: Any) -> None:
        """Builds the agent; takes what `sbx.SAC` takes.

        Args:
          *args: for `sbx.SAC`.
          ledger: is charged with `update` during gradient steps.
          **kwargs: for `sbx.SAC`.
        """
        self._ledger = ledger
        self._program: Callable[..., Any] | None = None
        super().__init__(*args, **kwargs)

    def compile(self) -> None:
        """Compiles all that training and evaluation call, without making an update."""
        observations = np.zeros(
            (self.n_envs, *self.observation_space.shape), self.observation_space.dtype
        )
        for deterministic in (False, True):
            self.predict(observations, deterministic=deterministic)
        gradient_steps = self.gradient_steps
        if gradient_steps < 0:
            # As many as steps were collected.
            gradient_steps = self.train_freq.frequency * self.n_envs
        rows = self.batch_size * gradient_steps

        def array(*shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((rows, *shape), np.float32)

        observation_dim = math.prod(self.observation_space.shape)
        data = ReplayBufferSamplesNp(
            observations=array(observation_dim),
            actions=array(math.prod(self.action_space.shape)),
            next_observations=array(observation_dim),
            dones=array(),
            rewards=array(),
            discounts=array(),
        )
        self._program = _UPDATE.lower(
            sbx.SAC, self.tau, self.target_entropy, gradient_steps, data, self.policy_delay, 0,
            self.policy.qf_state, self.policy.actor_state, self.ent_coef_state, self.key,
        ).compile()  # fmt: skip

    def _train(
        self, tau: float, target_entropy: Any, gradient_steps: int, data: Any,
        policy_delay: int, offset: int, *states: Any,
    ) -> Any:  # fmt: skip
        """Stands in for `sbx.SAC._train`, which `sbx.SAC.train` calls; see there."""
        if self._program is None:
            self.compile()
            assert self._program is not None
        return self._program(tau, target_entropy, data, policy_delay, offset, *states)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Makes a burst of gradient steps.

        Raises:
          Diverged: a loss is NaN or infinite.
        """
        with self._ledger.phase("update"):
            super().train(gradient_steps, batch_size)
        for key, what in LOSSES.items():
            value = self.logger.name_to_value[key]
            if not math.isfinite(value):
                raise Diverged(detail=f"{what} is {value} after {self._n_updates} updates")

    @property
    def n_updates(self) -> int:
        """Gradient steps of the critic so far."""
        return int(self._n_updates)


def build_sac(hyperparams: Hyperparams, env: VecEnv, *, seed: int, ledger: Ledger) -> CompiledSAC:
    """Returns a new SAC agent.

    Args:
      hyperparams: decoded; functions by name (`activation_fn="elu"`), those of the networks
        beside the others.
      env: wrapped environments.
      seed: of parameters, exploration and replay; the environments take it too.
      ledger: where updates are charged.

    Raises:
      UnknownHyperparam: SAC does not take one of them.
      InvalidValue: there is no such activation, optimizer or policy.
    """
    known = (*AGENT_HYPERPARAMS, *POLICY_HYPERPARAMS)
    for name in hyperparams:
        if name not in known:
            raise UnknownHyperparam(name=name, algo="sac", known=", ".join(known))
    arguments = {name: hyperparams[name] for name in AGENT_HYPERPARAMS if name in hyperparams}
    policy_kwargs = {name: hyperparams[name] for name in POLICY_HYPERPARAMS if name in hyperparams}
    for name, functions in (("activation_fn", ACTIVATIONS), ("optimizer_class", OPTIMIZERS)):
        if name in policy_kwargs:
            policy_kwargs[name] = _function(name, policy_kwargs[name], functions)
    policy = arguments.pop("policy", "MlpPolicy")
    _function("policy", policy, sbx.SAC.policy_aliases)
    return CompiledSAC(
        policy, env, ledger=ledger, seed=seed, policy_kwargs=policy_kwargs, **arguments
    )


def _function(name: str, value: Any, known: Mapping[str, Callable[..., Any]]) -> Any:
    if value not in known:
        raise InvalidValue(name=name, value=value, allowed=f"one of {', '.join(known)}")
    return known[value]
