"""Runs that belong to no trial: queued, made, and told to nobody."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpsearch.base import Purpose
from hpsearch.baselines import BaselineRun, open_baseline, read_params, read_runs
from hpsearch.bounds import (
    StoredLimits,
    default_name,
    find_extracted,
    learned,
    list_limits,
    read_stored,
    request_extraction,
    store,
)
from hpsearch.database.tables import runs
from hpsearch.database.transaction import Database
from hpsearch.exceptions import InvalidFile, InvalidLimits, LimitsExist, NoSuchLimits
from hpsearch.objectives.limits import check_limits
from hpsearch.queue import Nothing, claim, enqueue_runs
from hpsearch.settings import settings
from hpsearch.spec import Given, resolve
from hpsearch.study import Study
from hpsearch.worker import Worker
from tests.integration.conftest import add_worker, scalar

POINT = {"x0": 0.5, "x1": 0.0, "x2": 0.0, "n": 3}


@pytest.fixture
def baseline(database: Database, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("HPSEARCH_IDLE_SECONDS", "0.1")
    settings.cache_clear()
    study, _ = open_baseline(database, Given(objective="sphere"), Purpose.TRAIN, POINT)
    return study


def work(study: Study) -> list[str]:
    said: list[str] = []
    Worker(study, only=Purpose.TRAIN, say=said.append).work()
    return said


def test_each_seed_gets_its_result_and_no_trial_is_drawn(baseline: Study) -> None:
    ids = enqueue_runs(baseline, Purpose.TRAIN, POINT, 2)
    said = work(baseline)
    assert any(line.startswith("train ") for line in said)
    found = read_runs(baseline, ids)
    assert [run.state for run in found] == ["finished", "finished"]
    assert found[0].value == pytest.approx(found[1].value)
    assert found[0].seed != found[1].seed
    assert baseline.trials() == []
    assert scalar(baseline, "SELECT count(*) FROM hpsearch.runs WHERE trial_number IS NULL") == 2


def test_asking_again_trains_only_what_is_missing(baseline: Study) -> None:
    first = enqueue_runs(baseline, Purpose.TRAIN, POINT, 1)
    work(baseline)
    again = enqueue_runs(baseline, Purpose.TRAIN, POINT, 2)
    assert again[0] == first[0]
    assert [run.state for run in read_runs(baseline, again)] == ["finished", "waiting"]
    other = enqueue_runs(baseline, Purpose.TRAIN, {**POINT, "n": 2}, 1)
    assert other[0] not in again


def test_asking_again_trains_what_failed(baseline: Study) -> None:
    ids = enqueue_runs(baseline, Purpose.TRAIN, POINT, 1)
    with baseline.database.transaction() as connection:
        failed = {"state": "failed", "reason": "over_budget", "ended_at": sa.func.now()}
        connection.execute(runs.update().where(runs.c.id == ids[0]).values(failed))
    assert enqueue_runs(baseline, Purpose.TRAIN, POINT, 1) == ids
    work(baseline)
    (run,) = read_runs(baseline, ids)
    assert (run.state, run.reason) == ("finished", None)


def test_other_code_of_the_users_trains_beside_what_is_there(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "my_sphere.py"
    source = "from hpsearch.objectives.sphere import Sphere\n"
    module.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    given = Given(objective="my_sphere:Sphere", space="sphere")
    first, _ = open_baseline(database, given, Purpose.TRAIN, None)
    assert open_baseline(database, given, Purpose.TRAIN, None)[0].id == first.id
    module.write_text(source + "# changed\n")
    assert open_baseline(database, given, Purpose.TRAIN, None)[0].id != first.id


def test_the_middle_of_the_space_stands_where_nothing_is_given(database: Database) -> None:
    study, hyperparams = open_baseline(database, Given(objective="sphere"), Purpose.TRAIN, None)
    assert set(hyperparams) == {"x0", "x1", "x2", "n"}
    assert study.spec == resolve(Given(objective="sphere"))


def test_a_worker_of_all_purposes_makes_these_runs_too(baseline: Study) -> None:
    import uuid

    enqueue_runs(baseline, Purpose.BOUNDS, POINT, 1)
    found = claim(baseline, add_worker(baseline), uuid.uuid4())
    assert not isinstance(found, Nothing)
    assert found.purpose is Purpose.BOUNDS and found.label.startswith("bounds ")


def test_hyperparameters_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"gamma": 0.98}))
    assert read_params(str(file)) == {"gamma": 0.98}
    file.write_text("[1]")
    with pytest.raises(InvalidFile, match="no object"):
        read_params(str(file))
    with pytest.raises(InvalidFile):
        read_params(str(tmp_path / "missing.json"))


def some_limits(name: str = "t-p2.5", **changes: object) -> StoredLimits:
    found = StoredLimits(
        name=name, task="t", settings={}, percentile=2.5,
        joints=[{"name": "hip", "low": -1.0, "high": 0.5}, {"name": "knee", "low": 0, "high": 2}],
        source={"mean_reward": 20.0},
    )  # fmt: skip
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def test_limits_are_kept_by_name_and_replaced(database: Database) -> None:
    store(database, some_limits())
    store(database, some_limits(source={"mean_reward": 21.0}))
    (kept,) = list_limits(database)
    assert kept.source == {"mean_reward": 21.0} and kept.created_at is not None
    assert read_stored(database, "t-p2.5").limits.high == (0.5, 2.0)
    with pytest.raises(NoSuchLimits, match=r"t-p2\.5"):
        read_stored(database, "other")


def test_limits_of_another_task_are_not_replaced(database: Database) -> None:
    store(database, some_limits())
    for changes in ({"task": "u"}, {"settings": {"commands": "full"}}):
        with pytest.raises(LimitsExist, match=r"'t-p2\.5' are those of t,"):
            store(database, some_limits(**changes))
    extraction = Given(task="quadruped-walk")
    with pytest.raises(LimitsExist, match="another name"):
        request_extraction(database, extraction, 2.5, None, name="t-p2.5")
    assert read_stored(database, "t-p2.5").task == "t"


def test_auto_finds_limits_of_the_same_task_settings_and_percentile(database: Database) -> None:
    store(database, some_limits())
    assert find_extracted(database, "t", {}, 2.5) is not None
    assert find_extracted(database, "t", {"commands": "full"}, 2.5) is None
    assert find_extracted(database, "t", {}, 0.5) is None
    assert find_extracted(database, "u", {}, 2.5) is None
    assert default_name("t", {}, 2.5) == "t-p2.5"
    assert default_name("t", {"a": "1"}, 2.5) != default_name("t", {"a": "2"}, 2.5)


def test_limits_of_other_joints_are_refused_by_name() -> None:
    check_limits(some_limits().limits, ["hip", "knee"])
    with pytest.raises(InvalidLimits, match=r"hip there and knee in the task"):
        check_limits(some_limits().limits, ["knee", "hip"])
    with pytest.raises(InvalidLimits, match=r"2 pairs for 1 joints \(hip\)"):
        check_limits(some_limits().limits, ["hip"])


@pytest.mark.parametrize(
    ("mean", "std", "standing", "enough"),
    [(20.0, 2.0, 4.7, True), (5.0, 0.1, 4.7, False), (20.0, 18.0, 4.7, False),
     (-150.0, 90.0, -1200.0, True), (-1100.0, 90.0, -1200.0, False)],
)  # fmt: skip
def test_a_ppo_that_learned_stands_clearly_above_standing_still(
    mean: float, std: float, standing: float, enough: bool
) -> None:
    result = {"mean_reward": mean, "std_reward": std, "metrics": {"standing_return": standing}}
    run = BaselineRun(seed=1, state="finished", value=mean, result=result, reason=None)
    assert learned(run) is enough
