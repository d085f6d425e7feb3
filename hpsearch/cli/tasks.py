"""`hpsearch tasks`: what can be simulated here, and why the rest cannot."""

from __future__ import annotations

from typing import Annotated

from rich.table import Table

from hpsearch import plugins
from hpsearch.base import Task
from hpsearch.cli.options import err, option, tables
from hpsearch.duration import format_duration
from hpsearch.exceptions import InvalidInterpreter, NotLoadable
from hpsearch.interpreter import isaaclab_tasks, versions
from hpsearch.objectives.tasks.isaaclab_robots import velocity_ids

NEEDS = {"quadruped": "mujoco", "Isaac": "isaaclab"}
"""The package that runs the tasks whose name begins so."""


def command(
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
) -> None:
    """Lists the tasks known by name; any Gymnasium id or package.module:object works too."""
    found = versions(python, list(NEEDS.values()))
    ids, problem = velocity_ids(), ""
    if "isaaclab" in found:
        try:
            ids = isaaclab_tasks(python)
        except InvalidInterpreter as error:
            problem = str(error)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("task", "runs here", "space", "budget", "environments", "bounds", ""):
        table.add_column(name)
    for name in [*plugins.names("task"), *ids]:
        try:
            task: Task = plugins.load_task(name, {})
        except NotLoadable as error:
            table.add_row(name, "no", "", "", "", "", str(error.fields["problem"]))
            continue
        package = next((p for start, p in NEEDS.items() if name.startswith(start)), None)
        lacking = package is not None and package not in found
        why = f"needs {package}" if lacking else problem if package == "isaaclab" else ""
        if name in ids:
            about = "Isaac Lab" + ("" if task.default_limits else "; give --bounds")
        else:
            about = (type(task).__doc__ or "").partition("\n")[0]
        table.add_row(
            name,
            "no" if why else "yes",
            task.default_space,
            format_duration(task.default_budget.train_seconds),
            str(task.default_num_envs),
            task.default_limits or "-",
            "; ".join(filter(None, (why, about))),
        )
    tables.print(table)
    if "isaaclab" not in found:
        err.print("Isaac Lab: in an environment of its own, with --python; see docs/isaaclab.md")
