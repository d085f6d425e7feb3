"""Counts XLA's compilations while the budget's clock runs; there should be none."""

from __future__ import annotations

import functools
from typing import Any

from hpsearch.objectives.clock import BudgetClock

_COMPILED = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """A count that goes on for as long as its clock runs.

    Attributes:
      n: so far; a program that the persistent cache holds counts like any other.
    """

    def __init__(self, clock: BudgetClock) -> None:
        """Counts from now on, in place of an earlier count."""
        self.n = 0
        self._clock = clock
        _listening().append(self)
        del _listening()[:-1]

    def note(self) -> None:
        """Counts one, if the clock runs."""
        self.n += self._clock.running


@functools.cache
def _listening() -> list[Compilations]:
    """Returns who listens; JAX's listeners can only be added, so there is one for all."""
    from jax import monitoring

    listening: list[Compilations] = []

    def heard(event: str, _seconds: float, **_: Any) -> None:
        if event == _COMPILED:
            for each in listening:
                each.note()

    monitoring.register_event_duration_secs_listener(heard)
    return listening
