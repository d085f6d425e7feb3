"""How well SAC walks after 90 CPU seconds, with percentile limits and with [-100, 100].

    python benchmarks/quadruped_learning.py

hpsearch's own SAC, one process a training, one after the other. The CPU seconds are the whole
process's, its start and its compilation among them, which the cache of compiled programs shortens
after the first. Progress goes to stderr, one JSON line to stdout. `standing` is
what the zero action earns.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HYPERPARAMS: dict[str, Any] = {
    "activation_fn": "elu",
    "batch_size": 256,
    "buffer_size": 800_000,
    "ent_coef": "auto_0.01",
    "gamma": 0.98,
    "gradient_steps": 8,
    "layer_norm": True,
    "learning_rate": 1e-3,
    "learning_starts": 2000,
    "net_arch": [128, 128],
    "optimizer_class": "adamw",
    "policy_delay": 2,
    "tau": 0.01,
    "train_freq": 1,
}
NUM_ENVS = 64
N_EVAL_EPISODES = 128
EVALUATION_SEED = 1_000_000


def cpu_seconds() -> float:
    """Returns the CPU seconds of this process and its ended children, all threads."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def open_env(limits: str, seed: int, num_envs: int = NUM_ENVS) -> Any:
    """Opens the robots of `quadruped-walk` with the limits `a1` or `none`."""
    from hpsearch.objectives.limits import load_limits
    from hpsearch.objectives.tasks.quadruped_walk import QuadrupedWalk

    task = QuadrupedWalk()
    found = load_limits(limits, task.action_names, default=task.default_limits)
    low, high = (found.low, found.high) if found else (None, None)
    return task.make(num_envs, seed, action_low=low, action_high=high)


@contextmanager
def trained(
    limits: str, seed: int, cpu_limit: float, wall_limit: float
) -> Iterator[tuple[Any, float]]:
    """Trains an agent in this process and leaves its robots open in the block.

    Args:
      limits: `a1`, a file, a number, or `none`, which leaves [-100, 100].
      seed: of the robots and the agent.
      cpu_limit: CPU seconds of this process at which training ends, its start among them.
      wall_limit: wall seconds of training after which it ends at the latest.

    Yields:
      The agent, and the wall seconds of its training.
    """
    from hpsearch.objectives.device import prepare_jax

    prepare_jax()
    from hpsearch.objectives.agents import build_agent
    from hpsearch.objectives.clock import BudgetClock
    from hpsearch.objectives.ledger import Ledger

    clock = BudgetClock(wall_limit)

    def go_on() -> bool:
        return cpu_seconds() < cpu_limit and not clock.exhausted

    with open_env(limits, seed) as robots:
        agent = build_agent(
            "sac", HYPERPARAMS, robots, task="quadruped-walk", seed=seed, normalize=True,
            ledger=Ledger(),
        )  # fmt: skip
        agent.compile()
        clock.start()
        agent.learn(clock, 10**12, go_on)
        clock.pause()
        yield agent, clock.spent


def mean_reward(agent: Any) -> float:
    """Returns the mean return of episodes without noise."""
    from hpsearch.objectives.evaluation import evaluate

    returns = evaluate(agent.env, agent.predict, N_EVAL_EPISODES, seed=EVALUATION_SEED)
    return round(float(returns.mean()), 2)


def run(limits: str, seed: int, cpu_limit: float, wall_limit: float) -> dict[str, float]:
    """Trains and evaluates in this process; returns the figures."""
    with trained(limits, seed, cpu_limit, wall_limit) as (agent, wall):
        from hpsearch.objectives.evaluation import standing_return

        cpu = cpu_seconds()
        return {
            "seed": seed,
            "mean_reward": mean_reward(agent),
            "standing": round(standing_return(agent.env, seed=EVALUATION_SEED), 2),
            "num_timesteps": agent.num_timesteps,
            "n_updates": agent.n_updates,
            "cpu_seconds": round(cpu, 1),
            "wall_seconds": round(wall, 1),
        }


def main() -> None:
    """Runs every training in a process of its own, then prints the JSON line."""
    parser = argparse.ArgumentParser(description="\n".join((__doc__ or "").split("\n")[:1]))
    parser.add_argument("--seeds", type=int, default=4, help="trainings per limits")
    parser.add_argument("--cpu-seconds", type=float, default=90.0)
    parser.add_argument("--wall-seconds", type=float, default=240.0)
    parser.add_argument("--run", nargs=2, metavar=("LIMITS", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        figures = run(args.run[0], int(args.run[1]), args.cpu_seconds, args.wall_seconds)
        print(json.dumps(figures))
        return

    results: dict[str, Any] = {}
    for key, limits in (("with_limits", "a1"), ("without_limits", "none")):
        runs = []
        for seed in range(args.seeds):
            command = [sys.executable, __file__, "--run", limits, str(seed)]
            command += ["--cpu-seconds", str(args.cpu_seconds)]
            command += ["--wall-seconds", str(args.wall_seconds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(key, runs[-1], file=sys.stderr, flush=True)
        seeds = [one["mean_reward"] for one in runs]
        results[key] = {"mean": round(sum(seeds) / len(seeds), 2), "seeds": seeds, "runs": runs}
    standing = [one["standing"] for key in results for one in results[key]["runs"]]
    results["standing"] = round(sum(standing) / len(standing), 2)
    print(json.dumps(results))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
