"""Under which conditions a run trained: the device, how fast it was, who else used it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpsearch.objectives.device import cpu_seconds, gpu_clocks, identity, other_gpu_processes

CONTENDED_SHARE = 0.1
"""Of the usable cores' time: what others may use, or the host take, unmarked."""

CALIBRATION_SIZES = {"cpu": 512, "gpu": 4096}
"""Of a matrix: on a GPU a small one would measure how long it takes to begin."""

CALIBRATION_PRODUCTS = 20
CALIBRATION_REPEATS = 3

CPU_STAT = Path("/sys/fs/cgroup/cpu.stat")


class Conditions:
    """Found out around one run.

    Attributes:
      found: what goes into the result; see `TrialResult.conditions`.
      cpu_seconds_before: of this process, when the run began.
    """

    def __init__(self) -> None:
        """Looks at the device."""
        self.cpu_seconds_before = cpu_seconds()
        self.found: dict[str, Any] = {**identity(), "contended": []}

    def calibrate(self) -> None:
        """Measures how long the device takes for some matrix products; the best of three."""
        program, matrix = _workload()
        seconds = []
        for _ in range(CALIBRATION_REPEATS):
            began = time.perf_counter()
            program(matrix).block_until_ready()
            seconds.append(time.perf_counter() - began)
        self.found["calibration_seconds"] = round(min(seconds), 6)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notices in the block what else used the device."""
        began, busy, own = time.monotonic(), _busy_seconds(), cpu_seconds()
        others, throttled = other_gpu_processes(), _throttled_seconds()
        yield
        if "gpu" in self.found:
            self.found["gpu"] |= gpu_clocks()
        cores = len(os.sched_getaffinity(0))
        available = cores * max(time.monotonic() - began, 1e-9)
        others |= other_gpu_processes()
        if others:
            self._mark(f"{len(others)} other process(es) on the GPU")
        held_back = (_throttled_seconds() - throttled) / available
        if held_back > CONTENDED_SHARE:
            self._mark(f"the container's limit held back {held_back:.0%} of the CPU")
        busy_now = _busy_seconds()
        if busy is None or busy_now is None:
            return
        used, stolen = (after - before for after, before in zip(busy_now, busy, strict=True))
        # The kernel counts in ticks of 10 ms, so a short run may seem to use more than there is.
        foreign = max(0.0, used - (cpu_seconds() - own)) / available
        self.found["other_cpu_share"] = round(foreign, 4)
        self.found["stolen_cpu_share"] = round(stolen / available, 4)
        if foreign > CONTENDED_SHARE:
            self._mark(f"other processes used {foreign:.0%} of the CPU")
        if stolen / available > CONTENDED_SHARE:
            self._mark(f"the host took {stolen / available:.0%} of the CPU")

    def _mark(self, reason: str) -> None:
        self.found["contended"].append(reason)


@functools.cache
def _workload() -> tuple[Any, Any]:
    """Returns a compiled program and what it is called with."""
    import jax
    import jax.numpy as jnp

    size = CALIBRATION_SIZES.get(jax.default_backend(), max(CALIBRATION_SIZES.values()))
    matrix = jnp.full((size, size), 1.0 / size)

    def products(start: Any) -> Any:
        return jax.lax.fori_loop(0, CALIBRATION_PRODUCTS, lambda _, m: m @ matrix, start)

    return jax.jit(products).lower(matrix).compile(), matrix


def _throttled_seconds() -> float:
    """Returns for how long our control group's processes had to wait for its CPU limit."""
    try:
        lines = CPU_STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    counts = dict(line.split() for line in lines)
    return int(counts.get("throttled_usec", 0)) / 1e6


def _busy_seconds() -> tuple[float, float] | None:
    """Returns the CPU seconds that all processes used, and that the host took, on our cores.

    None where the kernel does not tell.
    """
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    used = stolen = 0.0
    try:
        with open("/proc/stat", encoding="ascii") as lines:
            for line in lines:
                name, *fields = line.split()
                if name not in ours:
                    continue
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
                used += user + nice + system + irq + softirq
                stolen += steal
    except (OSError, ValueError):
        return None
    tick = os.sysconf("SC_CLK_TCK")
    return used / tick, stolen / tick
