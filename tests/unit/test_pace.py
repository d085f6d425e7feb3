"""Chunks of gradient steps stay below the overshoot that a budget allows."""

from __future__ import annotations

import pytest

from hpsearch.objectives.pace import Pace


def overshoot(budget: float, step_seconds: float, burst: int) -> tuple[float, int]:
    """Returns how far a burst runs over its budget, and how many chunks it took."""
    pace, clock, n_chunks = Pace(budget), 0.0, 0
    while clock < budget:
        left = burst
        while left > 0 and clock < budget:
            n = pace.chunk(left)
            pace.measured(n, n * step_seconds)
            clock += n * step_seconds
            left -= n
            n_chunks += 1
    return clock - budget, n_chunks


@pytest.mark.parametrize("budget", [10.0, 60.0, 300.0])
@pytest.mark.parametrize("step_seconds", [1e-5, 1e-3, 0.05])
def test_overshoot_is_bounded(budget: float, step_seconds: float) -> None:
    assert overshoot(budget, step_seconds, 10**9)[0] <= max(0.3, 0.01 * budget)


def test_chunks_are_not_needlessly_small() -> None:
    # At most 0.5 s a chunk, so that a measurement comes every second.
    assert overshoot(300.0, 1e-4, 10**9)[1] < 800


def test_a_short_burst_is_one_chunk_once_the_pace_is_known() -> None:
    pace = Pace(60.0)
    for _ in range(8):
        pace.measured(pace.chunk(8), 0.001)
    assert pace.chunk(8) == 8


def test_one_slow_measurement_makes_chunks_smaller_at_once() -> None:
    pace = Pace(60.0)
    for _ in range(20):
        n = pace.chunk(10**6)
        pace.measured(n, n * 1e-4)
    before = pace.chunk(10**6)
    pace.measured(before, before * 1e-2)
    assert pace.chunk(10**6) <= before / 50
