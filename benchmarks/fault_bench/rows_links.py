"""Rows beyond the matrix: what lies between a worker and its server, and the worker's own disk."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fault_bench.bench import Bench, Process, expect
from benchmarks.fault_bench.rows import row
from benchmarks.fault_bench.rows_processes import leased

N_RUNS = 4


class Link:
    """A TCP link to a port of this machine that can swallow all that is sent.

    It goes on acknowledging then, as a proxy does for a server that is gone, so TCP notices
    nothing. What was open while it swallowed stays dead.
    """

    def __init__(self, port: int) -> None:
        """Starts to listen."""
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.swallows = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends all connections, and takes no more."""
        for each in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        dead = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                dead = dead or self.swallows
                if not dead:
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def all_accepted(bench: Bench, worker: Process) -> None:
    """Checks that a worker ended well and lost no attempt."""
    expect(worker.wait(120) == 0, f"the worker failed: {worker.text[-400:]}")
    bench.check(N_RUNS)
    states = bench.query("SELECT state FROM hpsearch.attempts")
    expect(states == ["accepted"] * N_RUNS, f"attempts are {states}")


@row(38, "a link that swallows everything for 3 s, mid-training", "no attempt lost", quick=True)
def half_open(bench: Bench) -> None:
    """Puts a link between worker and server; calls are given up after 2 s here."""
    bench.environment["HPSEARCH_LEASE_SECONDS"] = "15"
    bench.create(N_RUNS, seconds=1.5)
    assert bench.url.port
    with contextlib.closing(Link(bench.url.port)) as link:
        _swallow(bench, link)


def _swallow(bench: Bench, link: Link) -> None:
    url = bench.url.set(port=link.port).render_as_string(hide_password=False)
    worker = bench.worker(fault="calls:2", HPSEARCH_STORAGE=url)
    bench.until(lambda: leased(bench), 20, "a run at work")
    link.swallows = True
    time.sleep(3)
    link.swallows = False
    all_accepted(bench, worker)


@row(39, "the server turns read-only for 3 s, mid-training", "no attempt lost", quick=True)
def read_only(bench: Bench) -> None:
    """Makes the database read-only, as a server is that has become a replica."""
    bench.environment["HPSEARCH_LEASE_SECONDS"] = "10"
    bench.create(N_RUNS, seconds=1.5)
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    name = bench.url.database
    bench.query_server(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    _disconnect(bench)
    time.sleep(3)
    said = bench.command("stop", "--study", "s", status=69, HPSEARCH_DB_WAIT_SECONDS="1")
    expect(said.count("error: ") == 1, f"said: {said[-300:]}")
    # Who connected meanwhile goes on reading only, until it connects anew.
    bench.query_server(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    all_accepted(bench, worker)


@row(40, "the server has no connection left for 3 s", "no attempt lost", quick=True)
def no_connection(bench: Bench) -> None:
    """Allows the role no connection, and ends those that it has."""
    bench.environment["HPSEARCH_LEASE_SECONDS"] = "10"
    bench.create(N_RUNS, seconds=1.5)
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    bench.query_server(f"ALTER ROLE {bench.url.username} CONNECTION LIMIT 0")
    _disconnect(bench)
    time.sleep(3)
    said = bench.command("status", status=69, HPSEARCH_DB_WAIT_SECONDS="1")
    expect(said.count("error: ") == 1, f"said: {said[-300:]}")
    bench.query_server(f"ALTER ROLE {bench.url.username} CONNECTION LIMIT -1")
    all_accepted(bench, worker)


def _disconnect(bench: Bench) -> None:
    bench.query_server(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{bench.url.database}'"
    )


@row(41, "statements are cancelled, again and again", "transparent retry")
def cancelled(bench: Bench) -> None:
    """Cancels whatever a worker's connections do, for as long as it works."""
    bench.create(N_RUNS, seconds=1.0)
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    others = (
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
        "WHERE usename = current_user AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    while worker.process.poll() is None:
        bench.query(others)
        time.sleep(0.005)
    all_accepted(bench, worker)


@row(42, "the worker's own disk is full, and Postgres is down", "waits with the result; accepted")
def own_disk_full(bench: Bench) -> None:
    """Fills a worker's data folder while a run prints; stops the server while it ends."""
    bench.environment["HPSEARCH_LEASE_SECONDS"] = "30"
    (bench.folder / "loud.py").write_text(LOUD)
    bench.environment["PYTHONPATH"] += f":{bench.folder}"
    with small_folder(bench) as folder:
        bench.command(
            *("launch", "--objective", "loud:f", "--space", "sphere", "--study", "s"),
            *("--trials", str(N_RUNS), "--workers", "0"),
        )
        worker = bench.worker(HPSEARCH_DATA_DIR=str(folder), HPSEARCH_MIN_FREE_GIB="0")
        bench.until(lambda: leased(bench), 20, "a run at work")
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        bench.server_stop(signal.SIGINT)
        time.sleep(4)
        expect("cannot be kept on disk" in worker.text, f"said: {worker.text[-300:]}")
        bench.server_start()
        all_accepted(bench, worker)


LOUD = """
import os, time
from hpsearch.base import Measurement, TrialResult


def f(*_, report, **__):
    for k in range(5):
        os.write(1, b"x" * 500_000)
        report(Measurement(
            train_seconds=k / 5, num_timesteps=k, n_updates=k, mean_return=1.0, last=k == 4))
        time.sleep(0.4)
    return TrialResult(
        mean_reward=1.0, std_reward=0.0, num_timesteps=5, n_updates=5, train_seconds=1.0,
        overshoot_seconds=0.0, cpu_seconds=0.1, metrics={}, ledger={}, device="d")
"""


@contextmanager
def small_folder(bench: Bench) -> Iterator[Path]:
    """Yields a folder on a file system of 3 MB, which needs root."""
    folder = bench.folder / "own"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
