"""`hpsearch logs [N]`: what the runs of a trial, or of none, printed on any host."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from hpsearch.cli.options import (
    InsecureOption,
    StorageOption,
    StudyOption,
    connect_study,
    option,
    out,
)
from hpsearch.report import AttemptReport, has_open_run, report_attempts

REFRESH_SECONDS = 2.0


def command(
    number: Annotated[
        int | None,
        typer.Argument(
            help="Number of the trial; without it the runs that have none.", metavar="N"
        ),
    ] = None,
    follow: Annotated[
        bool, option("--follow", help="Go on until the run ended, as its worker reports.")
    ] = False,
    study: StudyOption = None,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Prints each attempt at a trial: how it ended, why, and the last 64 KiB of its output."""
    opened = connect_study(storage, insecure_storage, study)
    if number is not None:
        opened.trial(number)
    shown: dict[int, str] = {}
    while True:
        is_open = follow and opened.database.retrying(lambda: has_open_run(opened, number))
        attempts = opened.database.retrying(lambda: report_attempts(opened, number))
        for place, attempt in enumerate(attempts):
            if place not in shown:
                out.print(_title(attempt), style="bold", markup=False)
            out.print(new_part(shown.get(place, ""), attempt.log_tail), end="", markup=False)
            shown[place] = attempt.log_tail
        if not is_open:
            break
        time.sleep(REFRESH_SECONDS)
    for attempt in attempts:
        if attempt.detail:
            out.print(f"\n{_title(attempt)}\n{attempt.detail}", markup=False)


def _title(attempt: AttemptReport) -> str:
    purpose = "" if attempt.purpose == "search" else f"{attempt.purpose} seed {attempt.seed}, "
    end = attempt.state + (f": {attempt.reason}" if attempt.reason else "")
    return f"-- {purpose}attempt {attempt.number} on {attempt.host}, {end}"


def new_part(before: str, after: str) -> str:
    """Returns what came to the end of a rolling log since `before` was its tail."""
    for overlap in range(min(len(before), len(after)), 0, -1):
        if before[-overlap:] == after[:overlap]:
            return after[overlap:]
    return after
