"""Limits that are kept: whose they are, under which names, and how they travel by files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.bounds import StoredLimits, find_extracted, list_limits, store
from hpsearch.bounds_file import read_stored_file, write_stored
from hpsearch.cli import app, bounds, launch, limits, train
from hpsearch.database.transaction import Database
from hpsearch.exceptions import CheckFailed, HpsearchError, InvalidLimits
from hpsearch.objectives.limits import A1_JOINTS
from hpsearch.spec import Given, Spec, check_same, resolve
from hpsearch.study import launch_study

OLD = "Isaac-Velocity-Flat-Unitree-A1-v0"
NEW = "IsaacContrib-Velocity-Flat-UnitreeA1"

EXTRACTED = StoredLimits(
    name="pushed",
    task="Pendulum-v1",
    settings={"g": "9.0"},
    percentile=2.5,
    joints=[
        {"name": "0", "low": -1.0, "high": 0.5, "outside": 0.05, "edges": [-1, 0, 1],
         "counts": [3, 4]},
    ],
    source={"mean_reward": 20.0, "learned": True, "seed": 3},
)  # fmt: skip


def joints(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"name": name, "low": -1.0, "high": 1.0} for name in names]


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on the test's database; returns exit code and all that was said."""
    for module in (launch, bounds, train):
        monkeypatch.setattr(module, "connect", lambda *_: database)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, words)
        if isinstance(done.exception, HpsearchError):
            return done.exception.exit_code, str(done.exception)
        assert done.exception is None, done.exception
        return done.exit_code, done.output

    return run


def test_both_spellings_of_a_task_share_their_limits(database: Database) -> None:
    store(database, dataclasses.replace(EXTRACTED, task=OLD, settings={}))
    assert find_extracted(database, NEW, {}, 2.5) is not None
    assert find_extracted(database, "Isaac-Velocity-Flat-Unitree-A1-v1", {}, 2.5) is None
    assert find_extracted(database, "Isaac-Velocity-Flat-Unitree-Go1-v0", {}, 2.5) is None


def test_both_spellings_of_a_task_are_one_study() -> None:
    spec = resolve(Given(task=OLD, settings={"env.sim.dt": "0.004"}, num_envs=16))
    check_same("s", spec, Given(task=NEW))
    assert resolve(Given(task=NEW), spec) == spec


def test_a_spec_of_before_the_joints_is_still_the_same_study() -> None:
    spec = resolve(Given(task="quadruped-walk"))
    assert spec.action_limits is not None and spec.action_limits.joints == A1_JOINTS
    plain = spec.as_json()
    assert Spec.from_json(plain) == spec
    del plain["action_limits"]["joints"]
    old = Spec.from_json(plain)
    check_same("s", old, Given(task="quadruped-walk", bounds="a1"))
    assert old.fingerprint == spec.fingerprint


def test_stored_limits_of_another_robot_are_refused(command: Command, database: Database) -> None:
    names = tuple(name.replace("hip", "haa") for name in A1_JOINTS)
    store(database, dataclasses.replace(EXTRACTED, name="mine", joints=joints(names)))
    code, said = command("launch", "--task", "quadruped-walk", "--bounds", "mine", "--dry-run")
    assert code == 2 and "FL_haa_joint" in said and "FL_hip" in said


def test_a_file_brings_all_that_was_known_to_another_machine(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "pushed.json"
    write_stored(EXTRACTED, file)
    found = read_stored_file(file, name="pushed", task="Pendulum-v1")
    assert dict(found.source) == {**EXTRACTED.source, "file": "pushed.json"}
    assert dataclasses.replace(found, source=EXTRACTED.source) == EXTRACTED
    store(database, found)
    assert find_extracted(database, "Pendulum-v1", {"g": "9.0"}, 2.5) is not None


def test_limits_of_another_task_are_taken_as_plain_numbers(tmp_path: Path) -> None:
    file = tmp_path / "pushed.json"
    write_stored(EXTRACTED, file)
    found = read_stored_file(file, name="mine", task="MountainCarContinuous-v0")
    assert found.percentile is None and found.settings == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [("percentile", 60), ("percentile", "2"), ("settings", []), ("settings", {"a": 1}),
     ("source", 3), ("source", {"a": float("nan")}), ("source", {"a": "\0"}), ("outside", 3),
     ("counts", [1, 2]), ("edges", [["x"]]), ("edges", None)],
)  # fmt: skip
def test_a_file_that_no_export_wrote_is_refused(tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "pushed.json"
    write_stored(EXTRACTED, file)
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InvalidLimits, match=f'"{key}" is not what'):
        read_stored_file(file, name="pushed", task="Pendulum-v1")


