"""The budget's clock: counts the wall seconds of training and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class BudgetClock:
    """Counts while it runs; start, compilation, evaluation and reports happen while it is paused.

    It is made paused. Everything is in seconds.
    """

    def __init__(
        self, train_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes a paused clock.

        Args:
          train_seconds: the budget.
          clock: a monotonic clock in seconds; tests give their own.
        """
        self.train_seconds = train_seconds
        self._clock = clock
        self._counted = 0.0
        self._started_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether it counts at this moment."""
        return self._started_at is not None

    def start(self) -> None:
        """Counts from now on; nothing happens if it runs already."""
        if self._started_at is None:
            self._started_at = self._clock()

    def pause(self) -> None:
        """Stops counting until the next start; nothing happens if it is paused already."""
        self._counted = self.spent
        self._started_at = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Does not count inside the block, and afterwards goes on as it was before."""
        was_running = self.running
        self.pause()
        try:
            yield
        finally:
            if was_running:
                self.start()

    @property
    def spent(self) -> float:
        """Seconds of training so far."""
        if self._started_at is None:
            return self._counted
        return self._counted + (self._clock() - self._started_at)

    def progress(self, share_of_steps: float) -> float:
        """Returns the share of the budget that is used up, 0 to 1: of its seconds or its steps.

        Args:
          share_of_steps: timesteps so far, as a share of those that the budget allows.
        """
        return min(1.0, max(self.spent / self.train_seconds, share_of_steps))

    @property
    def remaining(self) -> float:
        """Seconds left; 0 when the budget is spent."""
        return max(0.0, self.train_seconds - self.spent)

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        return self.spent >= self.train_seconds

    @property
    def overshoot(self) -> float:
        """Seconds that training ran past its budget; 0 before."""
        return max(0.0, self.spent - self.train_seconds)
