"""`hpsearch trials`: the trials of a study as a table or JSON."""

from __future__ import annotations

from typing import Annotated

from rich.table import Table

from hpsearch.cli.options import (
    InsecureOption,
    JsonOption,
    StorageOption,
    StudyOption,
    connect_study,
    option,
    out,
    tables,
)
from hpsearch.report import TrialReport, report_trials


def command(
    study: StudyOption = None,
    sort: Annotated[
        bool, option("--best-first", help="Best first instead of in the order of the numbers.")
    ] = False,
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Lists the trials of a study."""
    opened = connect_study(storage, insecure_storage, study)
    trials = report_trials(opened)
    if sort:
        sign = -1.0 if opened.spec.direction == "maximize" else 1.0
        trials.sort(key=lambda t: float("inf") if t.value is None else sign * t.value)
    if json:
        out.print_json(data=[trial.as_json() for trial in trials])
        return
    names = list(opened.spec.search_space().distributions)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "state", opened.spec.metric, "timesteps", *names):
        table.add_column(name, justify="left" if name == "state" else "right")
    for trial in trials:
        table.add_row(*_cells(trial, names))
    tables.print(table if trials else "no trial yet")


def _cells(trial: TrialReport, names: list[str]) -> list[str]:
    return [
        str(trial.number),
        trial.state if trial.reason is None else f"{trial.state}: {trial.reason}",
        "" if trial.value is None else f"{trial.value:.4g}",
        "" if trial.num_timesteps is None else f"{trial.num_timesteps:,}",
        *(f"{trial.params[name]:.4g}" if name in trial.params else "" for name in names),
    ]
