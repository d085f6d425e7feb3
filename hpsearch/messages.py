"""What a child says, checked: its code may be anybody's, and Postgres takes not every number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from hpsearch.base import Measurement, TrialResult
from hpsearch.ending import stored
from hpsearch.exceptions import BadMessage, InvalidResult

LARGEST_COUNT = 2**63 - 1

_SECONDS = ("train_seconds", "overshoot_seconds", "cpu_seconds")
_COUNTS = ("num_timesteps", "n_updates")
_FIGURES = ("mean_reward", "std_reward", *_SECONDS)


def measurement_of(message: Mapping[str, Any]) -> Measurement:
    """Returns the point of a curve in a child's message.

    A mean return that is not finite counts as not known yet.

    Raises:
      BadMessage: seconds or counts are missing or no such numbers.
    """
    seconds, steps, updates = (message.get(name) for name in ("train_seconds", *_COUNTS))
    if not (_is_finite(seconds) and _is_count(steps) and _is_count(updates)):
        raise BadMessage(problem=f"it measured {_short(message)}")
    mean_return = message.get("mean_return")
    return Measurement(
        train_seconds=float(seconds),
        num_timesteps=steps,
        n_updates=updates,
        mean_return=float(mean_return) if _is_finite(mean_return) else None,
        metrics=finite(message.get("metrics")),
        losses=finite(message.get("losses")),
        last=bool(message.get("last")),
    )


def result_of(message: Mapping[str, Any]) -> TrialResult:
    """Returns the result in a child's message.

    Raises:
      InvalidResult: a field is missing or is of another type, or a number is not finite.
    """
    given: dict[str, Any] = {name: message.get(name) for name in (*_FIGURES, *_COUNTS)}
    for name, value in given.items():
        if name in _COUNTS and not _is_count(value):
            raise InvalidResult(detail=f"{name} is {_short(value)}, not a whole number from 0 on")
        if not _is_finite(value):
            raise InvalidResult(detail=f"{name} is {_short(value)}, not a finite number")
    try:
        return TrialResult(
            **given,
            metrics=finite(message.get("metrics")),
            ledger=finite(message.get("ledger")),
            device=stored(str(message.get("device", ""))),
            conditions=_plain(message.get("conditions", {})),
        )
    except (TypeError, ValueError) as error:
        raise InvalidResult(detail=str(error)) from error


def finite(values: Any) -> dict[str, float]:
    """Returns the entries of a mapping that are finite numbers: JSON has no others."""
    pairs = values.items() if isinstance(values, Mapping) else ()
    return {stored(str(name)): float(value) for name, value in pairs if _is_finite(value)}


def _is_finite(value: Any) -> TypeGuard[float]:
    try:
        return isinstance(value, int | float) and math.isfinite(value) and value is not True
    except OverflowError:
        return False


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and value is not True and 0 <= value <= LARGEST_COUNT


def _short(value: Any) -> str:
    try:
        return repr(value)[:100]
    except ValueError:  # an integer of thousands of digits
        return "a huge number"


def _plain(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Returns conditions as Postgres can store them; they must be plain JSON values."""
    text = json.dumps(dict(conditions), allow_nan=False)
    found: dict[str, Any] = json.loads(text.replace("\\u0000", "\N{REPLACEMENT CHARACTER}"))
    return found
