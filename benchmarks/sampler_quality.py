"""How good is what a sampler finds in 100 trials? Prints one JSON line.

    python benchmarks/sampler_quality.py [--repeats 40] [--arlbench FOLDER] [--landscape FILE ...]
    python benchmarks/sampler_quality.py --against stock    # without the slow gp
    python benchmarks/sampler_quality.py --variants    # ours against what was tried instead

Landscapes: a made-up SAC over the published space, another instance each repeat, and surrogates
of real results. A search of 100 trials is simulated by completion times, on Optuna's storage in
memory: quality does not depend on where rows are kept. Its pick is the trial with the best value
seen; what counts is the pick's true quality. In each repeat all samplers get the same landscape,
the same noise for the k-th trial and the same durations, so differences are paired. `mean`, `low`
and `high` are such a difference in shares of the landscape's range with its 95 % interval, pooled
over the landscapes with equal weight; above 0 is better for the first. Ctrl-C or SIGTERM
prints what there is.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, variance
from typing import Any

# One thread per process, before numpy is imported: matrices are small.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import optuna
from optuna import samplers
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from benchmarks.sampler_bench.arlbench import ArlbenchSac
from benchmarks.sampler_bench.landscape import Landscape, quality_range
from benchmarks.sampler_bench.synthetic import SyntheticSac
from benchmarks.sampler_bench.variants import POPSIZE, VARIANTS, MakeSampler
from benchmarks.sampler_bench.workers import search_events
from hpsearch.samplers.cma_es import CmaEsSampler
from hpsearch.samplers.history import TOLD_INDEX

SAMPLERS: Mapping[str, MakeSampler] = {
    "ours": lambda seed, space: CmaEsSampler(popsize=POPSIZE, seed=seed, space=space),
    "stock": lambda seed, space: samplers.CmaEsSampler(popsize=POPSIZE, seed=seed),
    "stock_margin": lambda seed, space: samplers.CmaEsSampler(
        popsize=POPSIZE, seed=seed, with_margin=True
    ),
    "tpe": lambda seed, space: samplers.TPESampler(seed=seed),
    "gp": lambda seed, space: samplers.GPSampler(seed=seed),
    "random": lambda seed, space: samplers.RandomSampler(seed=seed),
    **VARIANTS,
}

COMPARED = {
    "stock": ("w10_w10", "w10_w1", "w1_w1"),
    "stock_margin": ("w10_w10", "w10_w1", "w1_w1"),
    "tpe": ("w10_w10", "w10_w1", "w1_w1"),
    # 20 s of computing a search; one worker's would double the benchmark's time.
    "gp": ("w10_w10",),
    "random": ("w10_w10", "w1_w1"),
}
"""Against whom, at how many workers: ours first."""

N_TRIALS = 100

MAKERS: dict[str, Callable[[int], Landscape]] = {"synthetic": SyntheticSac}


def pairs_of(args: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Returns name -> (search, other search), each `sampler@workers`."""
    if args.variants:
        return {name: (f"{name}@10", "ours@10") for name in VARIANTS}
    pairs = {}
    for other in args.against:
        for count in COMPARED[other]:
            first, second = (each.removeprefix("w") for each in count.split("_"))
            pairs[f"w{first}_vs_{other}_w{second}"] = (f"ours@{first}", f"{other}@{second}")
    return pairs


def search(landscape: Landscape, sampler: BaseSampler, n_workers: int, seed: int) -> float:
    """Returns the true quality of what 100 trials pick."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    started: dict[int, tuple[optuna.Trial, float | None]] = {}
    n_told = 0
    for what, k in search_events(N_TRIALS, n_workers, np.random.default_rng([seed, 5])):
        if what == "ask":
            trial = study.ask(dict(landscape.distributions))
            shown = landscape.observed(trial.params, np.random.default_rng([seed, k, 9]))
            started[k] = trial, shown
            continue
        trial, value = started.pop(k)
        trial.set_user_attr(TOLD_INDEX, n_told)
        n_told += 1
        if value is None:
            # As a run of hpsearch that failed by its parameters: it has a place, but no value.
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, value)
    return landscape.true(study.best_params)


def repeat(job: tuple[str, int], searches: list[str]) -> tuple[str, float, dict[str, float]]:
    """Returns one repeat of one landscape: its name, its range, and the quality by search."""
    name, seed = job
    # Ctrl-C and `timeout` are the parent's to deal with.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    landscape = MAKERS[name](seed)
    span = quality_range(landscape, np.random.default_rng([seed, 3]))
    found = {}
    for each in searches:
        sampler, n_workers = each.split("@")
        found[each] = search(
            landscape, SAMPLERS[sampler](seed, landscape.distributions), int(n_workers), seed
        )
    return name, span, found


def interval(differences: Mapping[str, list[float]]) -> dict[str, float]:
    """Returns the mean over landscapes of equal weight, and its 95 % interval."""
    mean = fmean(fmean(values) for values in differences.values())
    squares = sum(variance(values) / len(values) for values in differences.values())
    half = 1.96 * math.sqrt(squares) / len(differences)
    found = {"mean": mean, "low": mean - half, "high": mean + half}
    return {key: round(value, 4) for key, value in found.items()}


def results(
    rows: list[tuple[str, float, dict[str, float]]], pairs: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """Returns the JSON line's content."""
    names = list(dict.fromkeys(name for name, *_ in rows))

    def differences(pair: tuple[str, str], name: str) -> list[float]:
        return [(q[pair[0]] - q[pair[1]]) / span for each, span, q in rows if each == name]

    return {
        "pairs": {
            key: interval({name: differences(pair, name) for name in names})
            for key, pair in pairs.items()
        },
        "landscapes": {
            name: {
                "repeats": sum(each == name for each, *_ in rows),
                "range": round(fmean(span for each, span, _ in rows if each == name), 3),
                "pairs": {
                    key: interval({name: differences(pair, name)}) for key, pair in pairs.items()
                },
            }
            for name in names
        },
    }


def rows_of(
    jobs: list[tuple[str, int]], searches: list[str], n_processes: int
) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Yields the repeats as they come."""
    with get_context("fork").Pool(n_processes) as pool:
        started = time.monotonic()
        for n, row in enumerate(pool.imap_unordered(partial(repeat, searches=searches), jobs), 1):
            print(f"{n} of {len(jobs)}, {time.monotonic() - started:.0f} s", file=sys.stderr)
            yield row


def main() -> None:
    """Runs all repeats."""
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--variants", action="store_true", help="ours against what was tried")
    parser.add_argument("--against", nargs="*", choices=COMPARED, default=list(COMPARED))
    parser.add_argument("--arlbench", type=Path, default=root / "../shared/data/arlbench")
    parser.add_argument("--landscape", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    if args.repeats < 2:
        parser.error("--repeats must be 2 or more: an interval needs two")
    files = args.landscape or sorted(args.arlbench.glob("*_sac.csv.gz"))
    if not files:
        print(f"no results in {args.arlbench}: the synthetic landscape only", file=sys.stderr)
    for file in files:
        MAKERS[file.name.removesuffix(".csv.gz")] = partial(ArlbenchSac, file)
    pairs = pairs_of(args)
    searches = sorted({each for pair in pairs.values() for each in pair})
    jobs = [(name, seed) for seed in range(args.repeats) for name in MAKERS]
    rows = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for row in rows_of(jobs, searches, args.processes):
            rows.append(row)
    except KeyboardInterrupt:
        print("ended early; of what there is:", file=sys.stderr)
    print(json.dumps(results(rows, pairs)))


if __name__ == "__main__":
    main()
