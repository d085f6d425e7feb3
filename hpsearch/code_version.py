"""Which code a study's results come from: our release, and the sources of what a user brought."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import hpsearch
from hpsearch.exceptions import CodeDiffers
from hpsearch.plugins import reference_of
from hpsearch.spec import Spec


def code_version(spec: Spec) -> dict[str, str]:
    """Returns what identifies the code that a study runs.

    Our own code is named by its minor release, within which results stay comparable.
    """
    return {"hpsearch": ".".join(hpsearch.__version__.split(".")[:2]), **users_code(spec)}


def users_code(spec: Spec) -> dict[str, str]:
    """Returns a hash for each package that a task, an objective or a space comes from.

    It is one over the sources of the package, or of its file. What is not installed here (a
    simulator's package, with --python) is left out, and so is our own.
    """
    found = {}
    named = (("task", spec.task), ("objective", spec.objective), ("space", spec.space))
    for kind, name in named:
        package = reference_of(kind, name).partition(":")[0].partition(".")[0] if name else ""
        if package and package != "hpsearch" and (digest := _digest(package)):
            found[package] = digest
    return found


def check_code(study: str, ours: dict[str, str], here: dict[str, str]) -> None:
    """Refuses to work for a study with other code than its results come from.

    Args:
      study: its name.
      ours: the code that it was created with.
      here: the code of this machine.

    Raises:
      CodeDiffers: names each package that differs.
    """
    differences = [
        f"{package} is {ours[package]} there and {here[package]} here"
        for package in ours
        if here.get(package, ours[package]) != ours[package]
    ]
    if differences:
        raise CodeDiffers(study=study, differences="; ".join(differences))


def _digest(package: str) -> str | None:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    digest = hashlib.sha256()
    for path in _sources(spec.submodule_search_locations, spec.origin):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(folders: list[str] | None, origin: str | None) -> Iterator[Path]:
    if folders:
        for folder in folders:
            yield from sorted(Path(folder).rglob("*.py"))
    elif origin and Path(origin).is_file():
        yield Path(origin)
