"""Serves the dashboard on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from hpsearch.dashboard.app import make_app
from hpsearch.database.transaction import Database
from hpsearch.exceptions import PortTaken

HOST = "127.0.0.1"


class DashboardServer:
    """A server that is bound to its port and serves while `run` runs."""

    def __init__(self, database: Database, listener: socket.socket) -> None:
        app = make_app(database.optuna, hosts=[HOST, "localhost"])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._listener = listener

    def run(self) -> None:
        """Serves until `stop`, or until a signal comes in the main thread."""
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Lets `run` return."""
        self._server.should_exit = True


@contextmanager
def make_server(database: Database, *, port: int) -> Iterator[tuple[DashboardServer, int]]:
    """Yields a server and its port, on 127.0.0.1 only.

    Args:
      database: what is shown.
      port: to listen on; 0 takes a free one.

    Raises:
      PortTaken: somebody else listens there.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            raise PortTaken(port=port, problem=error.strerror) from error
        yield DashboardServer(database, listener), listener.getsockname()[1]
