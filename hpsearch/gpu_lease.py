"""The right of one process to train on a GPU: a lock on a file, gone with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from hpsearch.settings import settings

_LISTED = re.compile(r"GPU (\d+): .*\(UUID: (\S+)\)")


def listed_gpus() -> dict[str, str]:
    """Returns the index of each NVIDIA GPU of this machine and its unique name."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(_LISTED.findall(done.stdout)) if done.returncode == 0 else {}


def usable_gpus() -> dict[str, str]:
    """Returns the GPUs that this process may use: as CUDA names them, and their unique names.

    A number means another GPU in another job, so what is locked is the unique name.
    """
    listed = listed_gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return listed
    names = [name.strip() for name in visible.split(",")]
    return {name: listed.get(name, name) for name in names if name not in ("", "-1")}


class GpuLease:
    """At most one GPU, held until `release` or the end of this process.

    Attributes:
      gpu: as CUDA names it; None while none is held.
    """

    def __init__(self, gpus: Mapping[str, str] | None = None) -> None:
        """Prepares a lease.

        Args:
          gpus: to choose from, as `usable_gpus` gives them, which is the default.
        """
        self.gpus = usable_gpus() if gpus is None else gpus
        self.gpu: str | None = None
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Takes the first GPU that is free; returns whether one is held, or there is none."""
        if self.gpu is not None or not self.gpus:
            return True
        folder = settings().data_dir / "gpus"
        folder.mkdir(parents=True, exist_ok=True)
        for gpu, unique in self.gpus.items():
            if self._lock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', unique)}.lock"):
                self.gpu = gpu
                return True
        return False

    def _lock(self, path: Path) -> bool:
        # Not inherited: a child that outlives us must not keep the GPU.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Gives the GPU back."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self.gpu = self._descriptor = None
