"""Workers on this machine for as long as somebody looks on; used by launch, replay, train."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from hpsearch.base import Purpose
from hpsearch.baselines import BaselineRun, read_runs
from hpsearch.cli.options import err
from hpsearch.cli.table import follow
from hpsearch.launchers.local import LocalWorkers, alive_here, gpu_ids, living
from hpsearch.progress import Progress, read_progress
from hpsearch.study import Study

LEAVE_SECONDS = 5.0
TAIL_LINES = 12


def start_workers(
    study: Study,
    *,
    count: int | None = None,
    python: str | None = None,
    only: str | None = None,
    storage: str | None = None,
    insecure: bool = False,
    allow_code_change: bool = False,
    more: Sequence[str] = (),
) -> LocalWorkers:
    """Starts the workers that are missing here.

    Args:
      study: to work for.
      count: workers in all on this machine; None for one a GPU, or one on the CPU.
      python: interpreter of the simulator's environment.
      only: the one purpose to work for; none is started if any worker is alive anywhere.
      storage: URL that was given; it travels in the environment, never as an argument.
      insecure: whether a database elsewhere may be used without TLS.
      allow_code_change: whether other code than the study's results are of may go on.
      more: arguments of the workers, as typed.
    """
    arguments = ["--study", study.name]
    arguments += ["--python", python] if python else []
    arguments += ["--only", only] if only else []
    arguments += ["--insecure-storage"] if insecure else []
    arguments += ["--allow-code-change"] if allow_code_change else []
    arguments += more
    environment = {"HPSEARCH_STORAGE": storage} if storage else {}
    local = LocalWorkers(arguments=arguments, environment=environment)
    alive = study.database.retrying(lambda: read_progress(study)).workers
    wanted = count or max(1, len(gpu_ids()))
    missing = wanted - (len(alive) if only else alive_here(alive))
    if missing > 0:
        local.start(missing)
    return local


def attend(
    study: Study,
    local: LocalWorkers,
    done: Callable[[Progress], bool],
    *,
    only: str | None = None,
) -> None:
    """Shows the progress until `done`, or until nobody works any more; then ends `local`.

    Ctrl-C, SIGTERM and a closed terminal end the workers too: their runs go back to the queue.
    """

    def going(progress: Progress) -> bool:
        if done(progress):
            return False
        return local.alive() > 0 or (living(progress.workers) > 0 and not progress.stop)

    patience = 0.0
    with _signals_interrupt():
        try:
            follow(study, going, only=only)
            patience = LEAVE_SECONDS
        except KeyboardInterrupt:
            err.print("ending the workers; the same command resumes")
            raise
        finally:
            local.stop(patience)
    if any(status not in (0, 143) for status in local.statuses()):
        _show_logs(local)


def attend_runs(
    study: Study,
    run_ids: Sequence[int],
    purpose: Purpose,
    *,
    python: str | None = None,
    storage: str | None = None,
    insecure: bool = False,
) -> list[BaselineRun]:
    """Works at runs that belong to no trial until they have ended; returns them.

    Args:
      study: of the runs.
      run_ids: what to wait for.
      purpose: of all of them.
      python: interpreter of the simulator's environment.
      storage: see `start_workers`.
      insecure: see `start_workers`.
    """

    def read() -> list[BaselineRun]:
        return study.database.retrying(lambda: read_runs(study, run_ids))

    def finished() -> bool:
        return not any(run.open for run in read())

    if not finished():
        local = start_workers(
            study, python=python, only=purpose, storage=storage, insecure=insecure
        )
        attend(study, local, lambda _: finished(), only=purpose)
    return read()


def _show_logs(local: LocalWorkers) -> None:
    for log in local.logs:
        err.print(f"a worker failed; the end of {log}:")
        lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        err.print("\n".join(lines), markup=False)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    def interrupt(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Under nohup the terminal may go.
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
