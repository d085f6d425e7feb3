"""A database with our tables and Optuna's in it, and transactions over both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
import tenacity
from optuna.storages import BaseStorage

from hpsearch.database.engine import cause, is_transient, make_engine, wait_for, where
from hpsearch.database.migrations import current_version, known_versions, migrate
from hpsearch.database.optuna_storage import OptunaStorage
from hpsearch.database.roles import may_write
from hpsearch.exceptions import DatabaseUnavailable, NewDatabase, OldDatabase
from hpsearch.settings import settings

T = TypeVar("T")

# Any number of ours: it keeps two first commands from creating the tables at the same time.
_CREATION_LOCK = 7_264_101


@contextmanager
def _creation_lock(engine: sa.Engine) -> Iterator[None]:
    # Of a transaction, so that the server ends it when this host vanishes.
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
        yield


def upgrade_tables(engine: sa.Engine) -> tuple[str | None, str]:
    """Brings our tables to this release's version; returns the version before and after."""
    with _creation_lock(engine):
        OptunaStorage(engine)
        with engine.connect() as connection:
            before = current_version(connection)
        migrate(engine)
    return before, known_versions()[0]


class Database:
    """One Postgres database: an engine, and Optuna's storage on the same connections.

    Attributes:
      engine: its connections.
      may_write: whether this role may change anything; a viewer's may not.
      patient: whether a transaction waits for a database that is away when it begins; a worker
        has its own way of waiting.
    """

    def __init__(self, url: sa.URL, *, on_wait: Callable[[str], None] | None = None) -> None:
        """Connects, and creates the tables if there are none.

        Args:
          url: as `hpsearch.database.engine.storage_url` returns it.
          on_wait: told in one line each time the database does not answer.

        Raises:
          DatabaseUnavailable: no answer within `HPSEARCH_DB_WAIT_SECONDS`.
          OldDatabase: the tables are an older release's.
          NewDatabase: the tables are a newer release's.
        """
        self.engine = make_engine(url)
        self._on_wait = on_wait
        self.patient = True
        wait_for(self.engine, settings().db_wait_seconds, on_wait=on_wait)
        self._optuna = self.retrying(self._open)
        self.may_write = self.retrying(self._may_write)

    def _open(self) -> OptunaStorage:
        found, known = self._version(), known_versions()
        if found is None:
            with _creation_lock(self.engine):
                storage = OptunaStorage(self.engine)
                if self._version() is None:
                    migrate(self.engine)
            return storage
        if found != known[0]:
            error = OldDatabase if found in known else NewDatabase
            raise error(found=found, head=known[0])
        # Optuna begins with connections of its own, and nobody shall have more than two.
        self.engine.dispose()
        return OptunaStorage(self.engine)

    def _version(self) -> str | None:
        with self.engine.connect() as connection:
            return current_version(connection)

    def _may_write(self) -> bool:
        with self.engine.connect() as connection:
            return may_write(connection)

    @property
    def optuna(self) -> BaseStorage:
        """Optuna's storage for reading, outside a transaction of ours."""
        return self._optuna.reading

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Yields a connection in a transaction that commits at the end or rolls back."""
        with self._connect() as connection, connection.begin():
            yield connection

    def _connect(self) -> sa.Connection:
        return self.retrying(self.engine.connect) if self.patient else self.engine.connect()

    @contextmanager
    def joint_transaction(self) -> Iterator[tuple[sa.Connection, BaseStorage]]:
        """Yields a connection and Optuna's storage, both in the one transaction."""
        try:
            with (
                self._connect() as connection,
                connection.begin(),
                self._optuna.joined(connection) as storage,
            ):
                yield connection, storage
        except BaseException:
            self._optuna.drop_cache()
            raise

    def retrying(
        self,
        work: Callable[[], T],
        *,
        seconds: float | None = None,
        give_up: Callable[[], bool] = lambda: False,
    ) -> T:
        """Returns `work()`, done again while the database is away for a moment.

        `work` is one whole transaction and must find out by itself whether an earlier try was
        committed: the acknowledgement of a commit may be lost.

        Args:
          work: the transaction.
          seconds: how long to go on; None for `HPSEARCH_DB_WAIT_SECONDS`.
          give_up: asked after each failure whether to go on no longer.

        Raises:
          DatabaseUnavailable: the time is over, or `give_up` said so.
        """
        limit = settings().db_wait_seconds if seconds is None else seconds
        started = time.monotonic()

        def waiting(state: tenacity.RetryCallState) -> None:
            if self._on_wait and state.outcome and (error := state.outcome.exception()):
                self._on_wait(cause(error))

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=2.0),
            stop=lambda _: time.monotonic() - started > limit or give_up(),
            before_sleep=waiting,
            reraise=True,
        )
        try:
            return retrying(work)
        except Exception as error:
            if is_transient(error):
                place = where(self.engine.url)
                raise DatabaseUnavailable(where=place, problem=cause(error)) from error
            raise

    def close(self) -> None:
        """Closes the connections."""
        self.engine.dispose()
