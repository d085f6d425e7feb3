"""Runs the hpsearch command with one fault planted in it.

    HPSEARCH_FAULT=POINT:ACTION python -m benchmarks.fault_bench.injected worker --study s

The product itself holds no failpoints: its functions are wrapped here, before it starts.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import sqlalchemy as sa

import hpsearch.cli
from hpsearch import accounts, attempt, drawing, ending, study, worker
from hpsearch.database import deadline


def die() -> None:
    """Ends this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(module: Any, name: str, act: Callable[[], None]) -> None:
    """Lets `act` happen before each call of a function."""
    original = getattr(module, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        act()
        return original(*arguments, **named)

    setattr(module, name, wrapped)


def after(module: Any, name: str, act: Callable[[], None]) -> None:
    """Lets `act` happen after each call of a function."""
    original = getattr(module, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        act()
        return result

    setattr(module, name, wrapped)


class LostAcknowledgement:
    """Lets the next commit succeed and then look as if the connection had broken."""

    def __init__(self) -> None:
        self._armed = False
        self._fired = False
        sa.event.listen(sa.engine.Engine, "engine_connect", self._watch)

    def arm(self) -> None:
        """Makes the next commit the one."""
        self._armed = not self._fired

    def _watch(self, connection: sa.Connection) -> None:
        dialect = connection.dialect
        if getattr(dialect, "watched", False):
            return
        original = dialect.do_commit

        def do_commit(raw: Any) -> None:
            original(raw)
            if self._armed and not self._fired:
                self._fired = True
                raw.close()
                raise psycopg2.OperationalError("server closed the connection unexpectedly")

        dialect.do_commit = do_commit  # type: ignore[method-assign]
        dialect.watched = True  # type: ignore[attr-defined]


def plant(fault: str) -> None:
    """Plants one fault by its name."""
    if fault == "kill:after-claim":
        after(worker, "claim", die)
    elif fault == "kill:before-measurement":
        before(attempt.Attempt, "_measured", die)
    elif fault == "kill:mid-training":
        seen: list[int] = []

        def third() -> None:
            seen.append(1)
            if len(seen) == 3:
                die()

        after(attempt.Attempt, "_measured", third)
    elif fault == "kill:before-accept":
        before(accounts, "deliver", die)
    elif fault == "kill:after-accept":
        after(accounts, "deliver", die)
    elif fault == "kill:during-ask":
        after(drawing, "_draw", die)
    elif fault == "kill:during-reap":
        after(ending, "_end_attempt", die)
    elif fault.startswith("lost-ack:"):
        lost = LostAcknowledgement()
        verb = fault.partition(":")[2]
        modules = {"claim": worker, "deliver": accounts, "release": accounts, "create": study}
        before(modules[verb], "_create" if verb == "create" else verb, lost.arm)
    elif fault.startswith("calls:"):
        deadline.CALL_SECONDS = float(fault.partition(":")[2])
    elif fault.startswith("clock:"):
        offset, right = float(fault.partition(":")[2]), time.time
        time.time = lambda: right() + offset
    else:
        raise SystemExit(f"no fault {fault!r}")


if __name__ == "__main__":
    plant(os.environ["HPSEARCH_FAULT"])
    sys.argv[0] = "hpsearch"
    hpsearch.cli.main()
