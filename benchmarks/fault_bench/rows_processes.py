"""Rows of processes that are killed, stopped, suspended, or end in their own ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import sqlalchemy as sa

from benchmarks.fault_bench.bench import LEASE, SWEEP, Bench, Process, expect
from benchmarks.fault_bench.rows import row
from hpsearch.worker import Worker

KILLS = (
    "kill:after-claim",
    "kill:before-measurement",
    "kill:mid-training",
    "kill:before-accept",
    "kill:after-accept",
    "kill:during-ask",
)


def finish(bench: Bench, target: int, seconds: float = 60.0) -> None:
    """Lets a healthy worker finish the study, then checks the invariants."""
    worker = bench.worker()
    expect(worker.wait(seconds) == 0, f"the healthy worker failed: {worker.text[-400:]}")
    bench.check(target)


def leased(bench: Bench) -> bool:
    """Returns whether a run is being worked at, with its first measurement stored."""
    query = (
        "SELECT count(*) FROM hpsearch.attempts a JOIN hpsearch.measurements m "
        "ON m.attempt_id = a.id WHERE a.state = 'leased'"
    )
    return bool(bench.query(query)[0])


@row(
    1,
    "kill -9 of the worker at each step of a run",
    "the attempt ends lost, the same run is tried again, at most one attempt lost",
)
def kill_worker(bench: Bench) -> None:
    """Kills a worker at six points, each followed by a healthy one."""
    bench.create(len(KILLS) + 2)
    for fault in KILLS:
        worker = bench.worker(fault=fault)
        expect(worker.wait() == -signal.SIGKILL, f"{fault} did not fire: {worker.text[-300:]}")
    finish(bench, len(KILLS) + 2)
    lost = bench.query("SELECT count(*) FROM hpsearch.attempts WHERE state = 'lost'")[0]
    # Two of the six kills come outside an attempt: while asking, and after accepting.
    expect(lost == len(KILLS) - 2, f"{lost} attempts lost by {len(KILLS)} kills")
    again = bench.query("SELECT max(number) FROM hpsearch.attempts")[0]
    expect(again >= 2, "no run was tried again")


@row(
    2, "kill -9 of the process that reaps", "nothing lost: expire and requeue are one", quick=True
)
def kill_reaper(bench: Bench) -> None:
    """Kills a worker that holds a lease, then the one that takes the lease back."""
    bench.create(3)
    bench.worker(fault="kill:mid-training").wait()
    time.sleep(LEASE + SWEEP + 0.3)
    reaper = bench.worker(fault="kill:during-reap")
    expect(reaper.wait() == -signal.SIGKILL, "the kill did not fire")
    states = bench.query("SELECT state FROM hpsearch.runs")
    expect(states == ["leased"], f"half a reap was committed: {states}")
    finish(bench, 3)


@row(
    3,
    "kill the child only; the parent only",
    "crashed:SIGKILL; the child dies too",
    quick=True,
)
def kill_child_and_parent(bench: Bench) -> None:
    """Kills a training process, then a worker."""
    bench.create(3, seconds=2.0)
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    for child in worker.children:
        child.kill()
    reason = "SELECT reason FROM hpsearch.attempts WHERE state = 'crashed'"
    seen = bench.until(lambda: bench.query(reason), 10, "an attempt that crashed")
    expect(seen == ["crashed:SIGKILL"], f"the reason is {seen}")
    bench.until(lambda: leased(bench), 20, "the run at work again")
    children = worker.children
    worker.kill()
    _, alive = psutil.wait_procs(children, timeout=3)
    expect(not alive, f"children outlive their worker: {alive}")
    finish(bench, 3)


@row(11, "SIGSTOP of a worker longer than its lease, then SIGCONT", "the late result is refused")
def zombie(bench: Bench) -> None:
    """Stops a worker while another one takes its run over."""
    bench.create(2, seconds=1.5)
    frozen = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    frozen.kill(signal.SIGSTOP)
    time.sleep(LEASE + SWEEP + 0.5)
    other = bench.worker()
    bench.until(lambda: bench.finished() >= 1, 30, "the run taken over")
    frozen.kill(signal.SIGCONT)
    for process in (other, frozen):
        expect(process.wait() == 0, f"a worker failed: {process.text[-400:]}")
    bench.check(2)
    states = bench.query("SELECT state FROM hpsearch.attempts WHERE number = 1 ORDER BY leased_at")
    expect(states[0] in ("superseded", "lost"), f"the frozen worker's attempt is {states}")


@row(13, "worker clock off by an hour; PGTZ differs", "nothing expires early or never; durations")
def clocks(bench: Bench) -> None:
    """Runs a worker an hour ahead and one an hour behind, in two zones and a third one's PGTZ."""
    bench.create(8)
    zones = {"PGTZ": "America/New_York"}
    ahead = bench.worker(fault="clock:3600", TZ="JST-9", **zones)
    behind = bench.worker(fault="clock:-3600", TZ="PET5", **zones)
    for worker in (ahead, behind):
        expect(worker.wait() == 0, worker.text[-300:])
    bench.check(8)
    attempts = bench.query("SELECT count(*) FROM hpsearch.attempts")[0]
    expect(attempts == 8, f"{attempts} attempts at 8 runs: leases expired early")
    seconds = bench.query(
        "SELECT extract(epoch FROM ended_at - leased_at)::float FROM hpsearch.attempts"
    )
    expect(all(0.2 < s < 20 for s in seconds), f"durations of 0.3 s runs: {seconds}")
    skew = bench.query(
        "SELECT max(abs(extract(epoch FROM t.datetime_complete - a.ended_at AT TIME ZONE 'UTC')))"
        "::float FROM trials t JOIN hpsearch.runs r USING (trial_id) "
        "JOIN hpsearch.attempts a ON a.run_id = r.id"
    )[0]
    expect(skew < 5, f"Optuna's times differ from ours by {skew:.0f} s")


