from __future__ import annotations

import math

import numpy as np
import pytest

from hpsearch.samplers.gaussian_process import GaussianProcess, _slope, scores


def test_scores_depend_on_the_order_alone() -> None:
    losses = np.array([3.0, -math.inf, 1e300, math.inf, 0.0])
    assert scores(losses).tolist() == scores(np.array([3.0, 1.0, 4.0, 5.0, 2.0])).tolist()
    assert np.argsort(-scores(losses)).tolist() == [1, 4, 0, 2, 3]


def test_equal_losses_have_equal_scores_of_the_same_sum() -> None:
    tied = scores(np.array([1.0, 2.0, 2.0, 2.0, 5.0, 5.0]))
    assert tied[1] == tied[2] == tied[3] and tied[4] == tied[5]
    assert tied.sum() == pytest.approx(0.0)


def test_the_slope_is_that_of_the_log_likelihood() -> None:
    numbers = np.random.default_rng(0)
    points, values = numbers.uniform(size=(12, 3)), numbers.normal(size=12)
    squares = (points[:, None, :] - points[None, :, :]) ** 2
    theta = np.array([-0.5, 0.2, 0.6, -1.0])

    def likelihood(theta: np.ndarray) -> float:
        process = GaussianProcess(np.exp(theta[:-1]), float(np.exp(theta[-1])))
        covariance = process._kernel(points, points) + process.noise * np.eye(12)
        _, log_determinant = np.linalg.slogdet(covariance)
        return float(-0.5 * values @ np.linalg.solve(covariance, values) - 0.5 * log_determinant)

    steps = 1e-6 * np.eye(4)
    numeric = [(likelihood(theta + s) - likelihood(theta - s)) / 2e-6 for s in steps]
    assert _slope(theta, squares, values) == pytest.approx(numeric, rel=1e-4)


def test_it_learns_which_parameter_matters_and_predicts_by_it() -> None:
    numbers = np.random.default_rng(0)
    points = numbers.uniform(size=(80, 3))
    values = scores((points[:, 1] - 0.7) ** 2 + 0.01 * numbers.normal(size=80))
    process = GaussianProcess.fitted(points, values)
    assert process.scales[1] < 0.3 * min(process.scales[0], process.scales[2])
    at = np.array([[0.1, 0.7, 0.9], [0.9, 0.1, 0.5], [0.5, 0.45, 0.1]])
    assert np.argsort(-process.mean(points, values, at)).tolist() == [0, 2, 1]


def test_the_same_results_give_the_same_process() -> None:
    numbers = np.random.default_rng(1)
    points, values = numbers.uniform(size=(30, 4)), numbers.normal(size=30)
    first, second = (GaussianProcess.fitted(points, values) for _ in range(2))
    assert first.scales.tolist() == second.scales.tolist() and first.noise == second.noise


def test_equal_points_with_different_results_do_no_harm() -> None:
    points, values = np.full((20, 3), 0.5), scores(np.arange(20.0))
    process = GaussianProcess.fitted(points, values)
    assert np.isfinite(process.mean(points, values, points[:2])).all()
