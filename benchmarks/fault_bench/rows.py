"""The register of rows: number, fault, what is expected, and the function that tries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.fault_bench.bench import Bench


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the matrix.

    Attributes:
      number: in the matrix.
      fault: what is done.
      expected: what must come of it.
      quick: whether it belongs to the short subset that every test run makes.
      run: does it; raises `Missed` with what was seen instead.
    """

    number: int
    fault: str
    expected: str
    quick: bool
    run: Callable[[Bench], None]


ROWS: dict[int, Row] = {}


def row(
    number: int, fault: str, expected: str, *, quick: bool = False
) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Registers the function below it as a row."""

    def register(run: Callable[[Bench], None]) -> Callable[[Bench], None]:
        ROWS[number] = Row(number=number, fault=fault, expected=expected, quick=quick, run=run)
        return run

    return register
