"""How many results does CMA-ES never learn from when workers are many? Prints one JSON line.

    python benchmarks/sampler_waste.py [--workers 1 4 10 16 50]

Searches of 100 trials, popsize 10, on a real Postgres, claimed and accepted as workers do it;
only the training is left out: its result is made up, and the order in which trials end follows
from made-up durations. After the last result one more trial is drawn, so that the sampler sees
them all. By sampler and number of workers:

- `told`: share of the 100 finished trials that the distribution was told, or that wait for their
  group to be complete;
- `updates`: of the distribution;
- `age`: updates between the distribution that a trial was drawn from and the trial's result, on
  average.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from optuna.trial import FrozenTrial

from benchmarks.sampler_bench.made_up import made_up
from benchmarks.sampler_bench.postgres import add_worker, database
from benchmarks.sampler_bench.synthetic import SyntheticSac
from benchmarks.sampler_bench.workers import search_events
from hpsearch.database.transaction import Database
from hpsearch.ending import accept, fail
from hpsearch.queue import Lease, claim
from hpsearch.samplers.history import DRAWN
from hpsearch.spec import Given
from hpsearch.study import Study, launch_study

SAMPLERS = {
    "ours": "cma-es",
    "stock": "cma-es-optuna",
    "stock_margin": "cma-es-optuna-margin",
}
N_TRIALS = 100
POPSIZE = 10


def n_updates(trial: FrozenTrial) -> int | None:
    """Returns how often the distribution had been told that a trial was drawn from, if any."""
    attributes = trial.system_attrs
    if DRAWN in attributes:
        return int(attributes[DRAWN]["updates"])
    stock = ("cma:generation", "cmawm:generation")
    return next((int(attributes[key]) for key in stock if key in attributes), None)


def search(study: Study, n_workers: int) -> dict[str, float]:
    """Returns what became of the trials of one search."""
    landscape, worker_id = SyntheticSac(0), add_worker(study)
    numbers = np.random.default_rng(0)
    leases: dict[int, Lease] = {}
    drawn_at: dict[int, int] = {}
    latest, ages = 0, []
    for what, k in search_events(N_TRIALS, n_workers, np.random.default_rng(1)):
        if what == "ask":
            lease = claim(study, worker_id, uuid.uuid4())
            assert isinstance(lease, Lease)
            leases[k] = lease
            drawn_at[k] = n_updates(study.trial(lease.trial_number)) or 0
            latest = max(latest, drawn_at[k])
            continue
        value = landscape.observed(leases[k].params, numbers)
        if value is None:
            fail(study, leases[k].attempt_id, "diverged", "made up")
        else:
            accept(study, leases[k].attempt_id, made_up(value), value, [])
        ages.append(latest - drawn_at[k])
    last = claim(study, worker_id, uuid.uuid4())
    assert isinstance(last, Lease)
    trials = study.trials()
    updates = n_updates(trials[-1]) or 0
    return {"told": told(trials[:-1], updates), "updates": updates, "age": round(fmean(ages), 2)}


def told(trials: list[FrozenTrial], updates: int) -> float:
    """Returns the share that was told, or waits."""
    if any(DRAWN in trial.system_attrs for trial in trials):
        return min(1.0, (updates * POPSIZE + len(trials) % POPSIZE) / len(trials))
    # Stock tells the results of the current distribution only, and only complete ones.
    waiting = sum(n_updates(t) == updates and t.value is not None for t in trials)
    return round(min(1.0, (updates * POPSIZE + waiting) / len(trials)), 3)


def new_study(opened: Database, sampler: str, name: str) -> Study:
    """Returns a study over the published space."""
    given = Given(objective="sphere", space="sac", sampler=sampler, popsize=POPSIZE)
    return launch_study(opened, given, name=name, target=N_TRIALS + 1)[0]


def main() -> None:
    """Runs all searches."""
    # Nobody renews: on a loaded machine a lease would end before its made-up result comes.
    os.environ["HPSEARCH_LEASE_SECONDS"] = "86400"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 4, 10, 16, 50])
    args = parser.parse_args()
    line: dict[str, dict[str, dict[str, float]]] = {key: {} for key in SAMPLERS}
    with database() as opened:
        for key, sampler in SAMPLERS.items():
            for n_workers in args.workers:
                study = new_study(opened, sampler, f"{key} {n_workers}")
                line[key][str(n_workers)] = found = search(study, n_workers)
                print(f"{key} at {n_workers} workers: {found}", file=sys.stderr)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
