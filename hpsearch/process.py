"""The worker's end of a child process: starts it, listens to it, ends it with all its children."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import selectors
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

import hpsearch
from hpsearch.attempt_log import AttemptLog
from hpsearch.exceptions import InvalidValue

OURS = """
import importlib.util, sys
folder, *numbers = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    "hpsearch", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["hpsearch"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["hpsearch"])
"""
"""How a program for any interpreter begins that needs our package, not its neighbours.

Its first argument is `package_folder()`; the others are `numbers`.
"""

_START = f"""
{OURS}
from hpsearch.child import main
main(*map(int, numbers))
"""
STACK_SECONDS = 0.5
MAX_LINE_BYTES = 64 << 20
_MARK = "HPSEARCH_CHILD"
_SECRETS = ("HPSEARCH_STORAGE", "HPSEARCH_STORAGE_FILE", "PGPASSWORD", "PGPASSFILE")


def package_folder() -> str:
    """Returns where our package lies."""
    return str(Path(hpsearch.__file__).parent)


def interpreter_path(python: str | None) -> str:
    """Returns the interpreter that children run with.

    Args:
      python: what `--python` gave; None for our own.

    Raises:
      InvalidValue: it is no program that can be run.
    """
    if python is None:
        return sys.executable
    found = shutil.which(python)
    if found is None:
        raise InvalidValue(name="--python", value=python, allowed="a Python interpreter")
    return found


class ChildProcess:
    """One child in a process group of its own; its output goes to a bounded log.

    Attributes:
      log: where its output goes.
      group: id of the process group, and of what was started: the child or a script around it.
      pid: id of the child itself; None until it has said hello.
    """

    def __init__(self, log: AttemptLog, *, python: str | None = None) -> None:
        """Starts the child; call it from the main thread, with whose end the kernel ends it.

        Args:
          log: where its output goes.
          python: interpreter of the simulator's environment; None for our own.
        """
        self.log = log
        interpreter = interpreter_path(python)
        to_child, self._writing = os.pipe()
        self._reading, from_child = os.pipe()
        guard, self._guarding = os.pipe()
        self._mark = uuid.uuid4().hex
        environment = {name: v for name, v in os.environ.items() if name not in _SECRETS}
        environment[_MARK] = self._mark
        theirs = (to_child, from_child, guard)
        numbers = map(str, (os.getpid(), *theirs))
        self._process = subprocess.Popen(
            [interpreter, "-P", "-c", _START, package_folder(), *numbers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=theirs,
            start_new_session=True,
            env=environment,
        )
        for descriptor in theirs:
            os.close(descriptor)
        os.set_blocking(self._reading, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reading, selectors.EVENT_READ)
        self._buffer = b""
        self._copying = threading.Lock()
        self._pump = threading.Thread(target=self._copy_output, daemon=True)
        self._pump.start()
        self.group = self._process.pid
        self.pid: int | None = None

    def _copy_output(self) -> None:
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        with contextlib.suppress(OSError):
            ready = select.poll()
            ready.register(descriptor, select.POLLIN)
            while True:
                ready.poll()
                with self._copying:
                    data = os.read(descriptor, 65536)
                    self.log.write(data)
                if not data:
                    return

    def settle(self, seconds: float = 1.0) -> None:
        """Waits, at most so long, until the log holds what the child printed before."""
        if self._process.stdout is None or self._process.stdout.closed:
            return
        deadline = time.monotonic() + seconds
        unread = array.array("i", [1])
        while unread[0] and time.monotonic() < deadline:
            with self._copying:
                fcntl.ioctl(self._process.stdout.fileno(), termios.FIONREAD, unread)
            time.sleep(0.001)

    def _kill_marked(self) -> None:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark:
                    process.kill()

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends one message; a child that is gone is noticed by `receive`."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writing, json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        """Returns the messages of the next `timeout` seconds, and whether the pipe is open.

        A line that is no message becomes one of no type.
        """
        if not self._selector.select(timeout):
            return [], True
        data = os.read(self._reading, 1 << 20)
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > MAX_LINE_BYTES:
            lines, self._buffer = [*lines, self._buffer], b""
        messages = [_message(line) for line in lines]
        for message in messages:
            if message.get("type") == "hello" and isinstance(message.get("pid"), int):
                self.pid = message["pid"]
        return messages, bool(data)

    def has_ended(self) -> bool:
        """Returns whether the process itself has ended; its children may live on."""
        return self._process.poll() is not None

    def print_stacks(self) -> None:
        """Has the child print where each of its threads is, and waits a moment for that.

        One that has not said hello does not know the signal yet.
        """
        with contextlib.suppress(ProcessLookupError):
            if self.pid is not None and os.getpgid(self.pid) == self.group:
                os.kill(self.pid, signal.SIGUSR1)
                time.sleep(STACK_SECONDS)

    def end(self, patience: float = 0.0, hurry: Callable[[], bool] = lambda: False) -> int:
        """Waits for the child, then kills whatever is left of it.

        That is its group, and what left the group but still has the child's mark.

        Args:
          patience: seconds that it may take to end by itself.
          hurry: whether to wait no longer.

        Returns:
          Its exit status as `subprocess` gives it: negative for a signal, also where a shell
          around the child told that its own way.
        """
        deadline = time.monotonic() + patience
        while self._process.poll() is None and time.monotonic() < deadline and not hurry():
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGKILL)
        status = self._process.wait()
        self._kill_marked()
        self._pump.join(timeout=1.0)
        self._selector.close()
        for descriptor in (self._reading, self._writing, self._guarding):
            os.close(descriptor)
        assert self._process.stdout
        if not self._pump.is_alive():
            self._process.stdout.close()
        around = self.pid not in (None, self.group)
        return 128 - status if around and status - 128 in signal.valid_signals() else status


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    return message if isinstance(message, dict) else {"line": repr(line[:200])}
