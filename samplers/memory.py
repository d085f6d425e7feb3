"""What a process remembers of a history, so that only what is new is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpsearch.samplers.distribution import Distribution
from hpsearch.samplers.encoding import Encoding
from hpsearch.samplers.gaussian_process import GaussianProcess, scores
from hpsearch.samplers.history import losses, point_of, ranked
from hpsearch.samplers.point import Point
from hpsearch.samplers.prior import Prior

N_CANDIDATES = 10
"""Points drawn for one trial, of which the Gaussian process chooses."""

FIT_EVERY = 10
"""Results between two fits of the Gaussian process; before the first nothing is chosen."""

WINDOW = 80
"""The latest results, which the Gaussian process sees.

Larger systems OpenBLAS solves with threads, which on a busy machine takes a hundred times as long.
"""


class Memory:
    """The distribution after a history, and the points of the history.

    It is the same whether the history came at once or bit by bit: what is remembered is dropped
    as soon as it is not how the history begins.

    Attributes:
      encoding: of the space that is searched.
      n_updates: groups that the distribution was told.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        direction: StudyDirection,
        popsize: int,
        prior: Prior | None,
    ) -> None:
        """Remembers nothing yet.

        Args:
          space: what is searched; numeric.
          direction: of the study.
          popsize: results per update.
          prior: where the search begins; None for the middle of the space.
        """
        self.encoding = Encoding(space)
        self._direction, self._popsize, self._prior = direction, popsize, prior
        self._forget()

    def _forget(self) -> None:
        self._history: list[FrozenTrial] = []
        self._told: list[FrozenTrial] = []
        self._points: list[Point] = []
        self._distribution = self._start()
        self._fits: tuple[int, GaussianProcess] | None = None

    def _start(self) -> Distribution:
        return Distribution(self.encoding.steps, self._popsize, self._prior)

    @property
    def n_updates(self) -> int:
        """Groups that the distribution was told."""
        return self._distribution.n_updates

    def learn(self, history: Sequence[FrozenTrial]) -> None:
        """Tells what is new.

        Args:
          history: all finished trials in the order of telling. Those that are no point of the
            space are left out.
        """
        known = len(self._history)
        # Trials that are the same objects compare in no time; after a restart or a rolled back
        # transaction they are equal at best.
        if list(history[:known]) != self._history:
            self._forget()
            known = 0
        for trial in history[known:]:
            self._history.append(trial)
            if self.encoding.holds(trial.params):
                self._told.append(trial)
                self._points.append(point_of(trial, self.encoding))
                if len(self._told) % self._popsize == 0:
                    self._update()

    def _update(self) -> None:
        group, points = self._told[-self._popsize :], self._points[-self._popsize :]
        order = ranked(group, self._direction)
        self._distribution.tell([points[index] for index in order])

    def fit(self) -> None:
        """Fits the Gaussian process, if there is enough to fit it to."""
        if len(self._told) >= FIT_EVERY:
            self._process()

    def candidate(self, seed: int) -> Point:
        """Returns the point to run next, which history and seed decide."""
        if len(self._told) < FIT_EVERY:
            return self._distribution.draw(seed, 1)[0]
        drawn = self._distribution.draw(seed, N_CANDIDATES)
        points, values = self._latest(len(self._told))
        at = np.array([point.encoded for point in drawn])
        return drawn[int(np.argmax(self._process().mean(points, values, at)))]

    def _process(self) -> GaussianProcess:
        """Returns the process fitted to what there was at the last multiple of `FIT_EVERY`."""
        end = len(self._told) // FIT_EVERY * FIT_EVERY
        if self._fits is None or self._fits[0] != end:
            self._fits = (end, GaussianProcess.fitted(*self._latest(end)))
        return self._fits[1]

    def _latest(self, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the points `[N, dim]` and scores `[N]` of the results before the end-th."""
        window = slice(max(0, end - WINDOW), end)
        points = np.array([point.encoded for point in self._points[window]])
        return points, scores(losses(self._told[window], self._direction))
