"""Trials as people and scripts read them: Optuna's record joined with our runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from hpsearch.base import Purpose
from hpsearch.database.tables import attempts, runs, workers
from hpsearch.study import Study


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """One trial with its search run.

    Attributes:
      number: what users type.
      state: of the search run: waiting, leased, finished, failed or lost; of a trial that was
        added by other tools, Optuna's.
      value: the metric; None without a result.
      params: encoded.
      hyperparams: decoded.
      seed: of the search run.
      num_timesteps: environment steps of training.
      train_seconds: wall seconds of training.
      ledger: where the attempt's wall seconds went.
      result: everything that the run gave.
      reason: why there is no result.
      attempts: how many were made.
      wall_seconds: of the accepted attempt, by the database's clock.
      other_code: whether it was made with other code than the study was created with.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    hyperparams: Mapping[str, Any]
    seed: int | None
    num_timesteps: int | None
    train_seconds: float | None
    ledger: Mapping[str, float]
    result: Mapping[str, Any]
    reason: str | None
    attempts: int
    wall_seconds: float | None
    other_code: bool

    def as_json(self) -> dict[str, Any]:
        """Returns the report as plain JSON values."""
        return dataclasses.asdict(self)


def report_trials(study: Study) -> list[TrialReport]:
    """Returns all trials of a study in the order of their numbers."""
    ended = attempts.alias("ended")
    wall = sa.func.extract("epoch", ended.c.ended_at - ended.c.leased_at)
    n_attempts = sa.select(sa.func.count()).where(attempts.c.run_id == runs.c.id).scalar_subquery()
    query = (
        sa.select(
            runs,
            ended.c.ledger,
            sa.cast(wall, sa.Double).label("wall"),
            n_attempts.label("n_attempts"),
            workers.c.code,
        )
        .outerjoin(ended, (ended.c.run_id == runs.c.id) & (ended.c.state == "accepted"))
        .outerjoin(workers, workers.c.id == ended.c.worker_id)
        .where(runs.c.study_id == study.id, runs.c.purpose == Purpose.SEARCH)
    )
    with study.database.transaction() as connection:
        rows = {row.trial_number: row for row in connection.execute(query)}
    reports = []
    for trial in study.trials():
        row = rows.get(trial.number)
        result = dict((row and row.result) or {})
        result.pop("ledger", None)
        reports.append(
            TrialReport(
                number=trial.number,
                state=row.state if row else trial.state.name.lower(),
                value=trial.value,
                params=trial.params,
                hyperparams=dict(sorted(row.hyperparams.items())) if row else {},
                seed=row.seed if row else None,
                num_timesteps=result.get("num_timesteps"),
                train_seconds=result.get("train_seconds"),
                ledger=(row and row.ledger) or {},
                result=result,
                reason=row.reason if row else None,
                attempts=row.n_attempts if row else 0,
                wall_seconds=row.wall if row else None,
                other_code=bool(row and row.code and row.code != study.code),
            )
        )
    return reports


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """One attempt at a run of a trial.

    Attributes:
      purpose: of the run.
      seed: of the run.
      number: of the attempt, from 1.
      host: where it was made.
      state: leased, accepted, failed, crashed, lost, preempted, declined or superseded.
      reason: why there is no result, in a word.
      detail: the same at length.
      log_tail: the last 64 KiB of its output.
    """

    purpose: str
    seed: int
    number: int
    host: str
    state: str
    reason: str | None
    detail: str | None
    log_tail: str


def report_attempts(study: Study, trial_number: int | None) -> list[AttemptReport]:
    """Returns all attempts at the runs of a trial, in the order in which they began.

    Args:
      study: of the runs.
      trial_number: None for the runs that belong to no trial.
    """
    query = (
        sa.select(runs.c.purpose, runs.c.seed, workers.c.host, attempts)
        .join(runs, runs.c.id == attempts.c.run_id)
        .join(workers, workers.c.id == attempts.c.worker_id)
        .where(runs.c.study_id == study.id, runs.c.trial_number.is_not_distinct_from(trial_number))
        .order_by(attempts.c.leased_at)
    )
    with study.database.transaction() as connection:
        return [
            AttemptReport(
                purpose=row.purpose,
                seed=row.seed,
                number=row.number,
                host=row.host,
                state=row.state,
                reason=row.reason,
                detail=row.detail,
                log_tail=row.log_tail or "",
            )
            for row in connection.execute(query)
        ]


def has_open_run(study: Study, trial_number: int | None) -> bool:
    """Returns whether a run of a trial, or of none, waits for an attempt or is at one."""
    query = sa.select(sa.func.count()).where(
        runs.c.study_id == study.id,
        runs.c.trial_number.is_not_distinct_from(trial_number),
        runs.c.state.in_(("waiting", "leased")),
    )
    with study.database.transaction() as connection:
        return bool(connection.scalar(query))
