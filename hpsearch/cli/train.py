"""`hpsearch train`: train an algorithm with given hyper-parameters; a baseline, not a search."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from hpsearch.base import Purpose
from hpsearch.baselines import BaselineRun, open_baseline, read_params
from hpsearch.cli.attend import attend_runs
from hpsearch.cli.limits import warn_unbounded, with_limits
from hpsearch.cli.options import (
    InsecureOption,
    JsonOption,
    StorageOption,
    connect,
    err,
    option,
    out,
    pairs,
)
from hpsearch.exceptions import InvalidValue, TrainIncomplete
from hpsearch.interpreter import default_task
from hpsearch.queue import enqueue_runs
from hpsearch.spec import Given
from hpsearch.statistics import bootstrap_interval, interquartile_mean


def command(
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the task, e.g. commands=full.")
    ] = None,
    algo: Annotated[str, option("--algo", help="sac, tqc, ppo, or ppo-torch.")] = "ppo",
    task: Annotated[
        str | None, option("--task", help="What is simulated.  [default: as launch]")
    ] = None,
    params: Annotated[
        str | None,
        option("--params", help="JSON file of hyper-parameters.  [default: the space's middle]"),
    ] = None,
    seeds: Annotated[int, option("--seeds", help="How many seeds in all.")] = 3,
    budget: Annotated[
        str | None, option("--budget", help="Training time of a run.  [default: the task's]")
    ] = None,
    eval_episodes: Annotated[
        int | None,
        option(
            "--eval-episodes",
            help="Of the evaluation.  [default: the task's, fewer with few environments]",
        ),
    ] = None,
    num_envs: Annotated[
        int | None, option("--num-envs", help="Stepped at once.  [default: the task's]")
    ] = None,
    bounds: Annotated[
        str | None,
        option(
            "--bounds",
            help="Action limits, as for launch.  [default: the task's; none for PPO]",
        ),
    ] = None,
    seed: Annotated[
        int | None, option("--seed", help="Where all randomness comes from.  [default: 0]")
    ] = None,
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Trains an algorithm with given hyper-parameters on some seeds: a baseline.

    The runs are like those of a search: same budget, ledger and evaluation. A seed that has a
    result is not trained again.
    """
    if seeds < 1:
        raise InvalidValue(name="--seeds", value=seeds, allowed="1 or more")
    if bounds is None and algo.startswith("ppo"):
        # Its Gaussian needs no limits, and the published baseline had none.
        bounds = "none"
    given = Given(
        task=task,
        default_task=default_task(python),
        settings=pairs(settings, "SETTINGS"),
        algo=algo,
        budget=budget,
        n_eval_episodes=eval_episodes,
        num_envs=num_envs,
        bounds=bounds,
        seed=seed,
    )
    hyperparams = None if params is None else read_params(params)
    database = connect(storage, insecure_storage)
    given = with_limits(database, given, python=python, storage=storage, insecure=insecure_storage)
    study, found = open_baseline(database, given, Purpose.TRAIN, hyperparams)
    err.print(f"study {study.name}: {study.spec.task}, {study.spec.algo}", markup=False)
    warn_unbounded(study.spec)
    run_ids = database.retrying(lambda: enqueue_runs(study, Purpose.TRAIN, found, seeds))
    runs = attend_runs(
        study, run_ids, Purpose.TRAIN, python=python, storage=storage, insecure=insecure_storage
    )
    if json:
        data = {"study": study.name, "hyperparams": found}
        out.print_json(data={**data, "runs": [dataclasses.asdict(run) for run in runs]})
    else:
        _print(study.spec.algo, runs)
    missing = [run for run in runs if run.value is None]
    if missing:
        reason = missing[0].reason or "no worker is left"
        raise TrainIncomplete(missing=len(missing), what=study.name, reason=reason)


def _print(algo: str, runs: list[BaselineRun]) -> None:
    for run in runs:
        told = run.state if run.value is None else f"{run.value:8.4g}"
        steps = f"  {run.result['num_timesteps']:,} timesteps" if run.result else ""
        out.print(f"  seed {run.seed:<10}  {told}{steps}" + (f"  {run.reason or ''}"))
    values = [run.value for run in runs if run.value is not None]
    if values:
        low, high = bootstrap_interval(values)
        out.print(
            f"  {algo}: IQM {interquartile_mean(values):.4g}, 95 % interval {low:.4g} to "
            f"{high:.4g} over {len(values)} seed(s)"
        )
