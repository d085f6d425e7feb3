"""One attempt at a run: listens to the child, keeps its deadlines, and says how it ended.

Nothing in Python can interrupt a call into C, so the deadlines are kept here, by the parent, on a
monotonic clock; whoever misses one is killed.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpsearch.base import Measurement, TrialResult
from hpsearch.child import PROTOCOL
from hpsearch.exceptions import BadMessage, InvalidResult
from hpsearch.keeper import Keeper
from hpsearch.messages import measurement_of, result_of
from hpsearch.process import ChildProcess
from hpsearch.queue import Lease, Standing
from hpsearch.settings import settings

POLL_SECONDS = 0.2
SUSPENDED_SECONDS = 5.0
SIGNAL_SECONDS = 1.0

ENDS = ("failed", "refused", "declined", "crashed")
"""What a child may say of its run beside a result."""

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    Attributes:
      kind: `result`; `failed`, by the parameters' own fault; `refused`, by a study that cannot
        be run; `declined`, by a machine that is not for this study; `crashed`; `preempted`;
        `lost`, because the run belongs to another worker now.
      reason: why there is no result, in a word.
      detail: the same at length: message, traceback, end of the log.
      result: of a `result`.
      curve: what was measured, in order.
      again: whether the child waits for another run.
      closes: whether the child said so itself, and closes its simulator now.
    """

    kind: str
    reason: str = ""
    detail: str = ""
    result: TrialResult | None = None
    curve: list[Measurement] = field(default_factory=list)
    again: bool = False
    closes: bool = False


