"""The samplers by name: ours, and those to compare it with."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna import samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from hpsearch.base import seed_of
from hpsearch.exceptions import MissingExtra, UnknownName
from hpsearch.samplers.prior import Prior

OURS = "cma-es"

VERSION = 2
"""Of the rule by which candidates follow from results; part of a study's spec."""


def _random(seed: int, popsize: int, startup: int | None) -> BaseSampler:
    return samplers.RandomSampler(seed=seed)


def _tpe(seed: int, popsize: int, startup: int | None) -> BaseSampler:
    n_startup = 10 if startup is None else startup
    return samplers.TPESampler(seed=seed, n_startup_trials=n_startup)


def _gp(seed: int, popsize: int, startup: int | None) -> BaseSampler:
    n_startup = 10 if startup is None else startup
    return samplers.GPSampler(seed=seed, n_startup_trials=n_startup)


def _stock(seed: int, popsize: int, startup: int | None) -> BaseSampler:
    n_startup = 1 if startup is None else startup
    return samplers.CmaEsSampler(popsize=popsize, seed=seed, n_startup_trials=n_startup)


def _stock_margin(seed: int, popsize: int, startup: int | None) -> BaseSampler:
    n_startup = 1 if startup is None else startup
    return samplers.CmaEsSampler(
        with_margin=True, popsize=popsize, seed=seed, n_startup_trials=n_startup
    )


OTHERS: Mapping[str, Callable[[int, int, int | None], BaseSampler]] = {
    "cma-es-optuna": _stock,
    "cma-es-optuna-margin": _stock_margin,
    "gp": _gp,
    "random": _random,
    "tpe": _tpe,
}
"""Optuna's own samplers; the two CMA-ES keep a pickle in the database and load it."""

SAMPLERS = (OURS, *OTHERS)


def make_sampler(
    name: str,
    *,
    popsize: int,
    seed: int,
    space: Mapping[str, BaseDistribution] | None = None,
    startup: int | None = None,
    prior: Prior | None = None,
) -> BaseSampler:
    """Returns a new sampler, which every worker of a study may have.

    Args:
      name: one of `SAMPLERS`.
      popsize: points per generation of CMA-ES; at least 4.
      seed: the study's; what a trial draws differs by the trial's number.
      space: what is searched; None for what the study's trials have in common.
      startup: trials drawn uniformly at first; None for the sampler's own number.
      prior: where `cma-es` begins; None for the middle of the space.

    Raises:
      UnknownName: there is no such sampler.
      MissingExtra: it needs a package that is not installed.
    """
    if name == OURS:
        # It brings half a second of SciPy, which every command would wait for.
        from hpsearch.samplers.cma_es import CmaEsSampler

        return CmaEsSampler(
            popsize=popsize, seed=seed, space=space, startup=startup or 0, prior=prior
        )
    if name not in OTHERS:
        raise UnknownName(kind="sampler", name=name, known=", ".join(SAMPLERS))
    if name == "gp" and importlib.util.find_spec("torch") is None:
        raise MissingExtra(what="The sampler gp", package="torch", extra="gp")
    make = OTHERS[name]
    return SeededByTrial(lambda number: make(seed_of(seed, name, number), popsize, startup))


class SeededByTrial(BaseSampler):
    """A sampler of Optuna's, made anew for each trial with a seed of the trial's.

    Made once with the study's seed it would draw the same in every worker, and again after a
    restart.
    """

    def __init__(self, make: Callable[[int], BaseSampler]) -> None:
        """Remembers how to make it.

        Args:
          make: returns the sampler for a trial's number.
        """
        self._make = make
        self._made: tuple[int, BaseSampler] | None = None

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if self._made is None or self._made[0] != trial.number:
            with warnings.catch_warnings():
                # What Optuna marks experimental is chosen by its name.
                warnings.simplefilter("ignore", ExperimentalWarning)
                self._made = (trial.number, self._make(trial.number))
        return self._made[1]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Lets the trial's sampler do what it does before a trial."""
        self._of(trial).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns what the trial's sampler draws together."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Returns what the trial's sampler draws together."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns what the trial's sampler draws for one parameter."""
        sampler = self._of(trial)
        return sampler.sample_independent(study, trial, param_name, param_distribution)
