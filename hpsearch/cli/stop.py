"""`hpsearch stop`: have a study's workers leave."""

from __future__ import annotations

from typing import Annotated

from hpsearch.cli.options import (
    InsecureOption,
    StorageOption,
    StudyOption,
    connect_study,
    option,
    out,
)
from hpsearch.study import request_stop


def command(
    study: StudyOption = None,
    now: Annotated[
        bool, option("--now", help="End the runs too; they are made again by the next launch.")
    ] = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Has the workers of a study leave, after their run or at once; launch resumes it."""
    opened = connect_study(storage, insecure_storage, study)
    request_stop(opened, now=now)
    when = "now" if now else "after the runs that they work at"
    out.print(f"{opened.name}: its workers leave {when}; `hpsearch launch` resumes it")
