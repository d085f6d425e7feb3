"""Rows of a database that restarts, stays away, fills up, or was set up in its own way."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fault_bench.bench import LEASE, SECRET, SWEEP, Bench, expect
from benchmarks.fault_bench.rows import row
from benchmarks.fault_bench.rows_processes import finish, leased
from hpsearch.database import embedded


def restart(bench: Bench, number: int, pause: float) -> None:
    """Stops the server by a signal and starts it again after a pause."""
    bench.server_stop(number)
    time.sleep(pause)
    bench.server_start()


@row(
    4,
    "Postgres fast restart, 2.5 s, mid-training",
    "no attempt lost, accepted at first try",
    quick=True,
)
def fast_restart(bench: Bench) -> None:
    """Restarts the server under a training that outlasts the restart."""
    bench.environment["HPSEARCH_LEASE_SECONDS"] = "6"
    bench.create(2, seconds=4.0)
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    restart(bench, signal.SIGINT, 2.5)
    expect(worker.wait() == 0, worker.text[-300:])
    bench.check(2)
    states = bench.query("SELECT state FROM hpsearch.attempts")
    expect(states == ["accepted"] * 2, f"attempts are {states}")


@row(5, "Postgres immediate restart (crash recovery) during commits", "as 4")
def crash_recovery(bench: Bench) -> None:
    """Crashes the server four times under two workers with short runs."""
    bench.environment["HPSEARCH_LEASE_SECONDS"] = "10"
    bench.create(30, seconds=0.1)
    workers = [bench.worker() for _ in range(2)]
    for _ in range(4):
        done = bench.finished()
        bench.until(lambda done=done: bench.finished() > done, 30, "progress")  # type: ignore[misc]
        restart(bench, signal.SIGQUIT, 0.3)
    for worker in workers:
        expect(worker.wait(90) == 0, worker.text[-300:])
    bench.check(30)
    states = set(bench.query("SELECT state FROM hpsearch.attempts"))
    expect(states == {"accepted"}, f"attempts are {states}")


@row(6, "Postgres down longer than the lease", "spooled; accepted on return, or superseded")
def long_outage(bench: Bench) -> None:
    """Stops the server for lease + 5 s while a run ends; then kills the worker that waits."""
    bench.create(2, seconds=1.5)
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    bench.server_stop(signal.SIGINT)
    spool = bench.folder / "data" / "spool"
    deadline = time.monotonic() + 20
    while not list(spool.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    expect(list(spool.rglob("*.json")), "nothing was spooled")
    worker.kill()
    time.sleep(LEASE + SWEEP + 2)
    bench.server_start()
    finish(bench, 2)
    expect(not list(spool.rglob("*.json")), "the spooled result was not delivered")
    first = bench.query("SELECT state FROM hpsearch.attempts ORDER BY leased_at LIMIT 1")
    expect(first == ["accepted"], f"the spooled attempt is {first}")


@row(
    45,
    "Postgres down longer than the lease, three workers train",
    "no attempt lost: nobody had taken their runs",
)
def all_at_work(bench: Bench) -> None:
    """Stops the server for longer than lease and sweep while all that work go on training."""
    bench.create(3, seconds=9.0, budget="60s")
    workers = [bench.worker() for _ in range(3)]
    at_work = "SELECT count(DISTINCT attempt_id) FROM hpsearch.measurements"
    bench.until(lambda: bench.query(at_work) == [3], 30, "three runs at work")
    restart(bench, signal.SIGINT, LEASE + SWEEP + 1)
    for worker in workers:
        expect(worker.wait() == 0, worker.text[-300:])
    bench.check(3)
    states = bench.query("SELECT state FROM hpsearch.attempts")
    expect(states == ["accepted"] * 3, f"attempts are {states}")


@row(
    7,
    "Postgres down when a worker starts",
    "backoff up to the wait, then exit 69, one line",
    quick=True,
)
def down_at_start(bench: Bench) -> None:
    """Starts a worker without a server; then again, with the server back in time."""
    bench.create(1)
    bench.server_stop(signal.SIGINT)
    said = bench.command("worker", "--study", "s", status=69, HPSEARCH_DB_WAIT_SECONDS="2")
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    expect(len(errors) == 1, f"said: {said[-300:]}")
    worker = bench.worker(HPSEARCH_DB_WAIT_SECONDS="30")
    time.sleep(3)
    bench.server_start()
    expect(worker.wait() == 0, worker.text[-300:])
    bench.check(1)


@row(
    8,
    "lost COMMIT acknowledgement on create, claim, accept, release",
    "no orphan, no double",
    quick=True,
)
def lost_acknowledgement(bench: Bench) -> None:
    """Breaks the connection right after a commit, on each verb in turn."""
    command = ("launch", "--objective", "sphere", "--popsize", "4", "--study", "s")
    made = bench.start(*command, "--workers", "0", "seconds=1", fault="lost-ack:create")
    expect(made.wait() == 0, f"create: {made.text[-300:]}")
    for verb, target in (("release", 1), ("claim", 2), ("deliver", 4)):
        bench.query("UPDATE hpsearch.specs SET target = :target", target=target)
        worker = bench.worker(fault=f"lost-ack:{verb}")
        if verb == "release":
            bench.until(lambda: leased(bench), 20, "a run at work")
            worker.kill(signal.SIGTERM)
            expect(worker.wait() == 143, f"release: {worker.text[-300:]}")
            expect(bench.query("SELECT state FROM hpsearch.runs") == ["waiting"], "still leased")
        else:
            expect(worker.wait() == 0, f"{verb}: {worker.text[-300:]}")
    bench.check(4)
    states = bench.query("SELECT state FROM hpsearch.attempts ORDER BY leased_at")
    expect(states == ["preempted"] + ["accepted"] * 4, f"attempts are {states}")
    expect(bench.query("SELECT count(*) FROM studies") == [1], "the study was made twice")


@row(
    9,
    "backend terminated",
    "transparent retry",
    quick=True,
)
def terminated(bench: Bench) -> None:
    """Terminates every connection of a worker, several times."""
    bench.create(6, seconds=1.5)
    worker = bench.worker()
    others = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE usename = current_user AND pid <> pg_backend_pid()"
    )
    bench.until(lambda: leased(bench), 30, "a run at work")
    while worker.process.poll() is None:
        bench.query(others)
        time.sleep(1.0)
    expect(worker.wait() == 0, worker.text[-300:])
    bench.check(6)
    states = set(bench.query("SELECT state FROM hpsearch.attempts"))
    expect(states == {"accepted"}, f"attempts are {states}")


@row(14, "the role's default isolation is REPEATABLE READ or SERIALIZABLE", "pinned, works")
def isolation(bench: Bench) -> None:
    """Runs four workers under each level."""
    for done, level in ((8, "repeatable read"), (16, "serializable")):
        bench.query(f"ALTER ROLE CURRENT_USER SET default_transaction_isolation = '{level}'")
        if done == 8:
            bench.create(done, seconds=0.1)
        else:
            bench.query("UPDATE hpsearch.specs SET target = 16")
        for worker in [bench.worker() for _ in range(4)]:
            expect(worker.wait() == 0, worker.text[-300:])
        bench.check(done)


@row(15, "disk full, then freed", "the worker waits, spools, resumes")
def disk_full(bench: Bench) -> None:
    """Puts the database on a small file system, fills that under a worker, and frees it."""
    n_runs = 40
    with small_tablespace(bench) as place:
        bench.create(n_runs)
        worker = bench.worker()
        bench.until(lambda: bench.finished() >= 2, 30, "two results")
        ballast = place / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        spool = bench.folder / "data" / "spool"
        full = "could not extend file"
        bench.until(lambda: list(spool.rglob("*.json")) or full in worker.text, 40, "a full disk")
        time.sleep(LEASE)
        expect(worker.process.poll() is None, f"the worker left: {worker.text[-300:]}")
        stuck = bench.finished()
        expect(stuck < n_runs, "the disk was never full")
        ballast.unlink()
        expect(worker.wait(90) == 0, worker.text[-300:])
        bench.check(n_runs)


@contextmanager
def small_tablespace(bench: Bench) -> Iterator[Path]:
    """Moves the row's database to a tmpfs of 24 MB, which needs root."""
    expect(os.geteuid() == 0, "needs root to mount a tmpfs")
    place = bench.folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=True)
    try:
        owner = (bench.server / "postgres" / "cluster").stat()
        space = place / "space"
        space.mkdir()
        os.chown(space, owner.st_uid, owner.st_gid)
        place.chmod(0o755)
        name = bench.url.database
        bench.query_server(f"CREATE TABLESPACE {name} LOCATION '{space}'")
        bench.query_server(f"ALTER DATABASE {name} SET TABLESPACE {name}")
        yield place
        bench.query_server(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        bench.query_server(f"ALTER DATABASE {name} SET TABLESPACE pg_default")
        bench.query_server(f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@row(
    20,
    "resume with another popsize, space, direction, budget, task, bounds",
    "refused, shown",
    quick=True,
)
def other_spec(bench: Bench) -> None:
    """Launches a study again with six differences."""
    bench.create(1)
    finish(bench, 1)
    resume = ("launch", "--study", "s", "--trials", "2")
    for flag, value in (
        ("--popsize", "8"),
        ("--space", "sac"),
        ("--direction", "minimize"),
        ("--budget", "33s"),
        ("--task", "quadruped-walk"),
        ("--range", "x0=0:1"),
    ):
        said = bench.command(*resume, flag, value, status=2)
        expect("exists with another spec" in said, f"{flag}: {said[-300:]}")
    before = bench.query("SELECT target FROM hpsearch.specs")
    expect(before == [1], "a refused launch changed the target")
    fork = ("launch", "--new-study", "t", "--objective", "sphere", "--popsize", "8")
    bench.command(*fork, "--trials", "1", "seconds=0.1")


@row(
    22,
    "pickle in trial attributes; hostile YAML; HTML artifact; script in a note",
    "nothing executes; refused with the reason",
)
def planted(bench: Bench) -> None:
    """Plants a pickle that writes a file where stock samplers keep theirs."""
    import base64
    import pickle

    marker = bench.folder / "executed"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    bench.create(8, seconds=0.1)
    bench.worker(fault="kill:mid-training").wait()
    code = pickle.dumps(Payload())
    for key, text in (
        ("cma:optimizer:0", code.hex()),
        ("cma:optimizer", code.hex()),
        ("cma:generation", "0"),
        ("hpsearch:drawn", base64.b64encode(code).decode()),
    ):
        bench.query(
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
            "SELECT trial_id, :key, to_json(CAST(:text AS text)) FROM trials "
            "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
            key=key,
            text=text,
        )
    finish(bench, 8)
    hostile = bench.folder / "params.yaml"
    hostile.write_text(f"!!python/object/apply:os.system ['touch {marker}']")
    for command in (
        ("train", "--params", str(hostile)),
        ("bounds", "import", "x", str(hostile), "--task", "quadruped-walk"),
    ):
        said = bench.command(*command, status=2)
        expect(said.count("error: ") == 1 and "params.yaml" in said, f"said: {said[-300:]}")
    expect(not marker.exists(), "what was planted was executed")
    _browse(bench)


def _browse(bench: Bench) -> None:
    """Looks at hostile texts through the dashboard: they must come as data, never as a page."""
    script = "<script>alert(1)</script>"
    for table, key in (("trial_system_attributes", "trial_id"), ("study_system_attributes", "")):
        column = key or "study_id"
        owner = "trials" if key else "studies"
        for name in ("dashboard:note_str:0", "artifacts:evil"):
            bench.query(
                f"INSERT INTO {table} ({column}, key, value_json) "
                f"SELECT {column}, :name, to_json(CAST(:script AS text)) FROM {owner}",
                name=name,
                script=json.dumps({"artifact_id": "evil", "filename": "x.html", "note": script}),
            )
    dashboard = bench.start("dashboard", "--port", "0")
    address = bench.until(
        lambda: re.search(r"http://127.0.0.1:(\d+)/", dashboard.text), 30, "a dashboard"
    )
    for path in ("/api/studies/1", "/artifacts/1/0/evil", "/artifacts/1/evil", f"/{script}"):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(address[1]))) as link:
            link.request("GET", urllib.parse.quote(path))
            answer = link.getresponse()
            kind, body = answer.headers.get("content-type", ""), answer.read().decode()
            policy = answer.headers.get("content-security-policy", "")
        page = "html" in kind and (answer.status == 200 or script in body)
        expect(not page, f"{path} is served as a page: {body[:200]}")
        expect("default-src 'self'" in policy, f"{path} may load from elsewhere: {policy}")
    dashboard.kill(signal.SIGINT)
    expect(dashboard.wait(20) in (0, 130), f"the dashboard: {dashboard.text[-300:]}")


