"""`hpsearch tasks`: what can be simulated."""

from __future__ import annotations

from rich.table import Table

from hpsearch import plugins
from hpsearch.base import Task
from hpsearch.cli.options import tables
from hpsearch.duration import format_duration
from hpsearch.exceptions import NotLoadable


def command() -> None:
    """Lists the tasks known by name; any Gymnasium id or package.module:object works too."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("task", "space", "budget", "environments", "bounds", ""):
        table.add_column(name)
    for name in plugins.names("task"):
        try:
            task: Task = plugins.load_task(name, {})
        except NotLoadable as error:
            table.add_row(name, "", "", "", "", str(error.fields["problem"]))
            continue
        table.add_row(
            name,
            task.default_space,
            format_duration(task.default_budget.train_seconds),
            str(task.default_num_envs),
            task.default_limits,
            (type(task).__doc__ or "").partition("\n")[0],
        )
    tables.print(table)
