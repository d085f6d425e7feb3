"""The worker: claims a run, has a child train it, accounts for how it ended; in a loop."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from sqlalchemy.dialects.postgresql import insert

from hpsearch.attempt import Attempt, Outcome
from hpsearch.attempt_log import AttemptLog
from hpsearch.base import Budget, Purpose
from hpsearch.code_version import check_code, code_version
from hpsearch.database.engine import is_transient
from hpsearch.database.tables import workers
from hpsearch.ending import End, now, release, stop_study
from hpsearch.exceptions import DatabaseUnavailable, InvalidResult
from hpsearch.keeper import Keeper
from hpsearch.metric import Metric, parse_metric
from hpsearch.process import ChildProcess, interpreter_path
from hpsearch.queue import Lease, Nothing, claim
from hpsearch.settings import settings
from hpsearch.spool import Delivery, deliver, keep, kept
from hpsearch.study import Study

T = TypeVar("T")

RELEASE_SECONDS = 4.0
CLOSE_SECONDS = 20.0


def log_path(study_id: int, attempt_id: uuid.UUID) -> Path:
    """Returns the file on the worker's machine that an attempt's output goes to."""
    return settings().data_dir / "logs" / f"study-{study_id}" / f"{attempt_id}.log"


class Worker:
    """One worker of one study, with at most one child at a time."""

    def __init__(
        self,
        study: Study,
        *,
        python: str | None = None,
        only: Purpose | None = None,
        stay: bool = False,
        allow_code_change: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        """Prepares a worker; `work` does the work.

        Args:
          study: to work for.
          python: interpreter that the children use; None for our own.
          only: the one purpose to work for; None for all.
          stay: whether to wait for new runs when there are none.
          allow_code_change: work with other code than the study's results come from.
          say: told in one line what happens.

        Raises:
          InvalidValue: `python` is no interpreter.
          CodeDiffers: this machine's code is not what the study's results come from.
        """
        self._code = code_version(study.spec)
        if not allow_code_change:
            check_code(study.name, study.code, self._code)
        self.id = uuid.uuid4()
        self._study = study
        self._python = interpreter_path(python)
        self._only = only
        self._stay = stay
        self._say = say
        self._signal: int | None = None
        self._child: ChildProcess | None = None
        self._metric: Metric = parse_metric(study.spec.metric, study.spec.task_metrics())

    def work(self) -> int:
        """Works until there is nothing left to do, or a signal comes.

        Returns:
          The exit status: 0, or 128 + n for signal n.
        """
        with self._signals():
            self._study.database.retrying(self._join)
            try:
                status = self._loop()
            finally:
                if self._child is not None:
                    self._child.end()
                self._leave()
        return 128 + self._signal if self._signal else status

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, _: FrameType | None) -> None:
            self._signal = number

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _join(self) -> None:
        with self._study.database.transaction() as connection:
            connection.execute(
                insert(workers)
                .values(
                    id=self.id,
                    study_id=self._study.id,
                    host=platform.node(),
                    pid=os.getpid(),
                    code=self._code,
                )
                .on_conflict_do_nothing()
            )

    def _note(self, note: str | None) -> None:
        """Shows that this worker lives, and what hinders it."""
        with self._study.database.transaction() as connection:
            connection.execute(
                workers.update().where(workers.c.id == self.id).values(seen_at=now, note=note)
            )

    def _leave(self) -> None:
        def leave() -> None:
            with self._study.database.transaction() as connection:
                connection.execute(
                    workers.update().where(workers.c.id == self.id).values(left_at=now)
                )

        try:
            self._study.database.retrying(leave, seconds=RELEASE_SECONDS)
        except DatabaseUnavailable as error:
            self._say(str(error))

    def _loop(self) -> int:
        self._deliver_kept()
        idle_since = time.monotonic()
        while self._signal is None:
            self._wait_for_disk()
            attempt_id = uuid.uuid4()
            found = self._patiently(
                partial(claim, self._study, self.id, attempt_id, only=self._only)
            )
            if isinstance(found, Lease):
                self._attempt(found)
                idle_since = time.monotonic()
                continue
            if found is None:
                break
            if found is Nothing.STOPPED:
                self._say("the study was stopped; leaving")
                break
            # A run that is leased may come back: its worker is given up after lease and sweep.
            wait = settings().idle_seconds
            if found is Nothing.WAIT:
                wait += settings().lease_seconds + settings().sweep_seconds
            finished = found is Nothing.DONE or time.monotonic() - idle_since > wait
            if finished and not self._stay:
                break
            self._sleep(min(1.0, settings().idle_seconds / 10))
        return 0

    def _patiently(self, work: Callable[[], T]) -> T | None:
        """Returns `work()`, waiting for the database for as long as it takes.

        Once a signal came, the wait ends after 4 s; the result is None then.
        """

        def give_up() -> bool:
            return self._signal is not None

        database = self._study.database
        try:
            return database.retrying(work, seconds=math.inf, give_up=give_up)
        except DatabaseUnavailable:
            try:
                return database.retrying(work, seconds=RELEASE_SECONDS)
            except DatabaseUnavailable as error:
                self._say(str(error))
                return None

    def _wait_for_disk(self) -> None:
        """Waits while the disk of the data folder is nearly full: logs and results need it."""
        said, note = False, ""
        settings().data_dir.mkdir(parents=True, exist_ok=True)
        while self._signal is None:
            free = shutil.disk_usage(settings().data_dir).free / 2**30
            if free >= settings().min_free_gib:
                if said:
                    self._patiently(partial(self._note, None))
                return
            if not said:
                least = settings().min_free_gib
                note = (
                    f"takes no run: {settings().data_dir} has {free:.1f} GiB free, less than "
                    f"{least:g} (HPSEARCH_MIN_FREE_GIB)"
                )
                self._say(note)
                said = True
            self._patiently(partial(self._note, note))
            self._sleep(1.0)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._signal is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def _attempt(self, lease: Lease) -> None:
        """Has one run trained and accounts for how that ended."""
        name = f"trial {lease.trial_number}"
        if lease.purpose is not Purpose.SEARCH:
            name += f" ({lease.purpose}, seed {lease.seed})"
        self._say(f"{name}: started" + (f", attempt {lease.number}" if lease.number > 1 else ""))
        log = AttemptLog(log_path(self._study.id, lease.attempt_id))
        child, self._child = self._child, None
        if child is None:
            child = ChildProcess(log, python=self._python)
        child.log = log
        keeper = Keeper(self._study, lease, log)
        try:
            outcome = Attempt(child, keeper, lease, lambda: self._signal).run(self._request(lease))
        finally:
            keeper.stop()
        # What the child said is stored before its simulator closes, which may hang.
        self._say(f"{name}: {self._account(lease.attempt_id, lease.budget, outcome, log.tail())}")
        if outcome.again:
            self._child = child
        elif outcome.closes:
            child.end(CLOSE_SECONDS)
        log.close()

    def _request(self, lease: Lease) -> dict[str, Any]:
        return {
            "type": "run",
            "objective": self._study.spec.objective,
            "setup": dataclasses.asdict(self._study.spec.setup),
            "hyperparams": dict(lease.hyperparams),
            "seed": lease.seed,
            "budget": dataclasses.asdict(lease.budget),
        }

    def _deliver(self, delivery: Delivery) -> bool | None:
        """Delivers, keeping it on disk while the database is away; None if it still is."""
        try:
            return deliver(self._study, delivery)
        except Exception as error:
            if not is_transient(error):
                raise
        path = keep(self._study, delivery)
        counts = self._patiently(partial(deliver, self._study, delivery))
        if counts is not None:
            path.unlink(missing_ok=True)
        return counts

    def _deliver_kept(self) -> None:
        for path, delivery in kept(self._study):
            counts = self._patiently(partial(deliver, self._study, delivery))
            if counts is not None:
                path.unlink(missing_ok=True)
                word = "delivered" if counts else "superseded"
                self._say(f"{word} a result that was kept on disk: {delivery.attempt_id}")

    def _account(
        self, attempt_id: uuid.UUID, budget: Budget, outcome: Outcome, log_tail: str
    ) -> str:
        """Writes the outcome into the database, however long that is away; says it in words."""
        study, result, value = self._study, outcome.result, None
        if result is not None:
            try:
                value = self._metric.value(result, outcome.curve, budget)
            except InvalidResult as error:
                outcome = Outcome(
                    kind="failed", reason=error.reason, detail=str(error), curve=outcome.curve
                )
        if outcome.kind in ("result", "failed"):
            delivery = Delivery(
                attempt_id=attempt_id,
                result=outcome.result,
                value=value,
                reason=outcome.reason,
                detail=outcome.detail,
                curve=outcome.curve,
                log_tail=log_tail,
            )
            counts = self._deliver(delivery)
            if counts is None:
                return "kept on disk until the database is back"
            if not counts:
                return "superseded: the run went on without this attempt"
            if result is None or value is None:
                return f"failed: {outcome.reason}"
            return f"{value:.4g} after {result.num_timesteps} timesteps"
        if outcome.kind == "lost":
            return "the lease was lost; leaving the run to others"
        end = End.PREEMPTED if outcome.kind == "preempted" else End.CRASHED
        reason, detail = outcome.reason, outcome.detail
        self._patiently(
            partial(release, study, attempt_id, end, reason, detail, log_tail=log_tail)
        )
        if outcome.kind == "refused":
            self._patiently(partial(stop_study, study, detail))
            return detail
        return f"{end}: {reason}"
