"""How to reach the database: its URL, TLS, what every connection is pinned to, and waiting."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg2
import sqlalchemy as sa
import tenacity
from optuna.exceptions import StorageInternalError

from hpsearch.database import embedded
from hpsearch.database.deadline import Connection, Cursor
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

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg2")
_VERIFIED = ("verify-full", "verify-ca")

# Of libpq: a connection is given up within seconds, a half-open one within half a minute.
_CONNECT = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "hpsearch",
}

# Set after connecting, because that wins over ALTER ROLE SET and over PGTZ and PGOPTIONS.
_SESSION = {
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "lock_timeout": "20s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
}

_READ_ONLY = "25006"

# A server that is away, full, read-only or restarting, transactions that met another one, and
# statements that took too long or were cancelled.
_TRANSIENT = re.compile("08...|25006|25P03|40001|40P01|53...|55P03|57014|57P0[1-5]|58030")

# What the server says when it refuses a connection; psycopg2 gives no code there.
_REFUSALS: tuple[tuple[str, type[HpsearchError]], ...] = (
    (r"authentication failed|no password supplied|no pg_hba.conf entry", AccessDenied),
    (r"role .* does not exist|role .* is not permitted|permission denied", AccessDenied),
    (r"database .* does not exist", NoSuchDatabase),
    (r"certificate|does not support SSL|sslmode value", TlsFailed),
    (r"invalid response to SSL|expected authentication request|protocol version", NotPostgres),
)


def normalise_url(url: str) -> sa.URL:
    """Returns the URL for SQLAlchemy's psycopg2 dialect.

    A password may hold reserved characters as %XX or as they are: it ends at the last @ before
    the host.

    Raises:
      InvalidStorage: it is no Postgres URL. The message never holds what stood before the host.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in _SCHEMES:
        shown = f"{scheme}://..." if re.fullmatch(r"[a-z0-9+]{1,20}", scheme) else "What was given"
        raise InvalidStorage(problem=f"{shown} is no Postgres URL")
    end = re.search(r"(\?(\w+=[^?]*)?)?$", rest)  # any other ? is the password's
    query = end[2] or "" if end else ""
    login, _, place = rest[: end.start() if end else None].rpartition("@")
    username, _, password = login.partition(":")
    match = re.fullmatch(r"(\[[^\]]*\]|[^:/\[\]]*)(?::(\d{0,5}))?(?:/(.*))?", place)
    if match is None:
        raise InvalidStorage(problem="the URL's HOST:PORT/DATABASE cannot be read")
    host, port, database = match.groups()
    options = dict(sa.make_url(f"postgresql://?{query}").query)
    return sa.URL.create(
        "postgresql+psycopg2",
        username=unquote(username) or None,
        password=unquote(password) or _one(options.pop("password", None)),
        host=unquote(host).strip("[]") or None,
        port=int(port) if port else None,
        database=unquote(database or "") or None,
        query=options,
    )


def storage_url(flag: str | None, *, insecure: bool = False) -> sa.URL:
    """Returns the URL of the database to use, and starts the embedded server if it is that.

    The first given of: `flag`, `HPSEARCH_STORAGE`, the file `HPSEARCH_STORAGE_FILE`, embedded.

    Args:
      flag: what `--storage` gave.
      insecure: whether another host may be reached without verified TLS.

    Raises:
      InvalidStorage: the URL or its file cannot be read.
      InsecureStorage: another host without verified TLS.
      OpenStorageFile: every user may read the file.
    """
    given = settings()
    insecure = insecure or given.insecure_storage
    if flag:
        return _secured(normalise_url(flag), insecure)
    if given.storage:
        return _secured(normalise_url(given.storage.get_secret_value()), insecure)
    if given.storage_file:
        return _secured(_url_in(given.storage_file), insecure)
    return embedded.ensure_running()


def _url_in(path: Path) -> sa.URL:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise OpenStorageFile(path=path)
        url = normalise_url(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidStorage(problem=f"the file {path} cannot be read: {reason}") from None
    # A certificate's name without a folder means the one that lies beside the URL.
    certificate = url.query.get("sslrootcert")
    if isinstance(certificate, str) and certificate != "system":
        beside = path.absolute().parent / certificate
        url = url.update_query_dict({"sslrootcert": str(beside)})
    return url


def _secured(url: sa.URL, insecure: bool) -> sa.URL:
    host = _host(url)
    if insecure or _is_local(host):
        return url
    sslmode = url.query.get("sslmode") or os.environ.get("PGSSLMODE") or "verify-full"
    if sslmode not in _VERIFIED:
        raise InsecureStorage(host=host, sslmode=sslmode)
    return url.update_query_dict({"sslmode": str(sslmode)})


def _host(url: sa.URL) -> str:
    """Returns the host that libpq will reach; empty for its default socket."""
    in_query = _one(url.query.get("hostaddr") or url.query.get("host"))
    environment = os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST")
    return in_query or url.host or environment or ""


def _one(value: str | tuple[str, ...] | None) -> str | None:
    """Returns an option of a URL as one word; one that was given several times, joined."""
    return ",".join(value) if isinstance(value, tuple) else value


def _is_local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_engine(url: sa.URL, *, pool_size: int = 2) -> sa.Engine:
    """Returns an engine whose connections are pinned, whatever the role's defaults are.

    READ COMMITTED, UTC, and a limit on every wait: 5 s to connect, 20 s for a lock, 30 s for a
    statement or an idle transaction; a server that does not answer at all is given up after 35 s.
    It holds at most `pool_size` connections.
    """
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args=connect_arguments(url),
    )
    # First of all listeners: SQLAlchemy takes the isolation that it finds for the default.
    sa.event.listen(engine, "connect", _pin, insert=True)
    sa.event.listen(engine, "handle_error", _leave_read_only)
    return engine


