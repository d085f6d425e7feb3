"""The search space for PPO, the baseline; it fits any number of environments."""

from __future__ import annotations

from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from hpsearch.base import Params
from hpsearch.samplers.space import Space

NETWORKS = {0: [64, 64], 1: [128, 128], 2: [256, 128], 3: [512, 256, 128]}


def _decode(params: Params) -> dict[str, Any]:
    return {
        "policy": "MlpPolicy",
        "net_arch": list(NETWORKS[int(params["net_arch_complexity"])]),
        "n_steps": 2 ** int(params["n_steps_pow"]),
        "n_minibatches": 2 ** int(params["n_minibatches_pow"]),
        "n_epochs": int(params["n_epochs"]),
        **{name: params[name] for name in
           ("gamma", "gae_lambda", "learning_rate", "ent_coef", "clip_range")},
    }  # fmt: skip


PPO = Space(
    name="ppo",
    distributions={
        "gamma": FloatDistribution(0.97, 0.995),
        "gae_lambda": FloatDistribution(0.9, 0.98),
        "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
        "ent_coef": FloatDistribution(1e-4, 1e-2, log=True),
        "clip_range": FloatDistribution(0.1, 0.3),
        "n_steps_pow": IntDistribution(3, 6),
        "n_minibatches_pow": IntDistribution(1, 4),
        "n_epochs": IntDistribution(2, 8),
        "net_arch_complexity": IntDistribution(0, 3),
    },
    decoder=_decode,
    fixed={"activation_fn": "elu"},
    algo="ppo",
)
"""Rollouts of 8 to 64 steps of each environment, as parallel simulators want them."""
