"""Our own tables, in the schema `hpsearch`: what Optuna's tables lack."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

SCHEMA = "hpsearch"
VERSION_TABLE = "tables_version"

metadata = sa.MetaData(schema=SCHEMA)

_now = sa.text("clock_timestamp()")


def _reference(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(f"{SCHEMA}.{column}", ondelete="CASCADE")


specs = sa.Table(
    # Not "studies": for a role named hpsearch this schema comes before Optuna's on the path.
    "specs",
    metadata,
    # Optuna's id; the migration adds the reference to Optuna's own table.
    sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("spec", JSONB, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    # What its results come from: package -> release, or hash of its sources.
    sa.Column("code", JSONB, nullable=False),
    sa.Column("target", sa.Integer, nullable=False),
    sa.Column("told", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lost_in_row", sa.Integer, nullable=False, server_default="0"),
    # Why no new run is leased: null, `after_trial`, `now`, or a failure's reason.
    sa.Column("stop", sa.Text),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=_now),
    sa.Column("used_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=_now),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("study_id", sa.Integer, _reference("specs.study_id"), nullable=False, index=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("code", JSONB, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=_now),
    sa.Column("seen_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=_now),
    sa.Column("left_at", sa.TIMESTAMP(timezone=True)),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("study_id", sa.Integer, _reference("specs.study_id"), nullable=False),
    # Null for purposes that belong to no trial.
    sa.Column("trial_number", sa.Integer),
    sa.Column("trial_id", sa.Integer),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("params", JSONB, nullable=False),
    sa.Column("hyperparams", JSONB, nullable=False),
    sa.Column("budget", JSONB, nullable=False),
    # waiting -> leased -> finished | failed | lost; leased -> waiting for another attempt.
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("attempt_id", UUID(as_uuid=True)),
    sa.Column("result", JSONB),
    sa.Column("value", sa.Double),
    sa.Column("told_index", sa.Integer),
    sa.Column("reason", sa.Text),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=_now),
    sa.Column("ended_at", sa.TIMESTAMP(timezone=True)),
    sa.UniqueConstraint("study_id", "trial_number", "seed", "budget", "purpose"),
    sa.UniqueConstraint("study_id", "told_index"),
    sa.CheckConstraint("state in ('waiting', 'leased', 'finished', 'failed', 'lost')", "state"),
    sa.CheckConstraint("(state = 'leased') = (attempt_id is not null)", "lease"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    # Chosen by the worker before it asks: the lease's fencing token, and what resolves a commit
    # whose outcome is unknown.
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("run_id", sa.BigInteger, _reference("runs.id"), nullable=False, index=True),
    sa.Column("worker_id", UUID(as_uuid=True), _reference("workers.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    # leased -> accepted | failed | crashed | lost | preempted | declined | superseded
    sa.Column("state", sa.Text, nullable=False, server_default="leased"),
    sa.Column("leased_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=_now),
    sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("ended_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("reason", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("log_tail", sa.Text),
    sa.Column("ledger", JSONB),
    sa.Index("leases", "expires_at", postgresql_where=sa.text("state = 'leased'")),
)

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("attempt_id", UUID(as_uuid=True), _reference("attempts.id"), primary_key=True),
    sa.Column("train_seconds", sa.Double, primary_key=True),
    sa.Column("num_timesteps", sa.BigInteger, nullable=False),
    sa.Column("n_updates", sa.BigInteger, nullable=False),
    sa.Column("mean_return", sa.Double),
    sa.Column("metrics", JSONB, nullable=False),
)

limits = sa.Table(
    "limits",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    # As typed: the same task with other settings has other limits.
    sa.Column("settings", JSONB, nullable=False),
    # Null for limits that were imported.
    sa.Column("percentile", sa.Double),
    # joint -> low, high, and of extracted ones: outside, edges, counts.
    sa.Column("joints", JSONB, nullable=False),
    # How they were found: PPO's return and that of standing, seed, budget, number of actions.
    sa.Column("source", JSONB, nullable=False),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=_now),
)
