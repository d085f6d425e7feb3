"""`hpsearch worker`: work for a study until there is nothing left to do."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from hpsearch.base import Purpose
from hpsearch.cli.options import (
    AllowCodeChangeOption,
    AllowMixedDevicesOption,
    InsecureOption,
    LogOption,
    OnContentionOption,
    StorageOption,
    StudyOption,
    connect_study,
    option,
)
from hpsearch.curve_log import parse_tools
from hpsearch.worker import OnContention, Worker


def command(
    study: StudyOption = None,
    only: Annotated[
        Purpose | None, option("--only", help="Work for one purpose only.  [default: all]")
    ] = None,
    stay: Annotated[bool, option("--stay", help="Wait for new runs when there are none.")] = False,
    allow_code_change: AllowCodeChangeOption = False,
    allow_mixed_devices: AllowMixedDevicesOption = False,
    on_contention: OnContentionOption = OnContention.ACCEPT,
    log: LogOption = None,
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Works for a study: one run at a time, each in a child process."""
    tools = parse_tools(log)
    opened = connect_study(storage, insecure_storage, study)
    worker = Worker(
        opened,
        python=python,
        only=only,
        stay=stay,
        allow_code_change=allow_code_change,
        allow_mixed_devices=allow_mixed_devices,
        on_contention=on_contention,
        log=tools,
        say=_say,
    )
    status = worker.work()
    if status:
        raise typer.Exit(status)


def _say(line: str) -> None:
    # Whoever read it may be gone, or the disk full; that must not end a training.
    try:
        print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
