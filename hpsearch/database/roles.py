"""Postgres roles: who may do what, so that a worker cannot delete and a viewer cannot write."""

from __future__ import annotations

import re

import sqlalchemy as sa

from hpsearch.database.tables import SCHEMA
from hpsearch.exceptions import InvalidValue

WORKER = "hpsearch_worker"
VIEWER = "hpsearch_viewer"


def role_statements(worker: str = WORKER, viewer: str = VIEWER) -> list[str]:
    """Returns the statements that make two roles beside the owner of the tables.

    The worker reads, inserts and updates, but deletes nothing and changes no table. The viewer
    reads. Both get no password here: give them one with `ALTER ROLE ... PASSWORD`.

    Args:
      worker: name of the role that workers use.
      viewer: name of the role that people who look on use.

    Raises:
      InvalidValue: a name is not a plain one.
    """
    for name in (worker, viewer):
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            allowed = "lower-case letters, digits and underscores"
            raise InvalidValue(name="the role's name", value=name, allowed=allowed)
    both = f"{worker}, {viewer}"
    statements = [_create(worker), _create(viewer)]
    for schema in ("public", SCHEMA):
        tables, sequences = f"ALL TABLES IN SCHEMA {schema}", f"ALL SEQUENCES IN SCHEMA {schema}"
        statements += [
            f"GRANT USAGE ON SCHEMA {schema} TO {both}",
            f"GRANT SELECT ON {tables} TO {both}",
            f"GRANT INSERT, UPDATE ON {tables} TO {worker}",
            f"GRANT USAGE, SELECT ON {sequences} TO {worker}",
        ]
    return statements


def _create(role: str) -> str:
    return (
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )


def apply_roles(engine: sa.Engine, statements: list[str]) -> None:
    """Carries the statements out in one transaction."""
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def may_write(connection: sa.Connection) -> bool:
    """Returns whether this connection's role may change our tables."""
    query = sa.text("SELECT has_table_privilege(:table, 'UPDATE')")
    return bool(connection.scalar(query, {"table": f"{SCHEMA}.runs"}))
