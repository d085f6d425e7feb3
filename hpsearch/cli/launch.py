"""`hpsearch launch`: create or resume a study and work at it until its trials are finished."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

import typer

from hpsearch.cli.attend import attend, start_workers
from hpsearch.cli.limits import (
    BUDGET,
    needs_database,
    of_study,
    stored_for,
    warn_unbounded,
    with_limits,
)
from hpsearch.cli.options import (
    AllowCodeChangeOption,
    AllowMixedDevicesOption,
    InsecureOption,
    LogOption,
    OnContentionOption,
    StorageOption,
    connect,
    err,
    option,
    out,
    pairs,
)
from hpsearch.cli.table import headline
from hpsearch.curve_log import parse_tools
from hpsearch.duration import format_duration, parse_duration
from hpsearch.exceptions import InvalidValue, NoResult, StudyIncomplete
from hpsearch.interpreter import default_task
from hpsearch.launchers.local import gpu_ids
from hpsearch.process import interpreter_path
from hpsearch.progress import read_progress
from hpsearch.reaping import reap
from hpsearch.report import report_trials
from hpsearch.samplers.by_name import SAMPLERS
from hpsearch.spec import Given, Spec, resolve
from hpsearch.study import Study, launch_study
from hpsearch.worker import OnContention


def command(
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of the task or objective, e.g. commands=full."),
    ] = None,
    trials: Annotated[
        int | None,
        option("--trials", help="Finished trials in all, over all launches.  [default: 100]"),
    ] = None,
    popsize: Annotated[
        int | None, option("--popsize", help="Candidates per generation.  [default: 10]")
    ] = None,
    task: Annotated[
        str | None,
        option("--task", help="What is simulated: a name, Gymnasium id or package.module:object."),
    ] = None,
    space: Annotated[
        str | None, option("--space", help="What is searched.  [default: the task's]")
    ] = None,
    objective: Annotated[
        str | None, option("--objective", help="What a run does.  [default: training]")
    ] = None,
    algo: Annotated[
        str | None,
        option(
            "--algo",
            help="sac, tqc, ppo or ppo-torch; picks the space.  [default: the space's, or sac]",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        option(
            "--metric",
            help="What is optimised: mean_reward, auc, time_to:RETURN or a metric of the task."
            "  [default: mean_reward]",
        ),
    ] = None,
    direction: Annotated[
        str | None,
        option("--direction", help="maximize or minimize.  [default: the metric's]"),
    ] = None,
    budget: Annotated[
        str | None,
        option("--budget", help="Training time of a run: 300, 90s, 5m.  [default: the task's]"),
    ] = None,
    max_timesteps: Annotated[
        int | None,
        option("--max-timesteps", help="Of one run at most.  [default: the task's]"),
    ] = None,
    eval_episodes: Annotated[
        int | None,
        option(
            "--eval-episodes",
            help="Of the evaluation.  [default: the task's, fewer with few environments]",
        ),
    ] = None,
    num_envs: Annotated[
        int | None,
        option("--num-envs", help="Stepped at once.  [default: the task's]"),
    ] = None,
    bounds: Annotated[
        str | None,
        option(
            "--bounds",
            help="Action limits: auto (extracted from PPO), a stored or built-in set, a number, a"
            " JSON file or none.  [default: the task's]",
        ),
    ] = None,
    fix: Annotated[
        list[str] | None, option("--fix", help="NAME=VALUE: take a parameter out of the search.")
    ] = None,
    range_: Annotated[
        list[str] | None,
        option("--range", help="NAME=LOW:HIGH[:log]: search another range."),
    ] = None,
    sampler: Annotated[
        str | None,
        option(
            "--sampler",
            help=f"Who draws the candidates: {', '.join(SAMPLERS)}.  [default: cma-es]",
        ),
    ] = None,
    startup: Annotated[
        int | None,
        option("--startup", help="First trials, drawn at random.  [default: none for cma-es]"),
    ] = None,
    warm_start: Annotated[
        str | None,
        option("--warm-start", help="Study over the same parameters to begin from."),
    ] = None,
    seed: Annotated[
        int | None, option("--seed", help="Where all randomness comes from.  [default: 0]")
    ] = None,
    device_kind: Annotated[
        str | None,
        option("--device-kind", help="What all results come from.  [default: the first one's]"),
    ] = None,
    study: Annotated[
        str | None, option("--study", help="Name of the study.  [default: <task>-<space>]")
    ] = None,
    new_study: Annotated[
        str | None, option("--new-study", help="Name of a study that must not exist yet.")
    ] = None,
    workers: Annotated[
        int | None, option("--workers", help="Workers here.  [default: one a GPU, or one]")
    ] = None,
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
    allow_code_change: AllowCodeChangeOption = False,
    allow_mixed_devices: AllowMixedDevicesOption = False,
    on_contention: OnContentionOption = OnContention.ACCEPT,
    log: LogOption = None,
    detach: Annotated[
        bool, option("--detach", help="Return at once; the workers go on after logout.")
    ] = False,
    dry_run: Annotated[
        bool, option("--dry-run", help="Print the spec and what it costs, and do nothing.")
    ] = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Searches: creates the study or resumes it, and works until its trials are finished."""
    given = Given(
        task=task,
        default_task=default_task(python),
        settings=pairs(settings, "SETTINGS"),
        algo=algo,
        objective=objective,
        space=space,
        fix=pairs(fix, "--fix"),
        ranges=pairs(range_, "--range"),
        metric=metric,
        direction=direction,
        budget=budget,
        max_timesteps=max_timesteps,
        n_eval_episodes=eval_episodes,
        popsize=popsize,
        seed=seed,
        num_envs=num_envs,
        bounds=bounds,
        sampler=sampler,
        startup=startup,
        warm_start=warm_start,
        device_kind=device_kind,
    )
    if trials is not None and trials < 1:
        raise InvalidValue(name="--trials", value=trials, allowed="1 or more")
    if workers is not None and workers < 0:
        raise InvalidValue(name="--workers", value=workers, allowed="0 or more")
    if study and new_study:
        raise InvalidValue(name="--new-study", value=new_study, allowed="left out beside --study")
    interpreter_path(python)
    parse_tools(log)
    n_workers = max(1, len(gpu_ids())) if workers is None else workers
    database = None
    extraction = False
    base = None
    if needs_database(bounds):
        database = connect(storage, insecure_storage)
        base = of_study(database, study)
        extraction = dry_run and bounds == "auto" and stored_for(database, given, base) is None
        if extraction:
            given = dataclasses.replace(given, bounds="none")
        else:
            given = with_limits(
                database, given, python=python, storage=storage, insecure=insecure_storage,
                base=base,
            )  # fmt: skip
    if dry_run:
        _print_plan(resolve(given, base), trials or 100, n_workers, extraction)
        return
    if study is None:
        # Typing mistakes are told before a database is touched; an existing study has defaults
        # of its own.
        resolve(given)
    database = database or connect(storage, insecure_storage)
    opening = partial(
        launch_study,
        database,
        given,
        name=study or new_study,
        target=trials,
        new=new_study is not None,
        allow_code_change=allow_code_change,
    )
    opened, created = database.retrying(opening)
    database.retrying(lambda: reap(opened))
    _say_start(opened, created, task)
    if n_workers == 0:
        err.print(f"no worker starts here; elsewhere: hpsearch worker --study {opened.name}")
        return
    # What it needs and this machine lacks is told here, not by each worker.
    _ = opened.sampler
    local = start_workers(
        opened,
        count=n_workers,
        python=python,
        storage=storage,
        insecure=insecure_storage,
        allow_code_change=allow_code_change,
        more=[
            *(["--allow-mixed-devices"] if allow_mixed_devices else []),
            *(["--log", log] if log else []),
            *("--on-contention", on_contention),
        ],
    )
    if detach:
        err.print(f"{local.alive()} worker(s) started; logs: {', '.join(map(str, local.logs))}")
        err.print(f"hpsearch watch --study {opened.name}    hpsearch stop --study {opened.name}")
        return
    attend(opened, local, lambda progress: progress.finished >= progress.target)
    _say_end(opened)


