"""Optuna's rows of one trial, written in a few statements.

Optuna's own storage reads before each write: about 90 statements to make a trial of nine
parameters and 40 to finish it, all of them while the study is locked. The same rows take
seven here. A test compares them with what Optuna itself writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialValueModel
from optuna.trial import TrialState

# Plain text, because building these statements anew for each trial took longer than they do.
# Times are in UTC without a zone, as Optuna stores them; by the database's clock, as all of ours.


def insert_trial(connection: sa.Connection, study_id: int) -> tuple[int, int]:
    """Adds a running trial; returns its id and number.

    Optuna's row of the study stays locked until the transaction ends, as Optuna does it, so that
    a trial added by another tool at the same time gets another number.
    """
    connection.execute(_LOCK, {"study": study_id})
    row = connection.execute(_INSERT_TRIAL, {"study": study_id}).one()
    return row.trial_id, row.number


_LOCK = sa.text("SELECT study_id FROM studies WHERE study_id = :study FOR UPDATE")

_INSERT_TRIAL = sa.text("""
    INSERT INTO trials (study_id, number, state, datetime_start)
    SELECT :study, count(*), CAST('RUNNING' AS trialstate), timezone('UTC', clock_timestamp())
    FROM trials WHERE study_id = :study
    RETURNING trial_id, number
""")


def take_waiting_trial(
    connection: sa.Connection, study_id: int
) -> tuple[int, int, Mapping[str, Any]] | None:
    """Sets the first trial that was enqueued with Optuna's tools running.

    Returns:
      Its id, its number and the values that were asked for by name; None if there is none.
    """
    row = connection.execute(_TAKE, {"study": study_id}).one_or_none()
    if row is None:
        return None
    return row.trial_id, row.number, json.loads(row.asked) if row.asked else {}


_TAKE = sa.text("""
    UPDATE trials SET state = 'RUNNING', datetime_start = timezone('UTC', clock_timestamp())
    WHERE trial_id = (
        SELECT trial_id FROM trials WHERE study_id = :study AND state = 'WAITING'
        ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING trial_id, number, (
        SELECT value_json FROM trial_system_attributes AS attribute
        WHERE attribute.trial_id = trials.trial_id AND key = 'fixed_params') AS asked
""")


def insert_params(
    connection: sa.Connection,
    trial_id: int,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
) -> None:
    """Adds the parameters of a running trial."""
    given = {
        "trial": trial_id,
        "names": list(params),
        "values": [distributions[name].to_internal_repr(params[name]) for name in params],
        "distributions": [distribution_to_json(distributions[name]) for name in params],
    }
    connection.execute(_INSERT_PARAMS, given)


_INSERT_PARAMS = sa.text("""
    INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT :trial, * FROM unnest(
        CAST(:names AS text[]), CAST(:values AS float[]), CAST(:distributions AS text[]))
""")


def insert_attributes(
    connection: sa.Connection, trial_id: int, attributes: Mapping[str, Any]
) -> None:
    """Adds user attributes of a running trial; those it has already stay as they are."""
    connection.execute(_INSERT_ATTRIBUTES, {"trial": trial_id, **_arrays(attributes)})


_INSERT_ATTRIBUTES = sa.text("""
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT :trial, * FROM unnest(CAST(:keys AS text[]), CAST(:values AS text[]))
    ON CONFLICT DO NOTHING
""")


def _arrays(attributes: Mapping[str, Any]) -> dict[str, list[str]]:
    values = [json.dumps(value) for value in attributes.values()]
    return {"keys": list(attributes), "values": values}


def set_system_attribute(connection: sa.Connection, trial_id: int, key: str, value: Any) -> None:
    """Sets a system attribute of a running trial, where samplers keep what they drew."""
    given = {"trial": trial_id, "key": key, "value": json.dumps(value)}
    connection.execute(_SET_SYSTEM_ATTRIBUTE, given)


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
    stored, kind = (None, None)
    if value is not None:
        stored, kind = TrialValueModel.value_to_stored_repr(value)
    represent = TrialIntermediateValueModel.intermediate_value_to_stored_repr
    points = [represent(point) for point in intermediate_values.values()]
    given = {
        "trial": trial_id,
        "state": state.name,
        "value": stored,
        "kind": kind and kind.name,
        "steps": list(intermediate_values),
        "points": [point for point, _ in points],
        "kinds": [each.name for _, each in points],
        **_arrays(attributes),
    }
    return bool(connection.scalar(_FINISH, given))


_FINISH = sa.text("""
    WITH done AS (
        UPDATE trials SET state = CAST(:state AS trialstate),
            datetime_complete = timezone('UTC', clock_timestamp())
        WHERE trial_id = :trial AND state = 'RUNNING'
        RETURNING trial_id
    ), value AS (
        INSERT INTO trial_values (trial_id, objective, value, value_type)
        SELECT trial_id, 0, :value, CAST(:kind AS trialvaluetype) FROM done
        WHERE CAST(:kind AS text) IS NOT NULL
    ), attributes AS (
        INSERT INTO trial_user_attributes (trial_id, key, value_json)
        SELECT trial_id, attribute.* FROM done,
            unnest(CAST(:keys AS text[]), CAST(:values AS text[])) AS attribute
        ON CONFLICT DO NOTHING
    ), points AS (
        INSERT INTO trial_intermediate_values
            (trial_id, step, intermediate_value, intermediate_value_type)
        SELECT trial_id, point.* FROM done,
            unnest(CAST(:steps AS int[]), CAST(:points AS float[]),
                   CAST(CAST(:kinds AS text[]) AS trialintermediatevaluetype[])) AS point
    )
    SELECT count(*) FROM done
""")