@row(18, "8 workers x 400 trials, popsize 10", "all invariants; wall, connections, statements")
def many_workers(bench: Bench) -> None:
    """Runs 400 trials of 0.2 s on 8 workers: at most 1.25 x the ideal and the workers' start."""
    target, n_workers, seconds = 400, 8, 0.2
    bench.create(target, seconds=seconds, popsize=10).database.close()
    (started,) = bench.query("SELECT extract(epoch FROM clock_timestamp())::float")
    workers = [bench.worker() for _ in range(n_workers)]
    most = 0
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hpsearch'"
    while any(worker.process.poll() is None for worker in workers):
        most = max(most, bench.query(busy)[0])
        time.sleep(1.0)
    for worker in workers:
        expect(worker.wait(1) == 0, f"a worker failed: {worker.text[-300:]}")
    (ended,) = bench.query(
        "SELECT extract(epoch FROM max(ended_at))::float FROM hpsearch.attempts"
    )
    firsts = bench.query(
        "SELECT extract(epoch FROM min(leased_at))::float FROM hpsearch.attempts "
        "GROUP BY worker_id"
    )
    wall, start, ideal = ended - started, max(firsts) - started, target * seconds / n_workers
    bench.check(target)
    statements = statements_per_run(bench, target)
    print(
        f"    {wall:.1f} s of wall, start {start:.1f} s, ideal {ideal:.1f} s; "
        f"{most} connections, {statements:.0f} statements a run",
        flush=True,
    )
    expect(most <= 2 * n_workers, f"{most} connections for {n_workers} workers")
    expect(statements <= 80, f"{statements:.0f} statements a run")
    expect(
        wall <= 1.25 * ideal + start,
        f"{wall:.1f} s of wall, of which {start:.1f} s start, against an ideal of {ideal:.1f} s",
    )


def statements_per_run(bench: Bench, done: int, runs: int = 20) -> float:
    """Returns the statements of a worker in this process, commits and savepoints too."""
    bench.query("UPDATE hpsearch.specs SET target = :target", target=done + runs)
    study = bench.study()
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    for event in ("before_cursor_execute", "commit", "rollback"):
        sa.event.listen(study.database.engine, event, count)
    Worker(study, say=lambda _: None).work()
    study.database.close()
    return statements / runs


