"""The live table of a study, and its lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hpsearch.cli.options import err
from hpsearch.duration import format_duration
from hpsearch.exceptions import DatabaseUnavailable
from hpsearch.progress import Progress, Running, read_progress
from hpsearch.reaping import reap
from hpsearch.settings import settings
from hpsearch.study import Study

REFRESH_SECONDS = 1.0
LINE_SECONDS = 15.0


def headline(progress: Progress) -> str:
    """Returns the study's state in one line."""
    parts = [f"{progress.finished} of {progress.target} finished"] if progress.target else []
    if progress.failed:
        parts.append(f"{progress.failed} failed by their parameters")
    if progress.lost:
        parts.append(f"{progress.lost} given up")
    if progress.best:
        number, value = progress.best
        parts.append(f"best {value:.4g} (trial {number}; one seed, not validated)")
    if progress.stop:
        parts.append(f"stopped: {progress.stop.replace('_', ' ')}")
    elif progress.seconds_left is not None and progress.finished < progress.target:
        parts.append(f"about {format_duration(max(1.0, progress.seconds_left))} left")
    return ", ".join(parts) or "no search"


def follow(study: Study, going: Callable[[Progress], bool], *, only: str | None = None) -> None:
    """Shows a study's progress on stderr until `going` returns False.

    Args:
      study: to show.
      going: asked after each look.
      only: show runs of this purpose only.
    """
    if err.is_terminal:
        _follow_live(study, going, only)
    else:
        _follow_lines(study, going, only)


def _look(study: Study) -> Progress | str:
    """Returns the progress, or why the database does not answer just now."""
    database = study.database
    try:
        seen = database.retrying(lambda: read_progress(study), seconds=2.0)
        if database.may_write and any(
            r.lease_left < -settings().sweep_seconds for r in seen.running
        ):
            database.retrying(lambda: reap(study), seconds=2.0)
        return seen
    except DatabaseUnavailable as error:
        return str(error)


def _follow_live(study: Study, going: Callable[[Progress], bool], only: str | None) -> None:
    with Live(console=err, refresh_per_second=4, transient=True) as live:
        while True:
            seen = _look(study)
            if isinstance(seen, str):
                live.update(Text(seen, style="yellow"))
            else:
                live.update(render(study, seen, only))
                if not going(seen):
                    return
            time.sleep(REFRESH_SECONDS)


def render(study: Study, progress: Progress, only: str | None = None) -> RenderableType:
    """Returns the table of what runs now, under the study's headline."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "state", "time", "timesteps", "return", "host"):
        number = name in ("trial", "time", "timesteps", "return")
        table.add_column(name, justify="right" if number else "left")
    for run in progress.running:
        if only in (None, run.purpose):
            table.add_row(*_cells(run))
    title = Text.assemble((study.name, "bold"), "  ", headline(progress))
    notes = [Text(note, style="yellow") for note in progress.notes]
    if not progress.workers and progress.finished < progress.target:
        notes.append(Text("no worker is alive", style="yellow"))
    return Group(title, table, *notes) if progress.running else Group(title, *notes)


def _state(run: Running) -> str:
    if run.lease_left < 0:
        return "no sign of its worker"
    purpose = f"{run.purpose} {run.seed}, " if run.purpose != "search" else ""
    return f"{purpose}{run.phase}" + (f", attempt {run.attempt}" if run.attempt > 1 else "")


def _cells(run: Running) -> tuple[str, ...]:
    return (
        "" if run.trial_number is None else str(run.trial_number),
        _state(run),
        format_duration(run.seconds if run.seconds < 60 else round(run.seconds)),
        "" if run.num_timesteps is None else f"{run.num_timesteps:,}",
        "" if run.mean_return is None else f"{run.mean_return:.2f}",
        run.host,
    )


def _follow_lines(study: Study, going: Callable[[Progress], bool], only: str | None) -> None:
    said, said_at = "", 0.0
    while True:
        seen = _look(study)
        line = seen if isinstance(seen, str) else headline(seen)
        key = line.partition(", about ")[0]
        if key != said or time.monotonic() - said_at > LINE_SECONDS:
            said, said_at = key, time.monotonic()
            if not isinstance(seen, str):
                shown = [run for run in seen.running if only in (None, run.purpose)]
                line = "; ".join([line, *seen.notes, *(_line(run) for run in shown)])
            err.print(f"{time.strftime('%H:%M:%S')}  {line}")
        if not isinstance(seen, str) and not going(seen):
            return
        time.sleep(REFRESH_SECONDS)


def _line(run: Running) -> str:
    trial = "" if run.trial_number is None else f"trial {run.trial_number} "
    text = f"{trial}{_state(run)} {format_duration(run.seconds)}"
    if run.mean_return is not None:
        text += f", return {run.mean_return:.2f} after {run.num_timesteps:,} timesteps"
    return text
