"""The invariants that must hold after every fault."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import psutil

from benchmarks.fault_bench.bench import LEASE, SECRET, SWEEP, expect
from hpsearch.drawing import draw_trial, prepare_drawing
from hpsearch.ending import lock_study

if TYPE_CHECKING:
    from benchmarks.fault_bench.bench import Bench


def check_all(bench: Bench, target: int) -> None:
    """Checks I1 to I9 of a study whose work is done.

    Raises:
      Missed: names the invariant and what was seen.
    """
    _acknowledged_are_there(bench)
    _results_counted_once(bench)
    _no_dead_lease(bench)
    _numbers_contiguous(bench)
    _told_once(bench)
    _same_next_candidate(bench)
    expect(bench.finished() == target, f"I6/I9: {bench.finished()} finished, not {target}")
    _reasons(bench)
    _no_secret(bench)
    tracebacks = [p.log.name for p in bench.processes if "Traceback" in p.text]
    expect(not tracebacks, f"a traceback on a terminal: {tracebacks}")


def _acknowledged_are_there(bench: Bench) -> None:
    values = dict(bench.query("SELECT trial_number, value FROM hpsearch.runs"))
    for process in bench.processes:
        # What a worker says once the result is accepted.
        for number, said in re.findall(r"trial (\d+): (\S+) after \d+ timesteps", process.text):
            value = values.get(int(number))
            seen = "nothing" if value is None else f"{value:.4g}"
            expect(seen == said, f"I1: trial {number} was {said} to its worker, and is {seen}")


def _results_counted_once(bench: Bench) -> None:
    twice = bench.query(
        "SELECT run_id, count(*) FROM hpsearch.attempts WHERE state IN ('accepted', 'failed') "
        "GROUP BY run_id HAVING count(*) > 1"
    )
    expect(not twice, f"I1/I4: runs with two results: {twice}")
    missing = bench.query(
        "SELECT r.id FROM hpsearch.runs r WHERE state IN ('finished', 'failed') AND NOT EXISTS "
        "(SELECT 1 FROM hpsearch.attempts a WHERE a.run_id = r.id AND "
        "a.state IN ('accepted', 'failed'))"
    )
    expect(not missing, f"I1: finished runs without an accepted attempt: {missing}")


def _no_dead_lease(bench: Bench) -> None:
    dead = bench.query(
        "SELECT a.id FROM hpsearch.attempts a WHERE a.state = 'leased' AND "
        "a.expires_at + make_interval(secs => :late) < clock_timestamp()",
        late=LEASE + SWEEP,
    )
    expect(not dead, f"I2: leased without a live worker: {dead}")
    odd = bench.query(
        "SELECT r.id FROM hpsearch.runs r LEFT JOIN hpsearch.attempts a ON a.id = r.attempt_id "
        "WHERE (r.state = 'leased') IS DISTINCT FROM (a.state = 'leased' AND a.id IS NOT NULL)"
        " AND r.state = 'leased'"
    )
    expect(not odd, f"I2: runs called leased whose attempt ended: {odd}")


def _numbers_contiguous(bench: Bench) -> None:
    numbers = bench.query("SELECT number FROM trials ORDER BY number")
    expect(numbers == list(range(len(numbers))), f"I3: trial numbers {numbers}")


def _told_once(bench: Bench) -> None:
    told = bench.query(
        "SELECT told_index FROM hpsearch.runs WHERE told_index IS NOT NULL ORDER BY told_index"
    )
    expect(told == list(range(len(told))), f"I4: told {told}")
    expect(len(told) == bench.finished(), f"I4: {len(told)} told of {bench.finished()}")
    differing = bench.query(
        "SELECT r.trial_number FROM hpsearch.runs r JOIN trial_values v USING (trial_id) "
        "WHERE r.purpose = 'search' AND r.value IS DISTINCT FROM v.value"
    )
    expect(not differing, f"I4: Optuna holds other values for trials {differing}")


def _same_next_candidate(bench: Bench) -> None:
    drawn = []
    for _ in range(2):
        study = bench.study()
        with (
            contextlib.suppress(_Undone),
            study.database.joint_transaction() as (connection, storage),
        ):
            ours = prepare_drawing(connection, study)
            told = lock_study(connection, study).told
            drawn.append(draw_trial(connection, storage, study, told=told, ours=ours)[0].params)
            raise _Undone
        study.database.close()
    expect(drawn[0] == drawn[1], f"I5: two next candidates: {drawn}")


class _Undone(Exception):
    """Rolls a trial back that was drawn only to look at it."""


def _reasons(bench: Bench) -> None:
    silent = bench.query(
        "SELECT id, state FROM hpsearch.attempts "
        "WHERE state NOT IN ('leased', 'accepted') AND coalesce(reason, '') = ''"
    )
    expect(not silent, f"I7: ended without a reason: {silent}")


def _no_secret(bench: Bench) -> None:
    part = SECRET[:6]
    for file in bench.folder.rglob("*"):
        if file.is_file() and part in file.read_text(errors="replace"):
            expect(False, f"I8: the password is in {file.name}")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            expect(part not in " ".join(process.cmdline()), "I8: the password is in ps")
    for table in ("specs", "runs", "attempts", "workers"):
        found = bench.query(
            f"SELECT count(*) FROM hpsearch.{table} t WHERE t::text LIKE :part", part=f"%{part}%"
        )
        expect(found == [0], f"I8: the password is in the table {table}")
