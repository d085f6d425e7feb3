"""A private Postgres of this user on this machine, started on demand.

Its folder lies on a local disk and belongs to one machine. A server holds a lock in it for as
long as one of its processes lives, so every container on the same kernel sees whether it runs;
for another kernel there is a record of where it was started, which only a clean stop ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from hpsearch.database.access import Address, url_file
from hpsearch.database.account import server_account
from hpsearch.database.folder import Folder, Record, open_folder
from hpsearch.database.server import Server, answers
from hpsearch.exceptions import (
    EmbeddedAbandoned,
    EmbeddedElsewhere,
    EmbeddedFailed,
    UnreachableFolder,
)
from hpsearch.settings import settings

_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is known of the embedded server.

    Attributes:
      running: whether it runs, here or in another container of this machine.
      folder: that holds its data and logs.
      record: of its last start; None if it never started.
      url_file: file with the URL for other hosts; None if it serves this host only.
    """

    running: bool
    folder: Path
    record: Record | None
    url_file: Path | None


def ensure_running(data_dir: Path | None = None) -> sa.URL:
    """Returns the URL of the embedded server, which is made and started if need be.

    Any number of processes may call this at once. The server outlives its starter.

    Args:
      data_dir: folder that holds it; None for `HPSEARCH_DATA_DIR`.

    Raises:
      EmbeddedElsewhere: it belongs to another host or container.
      EmbeddedFailed: it does not start.
      HpsearchError: see `open_folder`, `find_binaries`, `server_account`.
    """
    return _start(_folder(data_dir), None, takeover=False)


def up(
    listen: str | None = None, *, takeover: bool = False, data_dir: Path | None = None
) -> Path | None:
    """Starts the server, and opens it to other hosts if `listen` is given.

    It stays open until `down`, over crashes and reboots.

    Args:
      listen: address of this host; clients come from its own subnets, or from the network that
        it names as ADDRESS/BITS.
      takeover: take the data from a host that is gone for good.
      data_dir: folder that holds it; None for `HPSEARCH_DATA_DIR`.

    Returns:
      The file with the URL for other hosts; None if the server serves this host only.

    Raises:
      InvalidValue: `listen` is not an address of this host.
      HpsearchError: as `ensure_running`.
    """
    address = Address.parse(listen) if listen is not None else None
    folder = _folder(data_dir)
    _start(folder, address, takeover=takeover)
    return url_file(folder)


def down(data_dir: Path | None = None) -> bool:
    """Stops the server; the data stays. Returns whether it ran.

    Raises:
      EmbeddedElsewhere: it was started on another host or in another container.
      EmbeddedFailed: it does not stop.
    """
    folder = _folder(data_dir)
    with folder.lock():
        record, running = folder.record, folder.is_alive
        if running:
            _refuse_elsewhere(folder, record)
            Server(folder, server_account(folder.cluster)).stop()
        else:
            _refuse_abandoned(folder, record)
        if record:
            folder.keep(replace(record, stopped=True, listen=None))
        (folder.access / "url").unlink(missing_ok=True)
    return running


def status(data_dir: Path | None = None) -> Status:
    """Returns what is known of the server; starts nothing."""
    folder = _folder(data_dir)
    with folder.lock():
        return Status(
            running=folder.is_alive,
            folder=folder.path,
            record=folder.record,
            url_file=url_file(folder),
        )


def _folder(data_dir: Path | None) -> Folder:
    return open_folder(data_dir or settings().data_dir)


def _start(folder: Folder, address: Address | None, *, takeover: bool) -> sa.URL:
    with folder.lock() as lock:
        record = folder.record
        running = _await_answer(folder, record)
        if running and record and (address is None or record.listen == address.text):
            return folder.url(record)
        if not takeover:
            _refuse_abandoned(folder, record)
        server = Server(folder, server_account(folder.cluster))
        if not server.account.can_enter(folder.path):
            raise UnreachableFolder(
                account=server.account.name,
                folder=folder.path,
                variable="HPSEARCH_DATA_DIR",
                suggestion="/var/lib/hpsearch",
            )
        if running:
            server.stop()
        if not folder.cluster.exists():
            server.initialise(lock)
        if address is None and record and record.listen:
            address = Address.parse(record.listen)
        return folder.url(server.start(record.port if record else None, address))


def _await_answer(folder: Folder, record: Record | None) -> bool:
    """Returns whether a server of ours lives, waiting for one that is starting or dying."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while folder.is_alive:
        _refuse_elsewhere(folder, record)
        if record and answers(record.port):
            return True
        if time.monotonic() > deadline:
            cause = f"it lives but has not answered for {_ANSWER_SECONDS:.0f} s"
            raise EmbeddedFailed(step="be reached", cause=cause, logs=folder.logs)
        time.sleep(0.05)
    return False


def _refuse_elsewhere(folder: Folder, record: Record | None) -> None:
    if record and not record.is_of_here:
        raise EmbeddedElsewhere(folder=folder.path, place=record.place, since=record.started_at)


def _refuse_abandoned(folder: Folder, record: Record | None) -> None:
    if record and record.may_live_elsewhere:
        raise EmbeddedAbandoned(folder=folder.path, place=record.place, since=record.started_at)
