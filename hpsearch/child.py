"""The child process: loads one objective and runs it, speaking JSON lines on its own pipes.

Started by the worker in its own process group, possibly by another interpreter (the simulator's)
where hpsearch is not installed. So this file needs nothing but the standard library, `base`,
`exceptions`, `plugins` and the objectives. Descriptors 1 and 2 belong to the simulator and are
the attempt's log.

Messages to the child: `run`, once or more, then the end of the pipe. Messages from it: `hello`,
then for each run `phase` and `measurement` any number of times and one of `result`, `failed`,
`refused`, `declined`, `crashed`. After a result a child whose objective is reusable waits for the
next run.
"""

from __future__ import annotations

import ctypes
import dataclasses
import faulthandler
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpsearch.base import ActionLimits, Budget, Setup
from hpsearch.exceptions import OtherDevice, RunFailed, SimulatorFailed, UsageError
from hpsearch.objectives.device import other_gpu_processes
from hpsearch.plugins import load

PROTOCOL = 2
_PR_SET_PDEATHSIG = 1


def _end_with_parent(parent: int, guard: int) -> None:
    """Makes sure that nothing of us outlives the worker, even while C code holds Python's lock.

    The kernel kills this process when its parent dies; a shell at the end of a pipe that nobody
    writes to kills the whole group when the worker dies. Between worker and child there may be
    the shell of a script that starts a simulator's Python.
    """
    subprocess.Popen(["/bin/sh", "-c", "read _; kill -9 0"], stdin=guard)
    os.close(guard)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent not in _ancestors():
        os._exit(1)


def _ancestors() -> Iterator[int]:
    """Yields the ids of this process's parent, of that one's parent, and so on."""
    pid = os.getppid()
    while pid > 0:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        # After the name, which may hold anything: the state, then the parent.
        pid = int(stat.rpartition(")")[2].split()[1])


class _Pipe:
    """The two ends that the worker left us."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = os.fdopen(reading, encoding="utf-8")
        self._writing = os.fdopen(writing, "w", encoding="utf-8")
        self._lock = threading.Lock()
        self.inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="hpsearch-pipe", daemon=True).start()

    def send(self, type_: str, **fields: Any) -> None:
        """Sends one message; ends the process if nobody listens any more."""
        with self._lock:
            at = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._writing.write(json.dumps({"type": type_, "at": at, **fields}) + "\n")
            self._writing.flush()

    def _listen(self) -> None:
        for line in self._reading:
            self.inbox.put(json.loads(line))


class _Runner:
    """The one objective of this process, and how often it may run."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._objective: Any = None
        self._n_runs = 0

    def serve(self) -> None:
        """Runs what the worker asks for, until it is told not to come back."""
        again = True
        while again:
            again = self._run(self._pipe.inbox.get())
        close = getattr(self._objective, "close", None)
        if close is not None:
            close()

    def _run(self, message: dict[str, Any]) -> bool:
        """Makes one run and sends how it ended; returns whether another may follow."""
        pipe = self._pipe
        try:
            if self._objective is None:
                self._objective = _build(message["objective"], message["setup"])
                if hasattr(self._objective, "announce"):
                    self._objective.announce = lambda phase: pipe.send("phase", phase=phase)
            self._n_runs += 1
            again = self._n_runs < getattr(self._objective, "max_runs_per_process", 1)
            result = self._objective(
                message["hyperparams"],
                seed=message["seed"],
                budget=Budget(**message["budget"]),
                report=lambda point: pipe.send("measurement", **dataclasses.asdict(point)),
            )
            pipe.send("result", again=again, **dataclasses.asdict(result))
            return again
        except RunFailed as error:
            pipe.send("failed", reason=error.reason, detail=str(error))
        except OtherDevice as error:
            pipe.send("declined", reason="other device", detail=str(error))
        except UsageError as error:
            pipe.send("refused", reason="setup", detail=str(error))
        except SimulatorFailed as error:
            cause = error.__cause__ or error
            self._crashed(cause, f"simulator:{type(cause).__name__}")
        except MemoryError:
            pipe.send("failed", reason="out_of_memory_host", detail=traceback.format_exc())
        except Exception as error:
            self._crashed(error, f"crashed:{type(error).__name__}")
        return False

    def _crashed(self, error: BaseException, reason: str) -> None:
        """Says how a run ended that raised `error`, which is being handled."""
        kind = "crashed"
        if _out_of_device_memory(error):
            # Alone on the device the parameters ask for too much; else somebody else may.
            shared = bool(other_gpu_processes())
            kind = "crashed" if shared else "failed"
            reason = "out_of_memory_device" + ("_shared" if shared else "")
        self._pipe.send(kind, reason=reason, detail=traceback.format_exc())


def _out_of_device_memory(error: BaseException) -> bool:
    # Of XLA, PyTorch, Warp.
    signs = ("RESOURCE_EXHAUSTED", "CUDA out of memory", "Failed to allocate")
    return any(sign in str(error) for sign in signs)


def _build(name: str, setup: dict[str, Any]) -> Any:
    """Returns the objective; a class is built with the setup, anything else is used as it is."""
    objective = load("objective", name)
    if not isinstance(objective, type):
        return objective
    limits = setup["action_limits"]
    limits = ActionLimits(**limits) if limits else None
    return objective(Setup(**{**setup, "action_limits": limits}))


def main(parent: int, reading: int, writing: int, guard: int) -> None:
    """Makes runs for a worker.

    Args:
      parent: process id of the worker, an ancestor of this process, which ends with it.
      reading: descriptor of the pipe from the worker.
      writing: descriptor of the pipe to it.
      guard: descriptor of a pipe that ends with the worker.
    """
    _end_with_parent(parent, guard)
    # Before it kills a child that hangs, the worker has it print where: also within C code.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    sys.path.append(str(Path.cwd()))
    pipe = _Pipe(reading, writing)
    pipe.send("hello", protocol=PROTOCOL, python=platform.python_version(), pid=os.getpid())
    _Runner(pipe).serve()
    # Simulators are known to hang when the interpreter shuts down; everything is said.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
