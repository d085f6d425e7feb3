"""What `--bounds` means where a database is needed: `auto`, and stored limits by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hpsearch import plugins
from hpsearch.base import Purpose
from hpsearch.bounds import (
    StoredLimits,
    find_extracted,
    read_stored,
    request_extraction,
    store_extraction,
)
from hpsearch.cli.attend import attend_runs
from hpsearch.cli.options import err
from hpsearch.database.transaction import Database
from hpsearch.duration import format_duration
from hpsearch.exceptions import InvalidValue, NoSuchStudy, TrainIncomplete
from hpsearch.objectives.limits import check_limits, is_plain
from hpsearch.objectives.tasks.isaaclab_robots import same_task
from hpsearch.spec import Given, Spec, check_has_limits, objective_and_task
from hpsearch.study import open_study

PERCENTILE = 2.5
BUDGET = "5m"


def needs_database(bounds: str | None) -> bool:
    """Returns whether limits come out of a database."""
    return bounds is not None and not is_plain(bounds)


def check_percentile(percentile: float) -> None:
    """Refuses a share that cannot be cut.

    Raises:
      InvalidValue: below 0, or 50 and more.
    """
    if not 0 <= percentile < 50:
        allowed = "at least 0 and below 50"
        raise InvalidValue(name="--percentile", value=percentile, allowed=allowed)


def of_study(database: Database, name: str | None) -> Spec | None:
    """Returns the spec of the study of this name; None if there is none yet."""
    if name is None:
        return None
    try:
        return database.retrying(lambda: open_study(database, name)).spec
    except NoSuchStudy:
        return None


def _whose(given: Given, base: Spec | None) -> Given:
    """Returns whose limits: task, settings, environments; those of `base` where none is given."""
    _, task = objective_and_task(given, base)
    check_has_limits(given, task)
    settings, num_envs = given.settings, given.num_envs
    if base is not None and base.task and same_task(task or base.task, base.task):
        task, settings = base.task, base.settings if settings is None else settings
        num_envs = num_envs or base.num_envs
    return Given(task=task, settings=settings or {}, num_envs=num_envs)


def stored_for(database: Database, given: Given, base: Spec | None = None) -> StoredLimits | None:
    """Returns what `--bounds auto` would take from the store; None if it has to be extracted.

    Args:
      database: where they are stored.
      given: what the user typed.
      base: spec of the study that it is for, if that exists.
    """
    whose = _whose(given, base)
    assert whose.task is not None and whose.settings is not None
    return find_extracted(database, whose.task, whose.settings, PERCENTILE)


def warn_unbounded(spec: Spec) -> None:
    """Says what happens to SAC and its kin where nothing limits the actions."""
    if spec.unbounded and not spec.algo.startswith("ppo"):
        err.print(
            "warning: nothing limits the actions. That is how SAC was found not to learn on Isaac "
            "Lab's robots: it explores the whole range, and what walks fills a few percent of it. "
            "--bounds auto takes limits from a trained PPO agent.",
            style="yellow",
        )


def with_limits(
    database: Database,
    given: Given,
    *,
    python: str | None,
    storage: str | None,
    insecure: bool,
    base: Spec | None = None,
) -> Given:
    """Returns `given` with the limits that it names, extracted first where `auto` finds none.

    Args:
      database: where they are stored.
      given: what the user typed.
      python: interpreter of the simulator's environment, for an extraction.
      storage: as the workers of an extraction are given it.
      insecure: the same.
      base: spec of the study that it is for, if that exists; its task stands where none is given.

    Raises:
      NoSuchLimits: there are none of that name.
      InvalidLimits: they are of other joints than the task's.
      NotLearned: PPO did not learn, so there is nothing to extract.
    """
    if not needs_database(given.bounds):
        return given
    whose = _whose(given, base)
    if given.bounds == "auto":
        stored = stored_for(database, given, base)
        if stored is None:
            err.print(f"no limits of this task are stored: PPO trains {BUDGET} to find them")
            stored = extract(
                database, dataclasses.replace(whose, budget=BUDGET), PERCENTILE, None,
                python=python, storage=storage, insecure=insecure,
            )  # fmt: skip
    else:
        assert given.bounds is not None
        stored = read_stored(database, given.bounds)
    assert whose.task is not None and whose.settings is not None
    task = plugins.load_task(whose.task, dict(whose.settings))
    check_limits(stored.limits, task.action_names)
    err.print(f"action limits {stored.name}", markup=False)
    return dataclasses.replace(given, bounds=None, stored_limits=stored.limits)


def extract(
    database: Database,
    given: Given,
    percentile: float,
    hyperparams: Mapping[str, Any] | None,
    *,
    python: str | None,
    storage: str | None,
    insecure: bool,
    name: str | None = None,
    force: bool = False,
) -> StoredLimits:
    """Trains PPO, records its actions and stores the limits.

    Raises:
      NotLearned: PPO did not learn.
      TrainIncomplete: its run has no result.
      LimitsExist: limits of another task have that name.
    """
    study, run_ids = request_extraction(database, given, percentile, hyperparams, name=name)
    seconds = format_duration(study.spec.budget.train_seconds)
    err.print(f"study {study.name}: PPO trains {seconds}", markup=False)
    (run,) = attend_runs(
        study, run_ids, Purpose.BOUNDS, python=python, storage=storage, insecure=insecure
    )
    if run.result is None:
        reason = run.reason or "no worker is left"
        raise TrainIncomplete(missing=1, what=study.name, reason=reason)
    return store_extraction(study, run_ids, name=name, force=force)
