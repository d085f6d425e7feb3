"""The same faults against plain Optuna: `optimize`, heartbeat and retry callback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.fault_bench.bench import ROOT, Bench, Process, expect

GRACE_SECONDS = 8.0


def worker(
    bench: Bench, target: int, *, seconds: float = 0.3, seed: int = 0, fault: str = "", **env: str
) -> Process:
    """Starts one plain Optuna worker."""
    url = bench.url.render_as_string(hide_password=False)
    # Optuna takes the URL as a template.
    url = url.replace("{", "{{").replace("}", "}}")
    log = bench.folder / f"stock-{len(bench.processes)}.log"
    words = [url, str(target), str(seconds), str(seed), fault]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fault_bench.stock_worker", *words],
            cwd=bench.folder,
            env={**bench.environment, "PYTHONPATH": str(ROOT), **env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    started = Process(process, log)
    bench.processes.append(started)
    return started


def create(bench: Bench) -> None:
    """Makes the study: workers that start together collide in making Optuna's tables."""
    expect(worker(bench, 0).wait(60) == 0, "the study could not be made")


def check(bench: Bench, target: int) -> None:
    """Checks what can be asked of plain Optuna: N complete, none stuck, numbers in order."""
    states: dict[str, int] = dict(
        bench.query("SELECT state::text, count(*) FROM trials GROUP BY 1")
    )
    numbers = bench.query("SELECT number FROM trials ORDER BY number")
    expect(numbers == list(range(len(numbers))), f"trial numbers {numbers}")
    expect(states.get("RUNNING", 0) == 0, f"running for ever: {states}")
    expect(states.get("COMPLETE", 0) == target, f"not {target} complete: {states}")


def last_line(process: Process) -> str:
    """Returns what a worker said last."""
    return ["", *process.text.strip().splitlines()][-1][:120]


def running(bench: Bench) -> bool:
    """Returns whether a trial runs."""
    if bench.query("SELECT to_regclass('trials') IS NULL") == [True]:
        return False
    return bool(bench.query("SELECT 1 FROM trials WHERE state = 'RUNNING'"))


def _finish(bench: Bench, target: int) -> None:
    process = worker(bench, target)
    expect(process.wait(60) == 0, f"a worker failed: {process.text[-200:]}")
    check(bench, target)


def kill_worker(bench: Bench) -> None:
    """Row 1 (and 2): killed in the middle; another worker later."""
    worker(bench, 6, fault="kill:mid-training").wait()
    time.sleep(GRACE_SECONDS / 2)
    _finish(bench, 6)
    failed = bench.query("SELECT count(*) FROM trials WHERE state = 'FAIL'")[0]
    expect(failed == 0, f"{failed} trial(s) FAIL by a crash")


def restart(bench: Bench) -> None:
    """Row 4 and 5: the server restarts under a training."""
    process = worker(bench, 2, seconds=4.0)
    bench.until(lambda: running(bench), 20, "a trial at work")
    bench.server_stop(signal.SIGINT)
    time.sleep(2.5)
    bench.server_start()
    got = process.wait(60)
    expect(got == 0, f"the worker died: {last_line(process)}")
    check(bench, 2)


def lost_acknowledgement(bench: Bench) -> None:
    """Row 8: one commit's acknowledgement is lost."""
    process = worker(bench, 4, fault="lost-ack")
    got = process.wait(60)
    expect(got == 0, f"the worker died: {last_line(process)}")
    check(bench, 4)


def zombie(bench: Bench) -> None:
    """Row 11: stopped for longer than the grace period."""
    frozen = worker(bench, 3, seconds=2.0)
    bench.until(lambda: running(bench), 20, "a trial at work")
    frozen.kill(signal.SIGSTOP)
    time.sleep(GRACE_SECONDS)
    other = worker(bench, 3, seconds=0.3)
    other.wait(60)
    frozen.kill(signal.SIGCONT)
    got = frozen.wait(60)
    expect(got == 0, f"the worker died: {last_line(frozen)}")
    check(bench, 3)


def isolation(bench: Bench) -> None:
    """Row 14: the role's default is REPEATABLE READ."""
    create(bench)
    bench.query("ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'repeatable read'")
    workers = [worker(bench, 24, seconds=0.05, seed=k) for k in range(4)]
    for process in workers:
        got = process.wait(90)
        expect(got == 0, f"a worker died: {last_line(process)}")
    numbers = bench.query("SELECT number FROM trials ORDER BY number")
    expect(numbers == list(range(len(numbers))), f"trial numbers {numbers}")


