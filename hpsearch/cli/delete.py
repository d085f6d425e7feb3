"""`hpsearch delete STUDY`: delete a study, having shown what goes."""

from __future__ import annotations

from typing import Annotated

import typer

from hpsearch.cli.options import InsecureOption, StorageOption, connect_study, option, out
from hpsearch.cli.table import headline
from hpsearch.exceptions import StudyBusy
from hpsearch.progress import read_progress
from hpsearch.study import delete_study


def command(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    yes: Annotated[bool, option("--yes", help="Do not ask.", variable=False)] = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Deletes a study with its trials, runs and measurements, after asking."""
    opened = connect_study(storage, insecure_storage, study)
    progress = read_progress(opened)
    if progress.workers:
        raise StudyBusy(study=study, n=len(progress.workers))
    out.print(f"{study}: {headline(progress)}; {len(opened.trials())} trials with their runs")
    if not yes:
        typer.confirm("Delete all of it? It cannot be brought back", abort=True)
    delete_study(opened)
    out.print(f"{study} is deleted")
