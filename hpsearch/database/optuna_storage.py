"""Optuna's storage inside our transactions: one commit for its rows and ours.

This is the only file that touches a private habit of Optuna's (`RDBStorage.scoped_session`); a
guard test watches it and Optuna is pinned below its next major version.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import orm
from sqlalchemy.pool import NullPool

from hpsearch.database.engine import connect_arguments
from hpsearch.database.optuna_rows import set_system_attribute


class _Storage(RDBStorage):
    """Optuna's storage, which writes what a sampler notes at a trial in one statement."""

    connection: sa.Connection | None = None

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if self.connection is None:
            super().set_trial_system_attr(trial_id, key, value)
        else:
            set_system_attribute(self.connection, trial_id, key, value)


class OptunaStorage:
    """Optuna's storage on our engine, which may join a transaction of ours.

    Optuna caches finished trials in the process. The cache lives over transactions and is
    dropped after a rollback, when it may hold rows that never came to be.
    """

    def __init__(self, engine: sa.Engine) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Optuna formats the URL as a template, so braces in a password must be doubled.
        url = engine.url.render_as_string(hide_password=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._rdb = _Storage(
                url.replace("{", "{{").replace("}", "}}"),
                engine_kwargs={
                    "poolclass": NullPool,
                    "connect_args": connect_arguments(engine.url),
                },
            )
        self._rdb.engine.dispose()
        self._rdb.engine = engine
        self._sessions = orm.scoped_session(orm.sessionmaker(bind=engine))
        self._rdb.scoped_session = self._sessions
        self._cached: BaseStorage = get_storage(self._rdb)

    @property
    def reading(self) -> BaseStorage:
        """The storage outside a transaction of ours: every call is its own transaction."""
        return self._cached

    @contextmanager
    def joined(self, connection: sa.Connection) -> Iterator[BaseStorage]:
        """Yields the storage with every call inside the connection's open transaction."""
        # Optuna's commits are left to us; its rollbacks end the whole transaction.
        maker = orm.sessionmaker(bind=connection, join_transaction_mode="rollback_only")
        self._rdb.scoped_session = orm.scoped_session(maker)
        self._rdb.connection = connection
        try:
            yield self._cached
        finally:
            self._rdb.scoped_session.remove()
            self._rdb.scoped_session = self._sessions
            self._rdb.connection = None

    def drop_cache(self) -> None:
        """Forgets what was cached; call it after a rollback or a commit of unknown outcome."""
        self._cached = get_storage(self._rdb)
