"""The short subset of the fault bench; `benchmarks/faults.py` makes the whole matrix."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks" / "faults.py").exists():
    pytest.skip("the fault bench lives in the source tree", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks.fault_bench import (  # noqa: E402
    rows_children,
    rows_database,
    rows_links,
    rows_processes,
)
from benchmarks.fault_bench.bench import bench, server  # noqa: E402
from benchmarks.fault_bench.rows import ROWS  # noqa: E402

MODULES = (rows_children, rows_database, rows_links, rows_processes)
QUICK = sorted(number for number, row in ROWS.items() if row.quick)


@pytest.fixture(scope="module")
def fault_server() -> Iterator[Path]:
    with server() as data:
        yield data


@pytest.mark.parametrize("number", QUICK)
def test_the_product_stands_the_fault_of_row(number: int, fault_server: Path) -> None:
    with bench(fault_server, number) as made:
        ROWS[number].run(made)


def test_every_row_of_the_matrix_is_there() -> None:
    asked = {*range(1, 10), 11, 13, 14, 15, *range(18, 33), 34, 35, 36, 37}
    assert asked <= set(ROWS)
