"""Hyper-parameters of each algorithm with their defaults; loads no jax, so launch can check them.

A hyper-parameter is a plain JSON value; functions are given by name (`activation_fn="elu"`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hpsearch.base import Hyperparams
from hpsearch.exceptions import InvalidValue, UnknownHyperparam

H = TypeVar("H")

ACTIVATIONS = ("elu", "relu", "tanh")
OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "linear")
POLICIES = {
    "sac": ("MlpPolicy", "SimbaPolicy"),
    "tqc": ("MlpPolicy", "SimbaPolicy"),
    "ppo": ("MlpPolicy",),
    "ppo-torch": ("MlpPolicy",),
}
ALGOS = tuple(POLICIES)

COUNTS = ("batch_size", "train_freq", "policy_delay", "n_steps", "n_minibatches", "n_epochs")
"""At least 1, where an algorithm has them."""

OF_THE_RUN = ("num_envs",)
"""What the space may decide beside the algorithm's own: environments stepped at once."""


@dataclass(frozen=True, kw_only=True)
class OffPolicyHyperparams:
    """What SAC and TQC take; defaults and meanings are those of sbx.

    Attributes:
      policy: `MlpPolicy` or `SimbaPolicy`.
      net_arch: hidden units, of actor and critics alike or as `{"pi": ..., "qf": ...}`.
      activation_fn: one of `ACTIVATIONS`.
      optimizer_class: one of `OPTIMIZERS`; None for adam, and adamw with `SimbaPolicy`.
      optimizer_kwargs: of the optimizer, without its learning rate.
      layer_norm: in the critics; `SimbaPolicy` has it anyway.
      dropout_rate: in the critics.
      n_critics: whose least value counts.
      learning_rate: of actor and entropy coefficient, and of the critics where they have none.
      qf_learning_rate: of the critics.
      learning_rate_schedule: `linear` lets those of actor and critics fall to 0 with the budget.
      buffer_size: transitions that are kept, over all environments.
      learning_starts: environment steps with random actions and no updates.
      batch_size: transitions of one update.
      tau: share of the critics that goes into their targets at each update.
      gamma: discount of one step.
      train_freq: environment steps, each of all environments, between bursts of updates.
      gradient_steps: updates of a burst; -1 for as many as transitions were collected.
      policy_delay: updates of the critics for one of the actor.
      ent_coef: a number, or `auto` or `auto_0.01`: learned, from this value on.
      target_entropy: `auto` for minus the number of actions.
      n_steps: rewards that are summed before the critic's value follows.
      use_sde: explore with noise that stays for some steps.
      sde_sample_freq: environment steps after which it is drawn anew; -1: with each burst.
      use_sde_at_warmup: explore with it, not with uniform actions, before `learning_starts`.
      n_quantiles: of each critic of TQC.
      top_quantiles_to_drop_per_net: of TQC's targets.
    """

    policy: str = "MlpPolicy"
    net_arch: Any = (256, 256)
    activation_fn: str = "relu"
    optimizer_class: str | None = None
    optimizer_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    layer_norm: bool = False
    dropout_rate: float = 0.0
    n_critics: int = 2
    learning_rate: float = 3e-4
    qf_learning_rate: float | None = None
    learning_rate_schedule: str = "constant"
    buffer_size: int = 1_000_000
    learning_starts: int = 100
    batch_size: int = 256
    tau: float = 0.005
    gamma: float = 0.99
    train_freq: int = 1
    gradient_steps: int = 1
    policy_delay: int = 1
    ent_coef: str | float = "auto"
    target_entropy: str | float = "auto"
    n_steps: int = 1
    use_sde: bool = False
    sde_sample_freq: int = -1
    use_sde_at_warmup: bool = False
    n_quantiles: int = 25
    top_quantiles_to_drop_per_net: int = 2

    @property
    def layers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Hidden units of the actor and of the critics."""
        both = self.net_arch
        if isinstance(both, Mapping):
            return tuple(both["pi"]), tuple(both["qf"])
        return tuple(both), tuple(both)

    @property
    def first_ent_coef(self) -> float:
        """The entropy coefficient that training begins with."""
        if isinstance(self.ent_coef, str):
            return float(self.ent_coef.partition("_")[2] or 1.0)
        return float(self.ent_coef)


@dataclass(frozen=True, kw_only=True)
class PpoHyperparams:
    """What PPO takes; defaults and meanings are those of sbx, but for two.

    Attributes:
      n_minibatches: parts that a rollout is cut into, whatever its length; sbx wants their size.
      learning_rate_schedule: `linear` lets the rate fall to 0 with the budget.
    """

    policy: str = "MlpPolicy"
    net_arch: Any = (64, 64)
    activation_fn: str = "tanh"
    optimizer_class: str | None = None
    optimizer_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: float = 3e-4
    learning_rate_schedule: str = "constant"
    n_steps: int = 2048
    n_minibatches: int = 4
    n_epochs: int = 10
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    normalize_advantage: bool = True
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    log_std_init: float = 0.0


def of_algo(algo: str, hyperparams: Hyperparams) -> OffPolicyHyperparams | PpoHyperparams:
    """Returns the hyper-parameters of an algorithm, checked; those of the run are left out.

    Args:
      algo: one of `ALGOS`.
      hyperparams: decoded.

    Raises:
      UnknownHyperparam: the algorithm does not take one of them.
      InvalidValue: there is no such activation, optimizer, policy or schedule, or a number that
        cannot be.
    """
    kind = PpoHyperparams if algo.startswith("ppo") else OffPolicyHyperparams
    given = {name: value for name, value in hyperparams.items() if name not in OF_THE_RUN}
    names = [field.name for field in dataclasses.fields(kind)]
    if algo == "sac":
        names = [name for name in names if "quantiles" not in name]
    for name in given:
        if name not in names:
            raise UnknownHyperparam(name=name, algo=algo, known=", ".join(names))
    made = kind(**given)
    _one_of("policy", made.policy, POLICIES[algo])
    _one_of("activation_fn", made.activation_fn, ACTIVATIONS)
    _one_of("learning_rate_schedule", made.learning_rate_schedule, SCHEDULES)
    if made.optimizer_class is not None:
        _one_of("optimizer_class", made.optimizer_class, OPTIMIZERS)
    for name in COUNTS:
        value = getattr(made, name, 1)
        if not (isinstance(value, int) and value >= 1):
            raise InvalidValue(name=name, value=value, allowed="a whole number above 0")
    if isinstance(made, OffPolicyHyperparams):
        _check_ent_coef(made.ent_coef)
        dropped = made.top_quantiles_to_drop_per_net
        if algo == "tqc" and not 0 <= dropped < made.n_quantiles:
            allowed = f"0 to {made.n_quantiles - 1}, so that of {made.n_quantiles} one is left"
            raise InvalidValue(
                name="top_quantiles_to_drop_per_net", value=dropped, allowed=allowed
            )
        if made.policy == "SimbaPolicy" and any(len(set(net)) != 1 for net in made.layers):
            allowed = "layers of one size for each network, because SimbaPolicy adds them up"
            raise InvalidValue(name="net_arch", value=made.net_arch, allowed=allowed)
    return made


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidValue(name=name, value=value, allowed=f"one of {', '.join(allowed)}")


def _check_ent_coef(value: Any) -> None:
    allowed = "a number from 0 on, auto, or auto_ and a number above 0"
    try:
        auto, _, first = str(value).partition("_")
        number = float(first or 1.0) if auto == "auto" else value + 0.0
    except (TypeError, ValueError):
        raise InvalidValue(name="ent_coef", value=value, allowed=allowed) from None
    if not math.isfinite(number) or number < 0 or (auto == "auto" and number == 0):
        raise InvalidValue(name="ent_coef", value=value, allowed=allowed)
