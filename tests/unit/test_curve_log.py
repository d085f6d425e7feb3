"""Curves reach the user's tools under Stable-Baselines3's keys, and break no run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpsearch.base import Measurement, TrialResult
from hpsearch.curve_log import Curves, open_logs, parse_tools
from hpsearch.exceptions import InvalidValue, MissingExtra
from hpsearch.settings import settings

POINT = Measurement(
    train_seconds=2.0, num_timesteps=100, n_updates=7, mean_return=1.5,
    metrics={"forward_speed": 0.3}, losses={"actor_loss": -1.0},
)  # fmt: skip
RESULT = TrialResult(
    mean_reward=3.0, std_reward=1.0, num_timesteps=120, n_updates=8, train_seconds=2.5,
    overshoot_seconds=0.0, cpu_seconds=2.0, metrics={"standing_return": 0.5}, ledger={},
    device="d",
)  # fmt: skip


class Memory:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.closed = False

    def write(self, values: Mapping[str, float], num_timesteps: int) -> None:
        self.rows.append((num_timesteps, dict(values)))

    def close(self) -> None:
        self.closed = True


def test_a_curve_and_its_evaluation_are_written_under_the_usual_keys() -> None:
    log, said = Memory(), list[str]()
    curves = Curves(lambda: [log], said.append)
    curves.measured(dataclasses.replace(POINT, train_seconds=0.0, mean_return=None))
    curves.measured(POINT)
    curves.ended(RESULT)
    assert (said, log.closed) == ([], True)
    assert [at for at, _ in log.rows] == [100, 100, 120]
    assert "rollout/ep_rew_mean" not in log.rows[0][1]
    assert log.rows[1][1] == {
        "time/total_timesteps": 100, "time/time_elapsed": 2.0, "time/fps": 50.0,
        "train/n_updates": 7, "train/actor_loss": -1.0, "rollout/ep_rew_mean": 1.5,
        "rollout/forward_speed": 0.3,
    }  # fmt: skip
    assert log.rows[2][1] == {"eval/mean_reward": 3.0, "eval/standing_return": 0.5}


def test_a_tool_that_fails_is_said_and_the_run_goes_on() -> None:
    said: list[str] = []

    def broken() -> list[Memory]:
        raise OSError("no such server")

    curves = Curves(broken, said.append)
    curves.measured(POINT)
    curves.ended(None)
    assert said == ["the curve is not logged: OSError: no such server"]


def test_tools_are_named_and_installed() -> None:
    assert parse_tools(None) == ()
    with pytest.raises(InvalidValue, match="tensorboard or wandb"):
        parse_tools("mlflow")


def test_a_missing_tool_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'hpsearch\[wandb\]'"):
        parse_tools("wandb")


def test_tensorboard_reads_what_was_written() -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = Curves(lambda: open_logs(["tensorboard"], "study", "trial-3", {}), print)
    curves.measured(POINT)
    curves.ended(RESULT)
    folder = settings().data_dir / "curves" / "study" / "trial-3"
    found = EventAccumulator(str(folder)).Reload()
    assert [(e.step, e.value) for e in found.Scalars("rollout/ep_rew_mean")] == [(100, 1.5)]
    assert [(e.step, e.value) for e in found.Scalars("eval/mean_reward")] == [(120, 3.0)]


def test_wandb_runs_offline_and_is_grouped_by_study(monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    said: list[str] = []
    runs: list[dict[str, object]] = []
    init = wandb.init

    def kept(**given: object) -> object:
        runs.append(given)
        return init(**given)

    monkeypatch.setattr(wandb, "init", kept)
    curves = Curves(lambda: open_logs(["wandb"], "study", "trial-3", {"gamma": 0.98}), said.append)
    curves.measured(POINT)
    curves.ended(RESULT)
    assert said == []
    assert (runs[0]["group"], runs[0]["name"]) == ("study", "trial-3")
    assert list(Path(settings().data_dir / "curves" / "study").rglob("*.wandb"))
