"""What a row of the fault bench works with: a server, a study, workers, and the invariants."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from hpsearch.database import embedded
from hpsearch.database.engine import make_engine
from hpsearch.database.transaction import Database
from hpsearch.settings import settings
from hpsearch.spec import Given
from hpsearch.study import Study, launch_study, open_study

ROOT = Path(__file__).parents[2]
LEASE, SWEEP, RENEW = 2.0, 1.0, 0.4
SECRET = "s3cr{e}t%@/ x"


class Missed(AssertionError):
    """What was seen instead of what was expected."""


def expect(good: Any, seen: str) -> None:
    """Fails the row with what was seen, unless `good`."""
    if not good:
        raise Missed(seen)


@dataclass
class Process:
    """One hpsearch process of a row."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = 60.0) -> int:
        """Returns its exit status.

        Raises:
          Missed: it does not end in time.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Missed(f"no end within {seconds:g} s: {self.text[-400:]}") from None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    @property
    def children(self) -> list[psutil.Process]:
        """Its training processes."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


@dataclass
class Bench:
    """One row's own database on the bench's server.

    Attributes:
      folder: of the row, for its files.
      server: data folder of the server.
      url: of the row's database, with the password.
      environment: of the row's processes.
    """

    folder: Path
    server: Path
    url: sa.URL
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    def start(self, *arguments: str, fault: str | None = None, **environment: str) -> Process:
        """Starts an hpsearch command, with a planted fault if one is named."""
        module = "benchmarks.fault_bench.injected" if fault else "hpsearch"
        extra = {"HPSEARCH_FAULT": fault} if fault else {}
        log = self.folder / f"process-{len(self.processes)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.folder,
                env={**self.environment, **extra, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        started = Process(process, log)
        self.processes.append(started)
        return started

    def worker(self, *more: str, fault: str | None = None, **environment: str) -> Process:
        """Starts a worker of the row's study `s`."""
        return self.start("worker", "--study", "s", *more, fault=fault, **environment)

    def command(self, *arguments: str, status: int | None = 0, **environment: str) -> str:
        """Runs an hpsearch command to its end and returns what it printed."""
        process = self.start(*arguments, **environment)
        got = process.wait(120.0)
        expect("Traceback" not in process.text, f"a traceback: {process.text[-600:]}")
        expect(status is None or got == status, f"exit {got}: {process.text[-400:]}")
        return process.text

    def create(self, target: int, *, seconds: float = 0.3, **more: object) -> Study:
        """Makes the study `s` of the synthetic objective, without a worker."""
        fields = {"objective": "sphere", "popsize": 4, "settings": {"seconds": str(seconds)}}
        given = Given(**{**fields, **more})  # type: ignore[arg-type]
        return launch_study(self.database(), given, name="s", target=target)[0]

    def database(self) -> Database:
        """Opens the row's database in this process."""
        return Database(self.url)

    def study(self) -> Study:
        """Opens the row's study in this process."""
        return open_study(self.database(), "s")

    def query(self, query: str, /, **parameters: Any) -> list[Any]:
        """Returns the rows of a query; a single column comes as plain values."""
        engine = make_engine(self.url.update_query_dict({"application_name": "bench"}))
        try:
            with engine.begin() as connection:
                done = connection.execute(sa.text(query), parameters)
                rows = done.all() if done.returns_rows else []
        finally:
            engine.dispose()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    def query_server(self, text: str) -> None:
        """Carries a statement out as the server's owner, outside a transaction."""
        self._as_owner(embedded.ensure_running(self.server), text)

    def query_database(self, text: str) -> None:
        """Carries a statement out as the server's owner, in the row's database."""
        admin = embedded.ensure_running(self.server)
        self._as_owner(admin.set(database=self.url.database), text)

    def _as_owner(self, url: sa.URL, text: str) -> None:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(text)

    def finished(self) -> int:
        """Returns the number of finished search runs."""
        text = "SELECT count(*) FROM hpsearch.runs WHERE state IN ('finished', 'failed')"
        found: int = self.query(text)[0]
        return found

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Returns the first true value of `condition`; misses the row when none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(sa.exc.OperationalError):
                if found := condition():
                    return found
            time.sleep(0.05)
        raise Missed(f"not within {seconds:g} s: {what}")

    @property
    def postmaster(self) -> int:
        """Process id of the server."""
        pid = self.server / "postgres" / "cluster" / "postmaster.pid"
        return int(pid.read_text().split()[0])

    def server_stop(self, number: int) -> None:
        """Stops the server: SIGINT is a fast stop, SIGQUIT an immediate one."""
        pid = self.postmaster
        os.kill(pid, number)
        deadline = time.monotonic() + 20
        while psutil.pid_exists(pid) and time.monotonic() < deadline:
            time.sleep(0.02)

    def server_start(self) -> None:
        """Starts the server again, on the same port."""
        embedded.ensure_running(self.server)

    def check(self, target: int) -> None:
        """Checks the invariants after a fault, once all work is done.

        Raises:
          Missed: names the invariant and what was seen.
        """
        from benchmarks.fault_bench.invariants import check_all

        check_all(self, target)

    def close(self) -> None:
        """Ends every process of the row."""
        for process in self.processes:
            for child in process.children:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            if process.process.poll() is None:
                process.process.kill()
            process.process.wait()
        for left in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if left.environ().get("HPSEARCH_BENCH") == str(self.folder):
                    left.kill()


@contextlib.contextmanager
def server() -> Iterator[Path]:
    """Yields the data folder of a server of its own, which ends with the bench."""
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-faults-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        embedded.ensure_running(folder / "data")
        yield folder / "data"
    finally:
        with contextlib.suppress(Exception):
            embedded.down(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def bench(data: Path, row: int) -> Iterator[Bench]:
    """Yields a bench with an empty database and a short lease, owned by a role with a secret."""
    admin = embedded.ensure_running(data)
    name = f"row_{row}_{uuid.uuid4().hex[:6]}"
    folder = data.parent / name
    folder.mkdir(mode=0o755)
    engine = sa.create_engine(admin, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        quoted = SECRET.replace("'", "''").replace("%", "%%")
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{quoted}'")
        connection.exec_driver_sql(f"CREATE DATABASE {name} OWNER {name}")
    url = admin.set(username=name, password=SECRET, database=name)
    environment = _environment(url, folder)
    before = dict(os.environ)
    os.environ.update({k: v for k, v in environment.items() if k.startswith("HPSEARCH_")})
    settings.cache_clear()
    made = Bench(folder=folder, server=data, url=url, environment=environment)
    try:
        yield made
    finally:
        made.close()
        for key in set(os.environ) - set(before):
            del os.environ[key]
        os.environ.update(before)
        settings.cache_clear()
        embedded.ensure_running(data)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.exec_driver_sql(f"DROP ROLE IF EXISTS {name}")
        engine.dispose()
        shutil.rmtree(folder, ignore_errors=True)


def _environment(url: sa.URL, folder: Path) -> dict[str, str]:
    kept: Mapping[str, str] = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HPSEARCH_", "PG"))
    }
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "HPSEARCH_BENCH": str(folder),
        "HPSEARCH_STORAGE": url.render_as_string(hide_password=False),
        "HPSEARCH_DATA_DIR": str(folder / "data"),
        "HPSEARCH_LEASE_SECONDS": str(LEASE),
        "HPSEARCH_SWEEP_SECONDS": str(SWEEP),
        "HPSEARCH_RENEW_SECONDS": str(RENEW),
        "HPSEARCH_IDLE_SECONDS": "1",
        "HPSEARCH_MIN_FREE_GIB": "0.1",
        "HPSEARCH_GRACE_SECONDS": "2",
    }
