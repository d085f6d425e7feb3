"""Whether a replay table fits where the updates are computed."""

from __future__ import annotations

import jax

from hpsearch.objectives.device import gpu_memory_free

LARGEST_SHARE = 0.8
"""Of the free memory; the rest is for networks, batches and what a simulator takes later."""


def fits_device(nbytes: int) -> bool:
    """Returns whether a table of `nbytes` fits the device; on a CPU the table is at home anyway.

    What a simulator took already counts, where the driver tells. A device that does not tell its
    memory counts as large enough.
    """
    device = jax.devices()[0]
    if device.platform == "cpu":
        return True
    memory = device.memory_stats() or {}
    if "bytes_limit" not in memory:
        return True
    free = float(memory["bytes_limit"] - memory.get("bytes_in_use", 0))
    told = gpu_memory_free()
    return nbytes <= LARGEST_SHARE * (free if told is None else min(free, told))