@row(
    29,
    "password with {}%@/ in the URL",
    "connects; found nowhere else",
    quick=True,
)
def password(bench: Bench) -> None:
    """Runs whole commands with the bench's awkward password; I8 looks for it."""
    expect(any(c in SECRET for c in "{}%@/ "), "the bench's password is too plain")
    said = bench.command(
        *("launch", "--objective", "sphere", "--popsize", "4", "--study", "s"),
        *("--trials", "2", "seconds=0.1"),
    )
    raw = f"postgresql://{bench.url.username}:{SECRET}@127.0.0.1:{bench.url.port}/"
    said += bench.command("status", "--storage", raw + str(bench.url.database))
    wrong = raw.replace(SECRET, "wr{o}ng%@/ x") + str(bench.url.database)
    said += bench.command("status", "--storage", wrong, status=2)
    expect("s3cr" not in said and "wr{o}ng" not in said, "a password was printed")
    bench.check(2)


@row(30, "worker role without DELETE and DDL; viewer role with SELECT only", "as granted")
def roles(bench: Bench) -> None:
    """Runs a worker and looks on under the two roles."""
    bench.create(3)
    names = {kind: f"{bench.url.database}_{kind}" for kind in ("worker", "viewer")}
    bench.query_server(f"ALTER ROLE {bench.url.username} CREATEROLE")
    flags = ("--worker-role", names["worker"], "--viewer-role", names["viewer"])
    bench.command("db", "roles", "--apply", *flags)
    urls = {}
    try:
        for kind, name in names.items():
            bench.query_server(f"ALTER ROLE {name} PASSWORD '{kind}'")
            url = bench.url.set(username=name, password=kind)
            urls[kind] = url.render_as_string(hide_password=False)
        worker = bench.worker(HPSEARCH_STORAGE=urls["worker"])
        expect(worker.wait() == 0, f"the worker role: {worker.text[-300:]}")
        for command in ("status", "trials", "studies"):
            bench.command(command, HPSEARCH_STORAGE=urls["viewer"])
        bench.command("logs", "0", HPSEARCH_STORAGE=urls["viewer"])
        for kind, arguments in (
            ("viewer", ("stop", "--study", "s")),
            ("viewer", ("worker", "--study", "s")),
            ("worker", ("delete", "s", "--yes")),
        ):
            said = bench.command(*arguments, status=1, HPSEARCH_STORAGE=urls[kind])
            errors = [line for line in said.splitlines() if line.startswith("error: ")]
            expect(len(errors) == 1 and "permission" in errors[0], f"{arguments}: {said[-200:]}")
        bench.check(3)
    finally:
        for name in names.values():
            bench.query_database(f"DROP OWNED BY {name}; DROP ROLE {name}")


