"""`hpsearch studies`: the studies of a database."""

from __future__ import annotations

import dataclasses

from rich.table import Table

from hpsearch.cli.options import InsecureOption, JsonOption, StorageOption, connect, out, tables
from hpsearch.study import list_studies


def command(
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Lists the studies, the last used one first."""
    found = list_studies(connect(storage, insecure_storage))
    if json:
        out.print_json(data=[dataclasses.asdict(study) for study in found], default=str)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("study", "task", "finished", "running", "last used", ""):
        table.add_column(name)
    for study in found:
        table.add_row(
            study.name,
            study.task,
            f"{study.finished} of {study.target}",
            str(study.running),
            f"{study.used_at.astimezone():%Y-%m-%d %H:%M}",
            "stopped" if study.stop else "",
        )
    tables.print(table if found else "no study yet; `hpsearch launch` creates one")
