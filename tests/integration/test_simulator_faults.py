"""A simulator that fails to start, hangs or dies is told apart, and its end costs no result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsearch.settings import settings
from hpsearch.study import Study
from hpsearch.worker import Worker
from tests.integration.conftest import MakeStudy, scalar

TASKS = """
import contextlib, ctypes, time
from hpsearch.base import Budget


class Broken:
    default_space = "sac-small"
    default_budget = Budget(train_seconds=1.0, n_eval_episodes=1)
    default_num_envs = 1
    default_limits = "none"
    action_names = ()
    normalize_observations = True
    metric_names = ()

    def metrics(self, env): return {}

    @contextlib.contextmanager
    def make(self, num_envs, seed, *, action_low, action_high):
        self.open()
        yield None


class Fails(Broken):
    def open(self): raise RuntimeError("no licence for this simulator")


class Hangs(Broken):
    def open(self): ctypes.PyDLL(None).sleep(600)


class Dies(Broken):
    def open(self): ctypes.string_at(0)


FAILS, HANGS, DIES = Fails(), Hangs(), Dies()
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "broken_tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HPSEARCH_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("HPSEARCH_IDLE_SECONDS", "0.1")
    settings.cache_clear()
    yield


def attempt(make_study: MakeStudy, task: str) -> tuple[str, str, str]:
    """Returns reason, detail and log of the one attempt."""
    study: Study = make_study(target=1, objective="training", task=f"broken_tasks:{task}")
    study_row = "UPDATE hpsearch.specs SET lost_in_row = 4 RETURNING 1"
    scalar(study, study_row)
    Worker(study, say=lambda _: None).work()
    query = "SELECT {} FROM hpsearch.attempts ORDER BY leased_at LIMIT 1"
    reason, detail, log = (
        scalar(study, query.format(c)) for c in ("reason", "detail", "log_tail")
    )
    return str(reason), str(detail), str(log)


@pytest.mark.usefixtures("tasks")
def test_one_that_fails_to_start_says_what_it_said(make_study: MakeStudy) -> None:
    reason, detail, _ = attempt(make_study, "FAILS")
    assert reason == "simulator:RuntimeError"
    assert "no licence for this simulator" in detail


@pytest.mark.usefixtures("tasks")
def test_one_that_dies_is_not_taken_for_the_agent(make_study: MakeStudy) -> None:
    reason, _, _ = attempt(make_study, "DIES")
    assert reason == "simulator:SIGSEGV"


@pytest.mark.usefixtures("tasks")
def test_one_that_hangs_leaves_the_place_in_the_log(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_START_SECONDS", "30")
    settings.cache_clear()
    reason, _, log = attempt(make_study, "HANGS")
    assert reason == "hung:simulator"
    assert "broken_tasks.py" in log and "in open" in log
