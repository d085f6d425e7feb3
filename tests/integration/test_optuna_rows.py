"""What we write into Optuna's tables is what Optuna itself would write."""

from __future__ import annotations

import datetime
import uuid

import optuna
import sqlalchemy as sa
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hpsearch.database import optuna_rows
from hpsearch.database.engine import normalise_url
from hpsearch.database.transaction import Database
from hpsearch.queue import Lease, claim
from tests.integration.conftest import MakeStudy, add_worker

DISTRIBUTIONS = {
    "lr": FloatDistribution(1e-4, 1e-2, log=True),
    "n": IntDistribution(1, 9),
}
PARAMS = {"lr": 0.003, "n": 7}
ATTRIBUTES = {"told_index": 0, "net_arch": [64, 64], "policy": "MlpPolicy", "gamma": 0.98}
CURVE = {1: 0.5, 2: float("inf"), 7: -3.25}


def theirs(study: optuna.Study, value: float | None) -> FrozenTrial:
    trial = study.ask()
    for name, distribution in DISTRIBUTIONS.items():
        internal = distribution.to_internal_repr(PARAMS[name])
        study._storage.set_trial_param(trial._trial_id, name, internal, distribution)
    for name, attribute in ATTRIBUTES.items():
        trial.set_user_attr(name, attribute)
    for step, mean_return in CURVE.items():
        trial.report(mean_return, step)
    study.tell(trial, value, state=TrialState.FAIL if value is None else None)
    return study.trials[trial.number]


def ours(database: Database, study: optuna.Study, value: float | None) -> FrozenTrial:
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    with database.transaction() as connection:
        trial_id, number = optuna_rows.insert_trial(connection, study._study_id)
        optuna_rows.insert_params(connection, trial_id, PARAMS, DISTRIBUTIONS)
        early = {"net_arch": [64, 64], "policy": "MlpPolicy"}
        optuna_rows.insert_attributes(connection, trial_id, early)
        assert optuna_rows.finish_trial(
            connection,
            trial_id,
            state,
            value=value,
            attributes=ATTRIBUTES,
            intermediate_values=CURVE,
        )
    return study.trials[number]


def plain(trial: FrozenTrial) -> dict[str, object]:
    kept = ("state", "values", "params", "distributions", "user_attrs", "intermediate_values")
    return {name: getattr(trial, name) for name in kept} | {"system": trial.system_attrs}


def test_a_trial_of_ours_reads_back_as_one_of_optunas(database: Database, tables_url: str) -> None:
    url = normalise_url(tables_url).render_as_string(hide_password=False)
    study = optuna.create_study(study_name="plain", storage=url)
    for value in (1.25, float("-inf"), None):
        assert plain(ours(database, study, value)) == plain(theirs(study, value))
    assert [trial.number for trial in study.trials] == list(range(6))
    mine, its = study.trials[0], study.trials[1]
    assert mine.datetime_start and mine.datetime_complete and its.datetime_start
    assert abs(mine.datetime_start - its.datetime_start) < datetime.timedelta(seconds=30)


def test_a_trial_that_somebody_finished_is_left_alone(database: Database, tables_url: str) -> None:
    url = normalise_url(tables_url).render_as_string(hide_password=False)
    study = optuna.create_study(study_name="plain", storage=url)
    trial = study.ask()
    study.tell(trial, 3.0)
    with database.transaction() as connection:
        assert not optuna_rows.finish_trial(
            connection,
            trial._trial_id,
            TrialState.COMPLETE,
            value=4.0,
            attributes={"told_index": 5},
            intermediate_values={},
        )
    assert study.trials[0].value == 3.0 and study.trials[0].user_attrs == {}


def test_what_was_enqueued_with_optunas_tools_is_run_first(
    make_study: MakeStudy, tables_url: str
) -> None:
    study = make_study()
    url = normalise_url(tables_url).render_as_string(hide_password=False)
    theirs = optuna.load_study(study_name="s", storage=url)
    theirs.enqueue_trial({"x0": 1.0, "n": 3, "x1": 1e9, "nonsense": 1})
    worker_id = add_worker(study)
    first, second = (claim(study, worker_id, uuid.uuid4()) for _ in range(2))
    assert isinstance(first, Lease) and isinstance(second, Lease)
    assert (first.trial_number, second.trial_number) == (0, 1)
    assert first.params["x0"] == 1.0 and first.params["n"] == 3
    assert -5 <= first.params["x1"] <= 5 and set(first.params) == {"x0", "x1", "x2", "n"}
    assert theirs.trials[0].params == dict(first.params)


def test_a_claim_and_its_result_take_few_statements(make_study: MakeStudy) -> None:
    study = make_study(target=20)
    worker_id = add_worker(study)
    for _ in range(6):
        claim(study, worker_id, uuid.uuid4())
    statements: list[str] = []
    sa.event.listen(
        study.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: statements.append(statement),
    )
    claim(study, worker_id, uuid.uuid4())
    assert len(statements) < 60
