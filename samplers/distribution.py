"""The distribution that CMA-ES searches with: told groups of results, it moves; it draws points.

This is the only file that touches private names of the package `cmaes`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hpsearch.samplers.point import Point
from hpsearch.samplers.prior import Prior


@contextmanager
def _without_scipy() -> Iterator[None]:
    """Lets nothing that is imported meanwhile find SciPy's statistics."""
    before = {"scipy.stats": sys.modules["scipy.stats"]} if "scipy.stats" in sys.modules else {}
    sys.modules["scipy.stats"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["scipy.stats"]
        sys.modules.update(before)


# `cmaes` takes two functions from SciPy where it finds it, and else its own. SciPy would be half
# of a worker's start, and round otherwise than on a machine that has none.
with _without_scipy():
    from cmaes import CMAwM, _cmawm, _stats

_cmawm.norm_cdf, _cmawm.chi2_ppf = _stats.norm_cdf, _stats.chi2_ppf

SIGMA = 1 / 6


class Distribution:
    """CMA-ES with margin [Hamano et al. 2022, arXiv:2205.13482] over the unit cube.

    Attributes:
      n_updates: groups told so far.
    """

    def __init__(self, steps: np.ndarray, popsize: int, prior: Prior | None) -> None:
        """Starts from the prior.

        Args:
          steps: `[dim]`, as in `Encoding`.
          popsize: points per update.
          prior: None for the middle of the cube.
        """
        self._steps, self._popsize, self._prior = steps, popsize, prior
        self.n_updates = 0
        self._restart()

    def _restart(self) -> None:
        dim = len(self._steps)
        start: dict[str, Any] = {"mean": np.full(dim, 0.5), "sigma": SIGMA}
        if self._prior:
            start = {
                "mean": np.array(self._prior.mean),
                "sigma": self._prior.sigma,
                "cov": np.array(self._prior.covariance),
            }
        bounds = np.tile([0.0, 1.0], (dim, 1))
        self._optimizer = CMAwM(
            **start,
            bounds=bounds,
            steps=self._steps,
            population_size=self._popsize,
            n_max_resampling=10 * dim,
        )

    def draw(self, seed: int, n: int) -> list[Point]:
        """Returns `n` points that `seed` decides."""
        self._fix_signs()
        self._optimizer.reseed_rng(seed)
        pairs = [self._optimizer.ask() for _ in range(n)]
        return [Point(encoded=encoded, drawn=drawn) for encoded, drawn in pairs]

    def _fix_signs(self) -> None:
        """Gives each eigenvector the sign that makes its largest component positive.

        Which of the two signs comes out depends on the build of LAPACK, and a draw on the sign.
        """
        vectors, _ = self._optimizer._cma._eigen_decomposition()
        largest = np.argmax(np.abs(vectors), axis=0)
        vectors *= np.sign(vectors[largest, np.arange(len(largest))])

    def tell(self, points: Sequence[Point]) -> None:
        """Moves the distribution.

        Args:
          points: `popsize` of them, the best first.
        """
        self._optimizer.tell([(self.seen(p), float(rank)) for rank, p in enumerate(points)])
        self.n_updates += 1
        if self._optimizer.should_stop():
            self._restart()

    def seen(self, point: Point) -> np.ndarray:
        """Returns the drawn vector, `[dim]`, moved into the cells of the steps that were run.

        How a drawn vector decodes depends on the distribution's mean and margin, so an old one
        may stand for other steps by now. It is moved to the nearest point that stands for those
        that were run.
        """
        on_grid = self._steps > 0
        if not on_grid.any():
            return point.drawn
        steps, encoded = self._steps[on_grid], point.encoded[on_grid]
        low = np.where(encoded > steps / 4, encoded - steps / 2, -np.inf)
        high = np.where(encoded < 1 - steps / 4, encoded + steps / 2, np.inf)
        mean, scale = self._optimizer.mean[on_grid], self._optimizer._A[on_grid]
        moved = point.drawn.copy()
        moved[on_grid] = np.clip(
            moved[on_grid], (low - mean) / scale + mean, (high - mean) / scale + mean
        )
        return moved
