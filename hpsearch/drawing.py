"""Draws the next trial of a study: Optuna's sampler names the point, we write it down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.database import optuna_rows
from hpsearch.places import has_foreign_trials, place_foreign_trials
from hpsearch.samplers.space import trial_attributes
from hpsearch.study import Study


def prepare_drawing(connection: sa.Connection, study: Study) -> bool:
    """Lets the sampler learn what is finished, before the study is locked for all workers.

    Returns:
      Whether all trials are ours, of those that can be seen by now.
    """
    # Commands that draw nothing start faster without SciPy, which comes with it.
    from hpsearch.samplers.cma_es import CmaEsSampler

    if has_foreign_trials(connection, study):
        return False
    if isinstance(study.sampler, CmaEsSampler):
        optuna_study = study.optuna_study(study.database.optuna)
        optuna_study.read(connection, study.spec.search_space().distributions)
        with optuna_study.known():
            study.sampler.prepare(optuna_study)
    return True


def draw_trial(
    connection: sa.Connection, storage: BaseStorage, study: Study, *, told: int, ours: bool
) -> tuple[FrozenTrial, dict[str, Any]]:
    """Makes a running trial, inside the caller's transaction, which has locked the study.

    What somebody enqueued with Optuna's own tools comes first; the parameters that it leaves
    open are drawn.

    Args:
      connection: of the transaction.
      storage: Optuna's, inside it.
      study: to draw for.
      told: how many results have a place in the order of telling.
      ours: what `prepare_drawing` said. A trial that was added elsewhere since then gets its
        place at the next drawing.

    Returns:
      The trial with its parameters, and its decoded hyper-parameters.
    """
    space = study.spec.search_space()
    distributions = dict(space.distributions)
    waiting = optuna_rows.take_waiting_trial(connection, study.id)
    trial_id, number, asked = waiting or (*optuna_rows.insert_trial(connection, study.id), {})
    trial = create_trial(state=TrialState.RUNNING)
    trial._trial_id, trial.number = trial_id, number
    optuna_study = study.optuna_study(storage)
    if ours and optuna_study.read(connection, distributions, told) == told:
        with optuna_study.known():
            params = _draw(optuna_study, trial, distributions)
    else:
        place_foreign_trials(connection, storage, study)
        params = _draw(optuna_study, trial, distributions)
    params |= {
        name: value
        for name, value in asked.items()
        if name in distributions and _allows(distributions[name], value)
    }
    params = {name: params[name] for name in distributions}
    hyperparams = space.decode(params)
    optuna_rows.insert_params(connection, trial_id, params, distributions)
    attributes = trial_attributes(hyperparams, study.spec.num_envs)
    optuna_rows.insert_attributes(connection, trial_id, attributes)
    trial.distributions, trial.params = distributions, params
    return trial, hyperparams


def _draw(
    optuna_study: optuna.Study,
    trial: FrozenTrial,
    distributions: Mapping[str, BaseDistribution],
) -> dict[str, Any]:
    """Returns a value for each parameter, asking the sampler as Optuna's own `ask` does."""
    sampler: BaseSampler = optuna_study.sampler
    sampler.before_trial(optuna_study, trial)
    together = sampler.infer_relative_search_space(optuna_study, trial)
    params = sampler.sample_relative(optuna_study, trial, together)
    for name, distribution in distributions.items():
        if name not in params:
            params[name] = sampler.sample_independent(optuna_study, trial, name, distribution)
    return params


def _allows(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False
