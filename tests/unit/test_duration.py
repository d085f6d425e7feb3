from __future__ import annotations

import pytest

from hpsearch.duration import format_duration, parse_duration
from hpsearch.exceptions import InvalidBudget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300", 300), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5), ("1H2M3S", 3723)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5m", "5 minutes", "m", "nan", "1.2.3s", "inf"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidBudget, match="Write it like"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45s"), (300, "5m"), (5400, "1h30m"), (61, "1m1s"), (0.25, "0.25s")]
)
def test_durations_are_written_as_people_read_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
