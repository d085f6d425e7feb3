"""`hpsearch bounds`: action limits, extracted from a trained PPO agent and kept by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hpsearch import plugins
from hpsearch.baselines import read_params
from hpsearch.bounds import StoredLimits, list_limits, read_stored, store
from hpsearch.bounds_file import read_stored_file, write_stored
from hpsearch.cli.limits import BUDGET, PERCENTILE, check_percentile, extract
from hpsearch.cli.options import (
    InsecureOption,
    JsonOption,
    StorageOption,
    connect,
    option,
    out,
    pairs,
    tables,
)
from hpsearch.interpreter import default_task
from hpsearch.objectives.limits import BUILT_IN, check_limits, check_name
from hpsearch.spec import Given

app = typer.Typer(no_args_is_help=True, help="Action limits, extracted from a trained PPO agent.")

BARS = " ▁▂▃▄▅▆▇█"

NameArgument = Annotated[str, typer.Argument(help="Name of the limits.", metavar="NAME")]
TaskOption = Annotated[str, option("--task", help="Task that the limits are of.")]


@app.command("extract")
def extract_command(
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the task, e.g. commands=full.")
    ] = None,
    task: Annotated[
        str | None, option("--task", help="Whose actions.  [default: as launch]")
    ] = None,
    budget: Annotated[str, option("--budget", help="Training time of PPO.")] = BUDGET,
    percentile: Annotated[
        float, option("--percentile", help="Share of actions cut from each side, in percent.")
    ] = PERCENTILE,
    params: Annotated[
        str | None,
        option("--params", help="JSON file of PPO's hyper-parameters.  [default: the middle]"),
    ] = None,
    num_envs: Annotated[
        int | None, option("--num-envs", help="Stepped at once.  [default: the task's]")
    ] = None,
    seed: Annotated[int, option("--seed", help="Where all randomness comes from.")] = 0,
    name: Annotated[
        str | None, option("--name", help="Of the limits.  [default: <task>-p<percentile>]")
    ] = None,
    force: Annotated[
        bool, option("--force", help="Store the limits of a PPO that did not learn.")
    ] = False,
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Trains PPO, records 64,000 of its actions, and stores the percentiles of each joint."""
    check_percentile(percentile)
    if name is not None:
        check_name(name)
    given = Given(
        task=task, default_task=default_task(python), settings=pairs(settings, "SETTINGS"),
        budget=budget, num_envs=num_envs, seed=seed,
    )  # fmt: skip
    hyperparams = None if params is None else read_params(params)
    database = connect(storage, insecure_storage)
    found = extract(
        database, given, percentile, hyperparams, python=python, storage=storage,
        insecure=insecure_storage, name=name, force=force,
    )  # fmt: skip
    _print(found, json)


@app.command("list")
def list_command(
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Lists the stored limits, and the built-in ones."""
    found = list_limits(connect(storage, insecure_storage))
    if json:
        found += [_built_in(name) for name in BUILT_IN]
        out.print_json(data=[_plain(each) for each in found])
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "task", "percentile", "joints", "PPO's return", "standing"):
        table.add_column(column)
    for each in found:
        source = each.source
        table.add_row(
            each.name,
            " ".join([each.task, *(f"{k}={v}" for k, v in each.settings.items())]),
            "" if each.percentile is None else f"{each.percentile:g}",
            str(len(each.joints)),
            f"{source['mean_reward']:.4g}" if "mean_reward" in source else "",
            f"{source['standing_return']:.4g}" if "standing_return" in source else "",
        )
    for name, limits in BUILT_IN.items():
        table.add_row(name, "built in", "", str(len(limits.joints)), "", "")
    tables.print(table)


@app.command("show")
def show_command(
    name: NameArgument,
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Shows limits joint by joint: low, high, share of actions outside, histogram."""
    _print(_read(name, storage, insecure_storage), json)


@app.command("import")
def import_command(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help='JSON with "low", "high" and maybe "joints".')],
    task: TaskOption,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Stores limits from a file; one that `bounds export` wrote keeps all that it says."""
    check_name(name)
    found = read_stored_file(file, name=name, task=task)
    check_limits(found.limits, plugins.load_task(task, dict(found.settings)).action_names)
    store(connect(storage, insecure_storage), found)
    auto = "" if found.percentile is None else f"; --bounds auto takes them for {task}"
    out.print(f"stored {name}: {len(found.joints)} joints{auto}", markup=False)


@app.command("export")
def export_command(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help="JSON file to write.")],
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Writes limits into a file that --bounds and `bounds import` take."""
    write_stored(_read(name, storage, insecure_storage), file)
    out.print(f"{file}: --bounds {file}", markup=False)


def _read(name: str, storage: str | None, insecure: bool) -> StoredLimits:
    if name in BUILT_IN:
        return _built_in(name)
    return read_stored(connect(storage, insecure), name)


def _built_in(name: str) -> StoredLimits:
    limits = BUILT_IN[name]
    each = zip(limits.joints, limits.low, limits.high, strict=True)
    return StoredLimits(
        name=name, task="built in", settings={}, percentile=None,
        joints=[{"name": joint, "low": low, "high": high} for joint, low, high in each],
        source={"published": "seed post, Defining Proper Action Bound"},
    )  # fmt: skip


def _plain(found: StoredLimits) -> dict[str, object]:
    return {**dataclasses.asdict(found), "created_at": str(found.created_at or "")}


def _print(found: StoredLimits, json: bool) -> None:
    if json:
        out.print_json(data=_plain(found))
        return
    out.print(f"{found.name}: limits of {found.task}", style="bold", markup=False)
    for name, value in found.source.items():
        out.print(f"  {name} = {value}", markup=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("joint", "low", "high", "outside", "actions"):
        table.add_column(column, justify="left" if column in ("joint", "actions") else "right")
    for joint in found.joints:
        outside = f"{joint['outside']:.1%}" if "outside" in joint else ""
        row = (joint["name"], f"{joint['low']:g}", f"{joint['high']:g}", outside)
        table.add_row(*row, histogram(joint.get("counts", ())))
    tables.print(table)


def histogram(counts: list[int]) -> str:
    """Returns one bar a count, the largest in full height."""
    most = max(counts, default=0) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
