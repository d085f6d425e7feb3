"""`hpsearch tasks`: what can be simulated here, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from rich.table import Table

from hpsearch import plugins
from hpsearch.base import Task
from hpsearch.cli.options import err, option, tables
from hpsearch.duration import format_duration
from hpsearch.exceptions import HpsearchError, InvalidInterpreter
from hpsearch.interpreter import LAUNCHES, isaaclab_tasks, versions
from hpsearch.objectives.tasks.isaaclab import IsaacLab
from hpsearch.objectives.tasks.isaaclab_robots import velocity_ids

TRAINS = ("sbx-rl", "jax")
"""Packages that every task needs, for what trains on it."""


def command(
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
) -> None:
    """Lists the tasks known by name; any Gymnasium id or package.module:object works too."""
    found = versions(python, ["isaaclab", "mujoco", *TRAINS])
    listed: Mapping[str, str] = dict.fromkeys(velocity_ids(), "")
    problem = ""
    if LAUNCHES in found:
        try:
            listed = isaaclab_tasks(python)
        except InvalidInterpreter as error:
            problem = str(error)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("task", "runs here", "space", "budget", "environments", "bounds", ""):
        table.add_column(name)
    for name in [*plugins.names("task"), *listed]:
        try:
            task = plugins.load_task(name, {})
            table.add_row(*_row(name, task, found, problem or listed.get(name, "")))
        except HpsearchError as error:
            table.add_row(name, "no", "", "", "", "", str(error.fields.get("problem", error)))
        except Exception as error:  # whatever a task of somebody else does
            table.add_row(name, "no", "", "", "", "", f"{type(error).__name__}: {error}")
    tables.print(table)
    if LAUNCHES not in found:
        err.print("Isaac Lab: in an environment of its own, with --python; see docs/isaaclab.md")


def _row(name: str, task: Task, found: Mapping[str, str], problem: str) -> Sequence[str]:
    """Returns what is told of a task.

    Args:
      name: of the task.
      task: itself.
      found: packages of the interpreter.
      problem: why Isaac Lab does not run the task though it is there; empty if it does.
    """
    of_isaaclab = isinstance(task, IsaacLab)
    needed = [*TRAINS, *(["mujoco"] if name.startswith("quadruped") else [])]
    lacking = [package for package in needed if package not in found]
    if of_isaaclab and LAUNCHES not in found:
        lacking.insert(0, "isaaclab 3" if "isaaclab" in found else "isaaclab")
    why = f"needs {', '.join(lacking)}" if lacking else problem if of_isaaclab else ""
    if type(task) is IsaacLab:
        about = "" if why else "Isaac Lab" if task.default_limits else "Isaac Lab; give --bounds"
    else:
        about = (type(task).__doc__ or "").partition("\n")[0]
    return (
        name,
        "no" if why else "yes",
        task.default_space,
        format_duration(task.default_budget.train_seconds),
        str(task.default_num_envs),
        task.default_limits or "-",
        "; ".join(filter(None, (why, about))),
    )
