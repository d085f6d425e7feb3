"""The synthetic objective `sphere`: a known optimum, no simulator, as short as one likes."""

from __future__ import annotations

import math
import random
import time

from hpsearch.base import Budget, Hyperparams, Measurement, Report, Setup, TrialResult, seed_of
from hpsearch.exceptions import WrongSettings
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.device import cpu_seconds
from hpsearch.objectives.ledger import Ledger

OPTIMUM = {"x0": 1.0, "x1": -0.5, "x2": 0.3, "n": 3}
"""Where the value is 0, its highest; the optimum of any other parameter is at 0."""

STEPS_PER_SECOND = 1000
N_SLICES = 5


class Sphere:
    """Sleeps, reports a rising curve, and returns minus the squared distance to `OPTIMUM`.

    Settings, as text: `seconds`, the length of a run, default 0.2, cut by the budget; `noise`,
    the standard deviation of a normal error on the value that the seed decides, default 0.
    """

    max_runs_per_process = 100
    uses_gpu = False
    default_task: str | None = None
    default_space: str | None = "sphere"
    default_budget: Budget | None = Budget(train_seconds=10.0, n_eval_episodes=1)
    default_num_envs: int | None = 1

    def __init__(self, setup: Setup) -> None:
        """Reads the settings.

        Raises:
          WrongSettings: an unknown setting, or one that is not a number at or above 0.
        """
        settings = {"seconds": 0.2, "noise": 0.0}
        for name, text in setup.settings.items():
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if name not in settings:
                raise _refused(f"it has no setting {name}; it has {', '.join(settings)}")
            if not (math.isfinite(value) and value >= 0):
                raise _refused(f"{name} is {text!r}, not a number at or above 0")
            settings[name] = value
        self._seconds, self._noise = settings["seconds"], settings["noise"]

    def __call__(
        self, hyperparams: Hyperparams, *, seed: int, budget: Budget, report: Report
    ) -> TrialResult:
        """Returns the value at `hyperparams`, all of them numbers."""
        ledger = Ledger()
        distances = [float(x) - OPTIMUM.get(name, 0) for name, x in hyperparams.items()]
        value = -math.fsum(distance**2 for distance in distances)
        value += self._noise * random.Random(seed_of(seed, "noise")).gauss(0.0, 1.0)
        seconds = min(self._seconds, budget.train_seconds)
        n_slices = max(N_SLICES, math.ceil(seconds))
        clock = BudgetClock(budget.train_seconds)
        with ledger.phase("env"):
            report(_measurement(0.0, value - 10, last=False))
            for part in range(1, n_slices + 1):
                share = part / n_slices
                clock.start()
                time.sleep(max(0.0, share * seconds - clock.spent))
                clock.pause()
                with ledger.phase("save"):
                    # The curve begins 10 below and ends at the value.
                    rising = value - 10 * (1 - share) ** 2
                    report(_measurement(clock.spent, rising, last=part == n_slices))
        last = _measurement(clock.spent, value, last=True)
        return TrialResult(
            mean_reward=value,
            std_reward=self._noise,
            num_timesteps=last.num_timesteps,
            n_updates=last.n_updates,
            train_seconds=clock.spent,
            overshoot_seconds=clock.overshoot,
            cpu_seconds=cpu_seconds(),
            metrics={},
            device="none",
            ledger=ledger.totals(),
        )


def _refused(problem: str) -> WrongSettings:
    return WrongSettings(kind="objective", name="sphere", problem=problem)


def _measurement(train_seconds: float, value: float, *, last: bool) -> Measurement:
    num_timesteps = math.ceil(train_seconds * STEPS_PER_SECOND)
    return Measurement(
        train_seconds=train_seconds,
        num_timesteps=num_timesteps,
        n_updates=num_timesteps,
        mean_return=value,
        last=last,
    )
