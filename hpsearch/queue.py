"""Runs and their leases: claim, renew, enqueue.

All SQL that locks is here, in `ending` and in `reaping`. Each verb is one transaction that first
locks the study's row, so within a study they happen one after the other. An attempt's id is chosen
by the worker before it asks, so a claim whose commit's acknowledgement was lost finds its own
lease.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from sqlalchemy.dialects.postgresql import JSONB

from hpsearch.base import Budget, Measurement, Purpose, seed_of
from hpsearch.comparable import Reference, reference
from hpsearch.curve import store_curve
from hpsearch.database.tables import attempts, runs, specs
from hpsearch.drawing import draw_trial, prepare_drawing
from hpsearch.ending import lock_study, now, stored
from hpsearch.reaping import expire, lease_again
from hpsearch.settings import settings
from hpsearch.study import Study


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right of one worker to work at one run.

    Attributes:
      attempt_id: its token.
      number: of the attempt at this run, from 1.
      against: what the result will be compared with.
    """

    attempt_id: uuid.UUID
    run_id: int
    trial_number: int | None
    trial_id: int | None
    purpose: Purpose
    seed: int
    params: Mapping[str, float]
    hyperparams: Mapping[str, Any]
    budget: Budget
    number: int
    against: Reference

    @property
    def label(self) -> str:
        """What people call the run: `trial 7`, `trial 7 replay 123`, `train 123`."""
        trial = [] if self.trial_number is None else [f"trial {self.trial_number}"]
        rest = [] if self.purpose is Purpose.SEARCH else [f"{self.purpose} {self.seed}"]
        return " ".join(trial + rest)


class Nothing(enum.Enum):
    """Why there is no run to lease."""

    WAIT = "all open runs are leased; one may come back"
    DONE = "the study has all its results"
    STOPPED = "the study was stopped"


class Standing(enum.Enum):
    """What the database says of a lease."""

    HELD = "held"
    LOST = "lost"
    STOP = "stop"


def claim(
    study: Study, worker_id: uuid.UUID, attempt_id: uuid.UUID, *, only: Purpose | None = None
) -> Lease | Nothing:
    """Leases a waiting run, or a new trial's, to a worker.

    Args:
      study: where.
      worker_id: who asks.
      attempt_id: the lease's token; asking again with the same one returns the same lease.
      only: the one purpose that the worker works for; None for all. A stopped search still lets
        runs of the other purposes be made, by workers that work for nothing else, unless all was
        to stop at once.

    Returns:
      The lease, or why there is none.
    """
    # Built, with all that it imports, before anybody waits for this transaction.
    sampler = study.sampler if only in (None, Purpose.SEARCH) else None
    with study.database.joint_transaction() as (connection, storage):
        # What needs no lock comes before it: the other workers wait for this one.
        connection.execute(_SEEN, {"worker": worker_id})
        ours = sampler is not None and prepare_drawing(connection, study)
        against = reference(connection, study)
        row = lock_study(connection, study)
        expire(connection, study)
        keys = {"attempt": attempt_id, "only": only, "study": study.id}
        found = connection.execute(_FOUND, keys).one()
        if found.mine is not None:
            return _lease(connection.execute(_EARLIER, keys).one(), against)
        if row.stop == "now" or (row.stop is not None and sampler is not None):
            return Nothing.STOPPED
        run_id = found.waiting
        if run_id is None and sampler is not None and found.n_search < row.target:
            run_id = _new_trial(connection, storage, study, told=row.told, ours=ours)
        if run_id is None:
            return Nothing.WAIT if found.leased else Nothing.DONE
        seconds = settings().lease_seconds
        given = {"attempt": attempt_id, "run": run_id, "worker": worker_id, "seconds": seconds}
        return _lease(connection.execute(_LEASE, given).one(), against)


_SEEN = sa.text("UPDATE hpsearch.workers SET seen_at = clock_timestamp() WHERE id = :worker")

_FOUND = sa.text("""
    SELECT min(id) FILTER (WHERE attempt_id = :attempt) AS mine,
           min(id) FILTER (WHERE state = 'waiting' AND wanted) AS waiting,
           coalesce(bool_or(state = 'leased' AND wanted), false) AS leased,
           count(*) FILTER (WHERE state <> 'lost' AND purpose = 'search') AS n_search
    FROM (SELECT id, attempt_id, state, purpose,
                 coalesce(purpose = CAST(:only AS text), true) AS wanted
          FROM hpsearch.runs WHERE study_id = :study) AS of_study
""")

_EARLIER = sa.text("""
    SELECT run.*, attempt.id AS token, attempt.number
    FROM hpsearch.attempts AS attempt JOIN hpsearch.runs AS run ON run.id = attempt.run_id
    WHERE attempt.id = :attempt
""")

_LEASE = sa.text("""
    WITH run AS (
        UPDATE hpsearch.runs SET state = 'leased', attempt_id = :attempt WHERE id = :run
        RETURNING *
    ), attempt AS (
        INSERT INTO hpsearch.attempts (id, run_id, worker_id, number, expires_at)
        SELECT :attempt, :run, :worker, 1 + count(*),
               clock_timestamp() + make_interval(secs => :seconds)
        FROM hpsearch.attempts WHERE run_id = :run
        RETURNING id, number
    )
    SELECT run.*, attempt.id AS token, attempt.number FROM run, attempt
""")


def _lease(row: sa.Row[Any], against: Reference) -> Lease:
    return Lease(
        attempt_id=row.token,
        run_id=row.id,
        trial_number=row.trial_number,
        trial_id=row.trial_id,
        purpose=Purpose(row.purpose),
        seed=row.seed,
        params=row.params,
        hyperparams=row.hyperparams,
        budget=Budget(**row.budget),
        number=row.number,
        against=against,
    )


