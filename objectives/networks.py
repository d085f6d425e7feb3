"""Actor, critics and their optimizers for one kind of agent, built once a kind.

The modules are those of sbx, so a network of the same key and seed is the same here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import optax
from sbx.common.policies import (
    SimbaSquashedGaussianActor,
    SimbaVectorCritic,
    SquashedGaussianActor,
    VectorCritic,
)

from hpsearch.objectives.hyperparams import OffPolicyHyperparams

ACTIVATIONS: Mapping[str, Callable[..., Any]] = {"elu": nn.elu, "relu": nn.relu, "tanh": nn.tanh}
OPTIMIZERS: Mapping[str, Callable[..., Any]] = {"adam": optax.adam, "adamw": optax.adamw}


@dataclass(frozen=True, kw_only=True)
class NetworkKey:
    """Everything that decides the networks' shapes and operations; numbers that change are not.

    Attributes:
      policy: `MlpPolicy` or `SimbaPolicy`.
      actor_layers: hidden units of the actor.
      critic_layers: hidden units of each critic.
      activation_fn: name.
      optimizer_class: name.
      optimizer_kwargs: sorted pairs.
      layer_norm: in the critics.
      dropout_rate: in the critics.
      n_critics: how many.
      n_quantiles: outputs of each critic; 0 for SAC, whose critics give the mean alone.
      actor_dim: figures that the actor sees; they come first in an observation.
      observation_dim: figures that the critics see.
      action_dim: actions.
    """

    policy: str
    actor_layers: tuple[int, ...]
    critic_layers: tuple[int, ...]
    activation_fn: str
    optimizer_class: str
    optimizer_kwargs: tuple[tuple[str, Any], ...]
    layer_norm: bool
    dropout_rate: float
    n_critics: int
    n_quantiles: int
    actor_dim: int
    observation_dim: int
    action_dim: int


def network_key(
    algo: str, hp: OffPolicyHyperparams, *, actor_dim: int, observation_dim: int, action_dim: int
) -> NetworkKey:
    """Returns the key of the networks that these hyper-parameters ask for."""
    actor_layers, critic_layers = hp.layers
    usual = "adamw" if hp.policy == "SimbaPolicy" else "adam"
    return NetworkKey(
        policy=hp.policy,
        actor_layers=actor_layers,
        critic_layers=critic_layers,
        activation_fn=hp.activation_fn,
        optimizer_class=hp.optimizer_class or usual,
        optimizer_kwargs=tuple(sorted(hp.optimizer_kwargs.items())),
        layer_norm=hp.layer_norm,
        dropout_rate=hp.dropout_rate,
        n_critics=hp.n_critics,
        n_quantiles=hp.n_quantiles if algo == "tqc" else 0,
        actor_dim=actor_dim,
        observation_dim=observation_dim,
        action_dim=action_dim,
    )


class Networks:
    """The modules and the optimizer of one key; they hold no numbers.

    Attributes:
      key: what they were built from.
      actor: from `[B, actor_dim]` to a distribution of `[B, action_dim]` in (-1, 1).
      critics: from `[B, observation_dim]` and `[B, action_dim]` to `[n_critics, B, outputs]`.
      optimizer: of both; its learning rate is part of its state.
      ent_optimizer: of the entropy coefficient.
    """

    def __init__(self, key: NetworkKey) -> None:
        """Builds them."""
        simba = key.policy == "SimbaPolicy"
        activation = ACTIVATIONS[key.activation_fn]
        self.key = key
        self.actor = (SimbaSquashedGaussianActor if simba else SquashedGaussianActor)(
            net_arch=key.actor_layers, action_dim=key.action_dim, activation_fn=activation
        )
        self.critics = (SimbaVectorCritic if simba else VectorCritic)(
            net_arch=key.critic_layers,
            use_layer_norm=key.layer_norm,
            dropout_rate=key.dropout_rate,
            n_critics=key.n_critics,
            activation_fn=activation,
            output_dim=max(1, key.n_quantiles),
        )
        make = optax.inject_hyperparams(OPTIMIZERS[key.optimizer_class])
        self.optimizer = make(learning_rate=0.0, **dict(key.optimizer_kwargs))
        # As in sbx, whatever the networks are optimised with.
        self.ent_optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.0)
