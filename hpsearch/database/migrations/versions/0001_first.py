"""Specs, workers, runs, attempts and measurements."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0001"
down_revision = None

SCHEMA = "hpsearch"


def _time(name: str, *, now: bool = False) -> "sa.Column[object]":
    default = sa.text("clock_timestamp()") if now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=not now, server_default=default)


def _reference(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(f"{SCHEMA}.{column}", ondelete="CASCADE")


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "specs",
        sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("code", JSONB, nullable=False),
        sa.Column("target", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lost_in_row", sa.Integer, nullable=False, server_default="0"),
        sa.Column("stop", sa.Text),
        _time("created_at", now=True),
        _time("used_at", now=True),
        schema=SCHEMA,
    )
    # A study that is deleted by any Optuna tool takes our rows along.
    op.execute(
        f"ALTER TABLE {SCHEMA}.specs ADD CONSTRAINT specs_study_id_fkey "
        "FOREIGN KEY (study_id) REFERENCES studies (study_id) ON DELETE CASCADE"
    )
    op.create_table(
        "workers",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("study_id", sa.Integer, _reference("specs.study_id"), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("code", JSONB, nullable=False),
        sa.Column("note", sa.Text),
        _time("started_at", now=True),
        _time("seen_at", now=True),
        _time("left_at"),
        schema=SCHEMA,
    )
    op.create_index("ix_hpsearch_workers_study_id", "workers", ["study_id"], schema=SCHEMA)
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("study_id", sa.Integer, _reference("specs.study_id"), nullable=False),
        sa.Column("trial_number", sa.Integer, nullable=False),
        sa.Column("trial_id", sa.Integer, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("params", JSONB, nullable=False),
        sa.Column("hyperparams", JSONB, nullable=False),
        sa.Column("budget", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
        sa.Column("attempt_id", UUID(as_uuid=True)),
        sa.Column("result", JSONB),
        sa.Column("value", sa.Double),
        sa.Column("told_index", sa.Integer),
        sa.Column("reason", sa.Text),
        _time("created_at", now=True),
        _time("ended_at"),
        sa.UniqueConstraint("study_id", "trial_number", "seed", "budget", "purpose"),
        sa.UniqueConstraint("study_id", "told_index"),
        sa.CheckConstraint(
            "state in ('waiting', 'leased', 'finished', 'failed', 'lost')", "state"
        ),
        sa.CheckConstraint("(state = 'leased') = (attempt_id is not null)", "lease"),
        schema=SCHEMA,
    )
    op.create_table(
        "attempts",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("run_id", sa.BigInteger, _reference("runs.id"), nullable=False),
        sa.Column("worker_id", UUID(as_uuid=True), _reference("workers.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="leased"),
        _time("leased_at", now=True),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        _time("ended_at"),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("log_tail", sa.Text),
        sa.Column("ledger", JSONB),
        schema=SCHEMA,
    )
    op.create_index("ix_hpsearch_attempts_run_id", "attempts", ["run_id"], schema=SCHEMA)
    op.create_index(
        "leases",
        "attempts",
        ["expires_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_table(
        "measurements",
        sa.Column("attempt_id", UUID(as_uuid=True), _reference("attempts.id"), primary_key=True),
        sa.Column("train_seconds", sa.Double, primary_key=True),
        sa.Column("num_timesteps", sa.BigInteger, nullable=False),
        sa.Column("n_updates", sa.BigInteger, nullable=False),
        sa.Column("mean_return", sa.Double),
        sa.Column("metrics", JSONB, nullable=False),
        schema=SCHEMA,
    )
