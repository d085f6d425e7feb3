"""Wrong input: one line that names the value and the way out, exit code 2 or 1, nothing lost."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpsearch.cli
from hpsearch.settings import settings

SPHERE = ("--objective", "sphere", "--popsize", "4", "seconds=0.01")
LAUNCH = ("launch", *SPHERE)


class Command:
    """Runs the command line in this process."""

    def __init__(self, folder: Path, read: Callable[[], Any], patch: pytest.MonkeyPatch) -> None:
        self.folder, self._read, self._patch = folder, read, patch

    def __call__(self, *arguments: str, status: int = 0) -> str:
        self._patch.setattr("sys.argv", ["hpsearch", *arguments])
        settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            hpsearch.cli.main()
        out, err = self._read()
        assert (ended.value.code or 0) == status, f"exit {ended.value.code}\n{out}\n{err}"
        self.out = str(out)
        return self.out + str(err)

    def json(self, *arguments: str) -> Any:
        self(*arguments, "--json")
        return json.loads(self.out)


@pytest.fixture
def command(
    tables_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    monkeypatch.setenv("HPSEARCH_STORAGE", tables_url)
    monkeypatch.chdir(tmp_path)
    # Workers are processes of their own, started in that folder.
    source = Path(hpsearch.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{source}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return Command(tmp_path, capsys.readouterr, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("launch", "--task", "walk"), 2, "no task 'walk'. Known: quadruped-walk"),
        (("launch", "--space", "sax"), 2, "no space 'sax'. Known: sac"),
        (("launch", "--metric", "rewards"), 2, "no metric 'rewards' for this task"),
        ((*LAUNCH, "--metric", "time_to:soon"), 2, "--metric is 'time_to:soon'"),
        (("launch", "--bounds", "{limits}"), 2, "2 pairs for 12 joints"),
        (("launch", "--bounds", "nowhere.json"), 2, "no such set and no such file"),
        ((*LAUNCH, "--popsize", "3"), 2, "--popsize is 3, but must be 4 or more"),
        ((*LAUNCH, "--trials", "0"), 2, "--trials is 0, but must be 1 or more"),
        ((*LAUNCH, "--workers", "-1"), 2, "--workers is -1, but must be 0 or more"),
        ((*LAUNCH, "--budget", "0"), 2, "'0' is not a duration above 0"),
        ((*LAUNCH, "--budget", "5 minutes"), 2, "'5 minutes' is not a duration"),
        ((*LAUNCH, "--fix", "gamma"), 2, "--fix is 'gamma', but must be NAME=VALUE"),
        ((*LAUNCH, "--fix", "gamma=1"), 2, "gamma"),
        ((*LAUNCH, "speed"), 2, "SETTINGS is 'speed', but must be NAME=VALUE"),
        (("launch", "--storage", "sqlite:///x.db"), 2, "Postgres"),
        (("launch", "--storage", "postgresql://u:secret@127.0.0.1:1/d"), 69, "does not answer"),
        (("status", "--study", "none"), 2, "no study 'none'. Known: none yet"),
        (("status",), 2, "no study yet"),
        (("replay", "--trial", "x"), 2, "no study yet"),
        (("dashboard", "--port", "99999"), 2, "--port is 99999"),
        (("check", "--task", "walk"), 2, "no task 'walk'"),
    ],
)
def test_it_is_refused_in_one_line_and_nothing_is_written(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    (command.folder / "limits.json").write_text('{"low": [-1, -1], "high": [1, 1]}')
    monkeypatch.setenv("HPSEARCH_DB_WAIT_SECONDS", "0.5")
    given = [word.replace("{limits}", "limits.json") for word in arguments]
    said = command(*given, status=status)
    error = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and message in error[0]
    assert "secret" not in said
    assert command.json("studies") == []


def test_a_study_with_another_spec_and_unknown_or_unfinished_trials_are_named(
    command: Command,
) -> None:
    command(*LAUNCH, "--trials", "1")
    refused = [
        ((*LAUNCH, "--budget", "7s"), "budget.train_seconds is 10.0, not 7.0"),
        ((*LAUNCH, "--range", "x0=0:1"), "ranges.x0 is"),
        (("launch", *SPHERE, "--new-study", "sphere-sphere"), "exists already"),
        (("replay", "--trial", "7"), "has no trial 7. Known numbers: 0 to 0"),
        (("replay", "--trial", "one"), "--trial is 'one'"),
        (("replay", "--trial", "0", "--seeds", "0"), "--seeds is 0"),
        (("show", "9"), "has no trial 9"),
    ]
    for arguments, message in refused:
        assert message in command(*arguments, status=2)
    assert len(command.json("trials")) == 1


def test_a_trial_without_a_result_is_not_replayed(command: Command) -> None:
    (command.folder / "bad.py").write_text(
        "from hpsearch.exceptions import Diverged\n"
        "def f(*_, **__):\n    raise Diverged(detail='NaN')\n"
    )
    said = command(
        *("launch", "--objective", "bad:f", "--space", "sphere", "--trials", "1", "--study", "s"),
        status=1,
    )
    assert "None of the 1 trials" in said and "hpsearch logs 0 --study s" in said
    assert "1 failed by their parameters" in said
    assert "failed: diverged" in command("trials")
    assert "it is fail" in command("replay", "--trial", "0", status=2)
    assert "No trial of study 's' is complete" in command("replay", "--trial", "best", status=2)


def test_a_study_is_deleted_only_after_a_yes(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(*LAUNCH, "--trials", "1")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "1 of 1 finished" in command("delete", "sphere-sphere", status=1)
    assert len(command.json("studies")) == 1
    command("delete", "sphere-sphere", "--yes")
    assert command.json("studies") == []


def test_a_dry_run_prints_the_plan_and_needs_no_database(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_STORAGE", "postgresql://nobody@127.0.0.1:1/none")
    said = command("launch", "--dry-run", "--task", "quadruped-walk", "--trials", "30")
    assert '"space": "sac-small"' in said and "0.5 machine hours" in said
