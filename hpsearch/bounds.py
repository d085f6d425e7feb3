"""Action limits that are kept in the database: extracted from a PPO agent, or imported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from hpsearch.base import ActionLimits, Purpose
from hpsearch.baselines import BaselineRun, open_baseline, read_runs
from hpsearch.database.tables import limits as table
from hpsearch.database.transaction import Database
from hpsearch.ending import now
from hpsearch.exceptions import LimitsExist, NoSuchLimits, NotLearned
from hpsearch.objectives.limits import check_limits
from hpsearch.objectives.tasks.isaaclab_robots import same_task
from hpsearch.queue import enqueue_runs
from hpsearch.spec import Given, resolve
from hpsearch.study import Study

LEARNED_SHARE = 0.5
"""How much more than standing still a PPO must earn that learned, as a share of the latter."""


@dataclass(frozen=True, kw_only=True)
class StoredLimits:
    """Limits of one task's actions, and how they were found.

    Attributes:
      name: what `--bounds` takes.
      task: that they are of.
      settings: of the task, as typed.
      percentile: share of the recorded actions that was cut from each side, in percent; None for
        limits that were imported.
      joints: a mapping each: `name`, `low`, `high`; of extracted ones also `outside`, the share
        of actions beyond them, and a histogram, `edges` and `counts`.
      source: `mean_reward` and `std_reward` of PPO, `standing_return`, `seed`, `train_seconds`,
        `n_actions`; or the file.
      created_at: by the database's clock; None before it is stored.
    """

    name: str
    task: str
    settings: Mapping[str, str]
    percentile: float | None
    joints: Sequence[Mapping[str, Any]]
    source: Mapping[str, Any]
    created_at: datetime | None = None

    @property
    def limits(self) -> ActionLimits:
        """The limits alone, with the joints' names where they have any."""
        low = tuple(float(joint["low"]) for joint in self.joints)
        high = tuple(float(joint["high"]) for joint in self.joints)
        names = tuple(joint["name"] for joint in self.joints)
        known = () if all(name.isdecimal() for name in names) else names
        return ActionLimits(name=self.name, low=low, high=high, joints=known)


def default_name(task: str, settings: Mapping[str, str], percentile: float) -> str:
    """Returns the name of a task's limits where none is given; other settings, another name."""
    # A slash would make it a file's path.
    parts = [task.replace("/", "-")]
    if settings:
        typed = json.dumps(dict(settings), sort_keys=True)
        parts.append(hashlib.sha256(typed.encode()).hexdigest()[:6])
    return "-".join([*parts, f"p{percentile:g}"])


def check_free(database: Database, name: str, task: str, settings: Mapping[str, str]) -> None:
    """Refuses a name that limits of another task, or of other settings of it, have.

    Raises:
      LimitsExist: says whose they are.
    """
    for each in list_limits(database):
        same = same_task(each.task, task) and dict(each.settings) == dict(settings)
        if each.name == name and not same:
            typed = " ".join([each.task, *(f"{k}={v}" for k, v in each.settings.items())])
            raise LimitsExist(name=name, task=typed)


def store(database: Database, found: StoredLimits) -> None:
    """Stores limits; those of the same name are replaced.

    Raises:
      LimitsExist: they are of another task, or of other settings.
    """
    check_free(database, found.name, found.task, found.settings)
    values = dataclasses.asdict(found)
    del values["created_at"]
    changes = {**{name: values[name] for name in values if name != "name"}, "created_at": now}
    with database.transaction() as connection:
        connection.execute(
            insert(table)
            .values(values)
            .on_conflict_do_update(index_elements=["name"], set_=changes)
        )


def list_limits(database: Database) -> list[StoredLimits]:
    """Returns all stored limits, by name."""
    with database.transaction() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.name)).mappings()
        return [StoredLimits(**row) for row in rows]


def read_stored(database: Database, name: str) -> StoredLimits:
    """Returns the limits of a name.

    Raises:
      NoSuchLimits: there are none.
    """
    stored = {each.name: each for each in list_limits(database)}
    if name not in stored:
        raise NoSuchLimits(name=name, known=", ".join(stored) or "none yet")
    return stored[name]


def find_extracted(
    database: Database, task: str, settings: Mapping[str, str], percentile: float
) -> StoredLimits | None:
    """Returns the limits extracted last for a task with these settings; None if none were.

    Old and new spellings of an id of Isaac Lab are one task.
    """
    fitting = [
        each
        for each in list_limits(database)
        if same_task(each.task, task)
        and (dict(each.settings), each.percentile) == (dict(settings), percentile)
    ]
    return max(fitting, key=lambda each: str(each.created_at), default=None)


def request_extraction(
    database: Database,
    given: Given,
    percentile: float,
    hyperparams: Mapping[str, Any] | None,
    *,
    name: str | None,
) -> tuple[Study, list[int]]:
    """Makes the run wait whose PPO's actions are recorded.

    Args:
      database: where.
      given: task, its settings, budget, seed, environments.
      percentile: share to be cut from each side, in percent.
      hyperparams: of PPO; None for the middle of its search space.
      name: of the limits; None for task and percentile.

    Returns:
      The study that holds the run, and the run's id.

    Raises:
      LimitsExist: limits of another task have that name.
    """
    given = dataclasses.replace(given, algo="ppo", objective="recording", bounds="none")
    spec = resolve(given)
    assert spec.task is not None
    name = name or default_name(spec.task, spec.settings, percentile)
    check_free(database, name, spec.task, spec.settings)
    study, found = open_baseline(database, given, Purpose.BOUNDS, hyperparams)
    run = {**found, "percentile": percentile}
    return study, enqueue_runs(study, Purpose.BOUNDS, run, 1)


def learned(run: BaselineRun) -> bool:
    """Returns whether PPO's return is clearly above standing still: more than a deviation."""
    assert run.result is not None
    result = run.result
    standing = result["metrics"]["standing_return"]
    margin = max(LEARNED_SHARE * abs(standing), result["std_reward"])
    return bool(result["mean_reward"] > standing + margin)


def store_extraction(
    study: Study, run_ids: Sequence[int], *, name: str | None, force: bool
) -> StoredLimits:
    """Stores what a finished run recorded.

    Args:
      study: of the run.
      run_ids: as `request_extraction` returned them.
      name: of the limits; None for task and percentile.
      force: store limits of a PPO that did not learn.

    Raises:
      NotLearned: it did not.
      LimitsExist: limits of another task have that name.
    """
    (run,) = read_runs(study, run_ids)
    assert run.result is not None and study.spec.task is not None
    result, actions = run.result, run.result["conditions"]["actions"]
    standing = result["metrics"]["standing_return"]
    figures = {k: result[k] for k in ("mean_reward", "std_reward", "train_seconds")}
    if not (force or learned(run)):
        raise NotLearned(task=study.spec.task, standing_return=standing, **figures)
    found = StoredLimits(
        name=name or default_name(study.spec.task, study.spec.settings, actions["percentile"]),
        task=study.spec.task,
        settings=study.spec.settings,
        percentile=actions["percentile"],
        joints=actions["joints"],
        source={
            **figures,
            "standing_return": standing,
            "n_actions": actions["n_actions"],
            "seed": run.seed,
            "learned": learned(run),
        },
    )
    # Two equal limits, of a joint that never moved, would be no action space.
    check_limits(found.limits, ())
    store(study.database, found)
    return found
