"""A worker as plain Optuna has it: `optimize` with heartbeat and retry callback.

python -m benchmarks.fault_bench.stock_worker URL TARGET SECONDS [SEED] [FAULT]
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import warnings

import optuna
import psycopg2
import sqlalchemy as sa
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

HEARTBEAT, GRACE = 1, 3


def objective_of(seconds: float, fault: str) -> optuna.study.study.ObjectiveFuncType:
    """Returns the synthetic objective, with a fault in it if one is named."""

    def objective(trial: optuna.Trial) -> float:
        x = [trial.suggest_float(f"x{k}", -5.0, 5.0) for k in range(3)]
        n = trial.suggest_int("n", 0, 9)
        time.sleep(seconds / 2)
        if fault == "kill:mid-training":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds / 2)
        if fault == "nan" and trial.number == 0:
            return math.inf
        return -sum(value**2 for value in x) - (n - 3) ** 2

    return objective


def main() -> None:
    """Works until the study has its trials, as Optuna's documentation shows it."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url, target, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    fault = sys.argv[5] if len(sys.argv) > 5 else ""
    storage = RDBStorage(
        url,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
    )
    sampler = optuna.samplers.CmaEsSampler(
        seed=seed, popsize=int(os.environ.get("POPSIZE", "4")), n_startup_trials=1
    )
    study = optuna.create_study(
        study_name="s", storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
    )
    if fault == "lost-ack":
        _lose_one_acknowledgement(storage.engine)
    enough = optuna.study.MaxTrialsCallback(target, states=(TrialState.COMPLETE,))
    if len(study.get_trials(states=(TrialState.COMPLETE,))) < target:
        study.optimize(objective_of(seconds, fault), callbacks=[enough])


def _lose_one_acknowledgement(engine: sa.Engine) -> None:
    original, count = engine.dialect.do_commit, [0]

    def do_commit(raw: sa.engine.interfaces.DBAPIConnection) -> None:
        original(raw)
        count[0] += 1
        if count[0] == 12:
            raw.close()
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    engine.dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
