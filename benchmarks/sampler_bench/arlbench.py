"""Real SAC landscapes: a surrogate of published results, for the mean and for the noise.

The results are 256 configurations by 10 seeds by 10 checkpoints of SAC on one task, published
with ARLBench [Becktepe et al. 2024, arXiv:2409.18827]. A forest of random trees over the
configurations gives the mean at any point; one seed is a seed of a configuration that shares a
leaf with the point, moved from that configuration's mean to the forest's.
"""

from __future__ import annotations

import csv
import functools
import gzip
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from hpsearch.samplers.encoding import Encoding

N_TREES = 60
MIN_LEAF = 3

LOG = ("buffer_size", "learning_rate", "learning_starts", "reward_scale")
LINEAR = ("buffer_alpha", "buffer_beta", "buffer_epsilon", "tau")
INDEX = ("buffer_batch_size", "buffer_prio_sampling", "use_target_network")
NEEDS = {
    "buffer_alpha": "buffer_prio_sampling",
    "buffer_beta": "buffer_prio_sampling",
    "buffer_epsilon": "buffer_prio_sampling",
    "tau": "use_target_network",
}
"""What counts only when a switch is on."""


@dataclass(frozen=True)
class Table:
    """One task's results at the last checkpoint.

    Attributes:
      distributions: what was varied, as numbers.
      points: `[N, dim]`, the configurations in the unit cube.
      seeds: `[N, S]`, returns; NaN where the run failed.
      means: `[N]`, over the seeds; a failed run counts as the worst return of all.
    """

    distributions: Mapping[str, BaseDistribution]
    points: np.ndarray
    seeds: np.ndarray
    means: np.ndarray


@functools.cache
def read_table(path: Path) -> Table:
    """Returns the results in a file as published."""
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    last = max(float(row["budget"]) for row in rows)
    by_run: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if float(row["budget"]) == last:
            by_run[row["run_id"]].append(row)
    runs = list(by_run.values())
    columns = {
        name: [_number(run[0][f"hp_config.{name}"]) for run in runs]
        for name in (*LOG, *LINEAR, *INDEX)
    }
    distributions: dict[str, BaseDistribution] = {}
    for name, values in columns.items():
        known = sorted({value for value in values if not math.isnan(value)})
        if name in INDEX:
            distributions[name] = IntDistribution(0, len(known) - 1)
            columns[name] = [known.index(value) for value in values]
        else:
            distributions[name] = FloatDistribution(known[0], known[-1], log=name in LOG)
            columns[name] = [known[0] if math.isnan(value) else value for value in values]
    encoding = Encoding(distributions)
    params = [{name: columns[name][i] for name in columns} for i in range(len(runs))]
    n_seeds = min(len(run) for run in runs)
    seeds = np.array([[_number(row["performance"]) for row in run[:n_seeds]] for run in runs])
    means = np.where(np.isnan(seeds), np.nanmin(seeds), seeds).mean(axis=1)
    points = np.array([_without_idle(encoding.encode(each), encoding) for each in params])
    return Table(distributions, points, seeds, means)


def _number(text: str) -> float:
    return (
        {"True": 1.0, "False": 0.0, "": math.nan}.get(text)
        if text
        in (
            "True",
            "False",
            "",
        )
        else float(text)
    )  # type: ignore[return-value]


def _without_idle(point: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Returns the point with 0.5 for each parameter whose switch is off."""
    switched = point.copy()
    for name, switch in NEEDS.items():
        if point[encoding.names.index(switch)] < 0.5:
            switched[encoding.names.index(name)] = 0.5
    return switched


class ArlbenchSac:
    """One task; each seed grows another forest on the same results."""

    def __init__(self, path: Path, seed: int) -> None:
        """Grows the forest."""
        self._table = read_table(path)
        self._encoding = Encoding(self._table.distributions)
        self._range = np.nanmin(self._table.seeds)
        numbers = np.random.default_rng([seed, 2])
        everything = np.arange(len(self._table.points))
        self._trees = [self._grown(everything, numbers) for _ in range(N_TREES)]

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """What is searched."""
        return self._table.distributions

    def _grown(self, rows: np.ndarray, numbers: np.random.Generator) -> Any:
        """Returns `(axis, threshold, below, above)`, or a leaf's rows."""
        if len(rows) < 2 * MIN_LEAF:
            return rows
        points, means = self._table.points[rows], self._table.means[rows]
        best: tuple[float, int, float] | None = None
        for axis in range(self._encoding.dim):
            low, high = points[:, axis].min(), points[:, axis].max()
            if low == high:
                continue
            threshold = numbers.uniform(low, high)
            below = points[:, axis] <= threshold
            n_below = int(below.sum())
            if min(n_below, len(rows) - n_below) < MIN_LEAF:
                continue
            loss = means[below].var() * n_below + means[~below].var() * (len(rows) - n_below)
            if best is None or loss < best[0]:
                best = (loss, axis, threshold)
        if best is None:
            return rows
        _, axis, threshold = best
        below = points[:, axis] <= threshold
        return (
            axis,
            threshold,
            self._grown(rows[below], numbers),
            self._grown(rows[~below], numbers),
        )

    def _leaves(self, params: Mapping[str, Any]) -> list[np.ndarray]:
        point = _without_idle(self._encoding.encode(params), self._encoding)
        leaves = []
        for tree in self._trees:
            while isinstance(tree, tuple):
                axis, threshold, below, above = tree
                tree = below if point[axis] <= threshold else above
            leaves.append(tree)
        return leaves

    def true(self, params: Mapping[str, Any]) -> float:
        """Returns the forest's mean."""
        return float(np.mean([self._table.means[leaf].mean() for leaf in self._leaves(params)]))

    def observed(self, params: Mapping[str, Any], numbers: np.random.Generator) -> float | None:
        """Returns what one seed shows; None if that seed's run failed."""
        leaves = self._leaves(params)
        row = numbers.choice(leaves[numbers.integers(len(leaves))])
        shown = numbers.choice(self._table.seeds[row])
        if math.isnan(shown):
            return None
        return float(self.true(params) + shown - self._table.means[row])
