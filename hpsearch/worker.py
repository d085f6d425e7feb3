"""The worker: claims a run, has a child train it, accounts for how it ended; in a loop."""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import platform
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.dialects.postgresql import insert

from hpsearch import plugins
from hpsearch.accounts import Accounts
from hpsearch.attempt import Attempt, Outcome
from hpsearch.attempt_log import AttemptLog
from hpsearch.base import Purpose, TrialResult
from hpsearch.code_version import check_code, code_version
from hpsearch.comparable import Reference, contended, marked, reference
from hpsearch.curve_log import CurveLog, Curves, open_logs
from hpsearch.database.tables import workers
from hpsearch.ending import now
from hpsearch.exceptions import DatabaseUnavailable, StudyGone
from hpsearch.gpu_lease import GpuLease
from hpsearch.keeper import Keeper
from hpsearch.process import ChildProcess, interpreter_path
from hpsearch.queue import Lease, Nothing, claim
from hpsearch.settings import settings
from hpsearch.signals import Ending
from hpsearch.study import Study

T = TypeVar("T")

CLOSE_SECONDS = 20.0


class OnContention(enum.StrEnum):
    """What becomes of a run whose machine was not its own."""

    ACCEPT = "accept"
    """Its result counts, and is marked."""
    RETRY = "retry"
    """Another attempt, as long as there are any; the last one counts, and is marked."""
    REFUSE = "refuse"
    """It goes back to the queue, and the worker leaves."""


def log_path(study_id: int, attempt_id: uuid.UUID) -> Path:
    """Returns the file on the worker's machine that an attempt's output goes to."""
    return settings().data_dir / "logs" / f"study-{study_id}" / f"{attempt_id}.log"


