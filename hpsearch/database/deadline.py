"""Connections whose every call ends: what the server does not answer in time is cut.

The server limits how long a statement may take. A server that stands still, or a link that
swallows what is sent, keeps no limit; libpq has none of its own after connecting. TCP ends what is
not acknowledged, but a proxy acknowledges for a server that is gone.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2.extensions

CALL_SECONDS = 35.0
"""What one call may take: more than the server lets a statement take, less than a lease."""

LOOK_SECONDS = 0.5


class Connection(psycopg2.extensions.connection):
    """A connection that breaks if the server does not answer a call in time.

    The caller then gets the `OperationalError` of a connection that was lost.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Connects; libpq's own limit holds for that."""
        super().__init__(*arguments, **named)
        self._socket = socket.fromfd(self.fileno(), socket.AF_INET, socket.SOCK_STREAM)

    def cut(self) -> None:
        """Breaks the connection, whoever waits for it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes it."""
        super().close()
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()

    def commit(self) -> None:
        """Commits."""
        with _WATCH.call(self):
            super().commit()

    def rollback(self) -> None:
        """Rolls back."""
        with _WATCH.call(self):
            super().rollback()


class Cursor(psycopg2.extensions.cursor):
    """A cursor of such a connection."""

    def execute(self, query: Any, vars: Any = None) -> None:
        """Executes one statement."""
        with _WATCH.call(self.connection):
            super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Executes a statement once for each set of values."""
        with _WATCH.call(self.connection):
            super().executemany(query, vars_list)


class _Watch:
    """Looks twice a second which calls have taken too long; one thread for the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[int, tuple[float, Connection]] = {}
        self._thread: threading.Thread | None = None
        self.end = math.inf

    @contextmanager
    def call(self, connection: Any) -> Iterator[None]:
        """Cuts the connection if the body has not ended in time."""
        with self._lock:
            self._began[id(connection)] = time.monotonic(), connection
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="calls", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._began.pop(id(connection), None)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with self._lock:
                now = time.monotonic()
                for began, connection in self._began.values():
                    if now > min(began + CALL_SECONDS, self.end):
                        connection.cut()


_WATCH = _Watch()


def end_calls(at: float = math.inf) -> None:
    """Lets no call of this process last beyond a time, of `time.monotonic`.

    For a process that has been told to end; the default takes it back.
    """
    _WATCH.end = at
