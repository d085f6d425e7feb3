"""Runs are written to the tools that were asked for, from launch down to the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.launchers.local import LocalWorkers
from hpsearch.objectives.sphere import N_SLICES
from hpsearch.settings import settings
from hpsearch.study import Study
from hpsearch.worker import Worker
from tests.integration.conftest import MakeStudy


def test_a_run_is_written_to_the_tools_that_were_asked_for(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Any, ...]] = []
    rows: list[dict[str, float]] = []

    class Memory:
        def write(self, values: Mapping[str, float], num_timesteps: int) -> None:
            rows.append(dict(values))

        def close(self) -> None:
            rows.append({})

    def open_logs(*given: Any) -> list[Memory]:
        opened.append(given)
        return [Memory()]

    monkeypatch.setattr("hpsearch.worker.open_logs", open_logs)
    study = make_study(target=1, settings={"seconds": "0.05"})
    Worker(study, log=("tensorboard",), say=lambda _: None).work()
    ((tools, name, run, config),) = opened
    assert (tools, name, run) == (("tensorboard",), study.name, "trial-0")
    assert study.trial(0).params.items() <= config.items()
    assert len(rows) == N_SLICES + 3
    assert "rollout/ep_rew_mean" in rows[0] and rows[-1] == {}
    assert rows[-2] == {"eval/mean_reward": study.trial(0).value}


def test_the_tools_that_launch_is_given_reach_its_workers(
    tables_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    started: list[str] = []
    asked: list[Sequence[str]] = []

    class Started(LocalWorkers):
        def start(self, count: int | None = None) -> int:
            started.extend(self.arguments)
            return 0

    class Asked(Worker):
        def __init__(self, study: Study, *, log: Sequence[str] = (), **given: Any) -> None:
            asked.append(log)
            super().__init__(study, log=log, **given)

        def work(self) -> int:
            return 0

    monkeypatch.setattr("hpsearch.cli.attend.LocalWorkers", Started)
    monkeypatch.setattr("hpsearch.cli.worker.Worker", Asked)
    monkeypatch.setenv("HPSEARCH_STORAGE", tables_url)
    settings.cache_clear()
    launch = ["launch", "--objective", "sphere", "--detach", "--log", "tensorboard"]
    assert CliRunner().invoke(app, launch).exception is None
    assert CliRunner().invoke(app, ["worker", *started]).exception is None
    assert asked == [("tensorboard",)]