@row(
    31,
    "server without TLS on a host that is not local",
    "refused unless --insecure-storage",
    quick=True,
)
def no_tls(bench: Bench) -> None:
    """Names the server, which has no TLS, by a name that does not say that it is this machine."""
    bench.create(1)
    url = bench.url.set(host=socket.gethostname()).render_as_string(hide_password=False)
    said = bench.command("status", "--storage", url + "?sslmode=disable", status=2)
    expect("verify-full" in said and "--insecure-storage" in said, f"said: {said[-300:]}")
    with contextlib.suppress(OSError):
        if not socket.gethostbyname(socket.gethostname()).startswith("127."):
            return
        said = bench.command("status", "--storage", url, status=2)
        expect("--insecure-storage" in said, f"said: {said[-300:]}")
        bench.command("status", "--storage", url, "--insecure-storage")


@row(
    32,
    "database written by an older release",
    "refused with the advice, migrated by it",
    quick=True,
)
def older(bench: Bench) -> None:
    """Gives the tables their first version, then one of the future."""
    bench.create(1)
    bench.query("DROP TABLE hpsearch.limits")
    for column in ("trial_number", "trial_id"):
        bench.query(f"ALTER TABLE hpsearch.runs ALTER COLUMN {column} SET NOT NULL")
    bench.query("UPDATE hpsearch.tables_version SET version_num = '0001'")
    for command in (("status",), ("worker", "--study", "s")):
        said = bench.command(*command, status=1)
        expect("hpsearch db migrate" in said, f"said: {said[-300:]}")
    bench.command("db", "migrate")
    (head,) = bench.query("SELECT version_num FROM hpsearch.tables_version")
    expect(head != "0001", "nothing was migrated")
    finish(bench, 1)
    bench.query("UPDATE hpsearch.tables_version SET version_num = '9999'")
    said = bench.command("status", status=1)
    expect("does not know" in said, f"said: {said[-300:]}")
    bench.query(f"UPDATE hpsearch.tables_version SET version_num = '{head}'")


