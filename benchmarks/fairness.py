"""Whether a budget is the same for every point of the search space.

    python benchmarks/fairness.py
    python benchmarks/fairness.py --spaces sac-small=5 --seconds 3

Trains random points of each space on `quadruped-walk`, one after the other in one process, with
cold programs for each new shape. Prints the most compilations inside a budget (0), the largest
overshoot as a share of the budget, and the largest gap between a ledger's sum and the wall time as
a share of it. An overshoot of 0.3 s is allowed to budgets below 30 s, so that is their length
here. Progress goes to stderr, one JSON line to stdout.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpsearch.base import Budget, Measurement, SearchSpace, Setup
from hpsearch.objectives.limits import load_limits
from hpsearch.objectives.training import Training
from hpsearch.plugins import load, load_task
from hpsearch.testing import random_params

SPACES = "sac-small=40,sac=4,sac-rough=4,sac-envs=4,tqc-small=4,ppo=4"


@dataclass
class Found:
    """What the points so far showed."""

    compilations: list[int] = field(default_factory=list)
    overshoots: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)


def train(name: str, n_points: int, num_envs: int, seconds: float, found: Found) -> None:
    """Trains random points of one space."""
    space: SearchSpace = load("space", name)
    task = load_task("quadruped-walk", {})
    setup = Setup(
        task="quadruped-walk", settings={}, algo=getattr(space, "algo", "sac"),
        num_envs=num_envs, action_limits=load_limits(None, task.action_names, default="a1"),
    )  # fmt: skip
    training = Training(setup)
    budget = Budget(train_seconds=seconds, n_eval_episodes=num_envs)
    for seed in range(n_points):
        hyperparams = space.decode(random_params(space, seed))
        reported: list[float] = []

        def report(_: Measurement, reported: list[float] = reported) -> None:
            reported.append(time.monotonic())

        began = time.monotonic()
        result = training(hyperparams, seed=seed, budget=budget, report=report)
        wall = time.monotonic() - began
        found.compilations.append(result.conditions["compilations"])
        found.overshoots.append(result.overshoot_seconds)
        found.gaps.append(abs(sum(result.ledger.values()) - wall) / wall)
        found.silences += [b - a for a, b in itertools.pairwise(reported)]
        figures: dict[str, Any] = {
            "compilations": found.compilations[-1], "overshoot": round(found.overshoots[-1], 3),
            "updates": result.n_updates, "wall": round(wall, 1),
        }  # fmt: skip
        print(name, seed, figures, file=sys.stderr, flush=True)
    training.close()


def main() -> None:
    """Trains the points, then prints the JSON line."""
    parser = argparse.ArgumentParser(description="Whether a budget is the same for all.")
    parser.add_argument("--spaces", default=SPACES, help="NAME=POINTS, comma between")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a budget")
    parser.add_argument("--num-envs", type=int, default=64)
    args = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    found = Found()
    for each in args.spaces.split(","):
        name, _, n_points = each.partition("=")
        train(name, int(n_points), args.num_envs, args.seconds, found)
    print(json.dumps({
        "compilations_max": max(found.compilations),
        "overshoot_max": round(max(found.overshoots) / args.seconds, 4),
        "overshoot_seconds_max": round(max(found.overshoots), 3),
        "ledger_error_max": round(max(found.gaps), 5),
        "silence_seconds_max": round(max(found.silences), 2),
        "points": len(found.gaps), "budget_seconds": args.seconds,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