def _say_start(study: Study, created: bool, task: str | None) -> None:
    spec = study.spec
    chosen = " (the default here)" if created and spec.task and not task else ""
    err.print(
        f"study {study.name} ({'new' if created else 'resumed'}): "
        f"{spec.task or spec.objective}{chosen}, space {spec.space}, "
        f"{format_duration(spec.budget.train_seconds)} a run, popsize {spec.popsize}"
    )
    warn_unbounded(spec)


def _say_end(study: Study) -> None:
    """Prints what was found.

    Raises:
      StudyIncomplete: trials are missing.
      NoResult: all trials failed.
    """
    progress = study.database.retrying(lambda: read_progress(study))
    reports = study.database.retrying(lambda: report_trials(study))
    out.print(f"{study.name}: {headline(progress)}")
    if progress.best:
        number = progress.best[0]
        for name, value in study.trial(number).params.items():
            out.print(f"  {name} = {value:.6g}")
        out.print(f"next: hpsearch show {number}")
        out.print(f"      hpsearch replay --trial {number} --seeds 5    (was it a lucky seed?)")
        out.print("      hpsearch dashboard")
    missing = progress.target - progress.finished
    if missing > 0:
        reason = progress.stop or "no worker is left"
        given_up = [str(each.number) for each in reports if each.state == "lost"]
        which = f"Given up: {', '.join(given_up)} (hpsearch logs N). " if given_up else ""
        raise StudyIncomplete(study=study.name, missing=missing, reason=reason, which=which)
    failed = [each for each in reports if each.reason]
    if progress.best is None and failed:
        raise NoResult(
            study=study.name, n=progress.finished,
            reason=failed[-1].reason, number=failed[-1].number,
        )  # fmt: skip


def _print_plan(spec: Spec, n_trials: int, n_workers: int, extraction: bool) -> None:
    out.print_json(data=spec.as_json())
    before = 0.0
    if extraction:
        before = parse_duration(BUDGET)
        err.print(f"before: PPO trains {BUDGET} to find the action limits (none are stored)")
    else:
        warn_unbounded(spec)
    seconds = n_trials * spec.budget.train_seconds
    wall = before + seconds / max(1, n_workers)
    end = datetime.now().astimezone() + timedelta(seconds=wall)
    err.print(
        f"{n_trials} trials x {format_duration(spec.budget.train_seconds)} of training = "
        f"{seconds / 3600:.1f} machine hours on {max(1, n_workers)} worker(s), "
        f"until {end:%Y-%m-%d %H:%M} at the earliest (start, compilation and evaluation of each "
        "run come on top)"
    )
