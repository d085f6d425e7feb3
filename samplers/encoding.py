"""A search space as the unit cube: parameters to vectors and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution


class Encoding:
    """Maps the parameters of a space to `[dim]` vectors between 0 and 1, and back.

    A parameter on a log scale is spread by its logarithm. One that takes steps (an integer, a
    float with a step) lies on a grid from 0 to 1; an integer on a log scale has cells of unequal
    width instead and counts as continuous.

    Attributes:
      names: of the parameters, in the order of the vectors.
      steps: `[dim]`, width of a step in the unit cube; 0 for a continuous parameter.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        """Prepares the mapping.

        Args:
          space: floats and integers, each with more than one value.
        """
        self.names = list(space)
        self._axes = [_Axis(distribution) for distribution in space.values()]
        self.steps = np.array([axis.step for axis in self._axes])

    @property
    def dim(self) -> int:
        """Number of parameters."""
        return len(self.names)

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """Returns the vector of `params`, which `holds`."""
        pairs = zip(self.names, self._axes, strict=True)
        return np.array([axis.encode(params[name]) for name, axis in pairs])

    def decode(self, vector: np.ndarray) -> dict[str, Any]:
        """Returns the parameters at `vector`, `[dim]`, plain numbers inside their ranges."""
        triples = zip(self.names, self._axes, vector.tolist(), strict=True)
        return {name: axis.decode(unit) for name, axis, unit in triples}

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Returns whether `params` is a point of the space."""
        pairs = zip(self.names, self._axes, strict=True)
        return all(name in params and axis.holds(params[name]) for name, axis in pairs)


class _Axis:
    """One parameter."""

    def __init__(self, distribution: BaseDistribution) -> None:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        self._distribution = distribution
        self._integer = isinstance(distribution, IntDistribution)
        self._log = distribution.log
        low, high = distribution.low, distribution.high
        # The ends of a log scale of integers get whole cells, as the values between them have.
        margin = 0.5 if self._integer and self._log else 0.0
        self._low, self._high = self._scaled(low - margin), self._scaled(high + margin)
        step = None if self._log else distribution.step
        self._n_steps = round((high - low) / step) if step else 0
        self.step = 1 / self._n_steps if self._n_steps else 0.0

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._log else float(value)

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and bool(self._distribution._contains(float(value)))

    def encode(self, value: float) -> float:
        if self._n_steps:
            assert self._distribution.step is not None
            index = round((value - self._distribution.low) / self._distribution.step)
            return index * self.step
        return (self._scaled(value) - self._low) / (self._high - self._low)

    def decode(self, unit: float) -> int | float:
        low, high = self._distribution.low, self._distribution.high
        if self._n_steps:
            assert self._distribution.step is not None
            value: float = low + round(unit * self._n_steps) * self._distribution.step
        else:
            value = self._low + unit * (self._high - self._low)
            value = math.exp(value) if self._log else value
        value = min(max(round(value) if self._integer else value, low), high)
        return value if self._integer else float(value)
