"""Where a search begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Where the search begins: a normal distribution over the unit cube.

    Attributes:
      mean: `[dim]`.
      sigma: step size.
      covariance: `[dim, dim]`, of steps of size 1.
    """

    mean: Sequence[float]
    sigma: float
    covariance: Sequence[Sequence[float]]
