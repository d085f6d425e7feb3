"""What the interpreter of the children has: which packages, and which tasks of Isaac Lab."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from hpsearch.exceptions import InvalidInterpreter
from hpsearch.gpu_lease import usable_gpus
from hpsearch.process import interpreter_path

CPU_TASK = "quadruped-walk"
ISAACLAB_TASK = "Isaac-Velocity-Flat-Unitree-A1-v0"

PROBE_SECONDS = 60.0
TASKS_SECONDS = 300.0

_VERSIONS = """
import importlib.metadata as m, json, sys
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps(found))
"""
_TASKS = """
import json
import gymnasium, isaaclab_tasks
print(json.dumps(sorted(name for name in gymnasium.registry if name.startswith("Isaac"))))
"""


def versions(python: str | None, packages: Sequence[str]) -> Mapping[str, str]:
    """Returns the versions of the packages that an interpreter has, and its own as `python`.

    Raises:
      InvalidInterpreter: it does not run.
    """
    found: dict[str, str] = json.loads(_ask(python, _VERSIONS, packages, PROBE_SECONDS))
    return found


def isaaclab_tasks(python: str | None) -> list[str]:
    """Returns the ids that Isaac Lab registers in an interpreter; takes some seconds.

    Raises:
      InvalidInterpreter: Isaac Lab is not there, or cannot be imported.
    """
    found: list[str] = json.loads(_ask(python, _TASKS, (), TASKS_SECONDS))
    return found


def _ask(python: str | None, code: str, arguments: Sequence[str], seconds: float) -> str:
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
    return done.stdout.strip().splitlines()[-1]


def default_task(python: str | None = None) -> str:
    """Returns the task where none is given: Isaac Lab's where a GPU can run it, else the robot's.

    Args:
      python: interpreter of the simulator's environment; None for our own.
    """
    if not usable_gpus():
        return CPU_TASK
    if python is None or python == sys.executable:
        there = importlib.util.find_spec("isaaclab") is not None
    else:
        there = "isaaclab" in versions(python, ["isaaclab"])
    return ISAACLAB_TASK if there else CPU_TASK
