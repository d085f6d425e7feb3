"""Taking back the leases of dead workers, and giving back what was taken too soon."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from hpsearch.ending import End, lock_study, release_locked, run_of
from hpsearch.settings import settings
from hpsearch.study import Study


def reap(study: Study) -> None:
    """Takes back the leases of dead workers."""
    with study.database.transaction() as connection:
        lock_study(connection, study)
        expire(connection, study)


def reap_dead(study: Study) -> None:
    """Takes back the leases of dead workers, locking nothing where there are none."""
    with study.database.transaction() as connection:
        dead = _dead(connection, study)
    if dead:
        reap(study)


def expire(connection: sa.Connection, study: Study) -> None:
    """Takes back the leases that ended a sweep ago by the database's clock."""
    for attempt_id in _dead(connection, study):
        reason = "no sign of the worker until its lease ended"
        release_locked(connection, study, attempt_id, End.LOST, reason)


def _dead(connection: sa.Connection, study: Study) -> Sequence[uuid.UUID]:
    keys = {"study": study.id, "sweep": settings().sweep_seconds}
    return connection.execute(_DEAD, keys).scalars().all()


# Who lives renews within a sweep after the server is back, and must not be taken for dead then.
_DEAD = sa.text("""
    SELECT attempt.id FROM hpsearch.attempts AS attempt
    JOIN hpsearch.runs AS run ON run.id = attempt.run_id
    WHERE run.study_id = :study AND attempt.state = 'leased'
      AND greatest(attempt.expires_at, pg_postmaster_start_time())
        + make_interval(secs => :sweep) < clock_timestamp()
""")


def lease_again(connection: sa.Connection, study: Study, attempt_id: uuid.UUID) -> bool:
    """Gives a lost attempt its run back, if that waits for somebody; returns whether it did."""
    lock_study(connection, study)
    run = run_of(connection, attempt_id)
    if (run.attempt_state, run.state) != ("lost", "waiting"):
        return False
    connection.execute(_LEASE_AGAIN, {"attempt": attempt_id, "run": run.id})
    return True


_LEASE_AGAIN = sa.text("""
    WITH run AS (
        UPDATE hpsearch.runs SET state = 'leased', attempt_id = :attempt WHERE id = :run
    )
    UPDATE hpsearch.attempts
    SET state = 'leased', reason = NULL, detail = NULL, ended_at = NULL WHERE id = :attempt
""")
