"""The pace of gradient steps: how many may follow each other before the clock is looked at."""

from __future__ import annotations

OVERSHOOT_SHARE = 0.01
OVERSHOOT_SECONDS = 0.3
"""A budget is overrun by at most this share of it, or by these seconds, whichever is more."""


class Pace:
    """Chooses chunks that stay well below the overshoot that is allowed.

    A chunk begins with one step and doubles at most, so one estimate that is far off costs
    little. The slowest of the latest measurements counts, and half of what is allowed is the aim.
    """

    def __init__(self, train_seconds: float) -> None:
        """Makes a pace that has measured nothing yet.

        Args:
          train_seconds: the budget.
        """
        allowed = max(OVERSHOOT_SHARE * train_seconds, OVERSHOOT_SECONDS)
        # A measurement every second needs a look at the clock as often.
        self._aim_seconds = min(allowed / 2, 0.5)
        self._step_seconds: float | None = None
        self._largest = 1

    def chunk(self, n_left: int) -> int:
        """Returns how many of `n_left` steps to make next; at least 1."""
        if self._step_seconds is None:
            return 1
        affordable = int(self._aim_seconds / self._step_seconds)
        return max(1, min(n_left, affordable, 2 * self._largest))

    def measured(self, n_steps: int, seconds: float) -> None:
        """Learns from a chunk of `n_steps` steps that took `seconds`."""
        step_seconds = seconds / n_steps
        if self._step_seconds is None or step_seconds > self._step_seconds:
            self._step_seconds = step_seconds
        else:
            self._step_seconds += 0.1 * (step_seconds - self._step_seconds)
        self._largest = max(self._largest, n_steps)
