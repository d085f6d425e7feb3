"""What the interpreter of the children has: which packages, and which tasks of Isaac Lab."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from hpsearch.exceptions import InvalidInterpreter
from hpsearch.gpu_lease import usable_gpus
from hpsearch.process import OURS, interpreter_path, package_folder

T = TypeVar("T")

CPU_TASK = "quadruped-walk"
ISAACLAB_TASK = "Isaac-Velocity-Flat-Unitree-A1-v0"

PROBE_SECONDS = 60.0
TASKS_SECONDS = 300.0

LAUNCHES = "isaaclab.app.validate_launch"
"""How hpsearch asks Isaac Lab what it needs; releases before 3 lack it.

A source tree tells other versions.
"""

_VERSIONS = """
import importlib.metadata as m, importlib.util, json, pathlib, sys
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
spec = importlib.util.find_spec("isaaclab") if "isaaclab" in sys.argv[1:] else None
if spec is not None:
    found.setdefault("isaaclab", "of no told version")
    for folder in spec.submodule_search_locations or ():
        for file in (pathlib.Path(folder) / "app").glob("*.py"):
            if "def validate_launch(" in file.read_text(encoding="utf-8", errors="replace"):
                found["isaaclab.app.validate_launch"] = str(file)
print(json.dumps(found))
"""
_DEVICES = """
import json, os
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
import jax
print(json.dumps(sorted({each.device_kind for each in jax.devices()})))
"""
_TASKS = f"""
{OURS}
import json
from hpsearch.objectives.tasks.isaaclab_configuration import why_not
print(json.dumps(why_not()))
"""


def versions(python: str | None, packages: Sequence[str]) -> Mapping[str, str]:
    """Returns the versions of the packages that an interpreter has, and its own as `python`.

    Where it is asked for `isaaclab`, `LAUNCHES` is among the names if that has it. Nothing of a
    simulator is imported.

    Raises:
      InvalidInterpreter: it does not run.
    """
    found = _ask(python, _VERSIONS, packages, PROBE_SECONDS, dict)
    return {str(name): str(version) for name, version in found.items()}


def jax_devices(python: str | None) -> list[str]:
    """Returns the kinds of devices that JAX computes on in an interpreter.

    Raises:
      InvalidInterpreter: JAX is not there, or finds none.
    """
    return [str(each) for each in _ask(python, _DEVICES, (), PROBE_SECONDS, list)]


def isaaclab_tasks(python: str | None) -> Mapping[str, str]:
    """Returns why each task of Isaac Lab cannot be trained on in an interpreter; empty if it can.

    The keys are the ids that Isaac Lab registers. It takes some seconds.

    Raises:
      InvalidInterpreter: Isaac Lab is not there, or cannot be imported.
    """
    found = _ask(python, _TASKS, (package_folder(),), TASKS_SECONDS, dict)
    return {str(name): str(problem) for name, problem in found.items()}


def _ask(
    python: str | None, code: str, arguments: Sequence[str], seconds: float, kind: type[T]
) -> T:
    """Returns the JSON value, of one kind, that a program prints as its last line."""
    interpreter = interpreter_path(python)
    command = [interpreter, "-P", "-c", code, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidInterpreter(python=interpreter, problem=str(error)) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InvalidInterpreter(python=interpreter, problem=lines[-1])
    # A simulator may print before.
    last = (done.stdout.strip().splitlines() or [""])[-1]
    try:
        answer: Any = json.loads(last)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, kind):
        problem = f"asked what it has, it prints {last[:80]!r}; is it Python?"
        raise InvalidInterpreter(python=interpreter, problem=problem)
    return answer


def default_task(python: str | None = None) -> str:
    """Returns the task where none is given: Isaac Lab's where a GPU can run it, else the robot's.

    Args:
      python: interpreter of the simulator's environment; None for our own.
    """
    if not usable_gpus():
        return CPU_TASK
    ours = python is None or python == sys.executable
    if ours and importlib.util.find_spec("isaaclab") is None:
        return CPU_TASK
    return ISAACLAB_TASK if LAUNCHES in versions(python, ["isaaclab"]) else CPU_TASK
