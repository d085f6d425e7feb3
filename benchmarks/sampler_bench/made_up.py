"""A run's result without the run."""

from __future__ import annotations

from hpsearch.base import TrialResult


def made_up(value: float) -> TrialResult:
    """Returns a result with this return."""
    return TrialResult(
        mean_reward=value,
        std_reward=0.0,
        num_timesteps=1,
        n_updates=1,
        train_seconds=1.0,
        overshoot_seconds=0.0,
        cpu_seconds=1.0,
        metrics={},
        ledger={},
        device="none",
    )
