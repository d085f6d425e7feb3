from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpsearch import attempt_log
from hpsearch.attempt_log import TAIL_BYTES, AttemptLog


def test_a_flood_stays_bounded_and_its_end_is_kept(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "log", max_bytes=1000)
    for number in range(500):
        log.write(f"line {number:04}\n".encode())
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2000
    assert log.tail().endswith("line 0498\nline 0499\n")
    log.close()


def test_the_tail_is_at_most_64_kib_and_reaches_over_the_older_file(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "log", max_bytes=2 * TAIL_BYTES)
    log.write(b"a" * 2 * TAIL_BYTES)
    log.write(b"b" * 10)
    assert log.tail() == "a" * (TAIL_BYTES - 10) + "b" * 10
    log.close()


def test_a_full_disk_loses_output_and_stops_nobody(tmp_path: Path) -> None:
    full = tmp_path / "log"
    full.symlink_to("/dev/full")
    log = AttemptLog(full, max_bytes=100)
    for _ in range(20):
        log.write(b"a line of output\n")
    log.close()


def test_of_many_logs_the_latest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_log, "MAX_LOGS", 5)
    for number in range(14):
        path = tmp_path / f"{number}.log"
        AttemptLog(path).close()
        os.utime(path, (number, number))
    left = sorted(int(path.stem) for path in tmp_path.iterdir())
    # Ten were there when the eleventh came.
    assert left == list(range(5, 14))
