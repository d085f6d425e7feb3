"""A real Postgres for every test that asks for one, and no variable of the user's."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpsearch.database import embedded
from hpsearch.database.transaction import Database
from hpsearch.settings import settings


def _reachable_folder() -> Path:
    # As root the server runs under another account, which cannot enter pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-test-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


def _discard(folder: Path) -> None:
    data_dir = folder / "data"
    if (data_dir / "postgres" / "cluster").exists():
        embedded.down(data_dir)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[sa.URL]:
    """The URL of an embedded server that lives as long as the tests."""
    folder = _reachable_folder()
    with pytest.MonkeyPatch.context() as patch:
        _forget_variables(patch)
        settings.cache_clear()
        url = embedded.ensure_running(folder / "data")
        settings.cache_clear()
    yield url
    _discard(folder)


@contextmanager
def _database(postgres_url: sa.URL, template: str) -> Iterator[sa.URL]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(
        postgres_url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres_url.set(database=name)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_url: sa.URL) -> Iterator[str]:
    """The URL, with its password, of an empty database for one test."""
    with _database(postgres_url, "template1") as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def template(postgres_url: sa.URL) -> Iterator[str]:
    """The name of a database with all tables and no rows, to be copied."""
    with _database(postgres_url, "template1") as url:
        with pytest.MonkeyPatch.context() as patch:
            _forget_variables(patch)
            Database(url).close()
        assert url.database
        yield url.database


@pytest.fixture
def tables_url(postgres_url: sa.URL, template: str) -> Iterator[str]:
    """The URL, with its password, of a database with all tables and no rows."""
    with _database(postgres_url, template) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(autouse=True)
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder for one test, which is `HPSEARCH_DATA_DIR`; a server in it is stopped."""
    _forget_variables(monkeypatch)
    folder = _reachable_folder()
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(folder / "data"))
    settings.cache_clear()
    yield folder / "data"
    settings.cache_clear()
    _discard(folder)


def _forget_variables(patch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("HPSEARCH_", "PG")):
            patch.delenv(name)
