"""The accounts of a worker: how each attempt ended, written however long the database is away."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hpsearch.attempt import Outcome
from hpsearch.base import Budget
from hpsearch.comparable import contended
from hpsearch.database.engine import is_transient
from hpsearch.ending import End, release, stop_unless_it_works
from hpsearch.exceptions import InvalidResult, OtherDevice, StudyGone
from hpsearch.metric import Metric, parse_metric
from hpsearch.spool import Delivery, deliver, keep, kept, put_aside
from hpsearch.study import Study

Patiently = Callable[[Callable[[], Any]], Any]
"""Returns what a call returns, waiting for the database; None where that wait was given up."""


class Accounts:
    """Writes how attempts ended.

    Attributes:
      unfit: whether a run was declined because this machine is not for it: another kind of
        device, or it cannot run what others can.
    """

    def __init__(
        self,
        study: Study,
        *,
        mixed_devices: bool,
        patiently: Patiently,
        say: Callable[[str], None],
    ) -> None:
        """Prepares to write.

        Args:
          study: of the runs.
          mixed_devices: accept results from another kind of device than the study's.
          patiently: see `Patiently`.
          say: told in one line what happens.
        """
        self.unfit = False
        self._study = study
        self._mixed = mixed_devices
        self._patiently = patiently
        self._say = say
        self._metric: Metric = parse_metric(study.spec.metric, study.spec.task_metrics())

    def account(
        self, attempt_id: uuid.UUID, budget: Budget, outcome: Outcome, log_tail: str
    ) -> str:
        """Writes the outcome of an attempt into the database; says it in words."""
        result, value = outcome.result, None
        if result is not None:
            try:
                value = self._metric.value(result, outcome.curve, budget)
            except InvalidResult as error:
                outcome = Outcome(
                    kind="failed", reason=error.reason, detail=str(error), curve=outcome.curve
                )
        if outcome.kind not in ("result", "failed"):
            return self._released(attempt_id, outcome, log_tail)
        delivery = Delivery(
            attempt_id=attempt_id,
            result=outcome.result,
            value=value,
            reason=outcome.reason,
            detail=outcome.detail,
            curve=outcome.curve,
            log_tail=log_tail,
        )
        try:
            counts = self._deliver(delivery)
        except OtherDevice as error:
            return self._declined(attempt_id, "other device", str(error), log_tail)
        if counts is None:
            return "kept on disk until the database is back"
        if not counts:
            return "superseded: the run went on without this attempt"
        if result is None or value is None:
            return f"failed: {outcome.reason}"
        said = f"{value:.4g} after {result.num_timesteps} timesteps"
        return "; ".join([said, *contended(result)])

    def deliver_kept(self) -> None:
        """Delivers what earlier workers on this machine could not."""
        for path, delivery in kept(self._study):
            if isinstance(delivery, str):
                self._say(f"a result that was kept on disk cannot be read; it is {delivery}")
                continue
            try:
                counts = self._patiently(self._delivering(delivery))
            except OtherDevice as error:
                self._declined(delivery.attempt_id, "other device", str(error), delivery.log_tail)
                counts = False
            except StudyGone:
                raise
            except Exception as error:
                # Of another database, or refused by this one: it must not stop the next worker.
                problem = " ".join(str(error).split())[:200]
                self._say(f"a result cannot be delivered; it is {put_aside(path)}: {problem}")
                continue
            if counts is not None:
                path.unlink(missing_ok=True)
                word = "delivered" if counts else "superseded"
                self._say(f"{word} a result that was kept on disk: {delivery.attempt_id}")

    def _delivering(self, delivery: Delivery) -> Callable[[], bool]:
        return partial(deliver, self._study, delivery, mixed_devices=self._mixed)

    def _deliver(self, delivery: Delivery) -> bool | None:
        """Delivers, keeping it on disk while the database is away; None if it still is."""
        try:
            return self._delivering(delivery)()
        except OtherDevice:
            raise
        except Exception as error:
            path = self._keep(delivery)
            if not is_transient(error):
                raise
        counts: bool | None = self._patiently(self._delivering(delivery))
        if counts is not None and path is not None:
            path.unlink(missing_ok=True)
        return counts

    def _keep(self, delivery: Delivery) -> Path | None:
        try:
            return keep(self._study, delivery)
        except OSError as error:
            self._say(f"a result cannot be kept on disk ({error}); it waits here")
            return None

    def _released(self, attempt_id: uuid.UUID, outcome: Outcome, log_tail: str) -> str:
        """Gives back a run that brought no result; says why in words."""
        if outcome.kind == "declined":
            return self._declined(attempt_id, outcome.reason, outcome.detail, log_tail)
        if outcome.kind == "lost":
            return "the lease was lost; leaving the run to others"
        if outcome.kind == "refused":
            return self._refused(attempt_id, outcome, log_tail)
        end = End.PREEMPTED if outcome.kind == "preempted" else End.CRASHED
        self._release(attempt_id, end, outcome.reason, outcome.detail, log_tail)
        return f"{end}: {outcome.reason}"

    def _refused(self, attempt_id: uuid.UUID, outcome: Outcome, log_tail: str) -> str:
        """Gives back a run that cannot be made, by anybody or just here; says why in words."""
        stop = partial(stop_unless_it_works, self._study, outcome.detail)
        if self._patiently(stop):
            self._release(attempt_id, End.CRASHED, outcome.reason, outcome.detail, log_tail)
            return outcome.detail
        self.unfit = True
        return self._declined(attempt_id, outcome.reason, outcome.detail, log_tail)

    def _declined(self, attempt_id: uuid.UUID, reason: str, detail: str, log_tail: str) -> str:
        """Gives back a run that this machine is not for; says why in words."""
        self.unfit = self.unfit or reason == "other device"
        self._release(attempt_id, End.DECLINED, reason, detail, log_tail)
        return f"declined: {detail}"

    def _release(
        self, attempt_id: uuid.UUID, end: End, reason: str, detail: str, log_tail: str
    ) -> None:
        released = partial(release, self._study, attempt_id, end, reason, detail)
        self._patiently(partial(released, log_tail=log_tail))
