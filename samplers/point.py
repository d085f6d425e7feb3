"""A candidate in the unit cube, as it is run and as it was drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of the unit cube.

    Attributes:
      encoded: `[dim]`, what is run; steps lie on their grid.
      drawn: `[dim]`, what the distribution gave; it decoded to `encoded`.
    """

    encoded: np.ndarray
    drawn: np.ndarray
