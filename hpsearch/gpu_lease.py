"""The right of one process to train on a GPU: two locks that are gone with their holder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import subprocess
from collections.abc import Mapping

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

    A lease is a lock on a file of the data folder, which containers share, and a name among the
    host's abstract sockets (unix(7)), which all its users share, whatever their data folder.

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
        self._held = contextlib.ExitStack()

    def take(self) -> bool:
        """Takes the first GPU that is free; returns whether one is held, or there is none."""
        if self.gpu is not None or not self.gpus:
            return True
        folder = settings().data_dir / "gpus"
        folder.mkdir(parents=True, exist_ok=True)
        for gpu, unique in self.gpus.items():
            name = re.sub(r"[^A-Za-z0-9-]", "_", unique)
            # Neither is inherited: a child that outlives us must not keep the GPU.
            with contextlib.ExitStack() as held:
                lock = held.enter_context(open(folder / f"{name}.lock", "ab"))
                host_lock = held.enter_context(socket.socket(socket.AF_UNIX))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    host_lock.bind(f"\0hpsearch-gpu-{name}")
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EADDRINUSE):
                        raise
                    continue
                self.gpu, self._held = gpu, held.pop_all()
                return True
        return False

    def show(self) -> None:
        """Has children of this process see the GPU that is held, and no other."""
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
            # The numbers are those of nvidia-smi; CUDA's own begin with the fastest.
            os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

    def release(self) -> None:
        """Gives the GPU back."""
        self._held.close()
        self.gpu = None
