"""`hpsearch dashboard`: browse the studies."""

from __future__ import annotations

from typing import Annotated

from hpsearch.cli.options import InsecureOption, StorageOption, connect, err, option
from hpsearch.exceptions import InvalidValue


def command(
    port: Annotated[int, option("--port", help="Port on 127.0.0.1; 0 takes a free one.")] = 8080,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Serves the dashboard on this machine, read-only, until Ctrl-C."""
    if not 0 <= port <= 65535:
        raise InvalidValue(name="--port", value=port, allowed="0 to 65535")
    # Imported here: no other command needs a web server.
    from hpsearch.dashboard.server import HOST, make_server

    database = connect(storage, insecure_storage)
    with make_server(database, port=port) as (server, bound):
        err.print(f"http://{HOST}:{bound}/  (Ctrl-C ends it)")
        server.run()
