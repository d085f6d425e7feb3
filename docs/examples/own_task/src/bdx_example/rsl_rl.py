"""Another trainer as an objective: the PPO of rsl_rl, within hpsearch's budget.

A sketch to start from. It needs rsl_rl and Isaac Lab, so it was not run here; what an objective
owes is written at `hpsearch.base.Objective`, and `hpsearch.testing.ObjectiveContract` tests it.
"""

from __future__ import annotations

from typing import Any

from hpsearch.base import Budget, Hyperparams, Measurement, Report, Setup, TrialResult, seed_of
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.device import cpu_seconds
from hpsearch.objectives.ledger import Ledger


class RslRlPpo:
    """Trains an iteration at a time, and looks at the clock between them."""

    default_space: str | None = None
    default_budget: Budget | None = None
    default_num_envs: int | None = None

    def __init__(self, setup: Setup) -> None:
        """Keeps task, settings and number of environments."""
        self._setup = setup

    def __call__(
        self, hyperparams: Hyperparams, *, seed: int, budget: Budget, report: Report
    ) -> TrialResult:
        """Trains for the budget's seconds, then evaluates."""
        ledger = Ledger()
        with ledger.phase("start"):
            runner = self._runner(hyperparams, seed_of(seed, "agent"))
        clock = BudgetClock(budget.train_seconds)

        def measurement(*, last: bool = False) -> Measurement:
            return Measurement(
                train_seconds=clock.spent,
                num_timesteps=runner.num_timesteps,
                n_updates=runner.n_updates,
                mean_return=runner.mean_return(),
                last=last,
            )

        report(measurement())
        while not clock.exhausted and runner.num_timesteps < budget.max_timesteps:
            clock.start()
            with ledger.phase("env"):
                runner.learn_one_iteration()
            clock.pause()
            report(measurement())
        report(measurement(last=True))
        with ledger.phase("evaluate"):
            returns = runner.evaluate(budget.n_eval_episodes, seed_of(seed, "evaluation"))
        return TrialResult(
            mean_reward=float(returns.mean()),
            std_reward=float(returns.std()),
            num_timesteps=runner.num_timesteps,
            n_updates=runner.n_updates,
            train_seconds=clock.spent,
            overshoot_seconds=clock.overshoot,
            cpu_seconds=cpu_seconds(),
            metrics={},
            ledger=ledger.totals(),
            device="see the log",
        )

    def _runner(self, hyperparams: Hyperparams, seed: int) -> Any:
        """Returns your trainer around rsl_rl's `OnPolicyRunner`.

        It has `learn_one_iteration`, `evaluate`, `mean_return`, `num_timesteps`, `n_updates`.
        """
        raise NotImplementedError("build rsl_rl's OnPolicyRunner here")
