"""SAC's return after 90 CPU seconds with extracted action limits, with [-1, 1], with [-100, 100].

    python benchmarks/action_limits.py

Extracts the limits of `quadruped-walk` by `hpsearch bounds extract`, unless `--limits FILE` gives
them, then trains each kind on each seed, one after the other, in processes of their own (see
`quadruped_learning.py`). Draws docs/action_limits.png where matplotlib is. Progress goes to
stderr, one JSON line to stdout: mean return by kind, and the returns of the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "action_limits.png"
TASK = "quadruped-walk"
KINDS = ("extracted", "unit", "raw")


def extract(budget: str, file: Path) -> None:
    """Writes the limits that our own command extracts into a file."""
    hpsearch = [sys.executable, "-m", "hpsearch", "bounds"]
    name = "benchmark-action-limits"
    command = [*hpsearch, "extract", "--task", TASK, "--budget", budget, "--name", name]
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=ROOT)
    subprocess.run([*hpsearch, "export", name, str(file)], check=True, stdout=sys.stderr, cwd=ROOT)


def train(limits: str, seed: int, cpu_seconds: float) -> dict[str, Any]:
    """Returns the figures of one training in a process of its own."""
    script = str(Path(__file__).with_name("quadruped_learning.py"))
    command = [sys.executable, script, "--run", limits, str(seed)]
    # The CPU seconds end it; a loaded machine may take many more by the clock.
    command += ["--cpu-seconds", str(cpu_seconds), "--wall-seconds", str(20 * cpu_seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def draw(returns: dict[str, list[float]], standing: float, cpu_seconds: float) -> None:
    """Draws one column of points a kind, and what standing still earns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 3.4), layout="constrained")
    for place, kind in enumerate(KINDS):
        values = returns[kind]
        axes.plot([place] * len(values), values, "o", alpha=0.7, color="tab:blue")
        mean = sum(values) / len(values)
        axes.plot([place - 0.18, place + 0.18], [mean, mean], color="tab:blue", linewidth=2)
    axes.axhline(standing, color="gray", linestyle=":", label="standing still")
    labels = ("percentiles of PPO's\nactions", "[-1, 1]", "[-100, 100]")
    axes.set_xticks(range(len(KINDS)), labels)
    axes.set_ylabel(f"return of SAC after {cpu_seconds:g} CPU seconds")
    axes.set_xlabel("action limits")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    """Extracts, trains, draws, and prints the JSON line."""
    parser = argparse.ArgumentParser(description="\n".join((__doc__ or "").split("\n")[:1]))
    parser.add_argument("--seeds", type=int, default=4, help="trainings a kind of limits")
    parser.add_argument("--cpu-seconds", type=float, default=90.0)
    parser.add_argument("--budget", default="5m", help="of PPO")
    parser.add_argument("--limits", help="extracted before, by hpsearch bounds export")
    args = parser.parse_args()
    returns: dict[str, list[float]] = {kind: [] for kind in KINDS}
    still = 0.0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(args.limits or Path(folder) / "limits.json").resolve()
        if not args.limits:
            extract(args.budget, file)
        limits = dict(zip(KINDS, (str(file), "1", "none"), strict=True))
        for seed in range(args.seeds):
            for kind in KINDS:
                figures = train(limits[kind], seed, args.cpu_seconds)
                returns[kind].append(figures["mean_reward"])
                if kind == "raw":  # others may not allow the action zero
                    still = figures["standing"]
                print(kind, figures, file=sys.stderr, flush=True)
    means: dict[str, Any] = {kind: round(sum(v) / len(v), 2) for kind, v in returns.items()}
    print(json.dumps({**means, "seeds": returns, "standing": still}), flush=True)
    try:
        draw(returns, still, args.cpu_seconds)
    except ImportError:
        print("no matplotlib: docs/action_limits.png was not drawn", file=sys.stderr)


if __name__ == "__main__":
    main()
