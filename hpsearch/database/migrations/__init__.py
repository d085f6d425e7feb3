"""Versions of our tables; alembic's version table lives in their schema, apart from Optuna's.

Alembic itself is imported only to change tables: every command reads their version.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from hpsearch.database.tables import SCHEMA, VERSION_TABLE

_FOLDER = Path(__file__).parent


def current_version(connection: sa.Connection) -> str | None:
    """Returns the version of the tables in this database; None where there are none."""
    table = f"{SCHEMA}.{VERSION_TABLE}"
    if connection.scalar(sa.text("SELECT to_regclass(:table)"), {"table": table}) is None:
        return None
    version: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {table}"))
    return version


def known_versions() -> list[str]:
    """Returns the versions that this release knows, newest first."""
    files = (_FOLDER / "versions").glob("[0-9]*_*.py")
    return sorted((file.name.partition("_")[0] for file in files), reverse=True)


def migrate(engine: sa.Engine) -> None:
    """Brings the tables to the newest version, in one transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
