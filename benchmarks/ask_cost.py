"""What does the next candidate cost when a study is long? Prints one JSON line.

    python benchmarks/ask_cost.py [--trials 100 1000 10000]

On a real Postgres, in a process that has asked before. By number of finished trials:

- `seconds`, `statements`: of `study.ask` of Optuna with our sampler, median of 40;
- `stock_seconds`, `stock_statements`: of the same with Optuna's CmaEsSampler;
- `claim_seconds`, `claim_statements`: of the whole transaction in which a worker of hpsearch
  gets a new run, our sampler inside;
- `cpu_seconds` and so on: the part of these seconds that this process computed. The rest is
  Postgres, and waiting for a processor on a machine that has other work.

Before each ask one more trial has finished. Each history is one that its sampler could have
left: drawn by CMA-ES in groups of ten, with what the sampler keeps in the database.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import optuna
import sqlalchemy as sa
from cmaes import CMA
from optuna.distributions import distribution_to_json
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState

from benchmarks.sampler_bench.made_up import made_up
from benchmarks.sampler_bench.postgres import add_worker, database
from hpsearch.database.tables import specs
from hpsearch.database.transaction import Database
from hpsearch.ending import accept
from hpsearch.queue import Lease, claim
from hpsearch.samplers.cma_es import CmaEsSampler
from hpsearch.samplers.distribution import Distribution
from hpsearch.samplers.encoding import Encoding
from hpsearch.samplers.history import DRAWN, TOLD_INDEX, stored_vectors
from hpsearch.samplers.point import Point
from hpsearch.samplers.sac import SAC
from hpsearch.spec import Given
from hpsearch.study import launch_study

N_ASKS = 40
POPSIZE = 10
SPACE = dict(SAC.distributions)
ENCODING = Encoding(SPACE)
PIECE = 2045
"""Characters of a pickle that the stock sampler keeps in one attribute."""


def value_of(encoded: np.ndarray, numbers: np.random.Generator) -> float:
    """Returns a noisy result, best in the middle."""
    return float(-((encoded - 0.4) ** 2).sum() + 0.3 * numbers.normal())


def our_history(n: int) -> Iterator[tuple[np.ndarray, float, dict[str, Any]]]:
    """Yields the encoded point, value and attributes of each trial."""
    numbers = np.random.default_rng(0)
    distribution = Distribution(ENCODING.steps, POPSIZE, None)
    for start in range(0, n, POPSIZE):
        points: list[Point] = distribution.draw(start, POPSIZE)
        values = [value_of(point.encoded, numbers) for point in points]
        for point, value in zip(points, values, strict=True):
            yield point.encoded, value, {DRAWN: stored_vectors(point, distribution.n_updates)}
        distribution.tell([points[i] for i in np.argsort(values)[::-1]])


def stock_history(n: int) -> Iterator[tuple[np.ndarray, float, dict[str, Any]]]:
    """Yields the same for the stock sampler: generation numbers, and now and then a pickle."""
    numbers = np.random.default_rng(0)
    bounds = np.tile([0.0, 1.0], (ENCODING.dim, 1))
    cma = CMA(np.full(ENCODING.dim, 0.5), 1 / 6, bounds=bounds, population_size=POPSIZE, seed=0)
    for _ in range(0, n, POPSIZE):
        state = pickle.dumps(cma).hex()
        pieces = {
            f"cma:optimizer:{i}": state[start : start + PIECE]
            for i, start in enumerate(range(0, len(state), PIECE))
        }
        points = [cma.ask() for _ in range(POPSIZE)]
        values = [value_of(point, numbers) for point in points]
        for k, (point, value) in enumerate(zip(points, values, strict=True)):
            yield point, value, {"cma:generation": cma.generation} | (pieces if k == 0 else {})
        cma.tell([(p, -value) for p, value in zip(points, values, strict=True)])


HISTORIES = {"ours": our_history, "stock": stock_history}


def fill(opened: Database, study_id: int, kind: str, n: int) -> None:
    """Writes `n` finished trials."""
    tables = {
        "trials": models.TrialModel.__table__,
        "params": models.TrialParamModel.__table__,
        "values": models.TrialValueModel.__table__,
        "system": models.TrialSystemAttributeModel.__table__,
        "user": models.TrialUserAttributeModel.__table__,
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in tables}
    texts = {name: distribution_to_json(each) for name, each in SPACE.items()}
    start = datetime(2026, 1, 1)
    with opened.transaction() as connection:
        trial_id = connection.scalar(sa.text("SELECT coalesce(max(trial_id), 0) FROM trials")) or 0
        for k, (encoded, value, attributes) in enumerate(HISTORIES[kind](n)):
            trial_id += 1
            key = {"trial_id": trial_id}
            ended = start + timedelta(seconds=k)
            trial = {"study_id": study_id, "number": k, "state": TrialState.COMPLETE}
            rows["trials"].append(
                {**key, **trial, "datetime_start": start, "datetime_complete": ended}
            )
            for name, param in ENCODING.decode(encoded).items():
                internal = SPACE[name].to_internal_repr(param)
                place = {"param_name": name, "param_value": internal}
                rows["params"].append({**key, **place, "distribution_json": texts[name]})
            rows["values"].append({**key, "objective": 0, "value": value, "value_type": "FINITE"})
            for name, content in attributes.items():
                rows["system"].append({**key, "key": name, "value_json": json.dumps(content)})
            rows["user"].append({**key, "key": TOLD_INDEX, "value_json": str(k)})
        for name, table in tables.items():
            connection.execute(table.insert(), rows[name])
        following = "SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), :last)"
        connection.execute(sa.text(following), {"last": trial_id})


@dataclass
class Asker:
    """Who asks for the next candidate, time after time.

    Attributes:
      engine: whose statements count.
      ask: what is measured.
      tell: gives what was asked for its result.
    """

    engine: sa.Engine
    ask: Callable[[], Any]
    tell: Callable[[Any], None]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listens to the engine."""
        self._n = 0
        sa.event.listen(self.engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self._n += 1

    def go_on(self) -> None:
        """Asks once more, and tells a result."""
        before, started, cpu_started = self._n, time.perf_counter(), time.process_time()
        asked = self.ask()
        self.cpu_seconds.append(time.process_time() - cpu_started)
        self.seconds.append(time.perf_counter() - started)
        self.statements.append(self._n - before)
        self.tell(asked)

    def cost(self) -> dict[str, float]:
        """Returns the median of each figure, without the first ask."""
        return {
            "seconds": round(median(self.seconds[1:]), 4),
            "cpu_seconds": round(median(self.cpu_seconds[1:]), 4),
            "statements": median(self.statements[1:]),
        }


def plain_asker(opened: Database, kind: str, n: int) -> Asker:
    """Returns one that calls `study.ask`, after `n` trials."""
    storage = RDBStorage(opened.engine.url.render_as_string(hide_password=False))
    samplers: dict[str, BaseSampler] = {
        "ours": CmaEsSampler(popsize=POPSIZE, seed=0, space=SPACE),
        "stock": optuna.samplers.CmaEsSampler(popsize=POPSIZE, seed=0),
    }
    study = optuna.create_study(
        study_name=f"{kind} {n}", storage=storage, direction="maximize", sampler=samplers[kind]
    )
    fill(opened, study._study_id, kind, n)
    numbers = np.random.default_rng(1)

    def tell(trial: optuna.Trial) -> None:
        study.tell(trial, value_of(ENCODING.encode(trial.params), numbers))

    return Asker(storage.engine, lambda: study.ask(SPACE), tell)


def claiming_asker(opened: Database, n: int) -> Asker:
    """Returns one that claims runs as a worker does, after `n` trials."""
    given = Given(objective="sphere", space="sac", popsize=POPSIZE)
    study, _ = launch_study(opened, given, name=f"claim {n}", target=10 * n)
    fill(opened, study.id, "ours", n)
    with opened.transaction() as connection:
        ours = specs.c.study_id == study.id
        connection.execute(specs.update().where(ours).values(told=n))
    worker_id, numbers = add_worker(study), np.random.default_rng(1)

    def tell(lease: Lease) -> None:
        value = value_of(ENCODING.encode(lease.params), numbers)
        accept(study, lease.attempt_id, made_up(value), value, [])

    return Asker(opened.engine, lambda: claim(study, worker_id, uuid.uuid4()), tell)


def main() -> None:
    """Measures all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 1000, 10_000])
    args = parser.parse_args()
    names = ("", "stock_", "claim_")
    keys = [f"{name}{unit}" for name in names for unit in ("seconds", "cpu_seconds", "statements")]
    line: dict[str, dict[str, Any]] = {key: {} for key in keys}
    with database() as opened:
        for n in args.trials:
            askers = {
                "": plain_asker(opened, "ours", n),
                "stock_": plain_asker(opened, "stock", n),
                "claim_": claiming_asker(opened, n),
            }
            for _ in range(1 + N_ASKS):
                # In turn, so that what else the machine does meets all of them.
                for asker in askers.values():
                    asker.go_on()
            found = {name: asker.cost() for name, asker in askers.items()}
            for name, costs in found.items():
                for unit, value in costs.items():
                    line[f"{name}{unit}"][str(n)] = value
            print(f"{n}: {found}", file=sys.stderr)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
