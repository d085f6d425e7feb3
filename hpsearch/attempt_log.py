"""The output of one attempt on disk, never more than two files of a bounded size."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MAX_BYTES = 4 << 20
MAX_LOGS = 200
"""Attempts of a study whose output stays on disk when there are twice as many."""

TAIL_BYTES = 64 << 10


class AttemptLog:
    """A log that keeps the newest output: when the file is full it becomes `<name>.1`."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_oldest(path.parent)
        self.path = path
        self._older = path.with_name(path.name + ".1")
        self._max_bytes = max_bytes
        self._file = path.open("wb", buffering=0)
        self._size = 0

    def write(self, data: bytes) -> None:
        """Appends output; what comes after `close`, or while the disk is full, is lost.

        A child goes on printing then: its pipe is emptied in any case.
        """
        if self._file.closed:
            return
        with contextlib.suppress(OSError):
            if self._size + len(data) > self._max_bytes:
                self.path.replace(self._older)
                newer = self.path.open("wb", buffering=0)
                self._file.close()
                self._file, self._size = newer, 0
            self._size += self._file.write(data) or 0

    def tail(self) -> str:
        """Returns the end of what was written, at most 64 KiB."""
        data = b"".join(self._read(path) for path in (self._older, self.path))
        return data[-TAIL_BYTES:].decode("utf-8", "replace")

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                return file.read()
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _forget_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):
        # Looked at for each attempt, so nothing is sorted before there are many.
        names = [name for name in os.listdir(folder) if name.endswith(".log")]
        if len(names) < 2 * MAX_LOGS:
            return
        logs = sorted((folder / name for name in names), key=lambda path: path.stat().st_mtime)
        for path in logs[:-MAX_LOGS]:
            path.with_name(path.name + ".1").unlink(missing_ok=True)
            path.unlink()
