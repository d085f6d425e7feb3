"""What was tried against the sampler as it is: one change each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from cmaes import CatCMAwM
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from hpsearch.samplers.cma_es import CmaEsSampler
from hpsearch.samplers.distribution import Distribution
from hpsearch.samplers.memory import Memory
from hpsearch.samplers.point import Point

POPSIZE = 10

Space = Mapping[str, BaseDistribution]
MakeSampler = Callable[[int, Space], BaseSampler]


class Plain(Memory):
    """CMA-ES alone: the first point drawn is the candidate."""

    def candidate(self, seed: int) -> Point:
        """Returns the first point."""
        return self._distribution.draw(seed, 1)[0]


class Unmoved(Distribution):
    """Old vectors are told as drawn, whatever they decode to by now."""

    def seen(self, point: Point) -> np.ndarray:
        """Returns the vector as it was drawn."""
        return point.drawn


class Limited(Distribution):
    """The length of a step is limited [Hansen 2011, arXiv:1110.4181]."""

    def seen(self, point: Point) -> np.ndarray:
        """Returns the vector, drawn nearer where it lies too far from the mean."""
        cma, vector = self._optimizer._cma, super().seen(point)
        basis, scales = cma._eigen_decomposition()
        length = np.linalg.norm(basis.T @ (vector - cma._mean) / scales) / cma._sigma
        dim = len(vector)
        longest = np.sqrt(dim) + 2 * dim / (dim + 2)
        nearer: np.ndarray = cma._mean + (vector - cma._mean) * min(1.0, longest / length)
        return nearer


class Aged(Distribution):
    """A step counts 0.8 times as much for each update since its distribution."""

    def draw(self, seed: int, n: int) -> list[Point]:
        """Returns points, and remembers when they were drawn."""
        points = super().draw(seed, n)
        self._drawn_at = getattr(self, "_drawn_at", {})
        self._drawn_at |= {point.drawn.tobytes(): self.n_updates for point in points}
        return points

    def seen(self, point: Point) -> np.ndarray:
        """Returns the vector, drawn nearer by its age."""
        age = self.n_updates - self._drawn_at.get(point.drawn.tobytes(), self.n_updates)
        mean = self._optimizer.mean
        nearer: np.ndarray = mean + (super().seen(point) - mean) * 0.8**age
        return nearer


class Restarting(Distribution):
    """Starts again from the prior when six updates in a row made the step size smaller."""

    def tell(self, points: Sequence[Point]) -> None:
        """Moves the distribution, or starts it again."""
        before = self._optimizer._cma._sigma
        super().tell(points)
        smaller = self._optimizer._cma._sigma < before
        self._n_smaller = getattr(self, "_n_smaller", 0) + 1 if smaller else 0
        if self._n_smaller == 6:
            self._n_smaller = 0
            self._restart()


class MixedVariable(Distribution):
    """CatCMA with margin [Hamano et al. 2025, arXiv:2504.07884]: an index has no order."""

    unordered: Sequence[int] = ()

    def _restart(self) -> None:
        dim = len(self._steps)
        self._categories = [i for i in range(dim) if i in self.unordered]
        self._integers = [i for i in range(dim) if self._steps[i] and i not in self._categories]
        self._floats = [i for i in range(dim) if not self._steps[i]]
        n = {i: round(1 / self._steps[i]) + 1 for i in range(dim) if self._steps[i]}
        order = len(self._floats) + len(self._integers)
        self._mixed = CatCMAwM(
            x_space=[[0.0, 1.0]] * len(self._floats),
            z_space=[np.linspace(0, 1, n[i]).tolist() for i in self._integers] or None,
            c_space=[n[i] for i in self._categories] or None,
            population_size=self._popsize,
            mean=np.full(order, 0.5),
            sigma=1 / 6,
            cov=np.eye(order),
        )
        self._solutions = getattr(self, "_solutions", {})

    def draw(self, seed: int, n: int) -> list[Point]:
        """Returns points that `seed` decides."""
        self._mixed.reseed_rng(seed)
        points = []
        for _ in range(n):
            solution = self._mixed.ask()
            encoded = np.empty(len(self._steps))
            encoded[self._floats] = solution.x
            if self._integers:
                encoded[self._integers] = solution.z
            if self._categories:
                encoded[self._categories] = [
                    row[: round(1 / self._steps[i]) + 1].argmax() * self._steps[i]
                    for i, row in zip(self._categories, solution.c, strict=True)
                ]
            self._solutions[encoded.tobytes()] = solution
            points.append(Point(encoded=encoded, drawn=encoded))
        return points

    def tell(self, points: Sequence[Point]) -> None:
        """Moves the distribution."""
        solutions = [self._solutions[point.encoded.tobytes()] for point in points]
        self._mixed.tell([(each, float(rank)) for rank, each in enumerate(solutions)])
        self.n_updates += 1


def _sampler(
    seed: int,
    space: Space,
    *,
    startup: int = 0,
    distribution: type[Distribution] = Distribution,
    memory: type[Memory] = Memory,
    popsize: int = POPSIZE,
) -> BaseSampler:
    class Varied(memory):  # type: ignore[misc, valid-type]
        def _start(self) -> Distribution:
            names = self.encoding.names
            index = names.index("net_arch_complexity") if "net_arch_complexity" in names else None
            binary = [i for i, step in enumerate(self.encoding.steps) if step == 1.0]
            if issubclass(distribution, MixedVariable):
                distribution.unordered = binary if index is None else [index]
            return distribution(self.encoding.steps, self._popsize, self._prior)

    sampler = CmaEsSampler(popsize=popsize, seed=seed, space=space, startup=startup)
    sampler.memory_type = Varied
    return sampler


VARIANTS: Mapping[str, MakeSampler] = {
    "plain": lambda seed, space: _sampler(seed, space, memory=Plain),
    "plain_unmoved": lambda seed, space: _sampler(seed, space, memory=Plain, distribution=Unmoved),
    "plain_limited": lambda seed, space: _sampler(seed, space, memory=Plain, distribution=Limited),
    "plain_aged": lambda seed, space: _sampler(seed, space, memory=Plain, distribution=Aged),
    "unmoved": lambda seed, space: _sampler(seed, space, distribution=Unmoved),
    "limited": lambda seed, space: _sampler(seed, space, distribution=Limited),
    "aged": lambda seed, space: _sampler(seed, space, distribution=Aged),
    "restarting": lambda seed, space: _sampler(seed, space, distribution=Restarting),
    "mixed_variable": lambda seed, space: _sampler(seed, space, distribution=MixedVariable),
    "popsize_6": lambda seed, space: _sampler(seed, space, popsize=6),
    "popsize_16": lambda seed, space: _sampler(seed, space, popsize=16),
    "startup_10": lambda seed, space: _sampler(seed, space, startup=10),
}
"""Name -> sampler for a seed and a space."""
