"""What a trial costs beside its budget: a real search in one worker with a warm child.

    python benchmarks/trial_overhead.py
    python benchmarks/trial_overhead.py --budgets 20 --trials 6

A study of `quadruped-walk` with the space `sac-small`, the embedded Postgres, one worker. The
overhead of a trial is its wall time, from its lease to the next one's, less budget and
evaluation, as a share of the budget; `at_20s` and `at_300s` are the means of the warm trials,
`largest` their largest. The first trial is cold: it starts the child and opens the
simulator, and is printed apart: `cold_seconds`, like `evaluation_share`, is of the last budget.
The caches are empty at the beginning. Progress goes to stderr, one JSON line to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpsearch.database import embedded
from hpsearch.database.transaction import Database
from hpsearch.settings import settings
from hpsearch.spec import Given
from hpsearch.study import Study, launch_study
from hpsearch.worker import Worker

ATTEMPTS = """SELECT extract(epoch FROM a.leased_at)::float, extract(epoch FROM a.ended_at)::float,
              a.ledger FROM hpsearch.attempts a JOIN hpsearch.runs r ON r.id = a.run_id
              WHERE r.study_id = :study AND a.state = 'accepted' ORDER BY a.leased_at"""


def search(database: Database, seconds: float, n_trials: int) -> dict[str, Any]:
    """Returns the overheads of a search whose trials train for `seconds`."""
    given = Given(task="quadruped-walk", budget=f"{seconds:g}s", seed=1)
    study, _ = launch_study(database, given, name=f"at-{seconds:g}", target=n_trials + 1)
    status = Worker(study, say=lambda line: print(line, file=sys.stderr)).work()
    if status:
        raise SystemExit("the worker did not finish")
    return figures(study, seconds)


def figures(study: Study, seconds: float) -> dict[str, Any]:
    """Returns what the attempts of a study say."""
    key = {"study": study.id}
    with study.database.transaction() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text(ATTEMPTS), key)]
    ends = [row[0] for row in rows[1:]] + [rows[-1][1]]
    overheads, evaluations = [], []
    for (began, _, ledger), end in zip(rows, ends, strict=True):
        evaluations.append(ledger["evaluate"])
        overheads.append(end - began - seconds - ledger["evaluate"])
        print({name: round(spent, 2) for name, spent in ledger.items()}, file=sys.stderr)
    warm = overheads[1:]
    return {
        "overhead": round(sum(warm) / len(warm) / seconds, 4),
        "largest": round(max(warm) / seconds, 4),
        "evaluation_share": round(sum(evaluations[1:]) / len(warm) / seconds, 4),
        "cold_seconds": round(overheads[0], 1),
    }


def main() -> None:
    """Searches with each budget, then prints the JSON line."""
    parser = argparse.ArgumentParser(description="What a trial costs beside its budget.")
    parser.add_argument("--budgets", default="20,300", help="seconds, comma between")
    parser.add_argument("--trials", type=int, default=6, help="warm ones, per budget")
    args = parser.parse_args()
    # As root the server runs under another account, which must be able to enter the folder.
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-overhead-"))
    folder.chmod(0o711)
    cache = folder / "cache"
    os.environ |= {"HPSEARCH_DATA_DIR": str(folder / "data"), "HPSEARCH_CACHE_DIR": str(cache)}
    os.environ["HPSEARCH_IDLE_SECONDS"] = "0.5"
    settings.cache_clear()
    found: dict[str, Any] = {}
    try:
        database = Database(embedded.ensure_running(folder / "data"))
        for text in args.budgets.split(","):
            shutil.rmtree(cache, ignore_errors=True)
            measured = search(database, float(text), args.trials)
            found[f"at_{text}s"] = measured.pop("overhead")
            found.setdefault("largest", {})[f"at_{text}s"] = measured.pop("largest")
            found |= measured
        database.close()
        embedded.down(folder / "data")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