@row(
    19,
    "the same --seed given to every worker",
    "no two equal parameter vectors",
    quick=True,
)
def same_seed(bench: Bench) -> None:
    """Runs four workers at once on one study with one seed."""
    bench.create(16, seconds=0.1)
    for worker in [bench.worker() for _ in range(4)]:
        expect(worker.wait() == 0, worker.text[-300:])
    bench.check(16)
    vectors = bench.query("SELECT params::text FROM hpsearch.runs")
    expect(len(set(vectors)) == 16, f"{16 - len(set(vectors))} equal vectors")


@row(21, "two launches of one study name at once", "one creates, one joins; not more than N")
def two_launches(bench: Bench) -> None:
    """Starts the same launch twice."""
    command = ("launch", "--objective", "sphere", "--popsize", "4", "--study", "s")
    launches = [bench.start(*command, "--trials", "6", "seconds=0.2") for _ in range(2)]
    for launch in launches:
        expect(launch.wait() == 0, launch.text[-400:])
    made = sum("(new)" in launch.text for launch in launches)
    expect(made == 1, f"{made} launches created the study")
    bench.check(6)


@row(
    27,
    "SIGTERM to a worker; twice; to its whole group",
    "released within 5 s, exit 143",
    quick=True,
)
def sigterm(bench: Bench) -> None:
    """Ends workers in three ways while they train."""
    bench.create(1, seconds=30.0, budget="60s")

    def once(worker: Process) -> None:
        worker.kill(signal.SIGTERM)

    def twice(worker: Process) -> None:
        worker.kill(signal.SIGTERM)
        worker.kill(signal.SIGTERM)

    def group(worker: Process) -> None:
        os.killpg(worker.process.pid, signal.SIGTERM)

    for end in (once, twice, group):
        worker = bench.worker()
        bench.until(lambda: leased(bench), 20, "a run at work")
        before = time.monotonic()
        end(worker)
        got = worker.wait(10)
        expect(got == 143, f"{end.__name__}: exit {got}")
        took = time.monotonic() - before
        expect(took < 5, f"{end.__name__}: {took:.1f} s")
        expect(bench.query("SELECT state FROM hpsearch.runs") == ["waiting"], "still leased")
    states = bench.query("SELECT state FROM hpsearch.attempts")
    expect(states == ["preempted"] * 3, f"attempts are {states}")


@row(28, "every run fails for the same reason", "a breaker stops the study, the reason is shown")
def breaker(bench: Bench) -> None:
    """Launches an objective that cannot run, one that gives nothing, and few trials of that."""
    (bench.folder / "broken.py").write_text(
        "def f(*_, **__):\n    raise RuntimeError('no GPU')\ndef g(*_, **__):\n    return None\n"
        "def h(*_, **__):\n    from hpsearch.exceptions import Diverged\n"
        "    raise Diverged(detail='NaN')\n"
    )
    for name, reason, state, n in (
        ("f", "crashed:RuntimeError", "lost", 5),
        ("g", "crashed:TypeError", "lost", 5),
        ("h", "diverged", "failed", 10),
    ):
        launch = ("launch", "--objective", f"broken:{name}", "--space", "sphere", "--study", name)
        said = bench.command(*launch, status=1)
        expect(reason in said, f"{name}: the reason is not shown: {said[-300:]}")
        query = (
            "SELECT count(*) FROM hpsearch.runs JOIN studies USING (study_id) "
            "WHERE study_name = :name AND state = :state"
        )
        n_runs = bench.query(query, name=name, state=state)[0]
        expect(n_runs == n, f"{name}: stopped after {n_runs} runs")
    launch = ("launch", "--objective", "broken:h", "--space", "sphere", "--study", "few")
    said = bench.command(*launch, "--trials", "3", status=1)
    expect("None of the 3 trials" in said, f"three failures look like a success: {said[-300:]}")


