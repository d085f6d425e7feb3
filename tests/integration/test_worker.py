"""The worker with real children: how attempts end, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from hpsearch.attempt import Attempt, Outcome
from hpsearch.attempt_log import AttemptLog
from hpsearch.database.transaction import Database
from hpsearch.process import ChildProcess
from hpsearch.settings import settings
from hpsearch.spool import Delivery, keep
from hpsearch.study import Study
from hpsearch.worker import Worker
from tests.integration.conftest import MakeStudy, scalar

BAD = """
import ctypes, dataclasses, gc, os, signal, subprocess, sys, time
from hpsearch.base import Measurement, TrialResult
from hpsearch.exceptions import Diverged, MissingExtra


def point(seconds, last=False):
    return Measurement(
        train_seconds=seconds, num_timesteps=1, n_updates=1, mean_return=1.0, last=last)


def result(reward=1.0, metrics={}):
    return TrialResult(
        mean_reward=reward, std_reward=0.0, num_timesteps=1, n_updates=1, train_seconds=0.1,
        overshoot_seconds=0.0, cpu_seconds=0.1, metrics=metrics, ledger={"env": 0.1}, device="d")


def segfault(*_, **__): ctypes.string_at(0)
def abort(*_, **__): os.abort()
def leave(*_, **__): os._exit(3)
def raises(*_, **__): raise RuntimeError("the simulator is broken")
def no_memory(*_, **__): raise MemoryError
def device_memory(*_, **__): raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
def diverged(*_, **__): raise Diverged(detail="NaN at step 3")
def nan(*_, **__): return result(float("nan"))
def infinite(*_, **__): return result(float("inf"))
def nothing(*_, **__): return result(None)
def text(*_, **__): return result("12")
def odd_metrics(*_, **__): return result(2.0, {"level": float("nan"), "name\\0": 1.0, "good": 3.0})


def sometimes(*_, **__):
    if os.path.exists("seen"):
        raise MissingExtra(what="it", package="p", extra="e")
    open("seen", "w").close()
    return result()


def hang_at_start(*_, **__):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def hold_the_interpreter(*_, budget, report, **__):
    report(point(0.0))
    ctypes.PyDLL(None).sleep(int(budget.train_seconds) * 3 + 60)


def flood(*_, **__):
    for _ in range(300):
        os.write(1, b"x" * 65536)
    os.write(2, b"the end of the flood")
    return result()


def with_grandchild(*_, **__):
    subprocess.Popen(["sleep", "987654"])
    subprocess.Popen(["sleep", "987654"], start_new_session=True)
    return result()


def say(text):
    pipe = next(o for o in gc.get_objects() if type(o).__name__ == "_Pipe")
    print(text, file=pipe._writing)
    pipe._writing.flush()
    time.sleep(60)


def garbage(*_, **__): say("this is no JSON")
def no_object(*_, **__): say("[1, 2]")
def unknown(*_, **__): say('{"type": "greetings"}')
def odd_point(*_, report, **__): report(point(float("nan")))
def odd_cpu(*_, **__): return dataclasses.replace(result(), cpu_seconds=float("nan"))
def no_metrics(*_, **__): return result(2.0, None)
def huge(*_, **__): return dataclasses.replace(result(), num_timesteps=10**400)
def surrogate(*_, **__): raise RuntimeError("file " + chr(0xDCE4) + " is broken")


def killed_with_a_fork(*_, report, **__):
    report(point(0.0))
    if os.fork() == 0:
        time.sleep(600)
    os.kill(os.getpid(), signal.SIGKILL)


class HangAtExit:
    def __init__(self, setup): pass
    def __call__(self, *_, **__): return result(4.0)
    def close(self): time.sleep(600)
