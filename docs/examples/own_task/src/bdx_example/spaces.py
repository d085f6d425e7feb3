"""A search space for the PPO of rsl_rl."""

from __future__ import annotations

from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from hpsearch.base import Params
from hpsearch.samplers.space import Space

NETWORKS = {0: [64, 64], 1: [128, 128, 128], 2: [512, 256, 128]}


def _decode(params: Params) -> dict[str, Any]:
    return {
        "num_steps_per_env": 2 ** int(params["num_steps_per_env_pow"]),
        "num_mini_batches": 2 ** int(params["num_mini_batches_pow"]),
        "num_learning_epochs": int(params["num_learning_epochs"]),
        "hidden_dims": list(NETWORKS[int(params["network"])]),
        **{name: params[name] for name in ("gamma", "lam", "desired_kl", "entropy_coef")},
    }


RSL_RL = Space(
    name="rsl-rl",
    distributions={
        "gamma": FloatDistribution(0.97, 0.995),
        "lam": FloatDistribution(0.9, 0.98),
        "desired_kl": FloatDistribution(0.003, 0.03, log=True),
        "entropy_coef": FloatDistribution(1e-4, 1e-2, log=True),
        "num_steps_per_env_pow": IntDistribution(3, 6),
        "num_mini_batches_pow": IntDistribution(1, 3),
        "num_learning_epochs": IntDistribution(2, 8),
        "network": IntDistribution(0, 2),
    },
    decoder=_decode,
    algo="rsl-rl-ppo",
)
"""The learning rate is not in it: rsl_rl adapts it to `desired_kl`."""
