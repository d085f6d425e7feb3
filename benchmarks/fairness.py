"""Whether a budget is the same for every point of the search space.

    python benchmarks/fairness.py
    python benchmarks/fairness.py --points 5 --seconds 3

Trains random points of a space, one after the other in one process, with cold programs for each
new shape. Prints the most compilations inside a budget (0), the largest overshoot as a share of
the budget, and the largest gap between a ledger's sum and the wall time as a share of it.
Progress goes to stderr, one JSON line to stdout.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpsearch.base import Budget, Measurement, SearchSpace, Setup
from hpsearch.objectives.limits import load_limits
from hpsearch.objectives.training import Training
from hpsearch.plugins import load, load_task
from hpsearch.testing import random_params


def main() -> None:
    """Trains the points, then prints the JSON line."""
    parser = argparse.ArgumentParser(description="Whether a budget is the same for all.")
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a budget")
    parser.add_argument("--space", default="sac-small")
    parser.add_argument("--num-envs", type=int, default=64)
    args = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    space: SearchSpace = load("space", args.space)
    task = load_task("quadruped-walk", {})
    setup = Setup(
        task="quadruped-walk", settings={}, algo=getattr(space, "algo", "sac"),
        num_envs=args.num_envs, action_limits=load_limits(None, task.action_names, default="a1"),
    )  # fmt: skip
    training = Training(setup)
    budget = Budget(train_seconds=args.seconds, n_eval_episodes=args.num_envs)
    compilations, overshoots, gaps, late = [], [], [], 0.0
    for seed in range(args.points):
        hyperparams = space.decode(random_params(space, seed))
        reported: list[float] = []

        def report(_: Measurement, reported: list[float] = reported) -> None:
            reported.append(time.monotonic())

        began = time.monotonic()
        result = training(hyperparams, seed=seed, budget=budget, report=report)
        wall = time.monotonic() - began
        compilations.append(result.conditions["compilations"])
        overshoots.append(result.overshoot_seconds)
        gaps.append(abs(sum(result.ledger.values()) - wall) / wall)
        late = max(late, *(b - a for a, b in itertools.pairwise(reported)))
        figures: dict[str, Any] = {
            "compilations": compilations[-1], "overshoot": round(overshoots[-1], 3),
            "updates": result.n_updates, "wall": round(wall, 1),
        }  # fmt: skip
        print(seed, figures, file=sys.stderr, flush=True)
    training.close()
    print(json.dumps({
        "compilations_max": max(compilations),
        "overshoot_max": round(max(overshoots) / args.seconds, 4),
        "overshoot_seconds_max": round(max(overshoots), 3),
        "ledger_error_max": round(max(gaps), 5),
        "silence_seconds_max": round(late, 2),
        "points": args.points, "budget_seconds": args.seconds,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
