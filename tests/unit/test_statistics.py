from __future__ import annotations

import numpy as np
import pytest

from hpsearch.statistics import bootstrap_interval, interquartile_mean


def test_the_interquartile_mean_ignores_the_outer_quarters() -> None:
    assert interquartile_mean([1000.0, 2.0, 3.0, -1000.0]) == 2.5


def test_with_few_values_it_is_the_mean() -> None:
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0


def test_the_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    rng = np.random.default_rng(1)
    few, many = rng.normal(5, 1, 5).tolist(), rng.normal(5, 1, 80).tolist()
    low, high = bootstrap_interval(few)
    assert low < interquartile_mean(few) < high
    low_many, high_many = bootstrap_interval(many)
    assert high_many - low_many < (high - low) / 2


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(60):
        low, high = bootstrap_interval(rng.normal(0, 1, 30).tolist())
        hits += low <= 0 <= high
    assert 50 <= hits <= 60


def test_the_same_values_give_the_same_interval() -> None:
    assert bootstrap_interval([1.0, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])


def test_one_value_is_its_own_interval() -> None:
    assert bootstrap_interval([3.0]) == pytest.approx((3.0, 3.0))
