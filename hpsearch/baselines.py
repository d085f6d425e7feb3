"""Runs that belong to no trial: an algorithm with given hyper-parameters, on some seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hpsearch import plugins
from hpsearch.base import Purpose
from hpsearch.code_version import users_code
from hpsearch.database.tables import runs
from hpsearch.database.transaction import Database
from hpsearch.exceptions import InvalidFile, InvalidValue
from hpsearch.samplers.space import middle
from hpsearch.spec import Given, Spec, resolve
from hpsearch.study import Study, launch_study


@dataclass(frozen=True, kw_only=True)
class BaselineRun:
    """One seed; `value` and `result` are None until it finished."""

    seed: int
    state: str
    value: float | None
    result: Mapping[str, Any] | None
    reason: str | None

    @property
    def open(self) -> bool:
        """Whether it may still get a result."""
        return self.state in ("waiting", "leased")


def open_baseline(
    database: Database, given: Given, purpose: Purpose, hyperparams: Mapping[str, Any] | None
) -> tuple[Study, Mapping[str, Any]]:
    """Opens or creates the study that holds such runs, with no trials to search.

    There is one for each spec, and for each state of the code that a user brought.

    Args:
      database: where.
      given: what the user gave.
      purpose: of the runs.
      hyperparams: decoded; None for the middle of the algorithm's search space on this task.

    Returns:
      The study, and the hyper-parameters.

    Raises:
      UsageError: the algorithm does not take the hyper-parameters; nothing was created then.
    """
    spec = resolve(given)
    if hyperparams is not None:
        _check(spec, hyperparams)
    # What other code has trained stays where it is.
    theirs = "".join(f"-{digest[:6]}" for digest in users_code(spec).values())
    name = f"{spec.task}-{purpose}-{spec.algo}-{spec.fingerprint[:6]}{theirs}"
    study, _ = launch_study(database, given, name=name, target=0)
    if hyperparams is None:
        space = study.spec.search_space()
        hyperparams = space.decode(middle(space))
    return study, hyperparams


def _check(spec: Spec, hyperparams: Mapping[str, Any]) -> None:
    objective = plugins.load("objective", spec.objective)
    if not isinstance(objective, type):
        return
    check = getattr(objective(spec.setup), "check", lambda _: None)
    try:
        check(hyperparams)
    except (TypeError, ValueError) as error:
        allowed = f"of the types that {spec.algo} takes ({error})"
        raise InvalidValue(
            name="a hyper-parameter", value=dict(hyperparams), allowed=allowed
        ) from error


def read_params(path: str) -> dict[str, Any]:
    """Returns the hyper-parameters in a JSON file.

    Raises:
      InvalidFile: it cannot be read, or holds no JSON object.
    """
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidFile(path=path, problem=str(error)) from error
    if not isinstance(content, dict):
        raise InvalidFile(path=path, problem="it holds no object of hyper-parameters")
    return content


def read_runs(study: Study, run_ids: Sequence[int]) -> list[BaselineRun]:
    """Returns runs in the order of their ids."""
    with study.database.transaction() as connection:
        query = sa.select(runs).where(runs.c.id.in_(run_ids)).order_by(runs.c.id)
        return [
            BaselineRun(
                seed=row.seed, state=row.state, value=row.value, result=row.result,
                reason=row.reason,
            )
            for row in connection.execute(query)
        ]  # fmt: skip
