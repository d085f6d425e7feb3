"""The samplers by name: CMA-ES, and two to compare it with."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from hpsearch.exceptions import UnknownName

SAMPLERS = ("cma-es", "random", "tpe")
VERSION = 1
"""Of the rule by which candidates follow from results; part of a study's spec."""


def make_sampler(name: str, *, popsize: int, seed: int) -> BaseSampler:
    """Returns a new sampler.

    Args:
      name: one of `SAMPLERS`.
      popsize: points per generation of CMA-ES; at least 4.
      seed: of the sampler's own random numbers; two workers must not share one.

    Raises:
      UnknownName: there is no such sampler.
    """
    if name == "random":
        return RandomSampler(seed=seed)
    if name == "tpe":
        return TPESampler(seed=seed)
    if name != "cma-es":
        raise UnknownName(kind="sampler", name=name, known=", ".join(SAMPLERS))
    with warnings.catch_warnings():
        # The margin, which keeps integers from collapsing to one value, is marked experimental.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return CmaEsSampler(with_margin=True, popsize=popsize, seed=seed, n_startup_trials=1)
