"""Backup and restore: one file of pg_dump's custom format."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa

from hpsearch.database.binaries import find_program
from hpsearch.database.engine import cause, make_engine, wait_for, where
from hpsearch.exceptions import BackupFailed, DatabaseNotEmpty
from hpsearch.settings import settings

_TABLES = sa.text(
    "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
)


def back_up(url: sa.URL, file: Path) -> None:
    """Writes everything that the database holds into a file; workers may go on meanwhile.

    The file appears when it is complete and only its owner may read it. One that was there
    before is replaced.

    Args:
      url: of the database.
      file: to write; `pg_restore` reads it.

    Raises:
      NoPostgres: this machine has no pg_dump of the server's version or a later one.
      BackupFailed: pg_dump failed; its words are in the message.
    """
    engine = make_engine(url)
    wait_for(engine, settings().db_wait_seconds)
    program = find_program("pg_dump", at_least=_server_major(engine))
    try:
        descriptor, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}-")
        os.close(descriptor)
    except OSError as error:
        raise BackupFailed(what=f"{file} cannot be written", problem=error.strerror) from None
    unfinished = Path(name)
    try:
        _run(program, url, "--format=custom", "--no-owner", f"--file={unfinished}")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def restore(url: sa.URL, file: Path) -> None:
    """Fills an empty database from a backup, whole or not at all.

    Args:
      url: of a database without tables.
      file: that `back_up` or `pg_dump --format=custom` wrote.

    Raises:
      DatabaseNotEmpty: the database holds tables; nothing was changed.
      NoPostgres: this machine has no pg_restore of the server's version or a later one.
      BackupFailed: pg_restore failed; its words are in the message.
    """
    engine = make_engine(url)
    wait_for(engine, settings().db_wait_seconds)
    with engine.connect() as connection:
        if connection.scalar(_TABLES):
            raise DatabaseNotEmpty(where=where(url))
    program = find_program("pg_restore", at_least=_server_major(engine))
    whole = ("--single-transaction", "--exit-on-error", "--no-owner")
    _run(program, url, *whole, str(file))


def _server_major(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000


def _run(program: Path, url: sa.URL, *arguments: str) -> None:
    """Runs a program of Postgres; the password travels in its environment."""
    # Not `set(password=None)`, which changes nothing.
    shown = url._replace(drivername="postgresql", password=None).render_as_string()
    environment = dict(os.environ)
    if url.password is not None:
        environment["PGPASSWORD"] = str(url.password)
    done = subprocess.run(
        [program, f"--dbname={shown}", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise BackupFailed(what=f"{program.name} failed", problem=cause(Exception(lines[0])))
