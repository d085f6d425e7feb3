"""Figures over a handful of seeds that one lucky seed does not move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

N_RESAMPLES = 10_000


def interquartile_mean(values: Sequence[float]) -> float:
    """Returns the mean of the middle half of `values`.

    A quarter, rounded down, is cut from each end; with fewer than 4 values that is the mean.

    Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
    Precipice", section 4.3.
    """
    cut = len(values) // 4
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of the interquartile mean.

    The same values give the same interval: the resamples are drawn with a fixed seed. With one
    value the interval is that value; below about 5 values it is too narrow to be trusted.

    Args:
      values: `[N]`, N >= 1.
      confidence: share of the resampled means inside the interval.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife".
    """
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.choice(np.asarray(values), (N_RESAMPLES, len(values))), axis=1)
    cut = len(values) // 4
    means = drawn[:, cut : len(values) - cut].mean(axis=1)
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)
