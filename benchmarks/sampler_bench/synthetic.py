"""A made-up SAC on the published space: what a clock, a network and a bad ratio do to a return.

Each seed is another instance: other costs, other optima, another border of divergence. The
returns are those of the post's figures, about 0 to 35.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpsearch.samplers.sac import SAC

SOLVED = 35.0
"""Return of a perfect policy."""


class SyntheticSac:
    """One instance.

    Vector steps and updates share the seconds: an update costs by network and batch. More updates
    learn more, as long as the data keeps up with them. Each scale (learning rate, entropy, target
    rate, discount) has an optimum; that of the learning rate moves with the batch size, that of
    the target rate with the policy delay. A high learning rate on many updates per step diverges.
    """

    distributions = SAC.distributions

    def __init__(self, seed: int) -> None:
        """Draws an instance."""
        numbers = np.random.default_rng([seed, 1])
        self._network_cost = np.array([1.0, 0.6, 1.3, 2.2]) * numbers.lognormal(0, 0.2, 4)
        self._network_skill = numbers.normal([0.0, -0.1, 0.1, 0.15], 0.15)
        self._update_cost = numbers.lognormal(np.log(0.25), 0.4)
        self._optimum = {
            "learning_rate": numbers.normal(np.log(5e-4), 0.4),
            "ent_coef_init": numbers.normal(np.log(6e-3), 0.6),
            "tau": numbers.normal(np.log(6e-3), 0.8),
            "gamma": numbers.normal(0.985, 0.003),
        }
        self._width = {
            "learning_rate": numbers.uniform(0.8, 1.6),
            "ent_coef_init": numbers.uniform(1.0, 2.5),
            "tau": numbers.uniform(1.2, 2.5),
            "gamma": numbers.uniform(0.005, 0.012),
        }
        self._delay_optimum = numbers.uniform(1.0, 4.0)
        self._border = numbers.normal(1.5, 0.5)
        self._data_need = numbers.uniform(0.35, 0.65)

    def _skill_and_risk(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Returns the share of a perfect return, and the probability of divergence."""
        batch = params["batch_size_pow"] - 9
        network = params["net_arch_complexity"]
        updates_per_step = 2.0 ** (params["gradient_steps_pow"] - params["train_freq_pow"])
        cost = self._update_cost * self._network_cost[network] * 2.0 ** (0.6 * batch)
        # In units of what fits in the budget where nothing is learned.
        steps = 1 / (1 + cost * updates_per_step)
        updates = steps * updates_per_step
        off = {
            "learning_rate": np.log(params["learning_rate"]) - 0.35 * batch,
            "ent_coef_init": np.log(params["ent_coef_init"]),
            "tau": np.log(params["tau"]) + 0.2 * (params["policy_delay_pow"] - 2),
            "gamma": params["gamma"],
        }
        loss = sum(
            ((value - self._optimum[name]) / self._width[name]) ** 2 for name, value in off.items()
        )
        loss += 0.12 * (params["policy_delay_pow"] - self._delay_optimum) ** 2
        learned = np.log(updates * 2.0 ** (0.3 * batch)) * (1 - self._data_need)
        learned += np.log(steps) * self._data_need + self._network_skill[network]
        skill = 1 - np.exp(-np.exp(1.1 + learned - 0.5 * loss))
        strain = np.log(params["learning_rate"] / 5e-4) + 0.35 * np.log(updates_per_step)
        strain -= 0.25 * params["policy_delay_pow"]
        risk = 1 / (1 + np.exp(-4 * (strain - self._border)))
        return float(skill), float(risk)

    def true(self, params: Mapping[str, Any]) -> float:
        """Returns the mean over all seeds; a run that diverges earns nothing."""
        skill, risk = self._skill_and_risk(params)
        return SOLVED * skill * (1 - risk)

    def observed(self, params: Mapping[str, Any], numbers: np.random.Generator) -> float | None:
        """Returns the return of one seed; None if it diverged."""
        skill, risk = self._skill_and_risk(params)
        diverged, noise = numbers.uniform() < risk, numbers.normal()
        spread = 0.03 + 0.25 * skill * (1 - skill)
        return None if diverged else SOLVED * (skill + spread * noise)