"""


@pytest.fixture
def bad(make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "faulty.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HPSEARCH_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("HPSEARCH_GRACE_SECONDS", "1")
    monkeypatch.setenv("HPSEARCH_START_SECONDS", "2.5")
    monkeypatch.setenv("HPSEARCH_RENEW_SECONDS", "0.2")
    settings.cache_clear()
    yield tmp_path


def work(study: Study) -> list[str]:
    said: list[str] = []
    Worker(study, say=said.append).work()
    return said


def run_state(study: Study) -> tuple[str, ...]:
    query = """SELECT r.state, coalesce(a.reason, ''), coalesce(a.log_tail, '')
               FROM hpsearch.runs r JOIN hpsearch.attempts a ON a.run_id = r.id
               ORDER BY r.id, a.number LIMIT 1"""
    with study.database.transaction() as connection:
        return tuple(connection.execute(sa.text(query)).one())


@pytest.mark.parametrize(
    ("objective", "state", "reason"),
    [
        ("segfault", "lost", "crashed:SIGSEGV"),
        ("abort", "lost", "crashed:SIGABRT"),
        ("leave", "lost", "crashed:exit 3"),
        ("raises", "lost", "crashed:RuntimeError"),
        ("hang_at_start", "lost", "hung:start"),
        ("hold_the_interpreter", "failed", "over_budget"),
        ("no_memory", "failed", "out_of_memory_host"),
        ("device_memory", "failed", "out_of_memory_device"),
        ("diverged", "failed", "diverged"),
        ("nan", "failed", "invalid_result"),
        ("infinite", "failed", "invalid_result"),
        ("nothing", "failed", "invalid_result"),
        ("text", "failed", "invalid_result"),
        ("odd_metrics", "finished", ""),
        ("garbage", "lost", "crashed:protocol"),
        ("no_object", "lost", "crashed:protocol"),
        ("unknown", "lost", "crashed:protocol"),
        ("odd_point", "lost", "crashed:protocol"),
        ("odd_cpu", "failed", "invalid_result"),
        ("no_metrics", "finished", ""),
        ("huge", "failed", "invalid_result"),
        ("surrogate", "lost", "crashed:RuntimeError"),
        ("killed_with_a_fork", "lost", "crashed:SIGKILL"),
        ("flood", "finished", ""),
    ],
)
def test_each_end_has_its_reason_and_leaves_no_process(
    bad: Path, make_study: MakeStudy, objective: str, state: str, reason: str
) -> None:
    study = make_study(target=1, objective=f"faulty:{objective}", space="sphere", budget="1s")
    with study.database.transaction() as connection:
        # One run is enough here: no other trial takes the place of a lost one.
        connection.execute(sa.text("UPDATE hpsearch.specs SET lost_in_row = 4"))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    work(study)
    assert run_state(study)[:2] == (state, reason)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    if objective == "flood":
        assert run_state(study)[2].endswith("the end of the flood")
        logs = [file for file in (settings().data_dir / "logs").rglob("*.log*")]
        assert sum(file.stat().st_size for file in logs) < 10 << 20
    if objective == "odd_metrics":
        assert scalar(study, "SELECT result->'metrics'->>'good' FROM hpsearch.runs") == "3.0"


def test_a_hard_stop_comes_within_a_second_of_budget_and_grace(
    bad: Path, make_study: MakeStudy
) -> None:
    study = make_study(
        target=1, objective="faulty:hold_the_interpreter", space="sphere", budget="2s"
    )
    work(study)
    wall = "SELECT extract(epoch FROM ended_at - leased_at)::float FROM hpsearch.attempts"
    seconds = scalar(study, wall)
    assert isinstance(seconds, float)
    # 2 s of budget, 1 s of grace, and the start of the child.
    assert 3.0 <= seconds <= 6.0


def test_a_result_is_stored_before_a_simulator_that_hangs_at_exit_is_killed(
    bad: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.worker.CLOSE_SECONDS", 1.0)
    study = make_study(target=1, objective="faulty:HangAtExit", space="sphere")
    work(study)
    assert run_state(study)[0] == "finished"
    assert study.trial(0).value == 4.0


def test_a_grandchild_does_not_outlive_its_run(bad: Path, make_study: MakeStudy) -> None:
    study = make_study(target=1, objective="faulty:with_grandchild", space="sphere")
    work(study)
    assert run_state(study)[0] == "finished"
    assert not [p for p in psutil.process_iter() if "987654" in _command(p)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_crashed_run_is_tried_again_and_its_traceback_is_kept(
    bad: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_MAX_ATTEMPTS", "2")
    settings.cache_clear()
    study = make_study(target=1, objective="faulty:raises", space="sphere")
    with study.database.transaction() as connection:
        connection.execute(sa.text("UPDATE hpsearch.specs SET lost_in_row = 4"))
    work(study)
    assert scalar(study, "SELECT count(*) FROM hpsearch.attempts") == 2
    detail = scalar(study, "SELECT detail FROM hpsearch.attempts LIMIT 1")
    assert "the simulator is broken" in str(detail) and "Traceback" in str(detail)


def test_a_reusable_child_serves_several_runs(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(target=4, settings={"seconds": "0.05"})
    started: list[ChildProcess] = []

    class Counted(ChildProcess):
        def __init__(self, log: AttemptLog, *, python: str | None = None) -> None:
            super().__init__(log, python=python)
            started.append(self)

    monkeypatch.setattr("hpsearch.worker.ChildProcess", Counted)
    work(study)
    assert len(study.trials()) == 4 and all(trial.value for trial in study.trials())
    assert len(started) == 1


def test_the_ledger_of_a_run_holds_all_of_its_wall_time(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall_seconds: list[float] = []

    class Timed(Attempt):
        def __init__(self, *given: Any) -> None:
            self.began = time.monotonic()
            super().__init__(*given)

        def run(self, request: Mapping[str, Any]) -> Outcome:
            outcome = super().run(request)
            wall_seconds.append(time.monotonic() - self.began)
            return outcome

    monkeypatch.setattr("hpsearch.worker.Attempt", Timed)
    # The second run has its child from the first.
    study = make_study(target=2, settings={"seconds": "1"})
    work(study)
    with study.database.transaction() as connection:
        query = "SELECT result->'ledger' FROM hpsearch.runs ORDER BY ended_at"
        ledgers = connection.scalars(sa.text(query)).all()
    assert [sum(each.values()) for each in ledgers] == pytest.approx(wall_seconds, rel=0.01)


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.05)


def test_a_signal_releases_the_lease_within_five_seconds_and_is_not_counted(
    make_study: MakeStudy,
) -> None:
    study = make_study(target=1, budget="60s", settings={"seconds": "60"})

    def interrupt() -> None:
        eventually(lambda: scalar(study, "SELECT count(*) FROM hpsearch.attempts") == 1)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    worker = Worker(study, say=lambda _: None)
    status = worker.work()
    thread.join()
    assert status == 128 + signal.SIGTERM
    assert run_state(study)[:2] == ("waiting", "SIGTERM")
    assert scalar(study, "SELECT state FROM hpsearch.attempts") == "preempted"
    assert scalar(study, "SELECT count(*) FROM hpsearch.workers WHERE left_at IS NULL") == 0


def test_a_signal_to_all_processes_of_a_job_is_a_preemption(make_study: MakeStudy) -> None:
    study = make_study(target=1, budget="60s", settings={"seconds": "60"})

    def interrupt() -> None:
        eventually(lambda: scalar(study, "SELECT count(*) FROM hpsearch.measurements"), 30)
        for child in psutil.Process().children():
            if "hpsearch.child" in " ".join(_command(child)):
                child.terminate()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert Worker(study, say=lambda _: None).work() == 128 + signal.SIGTERM
    thread.join()
    assert run_state(study)[:2] == ("waiting", "SIGTERM")
    assert scalar(study, "SELECT state FROM hpsearch.attempts") == "preempted"


def test_a_signal_is_obeyed_while_the_database_stands_still(
    make_study: MakeStudy, database: Database
) -> None:
    study = make_study(target=1, budget="60s", settings={"seconds": "60"})
    command = [sys.executable, "-m", "hpsearch", "worker", "--study", study.name]
    url = database.engine.url.render_as_string(hide_password=False)
    variables = {"HPSEARCH_STORAGE": url, "HPSEARCH_RENEW_SECONDS": "0.2"}
    with subprocess.Popen(command, env={**os.environ, **variables}) as worker:
        eventually(lambda: scalar(study, "SELECT count(*) FROM hpsearch.measurements"), 30)
        with database.transaction() as connection:
            # The lease cannot be given back while somebody holds the study's row.
            connection.execute(sa.text("SELECT FROM hpsearch.specs FOR UPDATE"))
            began = time.monotonic()
            worker.terminate()
            assert worker.wait(20) == 128 + signal.SIGTERM
            assert time.monotonic() - began < 6


def test_a_spool_file_that_cannot_be_delivered_stops_nobody(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(target=1, settings={"seconds": "0.05"})
    folder = settings().data_dir / "spool" / f"study-{study.id}-{study.spec.fingerprint}"
    folder.mkdir(parents=True)
    (folder / "torn.json").write_text('{"attempt_id": ')
    unknown = Delivery(
        attempt_id=uuid.uuid4(), result=None, value=None, reason="diverged", detail="",
        curve=[], log_tail="",
    )  # fmt: skip
    keep(study, unknown)
    said = work(study)
    assert [line for line in said if "torn.bad" in line]
    assert [line for line in said if f"{unknown.attempt_id}.bad" in line]
    assert study.trial(0).value is not None
    assert not list(folder.glob("*.json"))


def test_a_child_that_died_while_it_waited_costs_no_attempt(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(target=2, settings={"seconds": "0.05"})
    worker = Worker(study, say=lambda _: None)
    original = worker._wait_for_disk

    def kill_the_idle_child() -> None:
        if worker._child is not None:
            os.kill(worker._child.group, signal.SIGKILL)
            eventually(worker._child.has_ended)
        original()

    monkeypatch.setattr(worker, "_wait_for_disk", kill_the_idle_child)
    assert worker.work() == 0
    assert scalar(study, "SELECT count(*) FROM hpsearch.attempts") == 2


def test_a_worker_that_fails_itself_leaves_no_lease(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(target=1)

    def broken(*_: object, **__: object) -> None:
        raise OSError("no more files")

    monkeypatch.setattr("hpsearch.worker.AttemptLog", broken)
    with pytest.raises(OSError, match="no more files"):
        work(study)
    assert run_state(study)[:2] == ("waiting", "worker:OSError")


def test_a_machine_that_cannot_run_what_others_can_declines(
    bad: Path, make_study: MakeStudy
) -> None:
    study = make_study(target=2, objective="faulty:sometimes", space="sphere")
    said = work(study)
    assert said[-1].endswith("leaving") and "declined" in said[-1]
    assert scalar(study, "SELECT stop FROM hpsearch.specs") is None
    assert scalar(study, "SELECT count(*) FROM hpsearch.runs WHERE state = 'waiting'") == 1


def test_a_stop_now_ends_the_run_and_a_later_worker_makes_it(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_RENEW_SECONDS", "0.2")
    settings.cache_clear()
    study = make_study(target=1, budget="60s", settings={"seconds": "60"})

    def stop() -> None:
        eventually(lambda: scalar(study, "SELECT count(*) FROM hpsearch.measurements"))
        with study.database.transaction() as connection:
            connection.execute(sa.text("UPDATE hpsearch.specs SET stop = 'now'"))

    thread = threading.Thread(target=stop)
    thread.start()
    said = work(study)
    thread.join()
    assert said[-1] == "the study was stopped; leaving"
    assert run_state(study)[:2] == ("waiting", "stopped by the user")


def test_a_full_disk_keeps_a_worker_from_taking_runs(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_MIN_FREE_GIB", "1000000")
    settings.cache_clear()
    study = make_study(target=1)
    said: list[str] = []

    def free() -> None:
        eventually(lambda: said)
        monkeypatch.setenv("HPSEARCH_MIN_FREE_GIB", "0")
        settings.cache_clear()

    thread = threading.Thread(target=free)
    thread.start()
    Worker(study, say=said.append).work()
    thread.join()
    assert "takes no run" in said[0] and "less than 1e+06" in said[0]
    assert study.trial(0).value is not None


@pytest.fixture
def wrapper(tmp_path: Path) -> str:
    """A shell script that starts Python and stays, as simulators bring."""
    path = tmp_path / "python.sh"
    path.write_text(f'#!/bin/bash\n{sys.executable} "$@"\ncode=$?\nexit $code\n')
    path.chmod(0o755)
    return str(path)


def test_the_interpreter_may_be_a_script_that_stays(
    bad: Path, make_study: MakeStudy, wrapper: str
) -> None:
    study = make_study(target=1, objective="faulty:flood", space="sphere")
    Worker(study, python=wrapper, say=lambda _: None).work()
    assert run_state(study)[0] == "finished"


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        ("segfault", "crashed:SIGSEGV"),
        ("leave", "crashed:exit 3"),
        ("hang_at_start", "hung:start"),
    ],
)
def test_how_a_run_ended_is_told_through_such_a_script(
    bad: Path, make_study: MakeStudy, wrapper: str, objective: str, reason: str
) -> None:
    study = make_study(target=1, objective=f"faulty:{objective}", space="sphere")
    with study.database.transaction() as connection:
        connection.execute(sa.text("UPDATE hpsearch.specs SET lost_in_row = 4"))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    Worker(study, python=wrapper, say=lambda _: None).work()
    state, found, log = run_state(study)
    assert (state, found) == ("lost", reason)
    assert ("in hang_at_start" in log) is (objective == "hang_at_start")
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


STARTS_A_CHILD = """
import sys, time
from pathlib import Path
from hpsearch.attempt_log import AttemptLog
from hpsearch.process import ChildProcess
child = ChildProcess(AttemptLog(Path(sys.argv[1])), python=sys.argv[2])
while child.pid is None:
    child.receive(1.0)
print(child.group, child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("through_a_script", [False, True])
def test_no_process_outlives_a_worker_that_is_killed(
    tmp_path: Path, wrapper: str, through_a_script: bool
) -> None:
    python = wrapper if through_a_script else sys.executable
    command = [sys.executable, "-c", STARTS_A_CHILD, str(tmp_path / "log"), python]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        group, child = map(int, worker.stdout.readline().split())
        assert (group != child) is through_a_script
        members = [p for p in psutil.process_iter() if _group(p) == group]
        assert len(members) >= 2
        worker.kill()
    eventually(lambda: not [p for p in members if _alive(p)])


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
