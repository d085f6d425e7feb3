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
from hpsearch.exceptions import InvalidValue, TrainIncomplete
from hpsearch.objectives.limits import is_plain
from hpsearch.spec import Given

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


def stored_for(database: Database, given: Given) -> StoredLimits | None:
    """Returns what `--bounds auto` would take from the store; None if it has to be extracted."""
    task = given.task or given.default_task
    return find_extracted(database, task, given.settings or {}, PERCENTILE)


def with_limits(
    database: Database, given: Given, *, python: str | None, storage: str | None, insecure: bool
) -> Given:
    """Returns `given` with the limits that it names, extracted first where `auto` finds none.

    Raises:
      NoSuchLimits: there are none of that name.
      InvalidLimits: they are of other joints than the task's.
      NotLearned: PPO did not learn, so there is nothing to extract.
    """
    if not needs_database(given.bounds):
        return given
    if given.bounds == "auto":
        stored = stored_for(database, given)
        if stored is None:
            err.print(f"no limits of this task are stored: PPO trains {BUDGET} to find them")
            of_task = Given(
                task=given.task, default_task=given.default_task, settings=given.settings,
                num_envs=given.num_envs, budget=BUDGET,
            )  # fmt: skip
            stored = extract(
                database, of_task, PERCENTILE, None, python=python, storage=storage,
                insecure=insecure,
            )  # fmt: skip
    else:
        assert given.bounds is not None
        stored = read_stored(database, given.bounds)
    task = plugins.load_task(given.task or given.default_task, dict(given.settings or {}))
    stored.check(task.action_names)
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
    """
    study, run_ids = request_extraction(database, given, percentile, hyperparams)
    seconds = format_duration(study.spec.budget.train_seconds)
    err.print(f"study {study.name}: PPO trains {seconds}", markup=False)
    (run,) = attend_runs(
        study, run_ids, Purpose.BOUNDS, python=python, storage=storage, insecure=insecure
    )
    if run.result is None:
        reason = run.reason or "no worker is left"
        raise TrainIncomplete(missing=1, what=study.name, reason=reason)
    return store_extraction(study, run_ids, name=name, force=force)