@row(36, "the machine is suspended in the middle of a run", "discarded as preempted, not counted")
def suspended(bench: Bench) -> None:
    """Stops a worker and its child together for longer than a measurement's pause."""
    bench.environment["HPSEARCH_LEASE_SECONDS"] = "30"
    bench.create(1, seconds=10.0, budget="60s")
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    pids = [worker.process.pid, *(child.pid for child in worker.children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(7)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    expect(worker.wait(60) == 0, worker.text[-300:])
    seen = bench.query("SELECT state, reason FROM hpsearch.attempts ORDER BY number")
    expect(seen[0] == ("preempted", "suspended"), f"attempts are {seen}")
    bench.check(1)


@row(
    37,
    "a worker with other code joins",
    "declines in one line, exits at once",
    quick=True,
)
def other_code(bench: Bench) -> None:
    """Changes the objective's file between two workers."""
    file = bench.folder / "mine.py"
    source = (
        "from hpsearch.base import TrialResult\n"
        "def f(*_, **__):\n"
        "    return TrialResult(mean_reward={}, std_reward=0.0, num_timesteps=1, n_updates=1,\n"
        "        train_seconds=0.1, overshoot_seconds=0.0, cpu_seconds=0.1, metrics={{}},\n"
        "        ledger={{}}, device='d')\n"
    )
    file.write_text(source.format(1.0))
    command = ("launch", "--objective", "mine:f", "--space", "sphere", "--study", "s")
    bench.command(*command, "--trials", "2")
    file.write_text(source.format(2.0))
    for refused in (("worker", "--study", "s"), (*command, "--trials", "3")):
        said = bench.command(*refused, status=2)
        expect(said.count("error: ") == 1 and "other code" in said, f"said: {said[-300:]}")
    bench.command(*command, "--trials", "3", "--allow-code-change")
    marked = bench.command("show", "2")
    expect("other code" in marked, "the run is not marked")
    bench.check(3)


@row(43, "SIGTERM to every process of a job", "preempted and not counted, exit 143", quick=True)
def whole_job(bench: Bench) -> None:
    """Ends a worker and its training process in the same moment, the child first."""
    bench.create(1, seconds=30.0, budget="60s")
    worker = bench.worker()
    bench.until(lambda: leased(bench), 20, "a run at work")
    for process in (*worker.children, psutil.Process(worker.process.pid)):
        process.terminate()
    expect(worker.wait(10) == 143, worker.text[-300:])
    states = bench.query("SELECT state FROM hpsearch.attempts")
    expect(states == ["preempted"], f"attempts are {states}")


@row(44, "nobody reads what a worker prints any more", "no attempt lost", quick=True)
def unread(bench: Bench) -> None:
    """Closes a worker's output before it begins, while it works, and lets it be full."""
    bench.create(6, seconds=0.2)
    command = f"{sys.executable} -m hpsearch worker --study s"
    for number, shell in enumerate((f"{command} 2>&1 | head -1", f"{command} >&- 2>&-",
                                    f"{command} >/dev/full 2>&1")):  # fmt: skip
        bench.query("UPDATE hpsearch.specs SET target = :target", target=2 * number + 2)
        subprocess.run(["bash", "-c", shell], env=bench.environment, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    bench.check(6)
    states = bench.query("SELECT state FROM hpsearch.attempts")
    expect(states == ["accepted"] * 6, f"attempts are {states}")


def soak(bench: Bench, seconds: float) -> None:
    """Kills workers and the server every few seconds, then lets the study end with N.

    N is what has finished by then, and a few more.

    Raises:
      Missed: an invariant does not hold at the end.
    """
    import random

    chance = random.Random(0)
    bench.create(10**6, seconds=0.5)
    workers = [bench.worker() for _ in range(3)]
    until = time.monotonic() + seconds
    kills = restarts = 0
    while time.monotonic() < until:
        time.sleep(chance.uniform(1.0, 4.0))
        if chance.random() < 0.25:
            bench.server_stop(chance.choice((signal.SIGINT, signal.SIGQUIT)))
            time.sleep(chance.uniform(0.0, 4.0))
            bench.server_start()
            restarts += 1
        else:
            victim = chance.randrange(len(workers))
            workers[victim].kill()
            workers[victim] = bench.worker()
            kills += 1
    target = bench.finished() + 30
    bench.query("UPDATE hpsearch.specs SET target = :target", target=target)
    for worker in workers:
        worker.wait(300)
    print(f"    {target} runs, {kills} workers and {restarts} servers killed", flush=True)
    finish(bench, target)
