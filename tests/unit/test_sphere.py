from typing import Any

import pytest

from hpsearch.base import Budget, Measurement, Setup
from hpsearch.exceptions import WrongSettings
from hpsearch.objectives.sphere import OPTIMUM, Sphere
from hpsearch.testing import ObjectiveContract

BUDGET = Budget(train_seconds=1.0, n_eval_episodes=1)


def sphere(**settings: str) -> Sphere:
    return Sphere(Setup(task=None, settings=settings, algo="", num_envs=1, action_limits=None))


def value(objective: Sphere, hyperparams: dict[str, Any], seed: int = 1) -> float:
    reports: list[Measurement] = []
    return objective(hyperparams, seed=seed, budget=BUDGET, report=reports.append).mean_reward


class TestSphere(ObjectiveContract):
    hyperparams = {"x0": 0.5, "x1": 0.0, "x2": 1.0, "n": 4}  # noqa: RUF012
    budget = BUDGET

    def make_objective(self) -> Sphere:
        return sphere(seconds="0.05")


class TestSphereCutByItsBudget(ObjectiveContract):
    hyperparams = {"x0": 0.5}  # noqa: RUF012
    budget = Budget(train_seconds=0.05, n_eval_episodes=1)

    def make_objective(self) -> Sphere:
        return sphere(seconds="60")


def test_the_optimum_is_worth_0_and_all_else_less() -> None:
    assert value(sphere(seconds="0"), dict(OPTIMUM)) == 0.0
    assert value(sphere(seconds="0"), {**OPTIMUM, "n": 5}) == -4.0


def test_the_noise_is_decided_by_the_seed() -> None:
    noisy = sphere(seconds="0", noise="1")
    first, again, other = (value(noisy, dict(OPTIMUM), seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_curve_rises_to_the_value() -> None:
    reports: list[Measurement] = []
    result = sphere(seconds="0.01")({"x0": 3.0}, seed=1, budget=BUDGET, report=reports.append)
    returns = [measurement.mean_return or 0.0 for measurement in reports]
    assert returns == sorted(returns)
    assert returns[-1] == result.mean_reward == -4.0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"second": "1"}, "no setting second; it has seconds, noise"),
        ({"seconds": "fast"}, "seconds is 'fast'"),
        ({"noise": "-1"}, "noise is '-1'"),
        ({"noise": "nan"}, "noise is 'nan'"),
    ],
)
def test_a_bad_setting_is_refused(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(WrongSettings, match=problem):
        sphere(**settings)
