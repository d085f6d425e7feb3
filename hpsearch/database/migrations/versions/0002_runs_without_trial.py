"""Runs that belong to no trial, and stored action limits.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from hpsearch.database.tables import SCHEMA

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Lets a run have no trial, and adds the table of limits."""
    for column in ("trial_number", "trial_id"):
        op.alter_column("runs", column, nullable=True, schema=SCHEMA)
    op.create_table(
        "limits",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        sa.Column("percentile", sa.Double),
        sa.Column("joints", JSONB, nullable=False),
        sa.Column("source", JSONB, nullable=False),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        schema=SCHEMA,
    )
