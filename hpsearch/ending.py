"""How an attempt ends, and what that means for its run: accept, fail, release.

Each verb is one transaction under the study's lock. The attempt's id is the fencing token: what
arrives for a run that went on without this attempt is recorded as superseded, and a verb that is
repeated because its commit's acknowledgement was lost finds the attempt ended already.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpsearch.base import Measurement, Purpose, TrialResult
from hpsearch.curve import store_curve, thinned
from hpsearch.database.optuna_rows import finish_trial
from hpsearch.database.tables import attempts, runs, specs
from hpsearch.exceptions import StudyGone
from hpsearch.settings import settings
from hpsearch.study import Study

MAX_LOST_IN_ROW = 5
MAX_FAILED_IN_ROW = 10

now = sa.func.clock_timestamp()


class End(enum.StrEnum):
    """How an attempt ended that brought no result of its run."""

    CRASHED = "crashed"
    LOST = "lost"
    PREEMPTED = "preempted"
    DECLINED = "declined"

    @property
    def counts(self) -> bool:
        """Whether it uses up one of the run's attempts."""
        return self in (End.CRASHED, End.LOST)


def lock_study(connection: sa.Connection, study: Study) -> sa.Row[Any]:
    """Locks the study's row until the transaction ends; returns its target, told and stop.

    Raises:
      StudyGone: somebody deleted the study.
    """
    row = connection.execute(_LOCK, {"study": study.id}).one_or_none()
    if row is None:
        raise StudyGone(study=study.name)
    return row


_LOCK = sa.text("SELECT target, told, stop FROM hpsearch.specs WHERE study_id = :study FOR UPDATE")


def accept(
    study: Study,
    attempt_id: uuid.UUID,
    result: TrialResult,
    value: float,
    curve: Sequence[Measurement],
    *,
    log_tail: str = "",
    check: Callable[[sa.Connection], None] = lambda _: None,
) -> bool:
    """Makes a result the one result of its run; a search run's is also told to Optuna.

    Args:
      study: of the run.
      attempt_id: the lease.
      result: what the attempt gave.
      value: the study's metric of it.
      curve: all measurements of the attempt.
      log_tail: end of the attempt's log.
      check: is called under the lock, and may refuse the result by raising.

    Returns:
      Whether the result counts; False if the run went on without this attempt.
    """
    with study.database.transaction() as connection:
        # What needs no lock comes before it: the other workers wait for this one.
        store_curve(connection, attempt_id, curve)
        row = lock_study(connection, study)
        run = run_of(connection, attempt_id)
        if run.attempt_state != "leased" and run.state != "waiting":
            return bool(run.attempt_state == "accepted")
        check(connection)
        place = _tell(
            connection,
            run,
            row.told,
            TrialState.COMPLETE,
            _result_attributes(result),
            value,
            curve,
        )
        _count(connection, study, row.told, place)
        known = {
            "place": place,
            "result": json.dumps(dataclasses.asdict(result)),
            "value": value,
            "ledger": json.dumps(dict(result.ledger)),
            "log_tail": stored(log_tail),
        }
        _end_run(connection, run.id, attempt_id, "finished", "accepted", known)
    return True


def fail(
    study: Study, attempt_id: uuid.UUID, reason: str, detail: str, *, log_tail: str = ""
) -> bool:
    """Ends a run as failed by its parameters' own fault: it is finished and not tried again.

    Returns:
      Whether this counts; False if the run went on without this attempt.
    """
    with study.database.transaction() as connection:
        row = lock_study(connection, study)
        run = run_of(connection, attempt_id)
        if run.attempt_state != "leased" and run.state != "waiting":
            return bool(run.attempt_state == "failed")
        place = _tell(connection, run, row.told, TrialState.FAIL, {"failure": reason})
        _count_failure(connection, study, row.told, place, reason)
        known = {
            "place": place,
            "reason": stored(reason),
            "detail": stored(detail),
            "log_tail": stored(log_tail),
        }
        _end_run(connection, run.id, attempt_id, "failed", "failed", known)
    return True


