"""The installed command, as a process of its own, on the server of the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

# Undoes what a shell does to the commands that it starts in the background.
USUAL_SIGNALS = ("env", "--default-signal=INT,HUP")

SPHERE = ("--objective", "sphere", "--popsize", "4")


@dataclass
class Command:
    """Runs `hpsearch` in a folder, with an environment of its own."""

    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*USUAL_SIGNALS, sys.executable, "-m", "hpsearch", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def __call__(
        self, *arguments: str, status: int = 0, timeout: float = 120, **environment: str
    ) -> str:
        """Returns stdout, then stderr; fails unless the exit status is as expected."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == status, f"exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return out + err

    def json(self, *arguments: str) -> Any:
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return json.loads(out)


@pytest.fixture
def hpsearch(tables_url: str, data_dir: Path, tmp_path: Path) -> Iterator[Command]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HPSEARCH_")}
    environment = {
        **kept,
        "HPSEARCH_DATA_DIR": str(data_dir),
        "HPSEARCH_STORAGE": tables_url,
        "HPSEARCH_LEASE_SECONDS": "3",
        "HPSEARCH_SWEEP_SECONDS": "1",
        "HPSEARCH_RENEW_SECONDS": "0.5",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
    }
    source = Path(__file__).parents[2]
    if (source / "hpsearch").is_dir():
        environment["PYTHONPATH"] = str(source)
    command = Command(tmp_path, environment)
    yield command
    for process in command.started:
        for each in [*_descendants(process.pid)]:
            each.kill()
        if process.poll() is None:
            process.kill()
        process.communicate()
    # Workers are sessions of their own; those of this test carry its data folder.
    for each in psutil.process_iter():
        if _belongs(each, str(data_dir)):
            each.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _belongs(process: psutil.Process, data_dir: str) -> bool:
    try:
        if "hpsearch" not in " ".join(process.cmdline()) or process.pid == os.getpid():
            return False
        return process.environ().get("HPSEARCH_DATA_DIR") == data_dir
    except psutil.Error:
        return False


def workers_of(data_dir: Path) -> list[psutil.Process]:
    """Returns the worker processes that live."""
    return [
        process
        for process in psutil.process_iter()
        if _belongs(process, str(data_dir)) and "worker" in process.cmdline()
    ]


def children_of(worker: psutil.Process) -> list[psutil.Process]:
    """Returns the training processes of a worker."""
    return worker.children(recursive=True)


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Returns the first true value of `condition`; fails when none comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"still not so after {seconds} s")


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Sends a signal and returns what the process still said."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return out + err
