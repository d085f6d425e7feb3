"""How fast this SAC trains, against stock sbx.SAC and the environment alone.

    python benchmarks/training_speed.py --device cpu
    python benchmarks/training_speed.py --device cpu --settings 64x256x8x2 --pairs 3

A setting is environments x batch x gradient steps x policy delay. Stock and ours live in two
processes that train in turns, a few seconds each, so that a load on the machine meets both; a
ratio is the median over the pairs. Where other work takes the CPU, steps by CPU second say more.
The control is stock against stock. Progress goes to stderr, one JSON line to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

SETTINGS: dict[str, tuple[int, int, int, int, list[int]]] = {
    "64x256x8x2": (64, 256, 8, 2, [128, 128]),
    "1024x512x32x8": (1024, 512, 32, 8, [512, 256, 128]),
    "1024x512x1x32": (1024, 512, 1, 32, [512, 256, 128]),
    "1024x4096x1024x8": (1024, 4096, 1024, 8, [512, 256, 128]),
}
TOO_LONG_FOR_CPU = "1024x4096x1024x8"
"""There a burst takes stock many minutes; only our memory and time for an update are taken."""
COMPILES_A_LOT = "1024x512x1x32"
"""There stock compiles for each place of an update within the policy delay."""
CONTROL = "64x256x8x2"
BUDGET_SECONDS = 60.0


def hyperparams(name: str) -> dict[str, Any]:
    """Returns ours for a setting."""
    _, batch_size, gradient_steps, policy_delay, net_arch = SETTINGS[name]
    return {
        "net_arch": net_arch, "activation_fn": "elu", "optimizer_class": "adamw",
        "layer_norm": True, "batch_size": batch_size, "buffer_size": 800_000,
        "learning_starts": 2000, "train_freq": 1, "gradient_steps": gradient_steps,
        "policy_delay": policy_delay, "ent_coef": "auto_0.01", "gamma": 0.98,
        "learning_rate": 4e-4, "tau": 0.005,
    }  # fmt: skip


class Turns:
    """A child's side: trains while it is its turn, and says what it did in it.

    A turn begins and ends right after an environment step. Compilations count from the first
    turn on, when all that can be compiled before training has been.
    """

    def __init__(self) -> None:
        import jax

        self._device = jax.devices()[0]
        self.compilations = self.before = 0
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        self._until = 0.0
        self._began = (0.0, 0.0, 0, 0)

    def _heard(self, event: str, _seconds: float, **_: Any) -> None:
        self.compilations += "backend_compile" in event

    def stepped(self, num_timesteps: int, n_updates: int) -> bool:
        """Waits where a turn is over; returns whether training goes on."""
        now = time.perf_counter()
        if now < self._until:
            return True
        if self._until:
            at, cpu, steps, updates = self._began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            on_device = self._device.memory_stats() or {}
            print(json.dumps({
                "seconds": now - at, "cpu_seconds": time.process_time() - cpu,
                "steps": num_timesteps - steps,
                "updates": n_updates - updates, "all_updates": n_updates,
                "all_compilations": self.compilations - self.before, "peak_mib": round(peak),
                "device_peak_mib": on_device.get("peak_bytes_in_use", 0) >> 20,
            }), flush=True)  # fmt: skip
        else:
            self.before = self.compilations
        line = sys.stdin.readline()
        if not line.strip():
            return False
        now = time.perf_counter()
        self._until = now + float(line)
        cpu = time.process_time()
        self._began = (now, cpu, num_timesteps, n_updates)
        return True


def train_ours(name: str) -> None:
    """Trains with our agent."""
    from hpsearch.objectives.agents import build_agent
    from hpsearch.objectives.clock import BudgetClock
    from hpsearch.objectives.ledger import Ledger

    clock, turns = BudgetClock(1e9), Turns()
    with open_env(name) as env:
        agent = build_agent(
            "sac", hyperparams(name), env, task=name, seed=0, normalize=True, ledger=Ledger()
        )
        agent.compile()
        say_ready()
        stepped_at = -1
        within_bursts = name == TOO_LONG_FOR_CPU and os.environ["JAX_PLATFORMS"] == "cpu"

        def look() -> bool:
            nonlocal stepped_at
            if agent.num_timesteps == stepped_at and not within_bursts:
                return True
            stepped_at = agent.num_timesteps
            return turns.stepped(agent.num_timesteps, agent.n_updates)

        agent.learn(clock, 10**12, look)


def train_stock(name: str) -> None:
    """Trains with sbx as it is."""
    import flax.linen as nn
    import optax
    import sbx
    from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

    given = hyperparams(name)
    policy = {
        "net_arch": given.pop("net_arch"), "layer_norm": given.pop("layer_norm"),
        "activation_fn": nn.elu, "optimizer_class": optax.adamw,
    }  # fmt: skip
    given.pop("activation_fn"), given.pop("optimizer_class")
    turns = Turns()
    with open_env(name) as robots:
        env = VecNormalize(VecMonitor(robots), norm_reward=False)
        model = sbx.SAC("MlpPolicy", env, seed=0, policy_kwargs=policy, **given)
        say_ready()

        def callback(_locals: Any, _globals: Any) -> bool:
            return turns.stepped(model.num_timesteps, model._n_updates)

        model.learn(10**9, callback=callback, log_interval=None)


def step_only(name: str) -> None:
    """Steps the environment with random actions."""
    import numpy as np

    turns, steps = Turns(), 0
    with open_env(name) as env:
        env.reset()
        rng, space = np.random.default_rng(0), env.action_space
        say_ready()
        while turns.stepped(steps, 0):
            actions = rng.uniform(space.low, space.high, (env.num_envs, *space.shape))
            env.step(actions.astype(np.float32))
            steps += env.num_envs


def open_env(name: str, seed: int = 0) -> Any:
    """Opens the robots of a setting."""
    from hpsearch.objectives.limits import load_limits
    from hpsearch.objectives.tasks.quadruped_walk import QuadrupedWalk

    task = QuadrupedWalk()
    limits = load_limits("a1", task.action_names, default="a1")
    assert limits is not None
    return task.make(SETTINGS[name][0], seed, action_low=limits.low, action_high=limits.high)


def say_ready() -> None:
    """Says that a child is ready."""
    print(json.dumps({"ready": True}), flush=True)


class Child:
    """The parent's side of one training."""

    def __init__(self, kind: str, name: str, device: str, cache: str | None = None) -> None:
        environment = {**os.environ, "JAX_PLATFORMS": "cuda" if device == "gpu" else "cpu"}
        if cache is not None:
            environment |= {"HPSEARCH_CACHE_DIR": cache, "JAX_COMPILATION_CACHE_DIR": cache}
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--child", kind, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a training ended without a word")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def turn(self, seconds: float) -> dict[str, Any]:
        """Has it train for some seconds; returns what it did."""
        assert self._process.stdin
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return self._answer()

    def first_update_seconds(self) -> float:
        """Trains until there is an update; returns the seconds since the process began."""
        while not self.turn(0.01)["all_updates"]:
            pass
        return time.perf_counter() - self._began

    def end(self) -> None:
        """Ends it."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def compared(
    first: str, second: str, name: str, device: str, n_pairs: int, seconds: float
) -> dict[str, Any]:
    """Returns what two kinds of training did in turns on one setting."""
    children = [Child(kind, name, device) for kind in (first, second)]
    first_updates = [round(child.first_update_seconds(), 1) for child in children]
    gradient_steps, delay = SETTINGS[name][2:4]
    for child in children:
        # Stock compiles for each place of a burst within the delay; a turn is a step at least.
        for _ in range(1 + max(1, delay // gradient_steps)):
            child.turn(0.001)
    pairs = []
    for index in range(n_pairs):
        turns = [child.turn(seconds) for child in children]
        pairs.append(turns)
        rates = [round(turn["steps"] / turn["seconds"]) for turn in turns]
        print(f"{name} {first}/{second} pair {index + 1}: {rates} steps/s", file=sys.stderr)
    for child in children:
        child.end()

    def rate(turn: dict[str, Any], what: str) -> float:
        return float(turn[what] / turn["seconds"])

    def ratio(what: str) -> float:
        return round(median(rate(a, what) / rate(b, what) for a, b in pairs), 3)

    def per_cpu(turn: dict[str, Any]) -> float:
        return float(turn["steps"] / turn["cpu_seconds"])

    ours, stock = ([pair[i] for pair in pairs] for i in (0, 1))
    return {
        "ours_steps_s": round(median(rate(turn, "steps") for turn in ours)),
        "stock_steps_s": round(median(rate(turn, "steps") for turn in stock)),
        "ratio_steps": ratio("steps"),
        "ratio_updates": ratio("updates"),
        "ratio_steps_per_cpu_s": round(median(per_cpu(a) / per_cpu(b) for a, b in pairs), 3),
        "ours_updates_s": round(median(rate(turn, "updates") for turn in ours), 1),
        "stock_updates_s": round(median(rate(turn, "updates") for turn in stock), 1),
        "compilations": ours[-1]["all_compilations"],
        "stock_compilations": stock[-1]["all_compilations"],
        "peak_mib": ours[-1]["peak_mib"],
        "stock_peak_mib": stock[-1]["peak_mib"],
        "device_peak_mib": ours[-1]["device_peak_mib"],
        "stock_device_peak_mib": stock[-1]["device_peak_mib"],
        "ours_first_update_s": first_updates[0],
        "stock_first_update_s": first_updates[1],
    }


def env_only(name: str, device: str, seconds: float) -> int:
    """Returns steps/s of random actions."""
    child = Child("env", name, device)
    turns = [child.turn(seconds) for _ in range(3)]
    child.end()
    return round(median(turn["steps"] / turn["seconds"] for turn in turns))


def updates_in_budget(device: str) -> dict[str, int]:
    """Returns the updates of a whole budget, with nothing compiled before it that need not be."""
    made = {}
    for kind in ("ours", "stock"):
        with tempfile.TemporaryDirectory() as cache:
            child = Child(kind, COMPILES_A_LOT, device, cache)
            made[kind] = child.turn(BUDGET_SECONDS)["updates"]
            child.end()
        print(f"{BUDGET_SECONDS:.0f} s of {kind}: {made[kind]} updates", file=sys.stderr)
    return made


def large_batches(device: str, seconds: float) -> dict[str, Any]:
    """Returns memory and time for an update of ours where a burst takes stock too long."""
    child = Child("ours", TOO_LONG_FOR_CPU, device)
    child.first_update_seconds()
    turns = [child.turn(seconds) for _ in range(3)]
    child.end()
    made = sum(turn["updates"] for turn in turns)
    return {
        "seconds_per_update": round(sum(turn["seconds"] for turn in turns) / max(1, made), 3),
        "compilations": turns[-1]["all_compilations"],
        "peak_mib": turns[-1]["peak_mib"],
        "peak_mib_before": turns[0]["peak_mib"],
    }


def main() -> None:
    """Compares on each setting, then prints the JSON line."""
    parser = argparse.ArgumentParser(description="Ours against stock sbx.SAC.")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="comma between")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        from hpsearch.objectives.device import prepare_jax

        prepare_jax()
        {"ours": train_ours, "stock": train_stock, "env": step_only}[args.child[0]](args.child[1])
        return
    found: dict[str, Any] = {"device": args.device, "settings": {}}
    for name in args.settings.split(","):
        if name == TOO_LONG_FOR_CPU and args.device == "cpu":
            found["settings"][name] = large_batches(args.device, args.seconds)
            continue
        figures = compared("ours", "stock", name, args.device, args.pairs, args.seconds)
        figures["env_only_steps_s"] = env_only(name, args.device, args.seconds)
        if name == COMPILES_A_LOT:
            figures["updates_in_60s"] = updates_in_budget(args.device)
        found["settings"][name] = figures
    control = compared("stock", "stock", CONTROL, args.device, args.pairs, args.seconds)
    names = ("ratio_steps", "ratio_updates", "ratio_steps_per_cpu_s")
    found["control"] = {name: control[name] for name in names}
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
