"""Whether this SAC learns what stock sbx.SAC learns: curves at equal steps and updates.

    python benchmarks/learning_agreement.py
    python benchmarks/learning_agreement.py --seeds 2 --steps 20000

`quadruped-walk` with 64 robots; both make the same number of steps and, by the same rule, of
updates. Training's own returns count: the mean of the latest 100 episodes, at each quarter of the
steps. One process a training, one after the other. Progress goes to stderr, one JSON line to
stdout: `ours` and `stock` by quarter, `difference` of their means and `noise`, the standard error
that the spread between seeds leaves to it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, variance
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SETTING = "64x256x8x2"
N_QUARTERS = 4


def hyperparams() -> dict[str, Any]:
    """Returns those of both."""
    from benchmarks.training_speed import hyperparams as published

    return {**published(SETTING), "learning_rate": 1e-3, "tau": 0.01}


def train_ours(seed: int, quarters: list[int]) -> list[float]:
    """Returns our returns at each quarter."""
    from benchmarks.training_speed import open_env
    from hpsearch.objectives.agents import build_agent
    from hpsearch.objectives.clock import BudgetClock
    from hpsearch.objectives.ledger import Ledger

    found: list[float] = []
    with open_env(SETTING, seed) as env:
        agent = build_agent(
            "sac", hyperparams(), env, task=SETTING, seed=seed, normalize=True, ledger=Ledger()
        )
        agent.compile()

        def look() -> bool:
            if agent.num_timesteps >= quarters[len(found)]:
                found.append(mean(agent.returns))
            return len(found) < N_QUARTERS

        agent.learn(BudgetClock(1e9), 10**12, look)
    return found


def train_stock(seed: int, quarters: list[int]) -> list[float]:
    """Returns the returns of sbx at each quarter."""
    import flax.linen as nn
    import optax
    import sbx
    from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

    from benchmarks.training_speed import open_env

    given, found = hyperparams(), list[float]()
    policy = {
        "net_arch": given.pop("net_arch"), "layer_norm": given.pop("layer_norm"),
        "activation_fn": nn.elu, "optimizer_class": optax.adamw,
    }  # fmt: skip
    given.pop("activation_fn"), given.pop("optimizer_class")
    with open_env(SETTING, seed) as robots:
        env = VecNormalize(VecMonitor(robots), norm_reward=False)
        model = sbx.SAC("MlpPolicy", env, seed=seed, policy_kwargs=policy, **given)

        def go_on(_locals: Any, _globals: Any) -> bool:
            if model.num_timesteps >= quarters[len(found)]:
                found.append(mean(float(episode["r"]) for episode in model.ep_info_buffer))
            return len(found) < N_QUARTERS

        model.learn(10**9, callback=go_on, log_interval=None)
    return found


def main() -> None:
    """Trains each seed both ways, then prints the JSON line."""
    parser = argparse.ArgumentParser(description="Whether both learn the same.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--run", nargs=2, metavar=("WHO", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    quarters = [args.steps * (i + 1) // N_QUARTERS for i in range(N_QUARTERS)]
    if args.run:
        from hpsearch.objectives.device import prepare_jax

        prepare_jax()
        train = {"ours": train_ours, "stock": train_stock}[args.run[0]]
        print(json.dumps(train(int(args.run[1]), quarters)))
        return
    curves: dict[str, list[list[float]]] = {"ours": [], "stock": []}
    for seed in range(args.seeds):
        for who, all_curves in curves.items():
            command = [sys.executable, "-W", "ignore", __file__, "--steps", str(args.steps)]
            done = subprocess.run(
                [*command, "--run", who, str(seed)], stdout=subprocess.PIPE, text=True, check=True,
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )  # fmt: skip
            all_curves.append(json.loads(done.stdout.splitlines()[-1]))
            print(who, seed, all_curves[-1], file=sys.stderr, flush=True)
    by_quarter = {who: list(zip(*all_curves, strict=True)) for who, all_curves in curves.items()}
    pairs = list(zip(by_quarter["ours"], by_quarter["stock"], strict=True))
    print(json.dumps({
        **{who: [round(mean(each), 2) for each in quarter] for who, quarter in by_quarter.items()},
        "difference": [round(mean(a) - mean(b), 2) for a, b in pairs],
        "noise": [round(math.sqrt((variance(a) + variance(b)) / args.seeds), 2)
                  for a, b in pairs],
        "steps": quarters, "seeds": args.seeds,
    }))  # fmt: skip


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