def _new_trial(
    connection: sa.Connection, storage: BaseStorage, study: Study, *, told: int, ours: bool
) -> int:
    """Draws a trial and returns the id of its search run."""
    trial, hyperparams = draw_trial(connection, storage, study, told=told, ours=ours)
    seed = seed_of(study.spec.seed, Purpose.SEARCH, trial.number)
    return _insert_run(connection, study, trial, Purpose.SEARCH, seed, hyperparams)


def _insert_run(
    connection: sa.Connection,
    study: Study,
    trial: FrozenTrial | None,
    purpose: Purpose,
    seed: int,
    hyperparams: Mapping[str, Any],
) -> int:
    given = {
        "study": study.id,
        "number": trial and trial.number,
        "trial": trial and trial._trial_id,
        "purpose": purpose,
        "seed": seed,
        "params": json.dumps(trial.params if trial else {}),
        "hyperparams": json.dumps(dict(hyperparams)),
        "budget": json.dumps(dataclasses.asdict(study.spec.budget)),
    }
    run_id: int = connection.execute(_INSERT_RUN, given).scalar_one()
    return run_id


_INSERT_RUN = sa.text("""
    INSERT INTO hpsearch.runs
        (study_id, trial_number, trial_id, purpose, seed, params, hyperparams, budget)
    VALUES (:study, :number, :trial, :purpose, :seed,
        CAST(:params AS jsonb), CAST(:hyperparams AS jsonb), CAST(:budget AS jsonb))
    RETURNING id
""")


def renew(
    study: Study, lease: Lease, curve: Sequence[Measurement], *, log_tail: str | None = None
) -> Standing:
    """Prolongs a lease and stores what came since; returns whether it still holds.

    A lease that was taken back, whose run nobody has leased since, is given again: after an outage
    the worker that comes first must not cost the others their training.

    Args:
      study: of the run.
      lease: to prolong.
      curve: measurements that are not stored yet; one that is stored already stays as it is.
      log_tail: end of the attempt's log; None if it is what was stored last.
    """
    log = {} if log_tail is None else {"log_tail": stored(log_tail)}
    end = now + sa.func.make_interval(0, 0, 0, 0, 0, 0, settings().lease_seconds)
    with study.database.transaction() as connection:
        prolong = (
            attempts.update()
            .where(attempts.c.id == lease.attempt_id, attempts.c.state == "leased")
            .values(expires_at=end, **log)
            .returning(attempts.c.worker_id)
        )
        held = connection.execute(prolong).one_or_none()
        if held is None and lease_again(connection, study, lease.attempt_id):
            held = connection.execute(prolong).one_or_none()
        if held is None:
            return Standing.LOST
        connection.execute(_SEEN, {"worker": held.worker_id})
        store_curve(connection, lease.attempt_id, curve)
        stop = connection.scalar(sa.select(specs.c.stop).where(specs.c.study_id == study.id))
        return Standing.STOP if stop == "now" else Standing.HELD


def enqueue_replays(study: Study, trial: FrozenTrial, n_seeds: int) -> list[int]:
    """Makes the runs of a trial on fresh seeds wait for a worker; those made before stay.

    The k-th seed is the same for all trials of a study, and none is a search run's.

    Args:
      study: of the trial.
      trial: complete, of `study`.
      n_seeds: how many seeds in all.

    Returns:
      The ids of the runs, in the order of the seeds.
    """
    hyperparams = study.spec.search_space().decode(trial.params)
    seeds = [seed_of(study.spec.seed, Purpose.REPLAY, k) for k in range(n_seeds)]
    with study.database.transaction() as connection:
        lock_study(connection, study)
        known = {
            row.seed: row.id
            for row in connection.execute(
                sa.select(runs.c.seed, runs.c.id).where(
                    runs.c.study_id == study.id,
                    runs.c.trial_number == trial.number,
                    runs.c.purpose == Purpose.REPLAY,
                )
            )
        }
        for seed in seeds:
            if seed not in known:
                known[seed] = _insert_run(
                    connection, study, trial, Purpose.REPLAY, seed, hyperparams
                )
            else:
                _try_again(connection, known[seed])
    return [known[seed] for seed in seeds]


def enqueue_runs(
    study: Study, purpose: Purpose, hyperparams: Mapping[str, Any], n_seeds: int
) -> list[int]:
    """Makes runs without a trial wait for a worker; those made before stay.

    Args:
      study: whose task, limits and budget they share.
      purpose: neither search nor replay.
      hyperparams: decoded.
      n_seeds: how many seeds in all; the k-th is the same for all hyper-parameters.

    Returns:
      The ids of the runs, in the order of the seeds.
    """
    ids = []
    with study.database.transaction() as connection:
        lock_study(connection, study)
        for k in range(n_seeds):
            seed = seed_of(study.spec.seed, purpose, k)
            run_id = connection.scalar(
                sa.select(runs.c.id).where(
                    runs.c.study_id == study.id,
                    runs.c.purpose == purpose,
                    runs.c.seed == seed,
                    runs.c.hyperparams == sa.cast(dict(hyperparams), JSONB),
                )
            )
            if run_id is None:
                run_id = _insert_run(connection, study, None, purpose, seed, hyperparams)
            else:
                _try_again(connection, run_id)
            ids.append(run_id)
    return ids


def _try_again(connection: sa.Connection, run_id: int) -> None:
    """Makes a run without a result wait again: somebody asks for it anew."""
    connection.execute(
        runs.update()
        .where(runs.c.id == run_id, runs.c.state.in_(("lost", "failed")))
        .values(state="waiting", reason=None, ended_at=None)
    )
