"""`hpsearch check`: can this machine run a task."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from hpsearch.cli.options import JsonOption, err, option, out, pairs
from hpsearch.duration import format_duration
from hpsearch.exceptions import NoDefaultLimits
from hpsearch.interpreter import default_task
from hpsearch.machine_check import check_machine
from hpsearch.spec import Given, resolve


def command(
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the task, e.g. commands=full.")
    ] = None,
    task: Annotated[
        str | None, option("--task", help="What is simulated.  [default: as launch]")
    ] = None,
    space: Annotated[
        str | None, option("--space", help="Whose largest sizes are tried.  [default: the task's]")
    ] = None,
    num_envs: Annotated[
        int | None, option("--num-envs", help="Environments.  [default: the task's]")
    ] = None,
    bounds: Annotated[
        str | None, option("--bounds", help="Action limits.  [default: the task's, else 1]")
    ] = None,
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Trains for 15 s with the space's largest network, batch and buffer, without a database."""
    given = Given(
        task=task,
        default_task=default_task(python),
        settings=pairs(settings, "SETTINGS"),
        space=space,
        num_envs=num_envs,
        bounds=bounds,
    )
    try:
        spec = resolve(given)
    except NoDefaultLimits:
        # What a step costs does not depend on the limits.
        spec = resolve(dataclasses.replace(given, bounds="1"))
    err.print(f"trying {spec.task} with {spec.num_envs} environments, space {spec.space} ...")
    found = check_machine(spec, python=python)
    if json:
        out.print_json(data=dataclasses.asdict(found))
        return
    sizes = ", ".join(
        f"{name} {found.hyperparams[name]}"
        for name in ("policy", "net_arch", "batch_size", "buffer_size")
        if name in found.hyperparams
    )
    spent = ", ".join(f"{k} {format_duration(v)}" for k, v in found.ledger.items() if v)
    out.print(f"{spec.task} runs on {found.device}")
    out.print(f"largest sizes: {sizes}")
    out.print(
        f"{found.steps_per_second:,.0f} environment steps/s and "
        f"{found.updates_per_second:,.0f} gradient steps/s while training, "
        f"{found.peak_mib:,.0f} MiB of memory at most"
    )
    out.print(f"time: {spent}")