def release(
    study: Study,
    attempt_id: uuid.UUID,
    end: End,
    reason: str,
    detail: str = "",
    *,
    log_tail: str | None = None,
) -> None:
    """Ends an attempt without a result: the run waits for another one, or is given up."""
    with study.database.transaction() as connection:
        lock_study(connection, study)
        release_locked(connection, study, attempt_id, end, reason, detail, log_tail)


def supersede(study: Study, attempt_id: uuid.UUID) -> None:
    """Records that an attempt brought something for a run that had gone on without it."""
    with study.database.transaction() as connection:
        connection.execute(
            attempts.update()
            .where(attempts.c.id == attempt_id, attempts.c.state == "lost")
            .values(state="superseded", ended_at=now)
        )


def stop_unless_it_works(study: Study, reason: str) -> bool:
    """Stops a study that has no result: no new run is leased until the next launch.

    Returns:
      Whether it stops; False if it has results, so that it can be run, though not by everyone.
    """
    with study.database.transaction() as connection:
        stopped = connection.execute(_STOP_FIRST, {"study": study.id, "reason": stored(reason)})
        return bool(stopped.rowcount)


_STOP_FIRST = sa.text("""
    UPDATE hpsearch.specs SET stop = :reason WHERE study_id = :study AND NOT EXISTS (
        SELECT FROM hpsearch.runs WHERE study_id = :study AND state = 'finished')
""")


def stored(text: str) -> str:
    """Returns `text` as Postgres can store it: with no NUL and no lone surrogate."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    return encodable.replace("\0", "\N{REPLACEMENT CHARACTER}")


def run_of(connection: sa.Connection, attempt_id: uuid.UUID) -> sa.Row[Any]:
    """Returns the run that an attempt is made at, and the attempt's state."""
    return connection.execute(_RUN_OF, {"attempt": attempt_id}).one()


_RUN_OF = sa.text("""
    SELECT run.id, run.trial_id, run.purpose, run.state, attempt.state AS attempt_state
    FROM hpsearch.attempts AS attempt JOIN hpsearch.runs AS run ON run.id = attempt.run_id
    WHERE attempt.id = :attempt
""")


def _end_attempt(
    connection: sa.Connection, attempt_id: uuid.UUID, state: str, **values: Any
) -> None:
    texts = {name: stored(value) for name, value in values.items() if isinstance(value, str)}
    connection.execute(
        attempts.update()
        .where(attempts.c.id == attempt_id)
        .values(state=state, ended_at=now, **{**values, **texts})
    )


def release_locked(
    connection: sa.Connection,
    study: Study,
    attempt_id: uuid.UUID,
    end: End,
    reason: str,
    detail: str = "",
    log_tail: str | None = None,
) -> None:
    """Does what `release` does, in a transaction that has locked the study."""
    run = run_of(connection, attempt_id)
    if run.attempt_state != "leased":
        return
    log = {} if log_tail is None else {"log_tail": log_tail}
    _end_attempt(connection, attempt_id, end, reason=reason, detail=detail, **log)
    counted = connection.scalars(
        sa.select(sa.func.count()).where(
            attempts.c.run_id == run.id, attempts.c.state.in_([e for e in End if e.counts])
        )
    ).one()
    given_up = counted >= settings().max_attempts
    values: dict[str, Any] = {"state": "waiting", "attempt_id": None}
    if given_up:
        values |= {"state": "lost", "reason": reason, "ended_at": now}
    connection.execute(runs.update().where(runs.c.id == run.id).values(values))
    if not given_up:
        return
    lost_in_row = connection.scalars(
        specs.update()
        .where(specs.c.study_id == study.id)
        .values(lost_in_row=specs.c.lost_in_row + 1)
        .returning(specs.c.lost_in_row)
    ).one()
    if lost_in_row >= MAX_LOST_IN_ROW:
        stop = f"{lost_in_row} runs in a row were given up; the last one: {reason}"
        connection.execute(specs.update().where(specs.c.study_id == study.id).values(stop=stop))
    if run.purpose == Purpose.SEARCH:
        finish_trial(connection, run.trial_id, TrialState.FAIL, attributes={"failure": reason})


