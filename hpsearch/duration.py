"""Durations as people write them: 300, 90s, 5m, 1h30m."""

from __future__ import annotations

import math
import re

from hpsearch.exceptions import InvalidBudget

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_PARTS = re.compile(r"(?:(?P<h>[\d.]+)h)?(?:(?P<m>[\d.]+)m)?(?:(?P<s>[\d.]+)s?)?", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Returns the seconds in `text`.

    Raises:
      InvalidBudget: not a duration, or not above 0.
    """
    match = _PARTS.fullmatch(text.strip())
    try:
        parts = {unit: float(n) for unit, n in match.groupdict().items() if n} if match else {}
    except ValueError:
        parts = {}
    seconds = sum(_UNITS[unit] * amount for unit, amount in parts.items())
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidBudget(value=text)
    return seconds


def format_duration(seconds: float) -> str:
    """Returns a duration as a person reads it: `45s`, `5m`, `1h30m`."""
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "m"), (rest if hours == 0 else 0, "s")]
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount)
