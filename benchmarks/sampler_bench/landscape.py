"""What a landscape is: a space, the true quality of a point, and what one seed shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution


class Landscape(Protocol):
    """Hyper-parameters and how well they do; more is better."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """What is searched."""
        ...

    def true(self, params: Mapping[str, Any]) -> float:
        """Returns the quality without noise, or the mean over all seeds."""
        ...

    def observed(self, params: Mapping[str, Any], numbers: np.random.Generator) -> float | None:
        """Returns what one run shows; None if it fails by its parameters."""
        ...


def quality_range(landscape: Landscape, numbers: np.random.Generator) -> float:
    """Returns the difference of the best and the worst true quality among 2,000 random points."""
    found = [landscape.true(random_point(landscape, numbers)) for _ in range(2000)]
    return max(found) - min(found)


def random_point(landscape: Landscape, numbers: np.random.Generator) -> dict[str, Any]:
    """Returns a point that is uniform on each parameter's own scale."""
    params: dict[str, Any] = {}
    for name, distribution in landscape.distributions.items():
        each: Any = distribution
        if isinstance(each.low, int):
            params[name] = int(numbers.integers(each.low, each.high, endpoint=True))
        elif each.log:
            params[name] = float(np.exp(numbers.uniform(np.log(each.low), np.log(each.high))))
        else:
            params[name] = float(numbers.uniform(each.low, each.high))
    return params
