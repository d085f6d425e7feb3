"""`hpsearch watch`: look on at a study without starting anything."""

from __future__ import annotations

from hpsearch.cli.options import InsecureOption, StorageOption, StudyOption, connect_study, out
from hpsearch.cli.table import follow, headline
from hpsearch.progress import read_progress


def command(
    study: StudyOption = None,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Shows a study while others work at it; ends when it is finished or stopped."""
    opened = connect_study(storage, insecure_storage, study)
    follow(opened, lambda p: bool(p.running) or (p.finished < p.target and not p.stop))
    out.print(f"{opened.name}: {headline(read_progress(opened))}")