def waste(bench: Bench) -> None:
    """Row 18: 8 workers; does the study end with N, and is every trial told?"""
    create(bench)
    for process in [worker(bench, 60, seconds=0.2, seed=k) for k in range(8)]:
        process.wait(120)
    check(bench, 60)
    generations = bench.query(
        "SELECT value_json::int FROM trial_system_attributes WHERE key = 'cma:generation'"
    )
    # What it draws from now on has learned from 4 results of each generation before.
    told = 4 * max(generations) + generations.count(max(generations))
    expect(told >= 60, f"{60 - told} of 60 results were never told to the optimiser")


def same_seed(bench: Bench) -> None:
    """Row 19: one seed for every worker."""
    create(bench)
    for process in [worker(bench, 8, seconds=6.0, seed=1) for _ in range(4)]:
        process.wait(60)
    vectors = bench.query(
        "SELECT string_agg(param_value::text, ',' ORDER BY param_name) FROM trial_params "
        "GROUP BY trial_id"
    )
    expect(len(vectors) >= 8, f"{len(vectors)} trials, not 8")
    equal = len(vectors) - len(set(vectors))
    expect(equal == 0, f"{equal} equal parameter vectors of {len(vectors)}")


def planted(bench: Bench) -> None:
    """Row 22: a pickle where the sampler keeps its own."""
    import pickle

    marker = bench.folder / "executed"

    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {marker}",)

    worker(bench, 6, seconds=0.1).wait(60)
    bench.query(
        "UPDATE trial_system_attributes SET value_json = to_json(CAST(:text AS text)) "
        "WHERE key LIKE '%optimizer%'",
        text=pickle.dumps(Payload()).hex(),
    )
    worker(bench, 9, seconds=0.1).wait(60)
    expect(not marker.exists(), "the planted pickle was executed")


def infinite(bench: Bench) -> None:
    """Row 23: +inf as a reward."""
    worker(bench, 3, seconds=0.1, fault="nan").wait(60)
    best = bench.query("SELECT value_type::text FROM trial_values ORDER BY 1")
    expect("INF_POS" not in best, "+inf is the best trial")


def sigterm(bench: Bench) -> None:
    """Row 27: SIGTERM in the middle of a trial."""
    process = worker(bench, 1, seconds=30.0)
    bench.until(lambda: running(bench), 20, "a trial at work")
    process.kill(signal.SIGTERM)
    got = process.wait(10)
    expect(not running(bench), f"exit {got}, and the trial is left RUNNING")


def bare_url(bench: Bench) -> None:
    """Row 34: a plain postgresql:// URL."""
    bench.url = bench.url.set(drivername="postgresql")
    process = worker(bench, 1, seconds=0.1)
    expect(process.wait(60) == 0, last_line(process))


def clocks(bench: Bench) -> None:
    """Row 13: sessions in two zones."""
    create(bench)
    west = worker(bench, 4, seconds=6.0, PGTZ="America/Lima")
    bench.until(lambda: running(bench), 20, "a trial at work")
    east = worker(bench, 4, seconds=0.3, PGTZ="Asia/Tokyo")
    for process in (east, west):
        process.wait(90)
    failed = bench.query("SELECT count(*) FROM trials WHERE state = 'FAIL'")[0]
    expect(failed == 0, f"{failed} healthy trial(s) FAIL as stale")


def other_popsize(bench: Bench) -> None:
    """Row 20: resumed with another popsize."""
    worker(bench, 3, seconds=0.1).wait(60)
    resumed = worker(bench, 6, seconds=0.1, POPSIZE="8")
    expect(resumed.wait(60) != 0, "another popsize was accepted without a word")


STOCK: dict[int, Callable[[Bench], None]] = {
    1: kill_worker,
    2: kill_worker,
    4: restart,
    8: lost_acknowledgement,
    11: zombie,
    13: clocks,
    14: isolation,
    18: waste,
    19: same_seed,
    20: other_popsize,
    22: planted,
    23: infinite,
    27: sigterm,
    34: bare_url,
}
"""What applies to plain Optuna, by row."""
