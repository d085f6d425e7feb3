"""Finds a task, search space or objective by name, entry point or `package.module:object`.

Standard library only: the child process uses it inside the simulator's interpreter.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from hpsearch.exceptions import NotLoadable, UnknownName, WrongSettings

BUILT_IN: dict[str, dict[str, str]] = {
    "task": {
        "quadruped-walk": "hpsearch.objectives.tasks.quadruped_walk:QuadrupedWalk",
        "quadruped-velocity": "hpsearch.objectives.tasks.quadruped_velocity:QuadrupedVelocity",
    },
    "space": {
        "sac": "hpsearch.samplers.sac:SAC",
        "sac-small": "hpsearch.samplers.sac:SAC_SMALL",
        "sac-rough": "hpsearch.samplers.sac:SAC_ROUGH",
        "sac-envs": "hpsearch.samplers.sac:SAC_ENVS",
        "tqc": "hpsearch.samplers.tqc:TQC",
        "tqc-small": "hpsearch.samplers.tqc:TQC_SMALL",
        "ppo": "hpsearch.samplers.ppo:PPO",
        "sphere": "hpsearch.samplers.sphere:SPHERE",
    },
    "objective": {
        "training": "hpsearch.objectives.training:Training",
        "recording": "hpsearch.objectives.recording:Recording",
        "sphere": "hpsearch.objectives.sphere:Sphere",
    },
}

_ISAACLAB_ID = re.compile(r"Isaac(Contrib)?-[\w.-]+")
_GYMNASIUM_ID = re.compile(r"([\w.-]+:)?[\w./-]+-v\d+")


def _entry_points(kind: str) -> dict[str, str]:
    points = importlib.metadata.entry_points(group=f"hpsearch.{kind}s")
    return {point.name: point.value for point in points}


def names(kind: str) -> list[str]:
    """Returns the known names of a kind: `task`, `space` or `objective`; built-in ones first."""
    return [*BUILT_IN[kind], *sorted(set(_entry_points(kind)) - set(BUILT_IN[kind]))]


def reference_of(kind: str, name: str) -> str:
    """Returns the `module:object` behind a name; the name itself where it is one already."""
    return BUILT_IN[kind].get(name) or _entry_points(kind).get(name) or name


def load(kind: str, name: str) -> Any:
    """Returns the object behind a name.

    A module that is not installed is also looked for in the current folder. Tasks that are not
    known by name but by Isaac Lab (`Isaac-...`, `IsaacContrib-...`) or by Gymnasium
    (`Pendulum-v1`, `package:Id-v0`) are wrapped.

    Args:
      kind: `task`, `space` or `objective`.
      name: a known name, or `package.module:object`.

    Raises:
      UnknownName: no such name; the message lists the known ones.
      NotLoadable: importing it failed; the message carries the cause.
    """
    reference = reference_of(kind, name)
    if kind == "task" and reference == name and _ISAACLAB_ID.fullmatch(name):
        return partial(load("task", "hpsearch.objectives.tasks.isaaclab:IsaacLab"), name)
    if kind == "task" and reference == name and _GYMNASIUM_ID.fullmatch(name):
        return partial(load("task", "hpsearch.objectives.tasks.gymnasium:Gymnasium"), name)
    module_name, colon, attribute = reference.partition(":")
    if not (colon and module_name and attribute):
        raise UnknownName(kind=kind, name=name, known=", ".join(names(kind)))
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise NotLoadable(kind=kind, name=name, problem=problem) from error
    return found


def load_task(name: str, settings: dict[str, str]) -> Any:
    """Returns the task `name` with its settings applied.

    Raises:
      WrongSettings: the task takes no such setting, or rejects its value.
    """
    found = load("task", name)
    if not callable(found):
        if settings:
            raise WrongSettings(kind="task", name=name, problem="it takes no settings")
        return found
    try:
        return found(**settings)
    except (TypeError, ValueError) as error:
        typed = " ".join(f"{key}={value}" for key, value in settings.items())
        problem = f"{error}" + (f" (settings: {typed})" if typed else "")
        raise WrongSettings(kind="task", name=name, problem=problem) from error