def connect_arguments(url: sa.URL) -> dict[str, Any]:
    """Returns what makes a connection of psycopg2 end each wait; what the URL says stands."""
    options = {key: value for key, value in _CONNECT.items() if key not in url.query}
    return {**options, "connection_factory": Connection, "cursor_factory": Cursor}


def _leave_read_only(context: sa.engine.ExceptionContext) -> None:
    """Gives up connections to a server that turned read-only: a new one may find its successor."""
    if getattr(context.original_exception, "pgcode", None) == _READ_ONLY:
        context.is_disconnect = True


def _pin(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        calls = ", ".join("set_config(%s, %s, false)" for _ in _SESSION)
        cursor.execute(f"SELECT {calls}", [word for pair in _SESSION.items() for word in pair])
    connection.commit()


def wait_for(
    engine: sa.Engine, seconds: float, on_wait: Callable[[str], None] | None = None
) -> None:
    """Waits until the database answers.

    Args:
      engine: of the database.
      seconds: how long to try; an attempt to connect may take 5 s more.
      on_wait: told the problem in one line before each pause.

    Raises:
      DatabaseUnavailable: no answer within `seconds`.
      AccessDenied: the user or the password is wrong.
      NoSuchDatabase: the server has no such database.
      NotPostgres: something else answers there.
      TlsFailed: the server cannot prove who it is.
    """

    def waiting(state: tenacity.RetryCallState) -> None:
        if on_wait and state.outcome and (error := state.outcome.exception()):
            on_wait(cause(error))

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
        stop=tenacity.stop_before_delay(seconds),
        before_sleep=waiting,
        reraise=True,
    )
    try:
        attempts(_ping, engine)
    except sa.exc.SQLAlchemyError as error:
        fields = {"where": where(engine.url), "problem": cause(error)}
        refusal = _refusal(error)
        if refusal is None and not is_transient(error):
            raise
        database = engine.url.database or engine.url.username
        raise (refusal or DatabaseUnavailable)(**fields, database=database) from None


def _ping(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))


def where(url: sa.URL) -> str:
    """Returns the database, host and port in words, without user and password."""
    host = _host(url) or "the local socket"
    return f"{url.database or url.username} at {host}{f':{url.port}' if url.port else ''}"


def cause(error: BaseException) -> str:
    """Returns the root of a database error in one line."""
    *_, root = _chain(error)
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    failed = [line for line in lines if " failed: " in line]
    line = failed[-1].split(" failed: ", 1)[1] if failed else (lines or [type(root).__name__])[0]
    return re.sub(r"^(FATAL|ERROR): +", "", line)


def is_transient(error: BaseException) -> bool:
    """Returns whether the same transaction may succeed if it is tried again as a whole.

    True for a server that is away, restarting, shutting down, read-only, full or out of
    connections, and for a deadlock, a serialization failure, a lock timeout or a cancelled
    statement; also where Optuna or SQLAlchemy wrapped it.
    """
    for link in _chain(error):
        # A connection that broke inside a savepoint shows itself only at the next statement.
        if isinstance(link, sa.exc.TimeoutError | sa.exc.PendingRollbackError):
            return True
        if isinstance(link, psycopg2.Error):
            if link.pgcode:
                return _TRANSIENT.fullmatch(link.pgcode) is not None
            lost = isinstance(link, psycopg2.OperationalError | psycopg2.InterfaceError)
            return (lost or type(link) is psycopg2.DatabaseError) and _refusal(link) is None
    return False


def _refusal(error: BaseException) -> type[HpsearchError] | None:
    *_, root = _chain(error)
    if not isinstance(root, psycopg2.OperationalError) or root.pgcode:
        return None
    return next((kind for pattern, kind in _REFUSALS if re.search(pattern, str(root))), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and what Optuna or SQLAlchemy wrapped in it, outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        wrapped = isinstance(link, sa.exc.SQLAlchemyError | StorageInternalError)
        link = link.__cause__ if wrapped else None
