"""Rows of training processes that fail in their own ways."""

from __future__ import annotations

import time

import psutil

from benchmarks.fault_bench.bench import Bench, expect
from benchmarks.fault_bench.rows import row

SOURCE = """
import ctypes, os, signal, subprocess, time
from hpsearch.base import Measurement, TrialResult
from hpsearch.exceptions import Diverged


def point(seconds):
    return Measurement(train_seconds=seconds, num_timesteps=1, n_updates=1, mean_return=1.0)


def result(reward=1.0):
    return TrialResult(
        mean_reward=reward, std_reward=0.0, num_timesteps=1, n_updates=1, train_seconds=0.1,
        overshoot_seconds=0.0, cpu_seconds=0.1, metrics={}, ledger={}, device="d")


def diverge_at_3(*_, report, **__):
    for k in range(3):
        report(point(float(k)))
    raise Diverged(detail="the critic's loss is nan at step 3")


def infinite(*_, **__): return result(float("inf"))
def none(*_, **__): return result(None)
def text(*_, **__): return result("high")
def segfault(*_, **__): ctypes.string_at(0)
def abort(*_, **__): os.abort()


def hang_at_start(*_, **__):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


class HangAtExit:
    def __init__(self, setup): pass
    def __call__(self, *_, **__): return result()
    def close(self): time.sleep(600)


def grandchild(*_, **__):
    subprocess.Popen(["sleep", "86421"])
    return result()


def flood(*_, **__):
    for _ in range(1000):
        os.write(1, b"x" * 65536)
    return result()


def hold(*_, budget, report, **__):
    report(point(0.0))
    ctypes.PyDLL(None).sleep(int(3 * budget.train_seconds) + 30)


def device_memory(*_, **__): raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
def host_memory(*_, **__): raise MemoryError
"""


def try_objective(bench: Bench, name: str, **environment: str) -> tuple[str, str, float]:
    """Returns the run's state, its attempt's reason and wall seconds for one objective."""
    (bench.folder / "bad.py").write_text(SOURCE)
    bench.environment["PYTHONPATH"] += f":{bench.folder}"
    command = ("launch", "--objective", f"bad:{name}", "--space", "sphere", "--budget", "2s")
    bench.command(
        *(*command, "--trials", "1", "--study", f"s-{name}"),
        status=None,
        HPSEARCH_MAX_ATTEMPTS="1",
        HPSEARCH_START_SECONDS="4",
        **environment,
    )
    return bench.query(  # type: ignore[no-any-return]
        "SELECT r.state, coalesce(a.reason, ''), "
        "extract(epoch FROM a.ended_at - a.leased_at)::float FROM hpsearch.runs r "
        "JOIN hpsearch.attempts a ON a.run_id = r.id JOIN studies s USING (study_id) "
        "WHERE s.study_name = :name ORDER BY r.id LIMIT 1",
        name=f"s-{name}",
    )[0]


@row(23, "NaN at step k; +inf, None, text as a reward", "failed with its reason, never best")
def bad_results(bench: Bench) -> None:
    """Tries four kinds of worthless results."""
    cases = {
        "diverge_at_3": "diverged",
        "infinite": "invalid_result",
        "none": "invalid_result",
        "text": "invalid_result",
    }
    for name, reason in cases.items():
        state, seen, _ = try_objective(bench, name)
        expect((state, seen) == ("failed", reason), f"{name}: {state}, {seen}")
        best = bench.command("status", "--study", f"s-{name}")
        expect("best" not in best, f"{name} is called best: {best[-200:]}")
        told = bench.query("SELECT told_index FROM hpsearch.runs ORDER BY id DESC LIMIT 1")
        expect(told == [0], f"{name} was told as {told}")


@row(
    24,
    "child: segfault, abort, hang at start and exit, ignores SIGTERM, grandchild, flood",
    "right reason, no process left in the group, logs bounded",
)
def bad_ends(bench: Bench) -> None:
    """Tries six ways in which simulators end."""
    cases = {
        "segfault": ("lost", "crashed:SIGSEGV"),
        "abort": ("lost", "crashed:SIGABRT"),
        "hang_at_start": ("lost", "hung:start"),
        "HangAtExit": ("finished", ""),
        "grandchild": ("finished", ""),
        "flood": ("finished", ""),
    }
    for name, wanted in cases.items():
        state, reason, _ = try_objective(bench, name)
        expect((state, reason) == wanted, f"{name}: {state}, {reason}")
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
    expect(not any("86421" in (words or []) for words in left), "a grandchild lives on")
    logs = sum(file.stat().st_size for file in bench.folder.rglob("*.log*"))
    expect(logs < 20 << 20, f"{logs >> 20} MiB of logs")


@row(25, "a C call that holds the interpreter for 3x the budget", "stop at budget + grace, +-1 s")
def held(bench: Bench) -> None:
    """Measures when such a run is stopped."""
    before = time.monotonic()
    state, reason, seconds = try_objective(bench, "hold")
    expect((state, reason) == ("failed", "over_budget"), f"{state}, {reason}")
    # 2 s of budget and 2 s of grace after the child's start, which takes a moment.
    expect(4.0 <= seconds <= 6.0, f"stopped {seconds:.1f} s after its lease")
    expect(time.monotonic() - before < 60, "the launch took over a minute")


@row(26, "device out of memory; host out of memory", "reasons out_of_memory_device, _host")
def out_of_memory(bench: Bench) -> None:
    """Raises what jax and Python raise."""
    for name, wanted in (
        ("device_memory", "out_of_memory_device"),
        ("host_memory", "out_of_memory_host"),
    ):
        state, reason, _ = try_objective(bench, name)
        expect((state, reason) == ("failed", wanted), f"{name}: {state}, {reason}")
