"""One Postgres server in its folder: made, started and stopped with Postgres' own programs."""

from __future__ import annotations

import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hpsearch.database.access import LOCAL_HBA, Address, is_free, open_to
from hpsearch.database.account import Account
from hpsearch.database.binaries import Binaries, find_binaries, reachable_by
from hpsearch.database.folder import DATABASE, Folder, Record
from hpsearch.exceptions import EmbeddedFailed

_LOCAL = "127.0.0.1"
_START_SECONDS = 60
_STOP_SECONDS = 60

# Below the ephemeral ports, so that no outgoing connection takes ours while the server is down.
_PORTS = range(15_432, 25_432)
_TRIES = 50

_CONFIG = """\
# Written before each start; a change here is lost.
listen_addresses = '{addresses}'
port = {port}
unix_socket_directories = ''
hba_file = '{hba}'
max_connections = 200
shared_buffers = 64MB
max_wal_size = 512MB
fsync = on
synchronous_commit = on
full_page_writes = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'

# A week of logs, without statements: they may hold what users wrote.
logging_collector = on
log_directory = '../logs'
log_filename = 'postgres-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_min_messages = log
log_min_error_statement = panic
log_checkpoints = off
"""


@dataclass(frozen=True)
class Server:
    """The server of a folder. Use it only while the folder's `lock` is held.

    Attributes:
      folder: where it lives.
      account: who its processes run as.
    """

    folder: Folder
    account: Account

    def initialise(self, lock: int) -> None:
        """Makes the data beside its place and moves it there whole: no kill leaves half.

        Args:
          lock: descriptor of the folder's lock. It goes along, so that nobody begins again
            before initdb has ended, even if we are killed meanwhile.
        """
        binaries = reachable_by(self.account, find_binaries(), self.folder.path)
        for leftover in self.folder.path.glob("initdb-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        work = Path(tempfile.mkdtemp(dir=self.folder.path, prefix="initdb-"))
        cluster, handed = work / "cluster", work / "password"
        password = secrets.token_urlsafe(24)
        self.folder.write(self.folder.password, password, 0o600)
        self.folder.write(handed, password, 0o600)
        self.account.own(work)
        self.account.own(handed)
        made = self.account.run(
            *(binaries / "initdb", "--pgdata", cluster, "--username", DATABASE),
            *("--pwfile", handed, "--auth", "scram-sha-256", "--encoding", "UTF8"),
            *("--locale", "C", "--data-checksums"),
            inherit=(lock,),
        )
        if made.returncode == 0:
            made = self.account.run(
                *(binaries / "postgres", "--single", "-D", cluster, "postgres"),
                text=f"CREATE DATABASE {DATABASE}\n",
                inherit=(lock,),
            )
        if made.returncode or not cluster.exists():
            cause = (made.stdout.strip().splitlines() or ["no reason given"])[-1]
            raise EmbeddedFailed(step="be made", cause=cause, logs=self.folder.logs)
        cluster.rename(self.folder.cluster)
        shutil.rmtree(work)

    def start(self, port: int | None, address: Address | None) -> Record:
        """Starts the server and returns the record of it.

        Args:
          port: to use if it is free; None for any.
          address: to serve beside this host; None for this host only.

        Raises:
          EmbeddedFailed: it does not start.
          InvalidValue: `address` is not of this host.
        """
        binaries = reachable_by(self.account, find_binaries(self.folder.cluster), self.folder.path)
        if not self.folder.logs.exists():
            self.folder.logs.mkdir(mode=0o700)
            self.account.own(self.folder.logs)
        cause = "no port is free"
        for _ in range(_TRIES):
            tried, port = port or random.choice(_PORTS), None
            if not is_free(_LOCAL, tried) or (address and not is_free(address.ip, tried)):
                continue
            record = Record.of_here(tried, address.text if address else None)
            self._configure(binaries, record, address)
            self.folder.keep(record)
            if (problem := self._run(binaries, tried)) is None:
                return record
            cause = problem
            if "TCP/IP socket" not in cause:  # else somebody took the port just now
                break
        raise EmbeddedFailed(step="start", cause=cause, logs=self.folder.logs)

    def stop(self) -> None:
        """Stops the server; open transactions are rolled back."""
        pid, is_server = self._pid()
        if is_server:
            # What `pg_ctl stop -m fast` does; the programs may have been removed since.
            os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        while self.folder.is_alive:
            if time.monotonic() > deadline:
                cause = f"its processes live on after {_STOP_SECONDS} s"
                raise EmbeddedFailed(step="stop", cause=cause, logs=self.folder.logs)
            time.sleep(0.02)

    def _configure(self, binaries: Binaries, record: Record, address: Address | None) -> None:
        access = open_to(address, self.folder, self.account, binaries, record)
        addresses = _LOCAL
        if address:
            addresses = address.ip if address.is_everywhere else f"{_LOCAL},{address.ip}"
        hba = str(self.folder.hba).replace("'", "''")
        config = _CONFIG.format(addresses=addresses, port=record.port, hba=hba)
        self.folder.write(self.folder.hba, LOCAL_HBA + access.hba)
        self.folder.write(self.folder.config, config + access.config)

    def _run(self, binaries: Binaries, port: int) -> str | None:
        """Returns None if the server runs, else why not."""
        self._clear_stale_pid()
        first_log = self.folder.logs / "start.log"
        first_log.unlink(missing_ok=True)
        sizes = {path: path.stat().st_size for path in self.folder.logs.glob("*.log")}
        with self.folder.life() as life:
            assert life is not None
            self.account.run(
                *(binaries / "pg_ctl", "start", "-s", "-w", "-t", str(_START_SECONDS)),
                *("-D", self.folder.cluster, "-l", first_log),
                *("-o", f"-c config_file={shlex.quote(str(self.folder.config))}"),
                inherit=(life,),
            )
        # What pg_ctl says is not enough: a server in recovery is fine, one that ends is not.
        while self.folder.is_alive:
            if answers(port):
                return None
            time.sleep(0.02)
        lines = [
            line
            for path in self.folder.logs.glob("*.log")
            for line in _text_from(path, sizes.get(path, 0)).splitlines()
        ]
        fatal = [line for line in lines if "FATAL: " in line or "PANIC: " in line] or lines
        return fatal[-1].split(":  ", 1)[-1] if fatal else "it ended without a word"

    def _clear_stale_pid(self) -> None:
        """Removes a pid file whose number now belongs to some other process.

        No server of ours lives at this point. Postgres would take that process for one, e.g.
        in a restarted container. One that was started by hand has the data as its folder.
        """
        pid, is_server = self._pid()
        if pid and not is_server:
            (self.folder.cluster / "postmaster.pid").unlink()

    def _pid(self) -> tuple[int, bool]:
        """Returns the number in the pid file, 0 for none, and whether it is a server's.

        A server works in its data folder. A process whose folder we may not see is none of the
        account's, and Postgres knows that by itself.
        """
        try:
            pid = int((self.folder.cluster / "postmaster.pid").read_text().splitlines()[0])
            folder = os.readlink(f"/proc/{pid}/cwd")
        except (OSError, ValueError, IndexError):
            return 0, False
        return pid, Path(folder) == self.folder.cluster.resolve()


def answers(port: int) -> bool:
    """Returns whether something on this host accepts connections at the port."""
    try:
        socket.create_connection((_LOCAL, port), timeout=2).close()
    except OSError:
        return False
    return True


def _text_from(path: Path, start: int) -> str:
    with open(path, "rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