def _tell(
    connection: sa.Connection,
    run: sa.Row[Any],
    told: int,
    state: TrialState,
    attributes: Mapping[str, Any],
    value: float | None = None,
    curve: Sequence[Measurement] = (),
) -> int | None:
    """Finishes the trial of a search run.

    Returns:
      Its place in what the sampler is told. None for runs of other purposes, and for a trial that
      somebody finished by other means: that one gets a place as a trial from elsewhere.
    """
    if run.purpose != Purpose.SEARCH:
        return None
    attributes = {"told_index": told, **attributes}
    points = thinned(curve)
    done = finish_trial(
        connection, run.trial_id, state,
        value=value, attributes=attributes, intermediate_values=points,
    )  # fmt: skip
    return told if done else None


def _count(connection: sa.Connection, study: Study, told: int, place: int | None) -> None:
    """Notes that a run has finished, and whether the sampler is told of it."""
    told += place is not None
    connection.execute(_COUNT, {"study": study.id, "told": told})


_COUNT = sa.text("UPDATE hpsearch.specs SET told = :told, lost_in_row = 0 WHERE study_id = :study")


def _count_failure(
    connection: sa.Connection, study: Study, told: int, place: int | None, reason: str
) -> None:
    """Does the same for a failure; stops a study that has failures only."""
    told += place is not None
    in_row = connection.scalar(_COUNT_FAILURE, {"study": study.id, "told": told})
    if in_row >= MAX_FAILED_IN_ROW:
        stop = f"{in_row} runs in a row and no result; the last one failed: {reason}"
        connection.execute(specs.update().where(specs.c.study_id == study.id).values(stop=stop))


_COUNT_FAILURE = sa.text("""
    UPDATE hpsearch.specs SET told = :told, lost_in_row = CASE
        WHEN EXISTS (SELECT FROM hpsearch.runs WHERE study_id = :study AND state = 'finished')
        THEN 0 ELSE lost_in_row + 1 END
    WHERE study_id = :study RETURNING lost_in_row
""")


def _end_run(
    connection: sa.Connection,
    run_id: int,
    attempt_id: uuid.UUID,
    run_state: str,
    attempt_state: str,
    known: Mapping[str, Any],
) -> None:
    """Ends a run and the attempt that finished it; of `_UNKNOWN` what is not known stays null."""
    states = {"run_state": run_state, "attempt_state": attempt_state}
    keys = {"run": run_id, "attempt": attempt_id}
    connection.execute(_END_RUN, {**_UNKNOWN, **known, **keys, **states})


_UNKNOWN = dict.fromkeys(
    ("place", "result", "value", "ledger", "reason", "detail", "log_tail"), None
)

_END_RUN = sa.text("""
    WITH ended AS (
        UPDATE hpsearch.runs SET state = :run_state, attempt_id = NULL,
            result = CAST(:result AS jsonb), value = :value, told_index = :place,
            reason = :reason, ended_at = clock_timestamp()
        WHERE id = :run
    )
    UPDATE hpsearch.attempts SET state = :attempt_state, ended_at = clock_timestamp(),
        reason = :reason, detail = :detail, log_tail = :log_tail, ledger = CAST(:ledger AS jsonb)
    WHERE id = :attempt
""")


def _result_attributes(result: TrialResult) -> dict[str, Any]:
    names = ("num_timesteps", "n_updates", "train_seconds", "cpu_seconds", "std_reward", "device")
    attributes = {**{name: getattr(result, name) for name in names}, **result.metrics}
    if contended := result.conditions.get("contended"):
        attributes["contended"] = contended
    return attributes
