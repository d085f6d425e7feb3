"""Whether a replay table fits where the updates are computed."""

from __future__ import annotations

import jax

from hpsearch.objectives.device import gpu_memory_free

LARGEST_SHARE = 0.8
"""Of the free memory; the rest is for networks, batches and what a simulator takes later."""


def fits_device(nbytes: int) -> bool:
    """Returns whether a table of `nbytes` fits the device; on a CPU the table is at home anyway.

    What a simulator took already counts, where the driver tells; what JAX holds in its pool from
    an earlier run does not. A device that does not tell its memory counts as large enough.
    """
    device = jax.devices()[0]
    if device.platform == "cpu":
        return True
    memory = device.memory_stats() or {}
    if "bytes_limit" not in memory:
        return True
    in_use = memory.get("bytes_in_use", 0)
    free = float(memory["bytes_limit"] - in_use)
    told = gpu_memory_free()
    if told is not None:
        free = min(free, told + max(0, memory.get("pool_bytes", 0) - in_use))
    return nbytes <= LARGEST_SHARE * free
