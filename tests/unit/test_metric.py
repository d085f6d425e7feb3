from __future__ import annotations

import dataclasses

import pytest

from hpsearch.base import Budget, Measurement, TrialResult
from hpsearch.exceptions import InvalidResult, InvalidValue, UnknownMetric
from hpsearch.metric import parse_metric

RESULT = TrialResult(
    mean_reward=10.0,
    std_reward=0.0,
    num_timesteps=1,
    n_updates=1,
    train_seconds=100.0,
    overshoot_seconds=0.0,
    cpu_seconds=1.0,
    metrics={"terrain_level": 3.0},
    ledger={},
    device="",
)
BUDGET = Budget(train_seconds=100.0)


def point(train_seconds: float, mean_return: float | None) -> Measurement:
    return Measurement(
        train_seconds=train_seconds, num_timesteps=0, n_updates=0, mean_return=mean_return
    )


def value(text: str, *curve: Measurement, result: TrialResult = RESULT) -> float:
    return parse_metric(text, ["terrain_level"]).value(result, curve, BUDGET)


def test_mean_reward_is_the_evaluations() -> None:
    assert value("mean_reward") == 10.0


def test_a_metric_of_the_task_is_taken_from_the_result() -> None:
    assert value("terrain_level") == 3.0


def test_auc_is_the_mean_of_the_curve_over_training_time() -> None:
    # 0..50 s at 0, then a straight line up to the evaluation's 10 at 100 s: (0 + 5) / 2.
    assert value("auc", point(0, None), point(50, 0.0)) == pytest.approx(2.5)


def test_auc_of_a_run_without_episodes_is_its_evaluation() -> None:
    assert value("auc", point(0, None)) == 10.0


def test_time_to_is_when_the_return_is_first_reached() -> None:
    assert value("time_to:5", point(10, 1.0), point(20, 6.0), point(30, 4.0)) == 20


def test_runs_that_miss_the_return_rank_after_all_others_and_by_their_return() -> None:
    worse = dataclasses.replace(RESULT, mean_reward=-50.0)
    late = value("time_to:15", point(99, 15.0))
    missed = value("time_to:15", point(99, 14.0))
    missed_more = value("time_to:15", point(99, 14.0), result=worse)
    assert late < 100 < missed < missed_more


def test_time_to_is_minimised_and_the_others_maximised() -> None:
    assert parse_metric("time_to:5", []).direction == "minimize"
    assert parse_metric("auc", []).direction == "maximize"


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_an_invalid_result(reward: float) -> None:
    with pytest.raises(InvalidResult):
        value("mean_reward", result=dataclasses.replace(RESULT, mean_reward=reward))


def test_a_missing_task_metric_is_an_invalid_result() -> None:
    with pytest.raises(InvalidResult, match="terrain_level"):
        value("terrain_level", result=dataclasses.replace(RESULT, metrics={}))


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownMetric, match=r"rewards.*mean_reward, auc, time_to:RETURN, level"):
        parse_metric("rewards", ["level"])
    with pytest.raises(InvalidValue, match="time_to:fast"):
        parse_metric("time_to:fast", [])
