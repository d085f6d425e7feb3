"""Workers on this machine: one a GPU, or one on the CPU, each a process of its own."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from hpsearch.gpu_lease import usable_gpus
from hpsearch.settings import settings

MAX_RESTARTS = 5


def gpu_ids() -> list[str]:
    """Returns the ids of the NVIDIA GPUs that this process may use."""
    return list(usable_gpus())


def alive_here(workers: Sequence[tuple[str, int]]) -> int:
    """Returns how many of these workers, given as host and process id, live on this machine."""
    return sum(host == platform.node() and psutil.pid_exists(pid) for host, pid in workers)


def living(workers: Sequence[tuple[str, int]]) -> int:
    """Returns how many of these workers live: those here as we see, others as they said."""
    return alive_here(workers) + sum(host != platform.node() for host, _ in workers)


@dataclass(kw_only=True)
class _Local:
    device: str | None
    log: Path
    process: subprocess.Popen[bytes]


@dataclass(kw_only=True)
class LocalWorkers:
    """The worker processes of one launch.

    Attributes:
      arguments: of `hpsearch worker`.
      environment: variables beside this process's own; secrets travel here, never as arguments.
    """

    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    _workers: list[_Local] = field(default_factory=list)
    _restarts: int = 0

    def start(self, count: int | None = None) -> int:
        """Starts workers, each in a session of its own so that it outlives a closed terminal.

        Args:
          count: how many; None for one a GPU, or one without any.

        Returns:
          How many were started.
        """
        gpus = gpu_ids()
        count = max(1, len(gpus)) if count is None else count
        for index in range(count):
            self._workers.append(self._start(gpus[index % len(gpus)] if gpus else None))
        return count

    def _start(self, device: str | None) -> _Local:
        folder = settings().data_dir / "logs" / "workers"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{len(self._workers)}.log"
        environment = {**os.environ, **self.environment}
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        with path.open("ab") as log:
            return _Local(device=device, log=path, process=self._spawn(environment, log))

    def _spawn(self, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "hpsearch", "worker", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )

    @property
    def logs(self) -> list[Path]:
        """The logs of the workers."""
        return [worker.log for worker in self._workers]

    def alive(self) -> int:
        """Returns how many workers live, having started those again that were killed."""
        for index, worker in enumerate(self._workers):
            status = worker.process.poll()
            killed = status is not None and status < 0
            if killed and self._restarts < MAX_RESTARTS:
                self._restarts += 1
                self._workers[index] = self._start(worker.device)
        return sum(worker.process.poll() is None for worker in self._workers)

    def statuses(self) -> list[int]:
        """Returns the exit statuses of the workers that ended."""
        ended = (worker.process.poll() for worker in self._workers)
        return [status for status in ended if status is not None]

    def stop(self, patience: float = 0.0) -> None:
        """Ends the workers: their runs go back to the queue.

        Args:
          patience: seconds that they may take to leave by themselves.
        """
        for number, seconds in ((0, patience), (signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0)):
            for worker in self._workers:
                if worker.process.poll() is None:
                    worker.process.send_signal(number)
            deadline = time.monotonic() + seconds
            while any(worker.process.poll() is None for worker in self._workers):
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.05)