def logged(lease: Lease) -> str:
    """Returns what `hpsearch logs` calls the run: the trial's number, nothing for no trial."""
    return "" if lease.trial_number is None else f"{lease.trial_number} "


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
        allow_mixed_devices: bool = False,
        on_contention: OnContention = OnContention.ACCEPT,
        log: Sequence[str] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        """Prepares a worker; `work` does the work.

        Args:
          study: to work for.
          python: interpreter that the children use; None for our own.
          only: the one purpose to work for; None for all.
          stay: whether to wait for new runs when there are none.
          allow_code_change: work with other code than the study's results come from.
          allow_mixed_devices: work on another kind of device than the study's results come from.
          on_contention: what becomes of a run whose machine was not its own.
          log: tools that curves are written to beside the database.
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
        # Its own waits look for signals.
        study.database.patient = False
        self._python = interpreter_path(python)
        self._only = only
        self._stay = stay
        self._mixed = allow_mixed_devices
        self._on_contention = on_contention
        self._log = log
        self._say = say
        self._leaving = False
        self._ending = Ending()
        self._child: ChildProcess | None = None
        self._accounts = Accounts(
            study, mixed_devices=allow_mixed_devices, patiently=self._patiently, say=say
        )

    def work(self) -> int:
        """Works until there is nothing left to do, or a signal comes.

        Returns:
          The exit status: 0, 1 if this machine is not for the study, or 128 + n for signal n.
        """
        with self._ending:
            self._study.database.retrying(self._join)
            gpu = GpuLease() if self._needs_gpu() else GpuLease({})
            try:
                status = self._loop() if self._wait_for_gpu(gpu) else 0
            finally:
                if self._child is not None:
                    self._child.end()
                gpu.release()
                self._leave()
        return 128 + self._ending.signal if self._ending.signal else status

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
            self._study.database.retrying(leave, seconds=self._ending.seconds_left)
        except DatabaseUnavailable as error:
            self._say(str(error))

    def _loop(self) -> int:
        self._accounts.deliver_kept()
        self._leaving = self._accounts.unfit
        idle_since = time.monotonic()
        while self._ending.signal is None and not self._leaving:
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
        return int(self._leaving)

    def _patiently(self, work: Callable[[], T]) -> T | None:
        """Returns `work()`, waiting for the database for as long as it takes.

        Once a signal came, the wait soon ends; the result is None then.
        """

        def give_up() -> bool:
            return self._ending.signal is not None

        database = self._study.database
        try:
            return database.retrying(work, seconds=math.inf, give_up=give_up)
        except DatabaseUnavailable:
            try:
                return database.retrying(work, seconds=self._ending.seconds_left)
            except DatabaseUnavailable as error:
                self._say(str(error))
                return None

    def _wait_for_disk(self) -> None:
        """Waits while the disk of the data folder is nearly full: logs and results need it."""
        said, note = False, ""
        settings().data_dir.mkdir(parents=True, exist_ok=True)
        while self._ending.signal is None:
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

    def _needs_gpu(self) -> bool:
        objective = plugins.load("objective", self._study.spec.objective)
        return bool(getattr(objective, "uses_gpu", isinstance(objective, type)))

    def _wait_for_gpu(self, gpu: GpuLease) -> bool:
        """Waits until a GPU is free, where there are any; returns False after a signal."""
        said = False
        while self._ending.signal is None:
            if gpu.take():
                gpu.show()
                if said:
                    self._patiently(partial(self._note, None))
                return True
            if not said:
                self._say("waits for a GPU: other workers train on all of this machine's")
                said = True
            self._patiently(partial(self._note, "waits for a GPU"))
            self._sleep(1.0)
        return False

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._ending.signal is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def _attempt(self, lease: Lease) -> None:
        """Has one run trained and accounts for how that ended, also where we fail ourselves."""
        try:
            self._train(lease)
        except StudyGone:
            raise
        except Exception as error:
            reason = f"worker:{type(error).__name__}"
            failed = Outcome(kind="crashed", reason=reason, detail=traceback.format_exc())
            self._accounts.account(lease.attempt_id, lease.budget, failed, "")
            raise

    def _train(self, lease: Lease) -> None:
        name = lease.label
        self._say(f"{name}: started" + (f", attempt {lease.number}" if lease.number > 1 else ""))
        log = AttemptLog(log_path(self._study.id, lease.attempt_id))
        child, self._child = self._child, None
        if child is not None and child.has_ended():
            child.end()
            child = None
        if child is None:
            child = ChildProcess(log, python=self._python)
        child.log = log
        keeper = Keeper(self._study, lease, log)
        curves = Curves(partial(self._open_logs, lease), self._say)
        try:
            attempt = Attempt(child, keeper, lease, lambda: self._ending.signal, curves.measured)
            outcome = attempt.run(self._request(lease))
        finally:
            keeper.stop()
        if outcome.result is not None:
            result = marked(outcome.result, self._against(outcome.result, lease))
            outcome = dataclasses.replace(outcome, result=result)
        outcome = self._judged(outcome, lease)
        # What the child said is stored before its simulator closes, which may hang.
        child.settle()
        said = self._accounts.account(lease.attempt_id, lease.budget, outcome, log.tail())
        self._leaving = self._leaving or self._accounts.unfit
        if outcome.kind in ("failed", "crashed"):
            said += f"; hpsearch logs {logged(lease)}--study {self._study.name}"
        self._say(f"{name}: {said}" + ("; leaving" if self._leaving else ""))
        curves.ended(outcome.result, lambda: self._ending.signal is not None)
        if outcome.again:
            self._child = child
        elif outcome.closes:
            child.end(CLOSE_SECONDS, lambda: self._ending.signal is not None)
        log.close()

    def _against(self, result: TrialResult, lease: Lease) -> Reference:
        """Returns what a result is compared with; the study's first may have come meanwhile."""
        known = lease.against.calibration_seconds is not None
        if known or result.conditions.get("calibration_seconds") is None:
            return lease.against

        def read() -> Reference:
            with self._study.database.transaction() as connection:
                return reference(connection, self._study)

        try:
            return self._study.database.retrying(read, seconds=2.0)
        except DatabaseUnavailable:
            return lease.against

    def _judged(self, outcome: Outcome, lease: Lease) -> Outcome:
        """Returns the outcome, declined if the machine was not the run's own and that counts."""
        reasons = contended(outcome.result) if outcome.result is not None else ()
        last = lease.number >= settings().max_attempts
        retried = self._on_contention is OnContention.RETRY and not last
        if not reasons or not (retried or self._on_contention is OnContention.REFUSE):
            return outcome
        self._leaving = self._on_contention is OnContention.REFUSE
        detail = "; ".join(reasons)
        return dataclasses.replace(
            outcome, kind="declined", reason="contended", detail=detail, result=None
        )

    def _open_logs(self, lease: Lease) -> list[CurveLog]:
        run = lease.label.replace(" ", "-")
        if lease.number > 1:
            run += f"-attempt-{lease.number}"
        config = {**lease.hyperparams, "seed": lease.seed, "task": self._study.spec.task}
        return open_logs(self._log, self._study.name, run, config)

    def _request(self, lease: Lease) -> dict[str, Any]:
        kind = None if self._mixed else lease.against.device_kind
        setup = dataclasses.replace(self._study.spec.setup, device_kind=kind)
        return {
            "type": "run",
            "objective": self._study.spec.objective,
            "setup": dataclasses.asdict(setup),
            "hyperparams": dict(lease.hyperparams),
            "seed": lease.seed,
            "budget": dataclasses.asdict(lease.budget),
        }
