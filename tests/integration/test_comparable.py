"""Results that stand beside each other come from one kind of device, and from a quiet one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hpsearch.comparable import Reference, reference
from hpsearch.exceptions import SpecDiffers
from hpsearch.objectives.device import of_kind
from hpsearch.queue import Lease, claim
from hpsearch.settings import settings
from hpsearch.spec import Given
from hpsearch.study import Study, launch_study
from hpsearch.worker import OnContention, Worker
from tests.integration.conftest import MakeStudy, scalar

OBJECTIVES = """
from hpsearch.base import TrialResult
from hpsearch.exceptions import OtherDevice
from pathlib import Path


class On:
    uses_gpu = False
    max_runs_per_process = 9

    def __init__(self, setup):
        self.setup = setup

    def __call__(self, hyperparams, *, seed, budget, report):
        kind, seconds, *contended = Path("conditions").read_text().split()
        if self.setup.device_kind not in (None, kind):
            raise OtherDevice(kind=self.setup.device_kind, here=kind)
        Path("n_runs").open("a").write("x")
        if contended == ["once"]:
            Path("conditions").write_text(f"{kind} {seconds}")
        return TrialResult(
            mean_reward=1.0, std_reward=0.0, num_timesteps=1, n_updates=1, train_seconds=0.1,
            overshoot_seconds=0.0, cpu_seconds=0.1, metrics={}, ledger={"env": 0.1}, device=kind,
            conditions={"device_kind": kind, "calibration_seconds": float(seconds),
                        "contended": contended})


class Late(On):
    # Knows its device only afterwards.
    def __init__(self, setup):
        super().__init__(setup)
        self.setup = type("Any", (), {"device_kind": None})
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "devices.py").write_text(OBJECTIVES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HPSEARCH_IDLE_SECONDS", "0.2")
    settings.cache_clear()
    yield tmp_path


def make(make_study: MakeStudy, target: int, objective: str = "On", **given: str) -> Study:
    return make_study(target=target, objective=f"devices:{objective}", space="sphere", **given)


def work(study: Study, conditions: str, *, mixed: bool = False,
         on: OnContention = OnContention.ACCEPT) -> tuple[int, list[str]]:  # fmt: skip
    Path("conditions").write_text(conditions)
    said: list[str] = []
    worker = Worker(study, say=said.append, allow_mixed_devices=mixed, on_contention=on)
    return worker.work(), said


def more(study: Study, target: int) -> None:
    with study.database.transaction() as connection:
        connection.execute(sa.text(f"UPDATE hpsearch.specs SET target = {target}"))


def attempts(study: Study) -> list[str]:
    with study.database.transaction() as connection:
        query = "SELECT state FROM hpsearch.attempts ORDER BY leased_at"
        return list(connection.execute(sa.text(query)).scalars())


@pytest.mark.parametrize("objective", ["On", "Late"])
def test_a_worker_on_another_kind_of_device_declines_and_leaves(
    here: Path, make_study: MakeStudy, objective: str
) -> None:
    study = make(make_study, 1, objective)
    assert work(study, "fast 1.0")[0] == 0
    more(study, 2)
    status, said = work(study, "slow 1.0")
    assert status == 1
    assert "come from fast, and here is slow" in said[-1] and said[-1].endswith("leaving")
    assert attempts(study) == ["accepted", "declined"]
    assert scalar(study, "SELECT state FROM hpsearch.runs ORDER BY id DESC LIMIT 1") == "waiting"
    assert work(study, "slow 1.0", mixed=True)[0] == 0
    assert attempts(study) == ["accepted", "declined", "accepted"]


def test_the_kind_may_be_fixed_before_the_first_result(here: Path, make_study: MakeStudy) -> None:
    study = make(make_study, 1, device_kind="fast")
    assert work(study, "slow 1.0")[0] == 1
    assert attempts(study) == ["declined"]
    with pytest.raises(SpecDiffers, match="device_kind"):
        given = Given(objective="devices:On", space="sphere", popsize=4, device_kind="slow")
        launch_study(study.database, given, name="s", target=1)


def test_a_contended_run_counts_and_is_marked(here: Path, make_study: MakeStudy) -> None:
    study = make(make_study, 1)
    assert work(study, "fast 1.0 neighbours")[1][-1].endswith("; neighbours")
    assert study.trial(0).user_attrs["contended"] == ["neighbours"]


def test_a_slower_device_is_marked(here: Path, make_study: MakeStudy) -> None:
    study = make(make_study, 1)
    work(study, "fast 1.0")
    more(study, 2)
    work(study, "fast 1.6")
    assert "contended" not in study.trial(0).user_attrs
    assert "1.6 times slower" in study.trial(1).user_attrs["contended"][0]


def test_a_run_that_began_before_the_first_result_is_compared_with_it(
    here: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def early(*args: Any, **given: Any) -> Any:
        found = claim(*args, **given)
        nothing = Reference(device_kind=None, calibration_seconds=None)
        return dataclasses.replace(found, against=nothing) if isinstance(found, Lease) else found

    study = make(make_study, 1)
    work(study, "fast 1.0")
    more(study, 2)
    monkeypatch.setattr("hpsearch.worker.claim", early)
    work(study, "fast 1.6")
    assert "1.6 times slower" in study.trial(1).user_attrs["contended"][0]


def test_a_contended_run_is_tried_again_if_asked(here: Path, make_study: MakeStudy) -> None:
    study = make(make_study, 1)
    work(study, "fast 1.0 once", on=OnContention.RETRY)
    assert attempts(study) == ["declined", "accepted"]
    assert "contended" not in study.trial(0).user_attrs


def test_the_last_attempt_at_a_contended_run_counts(here: Path, make_study: MakeStudy) -> None:
    study = make(make_study, 1)
    work(study, "fast 1.0 neighbours", on=OnContention.RETRY)
    assert attempts(study) == ["declined", "declined", "accepted"]
    assert study.trial(0).user_attrs["contended"] == ["neighbours"]


def test_a_worker_that_refuses_contention_leaves(here: Path, make_study: MakeStudy) -> None:
    study = make(make_study, 1)
    status, said = work(study, "fast 1.0 neighbours", on=OnContention.REFUSE)
    assert (status, attempts(study)) == (1, ["declined"])
    assert said[-1] == "trial 0: declined: neighbours; leaving"


def test_a_study_keeps_to_what_simulated_its_first_result(
    here: Path, make_study: MakeStudy
) -> None:
    fixed = make(make_study, 1, device_kind="fast")
    assert not of_kind("fast", "fast; Newton") and not of_kind("faster; Newton", "fast")
    assert work(fixed, "fast 1.0")[0] == 0
    scalar(
        fixed,
        """UPDATE hpsearch.runs SET result =
           jsonb_set(result, '{conditions,device_kind}', '"fast; Newton"') RETURNING 1""",
    )
    with fixed.database.transaction() as connection:
        assert reference(connection, fixed).device_kind == "fast; Newton"
