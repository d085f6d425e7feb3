"""How well SAC walks after 90 CPU seconds, with percentile limits and with [-100, 100].

    python benchmarks/quadruped_learning.py

One process a training, one after the other. The CPU seconds are the whole process's, its start
and its compilation among them. Progress goes to stderr, one JSON line to stdout. `standing` is
what the zero action earns.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HYPERPARAMS: dict[str, Any] = {
    "batch_size": 256,
    "buffer_size": 800_000,
    "ent_coef": "auto_0.01",
    "gamma": 0.98,
    "gradient_steps": 8,
    "learning_rate": 1e-3,
    "learning_starts": 2000,
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


def train(limits: str, seed: int, cpu_limit: float, wall_limit: float) -> tuple[Any, Any]:
    """Trains one policy.

    Args:
      limits: `a1` or `none`, which leaves [-100, 100].
      seed: of the robots and the agent.
      cpu_limit: CPU seconds of this process at which training ends.
      wall_limit: wall seconds of training after which it ends at the latest.

    Returns:
      The model and its observation statistics, frozen.
    """
    import flax.linen as nn
    import optax
    import sbx
    from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

    started = time.perf_counter()

    def go_on(_locals: Any, _globals: Any) -> bool:
        return cpu_seconds() < cpu_limit and time.perf_counter() - started < wall_limit

    with open_env(limits, seed) as robots:
        env = VecNormalize(VecMonitor(robots), norm_reward=False, gamma=HYPERPARAMS["gamma"])
        policy = {
            "net_arch": [128, 128],
            "layer_norm": True,
            "activation_fn": nn.elu,
            "optimizer_class": optax.adamw,
        }
        model = sbx.SAC("MlpPolicy", env, seed=seed, policy_kwargs=policy, **HYPERPARAMS)
        model.learn(50_000_000, callback=go_on)
        env.training = False
        return model, env


def evaluate(model: Any, statistics: Any, limits: str) -> float:
    """Returns the mean return of deterministic episodes on robots of their own seed."""
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

    with open_env(limits, EVALUATION_SEED) as robots:
        env = VecNormalize(VecMonitor(robots), training=False, norm_reward=False)
        env.obs_rms = statistics.obs_rms
        mean, _ = evaluate_policy(model, env, N_EVAL_EPISODES, deterministic=True)
        return float(mean)


class Standing:
    """The policy that always gives the zero action."""

    def predict(self, observations: Any, **_: Any) -> tuple[Any, None]:
        """Returns zeros `[N, 12]`, and no state."""
        import numpy as np

        return np.zeros((len(observations), 12)), None


def run(limits: str, seed: int, cpu_limit: float, wall_limit: float) -> dict[str, float]:
    """Trains and evaluates in this process; returns the figures."""
    started = time.perf_counter()
    model, statistics = train(limits, seed, cpu_limit, wall_limit)
    cpu, wall = cpu_seconds(), time.perf_counter() - started
    return {
        "seed": seed,
        "mean_reward": round(evaluate(model, statistics, limits), 2),
        "standing": round(evaluate(Standing(), statistics, limits), 2),
        "num_timesteps": int(model.num_timesteps),
        "n_updates": int(model._n_updates),
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