class Attempt:
    """Listens to one child at work."""

    def __init__(
        self,
        child: ChildProcess,
        keeper: Keeper,
        lease: Lease,
        signalled: Callable[[], int | None],
        measured: Callable[[Measurement], None] = lambda _: None,
    ) -> None:
        """Prepares to listen; `run` does it.

        Args:
          child: that works.
          keeper: of the lease.
          lease: what it works at.
          signalled: returns the signal that the worker got, if any.
          measured: is told of each point of the curve.
        """
        self._child, self._keeper, self._lease = child, keeper, lease
        self._signalled = signalled
        self._tell = measured
        self._curve: list[Measurement] = []
        self._began = time.monotonic()
        self._phase, self._deadline = "start", self._began + settings().start_seconds
        self._looked_at = _boot_time()
        self._oom_kills = _oom_kills()

    def run(self, request: Mapping[str, Any]) -> Outcome:
        """Has the child make the run; returns how it ended, with the child dealt with.

        A child that brought a result, or failed in its own words, is left to close its simulator:
        the caller stores what it said first.
        """
        self._child.send(request)
        outcome = self._listen()
        if outcome.reason.startswith("hung"):
            self._child.print_stacks()
        if not outcome.closes:
            outcome = self._explained(outcome, self._child.end())
        if outcome.result is not None:
            ledger = whole_ledger(outcome.result.ledger, time.monotonic() - self._began)
            result = dataclasses.replace(outcome.result, ledger=ledger)
            outcome = dataclasses.replace(outcome, result=result)
        return dataclasses.replace(outcome, curve=self._curve)

    def _listen(self) -> Outcome:
        while True:
            # What a child that has ended said is all there; its own children may hold the pipe.
            ended = self._child.has_ended()
            messages, is_open = self._child.receive(0.0 if ended else POLL_SECONDS)
            suspended = self._note_silence(messages)
            if suspended is not None:
                return suspended
            for message in messages:
                outcome = self._heard(message)
                if outcome is not None:
                    return outcome
            if not is_open or (ended and not messages):
                return Outcome(kind="crashed", reason="crashed")
            ending = self._ended_from_outside() or self._overdue()
            if ending is not None:
                return ending

    def _heard(self, message: dict[str, Any]) -> Outcome | None:
        try:
            return self._understood(message)
        except InvalidResult as error:
            detail = str(error)
            return Outcome(kind="failed", reason=error.reason, detail=detail, closes=True)
        except BadMessage as error:
            return Outcome(kind="crashed", reason="crashed:protocol", detail=str(error))

    def _understood(self, message: dict[str, Any]) -> Outcome | None:
        kind = message.get("type")
        if kind == "hello":
            theirs = message.get("protocol")
            if theirs != PROTOCOL:
                detail = f"the child speaks protocol {theirs}, not {PROTOCOL}"
                return Outcome(kind="refused", reason="protocol", detail=detail)
            return None
        if kind == "phase":
            if not self._curve:
                self._phase = str(message.get("phase"))
            return None
        if kind == "measurement":
            self._measured(measurement_of(message))
            return None
        if kind == "result":
            again = bool(message.get("again", False))
            return Outcome(kind="result", result=result_of(message), again=again, closes=True)
        if kind not in ENDS:
            raise BadMessage(problem=f"it says {str(message)[:200]}")
        reason, detail = (str(message.get(name) or "") for name in ("reason", "detail"))
        return Outcome(kind=kind, reason=reason or kind, detail=detail, closes=True)

    def _measured(self, point: Measurement) -> None:
        limits, now = settings(), time.monotonic()
        if not self._curve:
            self._phase = "training"
            self._deadline = now + self._lease.budget.train_seconds + limits.grace_seconds
        if point.last and self._phase != "evaluation":
            self._phase, self._deadline = "evaluation", now + limits.eval_seconds
        self._curve.append(point)
        self._keeper.store(point)
        self._tell(point)

    def _ended_from_outside(self) -> Outcome | None:
        number = self._signalled()
        if number is not None:
            return Outcome(kind="preempted", reason=signal.Signals(number).name)
        if self._keeper.standing is Standing.STOP:
            return Outcome(kind="preempted", reason="stopped by the user")
        if self._keeper.standing is Standing.LOST:
            return Outcome(kind="lost", reason="the lease was lost")
        return None

    def _overdue(self) -> Outcome | None:
        if time.monotonic() <= self._deadline:
            return None
        if self._phase == "training":
            grace = settings().grace_seconds
            detail = f"training had not ended {grace:g} s after its budget"
            return Outcome(kind="failed", reason="over_budget", detail=detail)
        return Outcome(kind="crashed", reason=f"hung:{self._phase}")

    def _note_silence(self, messages: list[dict[str, Any]]) -> Outcome | None:
        """Notices that this machine, or both processes, stood still for a while.

        The child's budget is wall time, so what it learned in it means nothing then. If only this
        process stood still, the child has spoken in the meantime, by the clock that both share.
        """
        now = _boot_time()
        before, self._looked_at = self._looked_at, now
        stood_still = now - before > SUSPENDED_SECONDS
        said_at = [at for at in (message.get("at") for message in messages) if type(at) is float]
        spoke = any(before + 1.0 < at < now - 1.0 for at in said_at)
        if stood_still and self._phase == "training" and not spoke:
            return Outcome(kind="preempted", reason="suspended")
        return None

    def _explained(self, outcome: Outcome, status: int) -> Outcome:
        reason = outcome.reason
        if reason == "crashed":
            name = signal.Signals(-status).name if status < 0 else f"exit {status}"
            if -status in ENDING_SIGNALS and (number := self._signal_soon()) is not None:
                # It went to all processes of a job, and reached the child first.
                return Outcome(kind="preempted", reason=signal.Signals(number).name)
            killed_for_memory = name == "SIGKILL" and _oom_kills() > self._oom_kills
            where = "simulator" if self._phase == "simulator" else "crashed"
            reason = "out_of_memory_host" if killed_for_memory else f"{where}:{name}"
        return dataclasses.replace(outcome, reason=reason)

    def _signal_soon(self) -> int | None:
        deadline = time.monotonic() + SIGNAL_SECONDS
        while self._signalled() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return self._signalled()


def whole_ledger(ledger: Mapping[str, float], wall_seconds: float) -> dict[str, float]:
    """Returns the child's ledger with the rest of the attempt's wall time, spent on its start."""
    rest = max(0.0, wall_seconds - sum(ledger.values()))
    return {**ledger, "start": ledger.get("start", 0.0) + rest}


def _boot_time() -> float:
    """Returns seconds of a clock that all processes share and that runs on in suspension."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _oom_kills() -> int:
    """Returns how many processes the kernel has killed for want of memory."""
    try:
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