def test_import_refuses_what_is_no_name_and_what_is_no_pair(
    command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"low": [-1, -1], "high": [1]}')
    importing = (str(file), "--task", "Pendulum-v1")
    code, said = command("bounds", "import", "auto", *importing)
    assert code == 2 and "name of its own" in said
    code, said = command("bounds", "import", "mine", *importing)
    assert code == 2 and "2 low and 1 high" in said
    code, said = command("bounds", "extract", "--name", "a1")
    assert code == 2 and "name of its own" in said


def test_bounds_of_a_study_are_those_of_its_task(
    command: Command, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Given(task="Pendulum-v1", settings={"g": "9.0"}, num_envs=3, budget="10s")
    launch_study(database, given, name="pushing", target=1)
    asked: list[Given] = []

    def extract(database: Database, given: Given, *_: Any, **__: Any) -> StoredLimits:
        asked.append(given)
        return EXTRACTED

    monkeypatch.setattr(limits, "extract", extract)
    words = ("launch", "--study", "pushing", "--bounds", "auto")
    _, said = command(*words, "--workers", "0")
    assert [(g.task, g.settings, g.num_envs) for g in asked] == [("Pendulum-v1", {"g": "9.0"}, 3)]
    # The study was made without limits, and has its own.
    assert "action_limits" in said and "--new-study" in said
    store(database, EXTRACTED)
    code, said = command(*words, "--dry-run")
    assert code == 0 and '"task": "Pendulum-v1"' in said and '"name": "pushed"' in said
    code, said = command("launch", "--study", "other", "--bounds", "auto", "--dry-run")
    assert code == 0 and '"task": "quadruped-walk"' in said


def test_the_plan_counts_the_extraction_and_warns_where_nothing_limits(command: Command) -> None:
    words = ("launch", "--task", "Pendulum-v1", "--trials", "1", "--budget", "1s", "--dry-run")
    _, said = command(*words, "--bounds", "auto")
    end = datetime.strptime(said.partition("until ")[2][:16], "%Y-%m-%d %H:%M")
    assert end >= datetime.now() + timedelta(minutes=3)
    unbounded = ("launch", "--task", "quadruped-walk", "--bounds", "none", "--dry-run")
    assert "nothing limits the actions" in command(*unbounded)[1]
    assert "nothing limits" not in command(*unbounded, "--algo", "ppo")[1]


def test_train_warns_and_checks_the_parameters_before_any_run(
    command: Command, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "attend_runs", lambda *_, **__: [])
    words = ("train", "--task", "quadruped-walk", "--algo", "sac", "--bounds", "none")
    assert "nothing limits the actions" in command(*words)[1]
    file = tmp_path / "p.json"
    for content, problem in (
        ({"gama": 0.9}, "sac does not take the hyper-parameter 'gama'"),
        ({"batch_size": "many"}, "batch_size is 'many'"),
        ({"ent_coef": []}, "ent_coef"),
    ):
        file.write_text(json.dumps(content))
        code, said = command(*words, "--seed", "7", "--params", str(file))
        assert code == 2 and problem in said and "search space" not in said
    assert len(database.optuna.get_all_studies()) == 1
    assert list_limits(database) == []


def test_a_check_needs_no_limits_to_be_given(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Spec] = []

    def check(spec: Spec, **_: Any) -> None:
        tried.append(spec)
        raise CheckFailed(task=spec.task, detail="enough")

    monkeypatch.setattr("hpsearch.cli.check.check_machine", check)
    _, said = command("check", "--task", "Isaac-Velocity-Flat-H1")
    assert "enough" in said
    assert tried[0].action_limits is not None and tried[0].action_limits.high == (1.0,)