@row(
    34,
    "bare postgresql:// URL",
    "works",
    quick=True,
)
def bare_url(bench: Bench) -> None:
    """Gives the URL as people type it."""
    url = bench.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = ("launch", "--objective", "sphere", "--popsize", "4", "--study", "s")
    bench.command(*command, "--trials", "1", "seconds=0.1", HPSEARCH_STORAGE=url)
    bench.check(1)


@row(35, "two containers start one embedded data folder", "one server, one clear line")
def two_hosts(bench: Bench) -> None:
    """Starts it here, then from other PID, IPC and UTS namespaces."""
    expect(shutil.which("unshare") and os.geteuid() == 0, "needs root and unshare")
    data = bench.folder / "embedded"
    data.mkdir(mode=0o755)
    environment = {**bench.environment, "HPSEARCH_DATA_DIR": str(data)}
    del environment["HPSEARCH_STORAGE"]
    command = [sys.executable, "-m", "hpsearch", "db", "up"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    expect(first.returncode == 0, first.stderr[-300:])
    try:
        inside = ["unshare", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "sh", "-c"]
        words = " ".join(command)
        other = subprocess.run(
            [*inside, f"hostname other && {words}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        said = other.stdout + other.stderr
        expect(other.returncode == 1, f"the other started it too: {said[-300:]}")
        expect(said.count("error: ") == 1 and "Traceback" not in said, f"said: {said[-300:]}")
    finally:
        embedded.down(data)
