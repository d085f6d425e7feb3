"""The variables, their defaults, and what a wrong value is answered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpsearch.exceptions import InvalidSetting, NoHome
from hpsearch.settings import settings


def test_defaults_are_those_of_the_promises() -> None:
    given = settings()
    assert (given.lease_seconds, given.sweep_seconds, given.renew_seconds) == (60, 15, 10)
    assert (given.db_wait_seconds, given.idle_seconds, given.max_attempts) == (60, 30, 3)


def test_a_variable_overrides_its_default_and_an_empty_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HPSEARCH_LEASE_SECONDS", "2.5")
    monkeypatch.setenv("HPSEARCH_MAX_ATTEMPTS", "")
    monkeypatch.setenv("HPSEARCH_TRIALS", "some other option's")
    assert (settings().lease_seconds, settings().max_attempts) == (2.5, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HPSEARCH_LEASE_SECONDS", "soon"),
        ("HPSEARCH_RENEW_SECONDS", "0"),
        ("HPSEARCH_MAX_ATTEMPTS", "2.5"),
        ("HPSEARCH_INSECURE_STORAGE", "perhaps"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=f"{name} is '{value}', but must be"):
        settings()


def test_the_storage_is_not_shown() -> None:
    os.environ["HPSEARCH_STORAGE"] = "postgresql://me:hunter2@localhost/rl"
    try:
        assert "hunter2" not in repr(settings()) + str(settings())
    finally:
        del os.environ["HPSEARCH_STORAGE"]


@pytest.mark.parametrize(("uid", "expected"), [(0, "/var/lib/hpsearch"), (1000, "/h/x/hpsearch")])
def test_the_data_folder_follows_the_user(
    uid: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HPSEARCH_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", "/h/x")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert settings().data_dir == Path(expected)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPSEARCH_DATA_DIR", "HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    with pytest.raises(NoHome, match="HPSEARCH_DATA_DIR"):
        settings()
