"""The signal that tells a process to end, heard also while a call into C lasts."""

from __future__ import annotations

import math
import signal
import socket
import threading
import time
from types import FrameType
from typing import Self

from hpsearch.database.deadline import end_calls

RELEASE_SECONDS = 3.5
"""For all that is left to say to the database after the signal."""


class Ending:
    """Notes the first of SIGTERM, SIGINT and SIGHUP, while entered; from the main thread only.

    Python handles a signal once a call into C returns, which may be never. So a thread hears of it
    by a file descriptor, and has the calls to the database cut that last too long then.

    Attributes:
      signal: its number; None before it comes.
    """

    def __init__(self) -> None:
        """Has heard nothing."""
        self.signal: int | None = None
        self._release_by = math.inf

    @property
    def seconds_left(self) -> float:
        """How long the database may still stay away while this process leaves."""
        return min(RELEASE_SECONDS, max(0.0, self._release_by - time.monotonic()))

    def __enter__(self) -> Self:
        """Listens from now on."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        # Under nohup the terminal may go.
        self._numbers = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]
        reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        threading.Thread(target=self._listen, args=(reading,), name="signals", daemon=True).start()
        self._before = {n: signal.signal(n, self._handle) for n in self._numbers}
        self._wakeup = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        """Puts back what was before."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._writing.close()
        end_calls()

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._note(number)

    def _listen(self, reading: socket.socket) -> None:
        with reading:
            while heard := reading.recv(1):
                self._note(heard[0])

    def _note(self, number: int) -> None:
        if self.signal is None and number in self._numbers:
            self.signal, self._release_by = number, time.monotonic() + RELEASE_SECONDS
            end_calls(self._release_by)
