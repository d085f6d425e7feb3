"""How far a study is: what the live table, `status` and the end of a launch show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from hpsearch.settings import settings
from hpsearch.study import Study

_COUNTS = sa.text("""
    SELECT count(*) FILTER (WHERE purpose = 'search' AND state = 'finished') AS complete,
           count(*) FILTER (WHERE purpose = 'search' AND state = 'failed') AS failed,
           count(*) FILTER (WHERE purpose = 'search' AND state = 'lost') AS lost,
           count(*) FILTER (WHERE state = 'waiting') AS waiting
    FROM hpsearch.runs WHERE study_id = :study
""")

_RUNNING = sa.text("""
    SELECT r.trial_number, r.purpose, r.seed, a.number AS attempt, w.host,
           extract(epoch FROM clock_timestamp() - a.leased_at)::float AS seconds,
           extract(epoch FROM a.expires_at - clock_timestamp())::float AS lease_left,
           m.num_timesteps, m.mean_return,
           CASE WHEN m.attempt_id IS NULL THEN 'starting'
                WHEN m.train_seconds >= (r.budget->>'train_seconds')::float
                  OR m.num_timesteps >= (r.budget->>'max_timesteps')::bigint THEN 'evaluating'
                ELSE 'training' END AS phase
    FROM hpsearch.runs r
    JOIN hpsearch.attempts a ON a.id = r.attempt_id
    JOIN hpsearch.workers w ON w.id = a.worker_id
    LEFT JOIN LATERAL (
        SELECT * FROM hpsearch.measurements WHERE attempt_id = a.id
        ORDER BY train_seconds DESC LIMIT 1
    ) m ON true
    WHERE r.study_id = :study ORDER BY a.leased_at
""")

_WORKERS = sa.text("""
    SELECT host, pid, note FROM hpsearch.workers
    WHERE study_id = :study AND left_at IS NULL
      AND seen_at > clock_timestamp() - make_interval(secs => :seconds)
    ORDER BY started_at
""")

_STUDY = sa.text("""
    SELECT target, stop, (
        SELECT avg(extract(epoch FROM ended_at - leased_at))::float FROM (
            SELECT a.* FROM hpsearch.attempts a JOIN hpsearch.runs r ON r.id = a.run_id
            WHERE r.study_id = :study AND a.state = 'accepted' AND r.purpose = 'search'
            ORDER BY a.ended_at DESC LIMIT 20
        ) recent
    ) AS seconds_per_trial
    FROM hpsearch.specs WHERE study_id = :study
""")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A run that somebody works at."""

    trial_number: int | None
    purpose: str
    seed: int
    attempt: int
    host: str
    seconds: float
    lease_left: float
    num_timesteps: int | None
    mean_return: float | None
    phase: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A study at one moment.

    Attributes:
      target: finished trials asked for.
      complete: trials with a result.
      failed: trials that failed by their parameters' own fault; finished as well.
      lost: trials given up for other reasons; others take their place.
      waiting: runs that nobody works at.
      running: runs under a lease.
      workers: host and process id of each worker seen lately.
      notes: what hinders a worker, in words.
      best: number and value of the best trial: one seed, not validated.
      stop: why the study was stopped, if it was.
      seconds_left: estimate until the target; None without a worker.
    """

    target: int
    complete: int
    failed: int
    lost: int
    waiting: int
    running: Sequence[Running]
    workers: Sequence[tuple[str, int]]
    notes: Sequence[str]
    best: tuple[int, float] | None
    stop: str | None
    seconds_left: float | None

    @property
    def finished(self) -> int:
        """Trials that count towards the target."""
        return self.complete + self.failed


def read_progress(study: Study) -> Progress:
    """Returns how far the study is."""
    key = {"study": study.id}
    seen = {**key, "seconds": settings().lease_seconds + settings().sweep_seconds}
    with study.database.transaction() as connection:
        head = connection.execute(_STUDY, key).one()
        counts: dict[str, Any] = dict(connection.execute(_COUNTS, key).mappings().one())
        running = [Running(**row) for row in connection.execute(_RUNNING, key).mappings()]
        alive = connection.execute(_WORKERS, seen).all()
    workers = [(row.host, row.pid) for row in alive]
    best = study.best()
    remaining = max(0, head.target - counts["complete"] - counts["failed"])
    per_trial = head.seconds_per_trial or study.spec.budget.train_seconds * 1.3
    begun = sum(min(r.seconds, per_trial) for r in running if r.purpose == "search")
    seconds_left = None
    if workers:
        seconds_left = max(0.0, remaining * per_trial - begun) / len(workers)
    return Progress(
        target=head.target,
        **counts,
        running=running,
        workers=workers,
        notes=[f"worker {row.host}:{row.pid} {row.note}" for row in alive if row.note],
        best=(best.number, best.value) if best and best.value is not None else None,
        stop=head.stop,
        seconds_left=seconds_left,
    )
