"""Reaching a database: URLs, TLS, pinned sessions, waiting, and secrets that stay secret."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from hpsearch.database import deadline
from hpsearch.database.engine import (
    is_transient,
    make_engine,
    normalise_url,
    storage_url,
    wait_for,
    where,
)
from hpsearch.exceptions import (
    AccessDenied,
    DatabaseUnavailable,
    HpsearchError,
    InsecureStorage,
    InvalidStorage,
    NoSuchDatabase,
    NotPostgres,
    OpenStorageFile,
    TlsFailed,
)
from hpsearch.settings import settings

_PASSWORD = "a{b}%c@d/e f:?"


@contextmanager
def _engine(url: sa.URL | str) -> Iterator[sa.Engine]:
    engine = make_engine(normalise_url(url) if isinstance(url, str) else url)
    try:
        yield engine
    finally:
        engine.dispose()


def _scalar(engine: sa.Engine, query: str) -> object:
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar()


@pytest.fixture
def role(database_url: str) -> Iterator[Callable[..., sa.URL]]:
    """Makes a role with the settings it is given, and returns its URL."""
    name = "role_" + (normalise_url(database_url).database or "")

    def make(password: str = "plain", **defaults: str) -> sa.URL:
        with _engine(database_url) as engine, engine.begin() as connection:
            quoted = password.replace("'", "''").replace("%", "%%")
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{quoted}'")
            for setting, value in defaults.items():
                connection.exec_driver_sql(f"ALTER ROLE {name} SET {setting} = '{value}'")
        return normalise_url(database_url).set(username=name, password=password)

    yield make
    with _engine(database_url) as engine, engine.begin() as connection:
        connection.exec_driver_sql(f"DROP ROLE IF EXISTS {name}")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_every_spelling_of_a_postgres_url_is_taken(scheme: str) -> None:
    url = normalise_url(f"{scheme}://me:s%40fe@db.lab:5433/rl?sslmode=verify-full")
    assert url == sa.URL.create(
        "postgresql+psycopg2", "me", "s@fe", "db.lab", 5433, "rl", {"sslmode": "verify-full"}
    )


def test_a_url_may_name_a_socket_an_ipv6_host_or_nothing() -> None:
    assert normalise_url("postgresql:///rl?host=/run/postgresql").query["host"]
    assert normalise_url("postgresql://%2Frun%2Fpostgresql/rl").host == "/run/postgresql"
    assert normalise_url("postgresql://me@[::1]:5433/rl").host == "::1"
    assert normalise_url("postgresql://").host is None


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///hunter2.db",
        "postgresql://me:hunter2@[::1/rl",
        "mysql://me:hunter2@db/rl",
        "me:hunter2@db/rl",
        "postgresql://me:hunter2@db:port/rl",
        "postgresql+asyncpg://me:hunter2@db/rl",
    ],
)
def test_anything_else_is_refused_without_showing_the_password(text: str) -> None:
    with pytest.raises(InvalidStorage, match="postgresql://USER") as refusal:
        normalise_url(text)
    assert "hunter2" not in "".join(traceback.format_exception(refusal.value))


def test_a_hostile_password_connects_encoded_or_raw_and_appears_nowhere(
    role: Callable[..., sa.URL], caplog: pytest.LogCaptureFixture
) -> None:
    url = role(_PASSWORD)
    encoded = url.render_as_string(hide_password=False)
    raw = f"postgresql://{url.username}:{_PASSWORD}@{url.host}:{url.port}/{url.database}"
    for text in (encoded, raw):
        with _engine(text) as engine:
            wait_for(engine, 1)
            assert _PASSWORD not in repr(engine) + str(engine.url) + where(engine.url)
    with _engine(url.set(password=_PASSWORD + "x")) as engine:
        with pytest.raises(AccessDenied) as refusal:
            wait_for(engine, 30)
        shown = "".join(traceback.format_exception(refusal.value)) + caplog.text
        assert _PASSWORD not in shown


def test_flag_beats_variable_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://localhost/from_file?sslrootcert=ca.crt\n")
    file.chmod(0o600)
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(file))
    settings.cache_clear()
    url = storage_url(None)
    assert (url.database, url.query["sslrootcert"]) == ("from_file", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("HPSEARCH_STORAGE", "postgresql://localhost/from_variable")
    settings.cache_clear()
    assert storage_url(None).database == "from_variable"
    assert storage_url("postgresql://localhost/from_flag").database == "from_flag"


def test_a_storage_file_that_all_may_read_or_that_is_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "url"
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(file))
    settings.cache_clear()
    with pytest.raises(InvalidStorage, match="No such file"):
        storage_url(None)
    file.write_text("postgresql://localhost/rl")
    file.chmod(0o644)
    with pytest.raises(OpenStorageFile, match="chmod 600"):
        storage_url(None)


@pytest.mark.parametrize("query", ["?sslmode=disable", "?sslmode=require", "?sslmode=prefer"])
def test_another_host_without_verified_tls_is_refused_unless_asked_for(query: str) -> None:
    text = f"postgresql://me:hunter2@db.lab/rl{query}"
    with pytest.raises(InsecureStorage, match="--insecure-storage") as refusal:
        storage_url(text)
    assert "hunter2" not in str(refusal.value)
    assert storage_url(text, insecure=True).host == "db.lab"


def test_another_host_gets_verified_tls_by_default_and_this_one_none() -> None:
    assert storage_url("postgresql://me@db.lab/rl").query["sslmode"] == "verify-full"
    assert storage_url("postgresql://me@h/rl?sslmode=verify-ca").query["sslmode"] == "verify-ca"
    assert storage_url("postgresql:///rl?host=db.lab").query["sslmode"] == "verify-full"
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "[::1]", "%2Frun%2Fpostgresql", ""):
        assert "sslmode" not in storage_url(f"postgresql://{host}/rl").query


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_sessions_are_pinned_whatever_the_role_and_the_environment_say(
    isolation: str, role: Callable[..., sa.URL], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=0 -c lock_timeout=0")
    url = role(
        default_transaction_isolation=isolation,
        timezone="America/New_York",
        lock_timeout="0",
        statement_timeout="0",
        idle_in_transaction_session_timeout="0",
    )
    expected = {
        "transaction_isolation": "read committed",
        "default_transaction_isolation": "read committed",
        "timezone": "UTC",
        "lock_timeout": "20s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "30s",
        "application_name": "hpsearch",
    }
    with _engine(url) as engine:
        for _ in range(2):  # a rollback between must not undo them
            assert {name: _scalar(engine, f"SHOW {name}") for name in expected} == expected
        other = engine.execution_options(isolation_level="AUTOCOMMIT")
        assert _scalar(other, "SELECT 1") == 1
        assert _scalar(engine, "SHOW transaction_isolation") == "read committed"


def test_an_engine_holds_no_more_connections_than_it_was_given(database_url: str) -> None:
    with _engine(database_url) as engine, engine.connect(), engine.connect():
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        with pytest.raises(sa.exc.TimeoutError) as exhausted:
            engine.pool.__dict__["_timeout"] = 0.1
            engine.connect()
        assert is_transient(exhausted.value)
        with _engine(database_url) as other:
            assert _scalar(other, count) == 3


def test_a_pgpass_file_gives_the_password(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = normalise_url(database_url)
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:{url.username}:{url.password}\n")
    file.chmod(0o600)
    without = sa.URL.create(
        url.drivername, url.username, host=url.host, port=url.port, database=url.database
    )
    with _engine(without) as engine, pytest.raises(AccessDenied):
        wait_for(engine, 30)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with _engine(without) as engine:
        wait_for(engine, 1)


def test_what_waiting_cannot_cure_fails_at_once(database_url: str) -> None:
    url = normalise_url(database_url)
    wrong: list[tuple[sa.URL, type[HpsearchError], str]] = [
        (url.set(password="wrong"), AccessDenied, "password"),
        (url.set(username="nobody_here"), AccessDenied, "password"),
        (url.set(database="not_there"), NoSuchDatabase, "not_there at 127.0.0.1"),
        (url.update_query_dict({"sslmode": "verify-full"}), TlsFailed, "sslrootcert"),
    ]
    for bad, kind, text in wrong:
        started = time.monotonic()
        with _engine(bad) as engine, pytest.raises(kind, match=text) as refusal:
            wait_for(engine, 30)
        assert time.monotonic() - started < 2
        assert "\n" not in str(refusal.value)
        assert url.password is not None and url.password not in str(refusal.value)


def test_something_else_at_the_port_is_named_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            client.recv(8)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        refused = pytest.raises(NotPostgres, match=f"rl at 127.0.0.1:{port}")
        with _engine(f"postgresql://me@127.0.0.1:{port}/rl") as engine, refused:
            wait_for(engine, 30)
        thread.join()


def test_a_database_that_is_away_is_waited_for_within_bounds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = taken.getsockname()[1]
        told: list[str] = []
        started = time.monotonic()
        with (
            _engine(f"postgresql://me:hunter2@127.0.0.1:{port}/rl") as engine,
            pytest.raises(DatabaseUnavailable) as refusal,
        ):
            wait_for(engine, 1.5, on_wait=told.append)
        assert time.monotonic() - started < 3
    assert refusal.value.exit_code == 69
    text = str(refusal.value)
    assert f"rl at 127.0.0.1:{port} does not answer: Connection refused" in text
    assert "hunter2" not in text and "\n" not in text
    assert told and all(line == "Connection refused" for line in told)


def test_a_terminated_session_is_transient_and_the_next_one_works(database_url: str) -> None:
    with _engine(database_url) as engine:
        with pytest.raises(sa.exc.DBAPIError) as lost, engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        assert is_transient(lost.value)
        assert _scalar(engine, "SELECT 1") == 1


def test_a_lock_held_by_others_is_transient_and_a_mistake_is_not(database_url: str) -> None:
    with _engine(database_url) as engine, engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE things (name text PRIMARY KEY)")
    with _engine(database_url) as engine, engine.begin() as first, engine.connect() as second:
        first.exec_driver_sql("LOCK TABLE things")
        second.exec_driver_sql("SET lock_timeout = '50ms'")
        with pytest.raises(sa.exc.OperationalError) as waited:
            second.exec_driver_sql("SELECT * FROM things")
        second.rollback()
        with pytest.raises(sa.exc.ProgrammingError) as mistake:
            second.exec_driver_sql("SELECT * FROM nothing")
        second.rollback()
    assert is_transient(waited.value)
    assert not is_transient(mistake.value)
    wrapped = StorageInternalError("An exception is raised during the commit.")
    wrapped.__cause__ = waited.value
    assert is_transient(wrapped)
    assert not is_transient(ValueError("no database error"))


def test_a_server_that_turned_read_only_is_transient(database_url: str) -> None:
    with _engine(database_url) as engine, engine.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        with pytest.raises(sa.exc.DBAPIError) as refused:
            connection.exec_driver_sql("CREATE TABLE things ()")
        assert is_transient(refused.value)
        # The next connection may find the server's successor.
        assert connection.invalidated


def test_a_cancelled_statement_is_transient(database_url: str) -> None:
    with _engine(database_url) as engine, engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError) as cancelled:
            connection.exec_driver_sql("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(5)")
        assert is_transient(cancelled.value)


def test_a_call_that_is_not_answered_is_cut_and_the_next_one_works(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "CALL_SECONDS", 0.5)
    with _engine(database_url) as engine:
        began = time.monotonic()
        with pytest.raises(sa.exc.DBAPIError) as cut, engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(30)")
        assert time.monotonic() - began < 5
        assert is_transient(cut.value)
        assert _scalar(engine, "SELECT 1") == 1


def test_a_connection_leaves_no_descriptor_behind(database_url: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with _engine(database_url) as engine:
        assert _scalar(engine, "SELECT 1") == 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before
