"""CMA-ES that wastes no trial: rebuilt from the finished trials, never stored."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from hpsearch.base import seed_of
from hpsearch.samplers.history import DRAWN, finished_trials, stored_vectors
from hpsearch.samplers.memory import Memory
from hpsearch.samplers.prior import Prior


class CmaEsSampler(BaseSampler):
    """CMA-ES whose state follows from the finished trials alone.

    They are told in the order of their `told_index`, in groups of popsize, whatever distribution
    they were drawn from; a trailing incomplete group waits. What failed by its parameters is last
    in its group. Ranks are told, not values. The next candidate follows from this history and the
    trial's number, whoever asks; on the same packages and machine to the last bit. The memory of
    what was told already only saves time.

    Ten points are drawn for each trial, and the one is run that a Gaussian process on the latest
    results expects most of. Unlike the distribution it sees every result at once.
    """

    memory_type = Memory

    def __init__(
        self,
        *,
        popsize: int,
        seed: int,
        space: Mapping[str, BaseDistribution] | None = None,
        startup: int = 0,
        prior: Prior | None = None,
    ) -> None:
        """Remembers the settings.

        Args:
          popsize: results per update.
          seed: with a trial's number it decides what is drawn; workers share it.
          space: what is searched; None for what the study's trials have in common.
          startup: the first trials, drawn uniformly.
          prior: where the search begins; None for the middle of the space.
        """
        self._popsize, self._seed, self._startup, self._prior = popsize, seed, startup, prior
        self._space = space
        self._common = IntersectionSearchSpace()
        self._last: tuple[Any, Memory] | None = None
        self._lock = threading.Lock()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the numeric parameters that have more than one value."""
        space = self._common.calculate(study) if self._space is None else self._space
        numeric = FloatDistribution | IntDistribution
        return {n: d for n, d in space.items() if isinstance(d, numeric) and not d.single()}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Returns the candidate, and stores the vectors that were drawn for it."""
        self._raise_error_if_multi_objective(study)
        if not search_space or trial.number < self._startup:
            return {}
        with self._lock:
            memory = self._memory(study, search_space)
            memory.learn(finished_trials(study))
            point = memory.candidate(seed_of(self._seed, "candidate", trial.number))
            vectors = stored_vectors(point, memory.n_updates)
        study._storage.set_trial_system_attr(trial._trial_id, DRAWN, vectors)
        return memory.encoding.decode(point.encoded)

    def _memory(self, study: optuna.Study, space: Mapping[str, BaseDistribution]) -> Memory:
        """Returns what is remembered of this study in this space, if it is the last one asked."""
        key = (study._study_id, study.direction, dict(space))
        if self._last is None or self._last[0] != key:
            memory = self.memory_type(space, study.direction, self._popsize, self._prior)
            self._last = (key, memory)
        return self._last[1]

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a uniform value that seed, trial and parameter decide."""
        self._raise_error_if_multi_objective(study)
        seed = seed_of(self._seed, "uniform", trial.number, param_name)
        uniform = RandomSampler(seed=seed)
        return uniform.sample_independent(study, trial, param_name, param_distribution)
