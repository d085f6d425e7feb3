"""A small Gaussian process over the unit cube: which of a few points promises most.

Numpy only, no random number, and no search that could end elsewhere the next time.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

N_STEPS = 15
"""Of the fit; more of them change no choice that a search would notice."""

START_SCALE = 0.35
"""Prior length scale of a parameter, times the root of their number; as wide again either way."""

START_NOISE = 0.3
"""Prior variance of the noise, where the signal has 1."""

SMALLEST, LARGEST = np.log(0.02), np.log(50.0)


def scores(losses: np.ndarray) -> np.ndarray:
    """Returns what a normal distribution has at the ranks of `losses`; the least gets the most.

    Only the order counts, so infinities and outliers do no harm.

    Args:
      losses: `[N]`; equal ones get the same score.
    """
    by_rank = _by_rank(len(losses))
    _, place, count = np.unique(losses, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    means = [by_rank[end - size : end].mean() for end, size in zip(ends, count, strict=True)]
    return np.array(means)[place]


@functools.cache
def _by_rank(n: int) -> np.ndarray:
    quantile = NormalDist().inv_cdf
    return np.array([-quantile((rank + 0.5) / n) for rank in range(n)])


@dataclass(frozen=True)
class GaussianProcess:
    """A Matern 5/2 kernel with a length scale per parameter, signal variance 1, and noise.

    Attributes:
      scales: `[dim]`, length scales.
      noise: variance of the noise.
    """

    scales: np.ndarray
    noise: float

    @classmethod
    def fitted(cls, points: np.ndarray, values: np.ndarray) -> GaussianProcess:
        """Returns the process that explains the values best, given a prior on its scales.

        It climbs the log posterior by the signs of its gradient, with a step size for each
        parameter that grows while the sign stays and halves when it turns (Rprop).

        Args:
          points: `[N, dim]`.
          values: `[N]`, of mean 0 and variance about 1.

        Source: Rasmussen and Williams 2006, equations 5.8 and 5.9.
        """
        dim = points.shape[1]
        start = np.log(np.append(np.full(dim, START_SCALE * np.sqrt(dim)), START_NOISE))
        squares = (points[:, None, :] - points[None, :, :]) ** 2
        theta, step, turned = start.copy(), np.full(dim + 1, 0.3), np.zeros(dim + 1)
        for _ in range(N_STEPS):
            sign = np.sign(_slope(theta, squares, values) - (theta - start))
            step *= np.where(sign * turned > 0, 1.3, np.where(sign * turned < 0, 0.5, 1.0))
            turned = sign
            theta = np.clip(theta + sign * step, SMALLEST, LARGEST)
        return cls(np.exp(theta[:-1]), float(np.exp(theta[-1])))

    def mean(self, points: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Returns the expected values `[M]` at `at`, `[M, dim]`, given those at `points`."""
        covariance = self._kernel(points, points) + self.noise * np.eye(len(points))
        weights = np.linalg.solve(covariance, values)
        mean: np.ndarray = self._kernel(at, points) @ weights
        return mean

    def _kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        kernel, _ = _matern((((a[:, None, :] - b[None, :, :]) / self.scales) ** 2).sum(axis=-1))
        return kernel


def _matern(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel at squared distances, and minus twice its slope over them."""
    r = np.sqrt(5 * squares)
    decay = np.exp(-r)
    return (1 + r + r * r / 3) * decay, 5 / 3 * (1 + r) * decay


def _slope(theta: np.ndarray, squares: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the gradient, `[dim + 1]`, of the log likelihood over log scales and log noise."""
    weights, noise = np.exp(-2 * theta[:-1]), np.exp(theta[-1])
    kernel, falling = _matern(squares @ weights)
    inverse = np.linalg.inv(kernel + noise * np.eye(len(values)))
    explained = inverse @ values
    left = np.outer(explained, explained) - inverse
    by_scale = 0.5 * weights * np.einsum("ij,ijk->k", left * falling, squares)
    return np.append(by_scale, 0.5 * noise * np.trace(left))
