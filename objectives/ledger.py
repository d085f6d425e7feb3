"""The ledger: where the wall seconds of a run went, each moment in exactly one phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PHASES = ("start", "build", "compile", "env", "update", "evaluate", "save", "idle")
"""What a moment may be spent on.

start: imports and opening the simulator. build: making the agent. compile: XLA. env: collecting,
that is choosing actions, stepping and storing. update: gradient steps, their sampling included.
evaluate: the zero action before training and the agent after it. save: reports and files.
idle: whatever lies between.
"""


class Ledger:
    """A state machine over `PHASES`; it starts in `idle` the moment it is made.

    Phases nest: the inner one is charged alone, then the outer one goes on. Time is kept in whole
    nanoseconds, so the totals add up to the elapsed time without a rounding gap.
    """

    def __init__(self, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Starts the ledger.

        Args:
          clock: a monotonic clock in nanoseconds; tests give their own.
        """
        self._clock = clock
        self._spent_ns = dict.fromkeys(PHASES, 0)
        self._current = "idle"
        self._since_ns = self._started_ns = clock()

    @property
    def current(self) -> str:
        """The phase of this moment."""
        return self._current

    def _switch(self, phase: str) -> None:
        now_ns = self._clock()
        self._spent_ns[self._current] += now_ns - self._since_ns
        self._current, self._since_ns = phase, now_ns

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charges the block to `name`, and afterwards returns to the phase around it.

        Raises:
          KeyError: `name` is not in `PHASES`.
        """
        if name not in self._spent_ns:
            raise KeyError(f"{name!r} is not a phase; the phases are {', '.join(PHASES)}")
        outer = self._current
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def totals(self) -> dict[str, float]:
        """Returns seconds by phase up to now; they sum to the seconds since the start."""
        self._switch(self._current)
        return {phase: spent_ns / 1e9 for phase, spent_ns in self._spent_ns.items()}

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the last switch or call of `totals`."""
        return (self._since_ns - self._started_ns) / 1e9
