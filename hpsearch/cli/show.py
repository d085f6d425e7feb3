"""`hpsearch show N`: everything about one trial."""

from __future__ import annotations

from typing import Annotated

import typer

from hpsearch.cli.options import (
    InsecureOption,
    JsonOption,
    StorageOption,
    StudyOption,
    connect_study,
    out,
)
from hpsearch.cli.replay import print_replay
from hpsearch.duration import format_duration
from hpsearch.replay import read_replay
from hpsearch.report import TrialReport, report_trials


def command(
    number: Annotated[int, typer.Argument(help="Number of the trial.", metavar="N")],
    study: StudyOption = None,
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Shows one trial: parameters, result, where its time went, replays."""
    opened = connect_study(storage, insecure_storage, study)
    opened.trial(number)
    report = report_trials(opened)[number]
    replay = read_replay(opened, number) if report.value is not None else None
    if json:
        replays = [vars(run) for run in replay.runs] if replay else []
        out.print_json(data={**report.as_json(), "replays": replays})
        return
    _print(report, opened.spec.metric)
    if replay:
        print_replay(replay)


def _print(report: TrialReport, metric: str) -> None:
    value = "" if report.value is None else f", {metric} {report.value:.4g} (seed {report.seed})"
    out.print(f"trial {report.number}: {report.state}{value}", style="bold")
    if report.reason:
        again = f"{report.attempts} attempt(s); hpsearch logs {report.number}"
        out.print(f"reason: {report.reason} ({again})", markup=False)
    if report.other_code:
        out.print("made with other code than the study was created with", style="yellow")
    for title, values in (("params", report.params), ("hyperparams", report.hyperparams)):
        out.print(title, style="dim")
        for name, found in values.items():
            out.print(f"  {name} = {found}")
    if report.result:
        out.print("result", style="dim")
        for name, found in report.result.items():
            if name not in ("metrics", "conditions"):
                out.print(f"  {name} = {found}")
        for name, found in report.result["metrics"].items():
            out.print(f"  {name} = {found}")
        for name, found in report.result.get("conditions", {}).items():
            if found not in ([], {}):
                style = "yellow" if name == "contended" else None
                out.print(f"  {name} = {found}", style=style, markup=False)
    if report.ledger:
        spent = ", ".join(f"{k} {format_duration(v)}" for k, v in report.ledger.items() if v)
        total = format_duration(sum(report.ledger.values()))
        out.print(f"ledger  {spent}; {total} in all")
