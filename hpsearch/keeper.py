"""Keeps a lease alive beside the training: a thread that renews it and stores what is measured."""

from __future__ import annotations

import queue
import threading

from hpsearch.attempt_log import AttemptLog
from hpsearch.base import Measurement
from hpsearch.queue import Lease, Standing, renew
from hpsearch.reaping import reap_dead
from hpsearch.settings import settings
from hpsearch.study import Study

JOIN_SECONDS = 1.0


class Keeper:
    """Renews one lease until it is stopped, or until the database says that it is lost.

    A database that does not answer is asked again every fifth of the usual pause. The lease is
    lost only when the database says so: training goes on, and its result is offered in any case.
    """

    def __init__(self, study: Study, lease: Lease, log: AttemptLog) -> None:
        """Starts the thread.

        Args:
          study: of the run.
          lease: to keep.
          log: of the attempt; its end travels to the database with each renewal.
        """
        self.standing = Standing.HELD
        self._study, self._lease, self._log = study, lease, log
        self._new: queue.SimpleQueue[Measurement] = queue.SimpleQueue()
        self._pending: list[Measurement] = []
        self._stored_log = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def store(self, point: Measurement) -> None:
        """Takes a measurement to be stored with the next renewal."""
        self._new.put(point)

    def stop(self) -> None:
        """Ends the thread; a call that hangs is left to its own limit in time."""
        self._done.set()
        self._thread.join(JOIN_SECONDS)

    def _keep(self) -> None:
        pause = settings().renew_seconds
        while not self._done.wait(pause) and self.standing is Standing.HELD:
            while not self._new.empty():
                self._pending.append(self._new.get())
            tail = self._log.tail()
            try:
                changed = tail if tail != self._stored_log else None
                self.standing = renew(self._study, self._lease, self._pending, log_tail=changed)
                if pause == settings().renew_seconds:
                    # Right after an outage the others have not renewed yet.
                    reap_dead(self._study)
            except Exception:
                pause = settings().renew_seconds / 5
            else:
                self._pending.clear()
                self._stored_log = tail
                pause = settings().renew_seconds
