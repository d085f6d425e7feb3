"""Workers that exist in time only: a search by its trials' completion times."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np


def search_events(
    n_trials: int, n_workers: int, numbers: np.random.Generator
) -> Iterator[tuple[str, int]]:
    """Yields `("ask", k)` and `("tell", k)` in the order in which they happen.

    Each worker asks for a trial, works at it, tells its result and asks for the next. A trial
    takes its budget and up to 30 % of it for start, compilation and evaluation.

    Args:
      n_trials: in all.
      n_workers: at once.
      numbers: decide how long the k-th trial takes.
    """
    seconds = numbers.uniform(1.0, 1.3, n_trials)
    running: list[tuple[float, int]] = []
    for k in range(n_trials):
        now = 0.0
        if k >= n_workers:
            now, done = heapq.heappop(running)
            yield "tell", done
        yield "ask", k
        heapq.heappush(running, (now + seconds[k], k))
    while running:
        yield "tell", heapq.heappop(running)[1]
