"""Optuna's rows of one trial, written in a few statements.

Optuna's own storage reads before each write: about 90 statements to make a trial of nine
parameters and 40 to finish it, all of them while the study is locked. The same rows take ten
here. A test compares them with what Optuna itself writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState

_studies = models.StudyModel.__table__
_trials = models.TrialModel.__table__
_params = models.TrialParamModel.__table__
_values = models.TrialValueModel.__table__
_intermediate = models.TrialIntermediateValueModel.__table__
_system_attributes = models.TrialSystemAttributeModel.__table__

# Optuna stores times in UTC without a zone; by the database's clock, as all of ours.
_utc_now = sa.func.timezone("UTC", sa.func.clock_timestamp())


def insert_trial(connection: sa.Connection, study_id: int) -> tuple[int, int]:
    """Adds a running trial; returns its id and number.

    Optuna's row of the study stays locked until the transaction ends, as Optuna does it, so that
    a trial added by another tool at the same time gets another number.
    """
    _lock(connection, study_id)
    count = sa.select(sa.func.count()).where(_trials.c.study_id == study_id).scalar_subquery()
    row = connection.execute(
        _trials.insert()
        .values(study_id=study_id, number=count, state=TrialState.RUNNING, datetime_start=_utc_now)
        .returning(_trials.c.trial_id, _trials.c.number)
    ).one()
    return row.trial_id, row.number


def take_waiting_trial(
    connection: sa.Connection, study_id: int
) -> tuple[int, int, Mapping[str, Any]] | None:
    """Sets the first trial that was enqueued with Optuna's tools running.

    Returns:
      Its id, its number and the values that were asked for by name; None if there is none.
    """
    first = (
        sa.select(_trials.c.trial_id)
        .where(_trials.c.study_id == study_id, _trials.c.state == TrialState.WAITING)
        .order_by(_trials.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = connection.execute(
        _trials.update()
        .where(_trials.c.trial_id == first)
        .values(state=TrialState.RUNNING, datetime_start=_utc_now)
        .returning(_trials.c.trial_id, _trials.c.number)
    ).one_or_none()
    if row is None:
        return None
    asked = connection.scalar(
        sa.select(_system_attributes.c.value_json).where(
            _system_attributes.c.trial_id == row.trial_id,
            _system_attributes.c.key == "fixed_params",
        )
    )
    return row.trial_id, row.number, json.loads(asked) if asked else {}


def _lock(connection: sa.Connection, study_id: int) -> None:
    locked = sa.select(_studies.c.study_id).where(_studies.c.study_id == study_id)
    connection.execute(locked.with_for_update()).one()


def insert_params(
    connection: sa.Connection,
    trial_id: int,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
) -> None:
    """Adds the parameters of a running trial."""
    rows = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(distributions[name]),
        }
        for name, value in params.items()
    ]
    connection.execute(_params.insert(), rows)


def insert_attributes(
    connection: sa.Connection, trial_id: int, attributes: Mapping[str, Any]
) -> None:
    """Adds user attributes of a running trial; those it has already stay as they are."""
    names = list(attributes)
    values = [json.dumps(attributes[name]) for name in names]
    connection.execute(_INSERT_ATTRIBUTES, {"trial": trial_id, "keys": names, "values": values})


def set_system_attribute(connection: sa.Connection, trial_id: int, key: str, value: Any) -> None:
    """Sets a system attribute of a running trial, where samplers keep what they drew."""
    given = {"trial": trial_id, "key": key, "value": json.dumps(value)}
    connection.execute(_SET_SYSTEM_ATTRIBUTE, given)


# One statement for all rows; several rows of an `INSERT ... VALUES` with ON CONFLICT are not.
_INSERT_ATTRIBUTES = sa.text("""
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT :trial, * FROM unnest(CAST(:keys AS text[]), CAST(:values AS text[]))
    ON CONFLICT DO NOTHING
""")

_SET_SYSTEM_ATTRIBUTE = sa.text("""
    INSERT INTO trial_system_attributes (trial_id, key, value_json)
    VALUES (:trial, :key, :value)
    ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json
""")


def finish_trial(
    connection: sa.Connection,
    trial_id: int,
    state: TrialState,
    *,
    value: float | None = None,
    attributes: Mapping[str, Any],
    intermediate_values: Mapping[int, float] = MappingProxyType({}),
) -> bool:
    """Ends a running trial with all that is known of it.

    Returns:
      Whether this was done; False if somebody finished the trial by other means, whose word
      stands in Optuna's tables as ours does in our own.
    """
    done = connection.execute(
        _trials.update()
        .where(_trials.c.trial_id == trial_id, _trials.c.state == TrialState.RUNNING)
        .values(state=state, datetime_complete=_utc_now)
    )
    if not done.rowcount:
        return False
    if value is not None:
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        connection.execute(
            _values.insert().values(trial_id=trial_id, objective=0, value=stored, value_type=kind)
        )
    insert_attributes(connection, trial_id, attributes)
    represent = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    rows = [
        {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": stored,
            "intermediate_value_type": kind,
        }
        for step, (stored, kind) in ((s, represent(v)) for s, v in intermediate_values.items())
    ]
    if rows:
        connection.execute(_intermediate.insert(), rows)
    return True
