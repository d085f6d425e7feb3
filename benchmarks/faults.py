"""Injects every fault of the matrix into real processes and a real Postgres.

    python benchmarks/faults.py                 the whole matrix
    python benchmarks/faults.py --rows 1,4,11   some rows
    python benchmarks/faults.py --quick         the subset that every test run makes
    python benchmarks/faults.py --soak 600      kill workers and servers at random for 10 minutes
    python benchmarks/faults.py --stock         the same faults against plain Optuna

After each row the invariants are checked. A line a row goes to stdout (number, fault, expected,
seen, seconds), and at the end one JSON line: `rows` (`pass`, or `fail: ` and
what was seen), `failed`, `stock`, `stock_failed`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fault_bench import rows_children, rows_database, rows_links, rows_processes
from benchmarks.fault_bench.bench import Bench, Missed, bench, server
from benchmarks.fault_bench.rows import ROWS
from benchmarks.fault_bench.stock import STOCK

MODULES = (rows_children, rows_database, rows_links, rows_processes)


def attempt(data: Path, number: int, run: Callable[[Bench], None]) -> str:
    """Returns `pass`, or `fail: ` and what was seen."""
    with bench(data, number) as made:
        try:
            run(made)
        except Missed as missed:
            return f"fail: {missed}"
        except Exception as error:
            return f"fail: {type(error).__name__}: {error}"
    return "pass"


def main() -> None:
    """Tries rows and prints what was seen."""
    parser = argparse.ArgumentParser(description="The fault bench.")
    parser.add_argument("--rows", help="numbers, comma between")
    parser.add_argument("--quick", action="store_true", help="the short subset")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="kill at random instead")
    parser.add_argument("--stock", action="store_true", help="and plain Optuna beside it")
    args = parser.parse_args()
    numbers = sorted(ROWS)
    if args.rows:
        numbers = [int(number) for number in args.rows.split(",")]
    elif args.quick:
        numbers = [number for number in numbers if ROWS[number].quick]
    seen: dict[str, str] = {}
    stock: dict[str, str] = {}
    with server() as data:
        if args.soak:
            soak = partial(rows_processes.soak, seconds=args.soak)
            seen["soak"] = attempt(data, 0, soak)
            numbers = []
        for number in numbers:
            row = ROWS[number]
            before = time.monotonic()
            seen[str(number)] = attempt(data, number, row.run)
            took = time.monotonic() - before
            line = f"{number:>3}  {row.fault}  |  {row.expected}  |  {seen[str(number)]}"
            if args.stock and number in STOCK:
                stock[str(number)] = attempt(data, number, STOCK[number])
                line += f"  |  stock: {stock[str(number)]}"
            print(f"{line}  |  {took:.1f} s", flush=True)
    failed = [number for number, text in seen.items() if text != "pass"]
    stock_failed = [number for number, text in stock.items() if text != "pass"]
    print(
        json.dumps({"rows": seen, "failed": failed, "stock": stock, "stock_failed": stock_failed})
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
