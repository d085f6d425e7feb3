"""The example package: found by entry point and by name, and a task as the contract wants it."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpsearch import plugins
from hpsearch.testing import TaskContract

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_task"

pytestmark = pytest.mark.skipif(
    not EXAMPLE.is_dir(), reason="the example is in the source tree only"
)


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as if it were installed."""
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        found = declared.get(group, {})
        return [importlib.metadata.EntryPoint(n, v, group) for n, v in found.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    yield


class TestPointPush(TaskContract):
    def make_task(self) -> Any:
        return plugins.load_task("point-push", {})


def test_an_entry_point_and_a_reference_lead_to_the_same_task() -> None:
    by_reference = plugins.load_task("bdx_example.tasks:PointPush", {})
    assert type(plugins.load_task("point-push", {})) is type(by_reference)
    assert {"point-push", "bdx-flat"} <= set(plugins.names("task"))


def test_a_task_of_isaac_lab_in_another_package_takes_its_settings() -> None:
    task = plugins.load_task("bdx-flat", {"env.sim.dt": "0.005"})
    assert task.task_id == "Disney-BDX-Velocity-Flat-v0"
    assert task.default_limits == "" and task.normalize_observations


def test_another_trainer_is_an_objective_with_a_space() -> None:
    # Without rsl_rl: the parent process may lack it.
    assert plugins.load("objective", "rsl-rl-ppo").__name__ == "RslRlPpo"
    assert plugins.load("space", "rsl-rl").name == "rsl-rl"
