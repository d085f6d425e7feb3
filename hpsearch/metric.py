"""What a study optimises, computed from a run's result and its learning curve."""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.base import Budget, Measurement, TrialResult
from hpsearch.exceptions import InvalidResult, InvalidValue, UnknownMetric

BUILT_IN = ("mean_reward", "auc", "time_to:RETURN")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number out of a run.

    Attributes:
      name: `mean_reward`, `auc`, `time_to`, or a metric of the task.
      threshold: the return that `time_to` waits for.
    """

    name: str
    threshold: float | None = None

    @property
    def direction(self) -> str:
        """The direction that is meant where none is given."""
        return "minimize" if self.name == "time_to" else "maximize"

    def value(self, result: TrialResult, curve: Sequence[Measurement], budget: Budget) -> float:
        """Returns the metric of one run.

        Args:
          result: what the run gave.
          curve: its measurements in order.
          budget: what it was given.

        Raises:
          InvalidResult: the value is not a finite number, or the result lacks the metric.
        """
        if self.name == "mean_reward":
            value = result.mean_reward
        elif self.name == "auc":
            value = _mean_over_time(curve, result)
        elif self.name == "time_to":
            value = self._time_to(curve, result, budget)
        elif self.name in result.metrics:
            value = result.metrics[self.name]
        else:
            raise InvalidResult(detail=f"it carries no metric {self.name!r}")
        if not math.isfinite(value):
            raise InvalidResult(detail=f"{self.name} is {value}")
        return value

    def _time_to(self, curve: Sequence[Measurement], result: TrialResult, budget: Budget) -> float:
        """Returns the training seconds until the threshold.

        A run that misses it ranks after all that reach it: the budget, plus a share of it below
        1 that grows with what is missing at the end.
        """
        assert self.threshold is not None
        for point in curve:
            if point.mean_return is not None and point.mean_return >= self.threshold:
                return min(point.train_seconds, budget.train_seconds)
        missing = max(self.threshold - result.mean_reward, 0.0)
        return budget.train_seconds * (1.0 + missing / (1.0 + missing))


def _mean_over_time(curve: Sequence[Measurement], result: TrialResult) -> float:
    """Returns the mean of the learning curve over training time, by the trapezoidal rule.

    Before its first episode ended the curve is taken to stand at its first return; the
    evaluation stands at its end.
    """
    points = [(p.train_seconds, p.mean_return) for p in curve if p.mean_return is not None]
    points.append((max(p[0] for p in [*points, (result.train_seconds,)]), result.mean_reward))
    points.insert(0, (0.0, points[0][1]))
    area = sum((t1 - t0) * (y0 + y1) / 2 for (t0, y0), (t1, y1) in itertools.pairwise(points))
    span = points[-1][0] - points[0][0]
    return area / span if span > 0 else result.mean_reward


def parse_metric(text: str, task_metrics: Sequence[str]) -> Metric:
    """Returns the metric that `text` names.

    Args:
      text: `mean_reward`, `auc`, `time_to:X` with a return X, or one of `task_metrics`.
      task_metrics: names that the task adds, or patterns of them (`reward/*`).

    Raises:
      UnknownMetric: no such metric; the message lists the known ones.
      InvalidValue: the X of `time_to:X` is not a number.
    """
    name, colon, threshold = text.partition(":")
    if name == "time_to" and colon:
        try:
            number = float(threshold)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InvalidValue(name="--metric", value=text, allowed="time_to: and a number")
        return Metric(name=name, threshold=number)
    of_task = "*" not in name and any(fnmatch.fnmatchcase(name, each) for each in task_metrics)
    if not colon and (name in ("mean_reward", "auc") or of_task):
        return Metric(name=name)
    raise UnknownMetric(name=text, known=", ".join([*BUILT_IN, *task_metrics]))
