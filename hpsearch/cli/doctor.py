"""`hpsearch doctor`: what this machine has and lacks, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from typing import Annotated

import psutil
import typer

import hpsearch
from hpsearch.cli.options import option, out
from hpsearch.database.binaries import find_binaries
from hpsearch.exceptions import HpsearchError, InvalidInterpreter
from hpsearch.interpreter import LAUNCHES, jax_devices, versions
from hpsearch.launchers.local import gpu_ids
from hpsearch.process import interpreter_path
from hpsearch.settings import settings

FREE_GIB = 5.0

_PACKAGES = {
    "sbx-rl": "trains SAC; in a checkout: pip install '.[rl]'",
    "jax": "runs SAC; in a checkout: pip install '.[rl]'",
    "mujoco": "runs the embedded robot; in a checkout: pip install '.[rl]'",
    "isaaclab": "runs Isaac Lab's tasks; see docs/isaaclab.md",
}
_OPTIONAL = ("isaaclab",)
_OLDEST_PYTHON = (3, 11)


def command(
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
) -> None:
    """Shows what this machine has and lacks, and how to get what is missing."""
    lacking = False
    for good, needed, line in _findings(python):
        mark = "ok     " if good else "MISSING" if needed else "-      "
        lacking |= needed and not good
        out.print(f"{mark}  {line}", markup=False)
    if lacking:
        raise typer.Exit(1)


def _findings(python: str | None) -> Iterator[tuple[bool, bool, str]]:
    """Yields whether a thing is there, whether it is needed, and a line about it."""
    yield True, True, f"hpsearch {hpsearch.__version__}, optuna {_version('optuna')}"
    memory = psutil.virtual_memory().total / 2**30
    yield True, True, f"{len(os.sched_getaffinity(0))} CPU cores, {memory:.0f} GiB of memory"
    gpus = gpu_ids()
    yield bool(gpus), False, f"{len(gpus)} NVIDIA GPU(s)" + ("" if gpus else ": runs on the CPU")
    yield _postgres()
    yield _disk()
    yield from _packages(python)


def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _postgres() -> tuple[bool, bool, str]:
    if settings().storage or settings().storage_file:
        return True, True, "database: HPSEARCH_STORAGE or HPSEARCH_STORAGE_FILE is set"
    try:
        found = find_binaries()
    except HpsearchError as error:
        return False, True, str(error)
    return True, True, f"Postgres {found.major} for the embedded database, in {found.folder}"


def _disk() -> tuple[bool, bool, str]:
    folder = settings().data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    writable = os.access(existing, os.W_OK)
    line = f"data folder {folder}: {free:.0f} GiB free"
    if not writable:
        line += "; not writable: set HPSEARCH_DATA_DIR"
    elif free < FREE_GIB:
        line += f"; at least {FREE_GIB:.0f} GiB are needed: set HPSEARCH_DATA_DIR"
    return writable and free >= FREE_GIB, True, line


def _packages(python: str | None) -> Iterator[tuple[bool, bool, str]]:
    try:
        found = versions(python, list(_PACKAGES))
    except InvalidInterpreter as error:
        yield False, True, str(error)
        return
    line = f"children run with {interpreter_path(python)}, Python {found['python']}"
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    new = tuple(map(int, found["python"].split(".")[:2])) >= _OLDEST_PYTHON
    yield new, True, line if new else f"{line}: {oldest} or later is needed"
    for name, advice in _PACKAGES.items():
        needed = name not in _OPTIONAL and not (name == "mujoco" and "isaaclab" in found)
        if name in found:
            yield True, needed, f"{name} {found[name]}"
        else:
            yield False, needed, f"{name}: {advice}"
    if "jax" in found:
        yield _devices(python)
    if "isaaclab" in found and LAUNCHES not in found:
        yield False, True, f"isaaclab is too old: it has no {LAUNCHES}; install release 3"


def _devices(python: str | None) -> tuple[bool, bool, str]:
    try:
        return True, True, f"jax computes on {', '.join(jax_devices(python))}"
    except InvalidInterpreter as error:
        return False, True, f"jax computes on nothing: {error.fields['problem']}"
