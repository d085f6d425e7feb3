"""`hpsearch status`: one study in a few lines."""

from __future__ import annotations

import dataclasses

from hpsearch.cli.options import (
    InsecureOption,
    JsonOption,
    StorageOption,
    StudyOption,
    connect_study,
    out,
)
from hpsearch.cli.table import render
from hpsearch.progress import read_progress


def command(
    study: StudyOption = None,
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Shows how far a study is."""
    opened = connect_study(storage, insecure_storage, study)
    progress = read_progress(opened)
    if json:
        plain = dataclasses.asdict(progress)
        out.print_json(data={"study": opened.name, "finished": progress.finished, **plain})
        return
    spec = opened.spec
    out.print(render(opened, progress))
    limits = spec.action_limits.name if spec.action_limits else "none"
    out.print(
        f"task {spec.task or '-'}, objective {spec.objective}, space {spec.space}, "
        f"metric {spec.metric} ({spec.direction}), bounds {limits}, seed {spec.seed}",
        style="dim",
    )
