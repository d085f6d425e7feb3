"""What is drawn in a study on a real Postgres: by whom it is asked for makes no difference."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from hpsearch import drawing
from hpsearch.base import TrialResult
from hpsearch.database import optuna_rows
from hpsearch.ending import End, accept, fail, release
from hpsearch.exceptions import (
    InvalidValue,
    NoSuchStudy,
    SpecDiffers,
    TooFewSourceTrials,
    UnfitSource,
)
from hpsearch.queue import Lease, claim
from hpsearch.samplers.by_name import OTHERS
from hpsearch.samplers.history import DRAWN, PLACES, History
from hpsearch.samplers.warm_start import MIN_TRIALS
from hpsearch.spec import Given
from hpsearch.study import Study, launch_study, open_study
from tests.integration.conftest import MakeStudy, add_worker, scalar

RESULT = TrialResult(
    mean_reward=1.5,
    std_reward=0.5,
    num_timesteps=100,
    n_updates=10,
    train_seconds=2.0,
    overshoot_seconds=0.0,
    cpu_seconds=1.0,
    metrics={},
    ledger={"env": 2.0},
    device="a machine",
)


def lease(study: Study, worker_id: uuid.UUID) -> Lease:
    found = claim(study, worker_id, uuid.uuid4())
    assert isinstance(found, Lease)
    return found


def finish(study: Study, held: Lease) -> None:
    value = -sum((held.params[name] - 1.0) ** 2 for name in ("x0", "x1", "x2"))
    assert held.trial_number is not None
    if held.trial_number % 7 == 3:
        fail(study, held.attempt_id, "diverged", "made up")
    else:
        accept(study, held.attempt_id, RESULT, value, [])


def search(
    study: Study, n_trials: int, resumed: Callable[[int], bool] = lambda _: False
) -> list[Any]:
    """Returns the params of a search with three workers; it may begin anew before any trial."""
    held: list[Lease] = []
    for number in range(n_trials):
        if resumed(number):
            study = open_study(study.database, study.name)
            # One of the runs that were going on is tried again; that is no other trial.
            release(study, held[0].attempt_id, End.PREEMPTED, "SIGTERM")
            again = lease(study, add_worker(study))
            assert again.trial_number == held[0].trial_number
            held[0] = again
        held.append(lease(study, add_worker(study)))
        if len(held) == 3:
            finish(study, held.pop(number % 2))
    return [trial.params for trial in study.trials()]


def history(study: Study) -> list[int]:
    return [t.number for t in History().read(study.optuna_study(study.database.optuna))]


def test_the_history_that_our_runs_record_is_the_one_that_optuna_has(
    make_study: MakeStudy,
) -> None:
    study = make_study(target=40)
    search(study, 25)
    optuna_study = study.optuna_study(study.database.optuna)
    whole = History().read(optuna_study)
    distributions = study.spec.search_space().distributions
    # Twice: the second time nothing is read that is known.
    for _ in range(2):
        with study.database.transaction() as connection:
            assert optuna_study.read(connection, distributions) == len(whole)
        with optuna_study.known():
            ours = History().read(optuna_study)
    assert [(t.number, t._trial_id, t.state, t.value, t.params) for t in ours] == [
        (t.number, t._trial_id, t.state, t.value, t.params) for t in whole
    ]
    assert [t.system_attrs[DRAWN] for t in ours] == [t.system_attrs[DRAWN] for t in whole]
    assert {t.state for t in ours} == {TrialState.COMPLETE, TrialState.FAIL}


def test_an_interrupted_search_goes_on_as_the_uninterrupted_one(make_study: MakeStudy) -> None:
    whole = search(make_study(target=40, name="whole"), 30)
    parts = search(make_study(target=40, name="parts"), 30, lambda number: number in (5, 13, 22))
    assert whole == parts


def test_sixteen_workers_with_one_seed_draw_no_candidate_twice(make_study: MakeStudy) -> None:
    first = make_study(target=16, seed=7)
    drawn = [lease(open_study(first.database, "s"), add_worker(first)) for _ in range(16)]
    assert len({tuple(each.params.values()) for each in drawn}) == 16


def test_the_vectors_of_a_trial_are_kept_as_plain_numbers(make_study: MakeStudy) -> None:
    study = make_study()
    lease(study, add_worker(study))
    stored = study.trial(0).system_attrs[DRAWN]
    assert set(stored) == {"encoded", "drawn", "updates"}
    assert all(type(x) is float for key in ("encoded", "drawn") for x in stored[key])


def test_a_trial_from_elsewhere_is_told_once_in_the_place_where_it_was_first_seen(
    make_study: MakeStudy,
) -> None:
    study = make_study(target=20)
    worker_id = add_worker(study)
    finish(study, lease(study, worker_id))
    running = lease(study, worker_id)
    theirs = optuna.load_study(study_name="s", storage=study.database.optuna)
    space = dict(study.spec.search_space().distributions)
    params = {"x0": 1.0, "x1": 2.0, "x2": 3.0, "n": 4}
    theirs.add_trial(create_trial(params=params, distributions=space, value=9.0))
    theirs.add_trial(
        create_trial(
            params={"other": 1.0}, distributions={"other": FloatDistribution(0, 1)}, value=8.0
        )
    )
    # Another process has it in its cache before it gets its place.
    other = open_study(study.database, "s")
    other.trials()
    lease(study, worker_id)
    finish(study, running)
    lease(other, worker_id)
    places = study.database.optuna.get_study_system_attrs(study.id)[PLACES]
    assert places == {"2": 1, "3": 2}
    assert study.trial(1).user_attrs["told_index"] == 3
    assert history(study) == history(other) == [0, 2, 3, 1]


def test_a_trial_of_ours_that_somebody_else_finished_is_told_once(make_study: MakeStudy) -> None:
    study = make_study(target=20)
    worker_id = add_worker(study)
    running, other = lease(study, worker_id), lease(study, worker_id)
    theirs = optuna.load_study(study_name="s", storage=study.database.optuna)
    assert running.trial_number is not None
    theirs.tell(running.trial_number, 7.0)
    finish(study, running)
    finish(study, other)
    # The run has a result, and no place: the trial gets one when the next claim sees it.
    assert scalar(study, "SELECT count(*) FROM hpsearch.runs WHERE state = 'finished'") == 2
    assert scalar(study, "SELECT max(told_index) FROM hpsearch.runs") == 0
    lease(study, worker_id)
    assert study.trial(0).value == 7.0
    assert history(study) == [1, 0]
    assert scalar(study, "SELECT told FROM hpsearch.specs") == 2


def test_a_run_given_up_by_infrastructures_fault_is_not_told(make_study: MakeStudy) -> None:
    study = make_study(target=20)
    worker_id = add_worker(study)
    for _ in range(3):
        release(study, lease(study, worker_id).attempt_id, End.CRASHED, "crashed:SIGSEGV")
    finish(study, lease(study, worker_id))
    assert study.trial(0).state == TrialState.FAIL
    assert history(study) == [1]


def test_a_planted_pickle_is_never_loaded(make_study: MakeStudy, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (marker,)

    code = pickle.dumps(Payload()).hex()
    study = make_study(target=20)
    worker_id = add_worker(study)
    planted = {key: code for key in ("cma:optimizer:0", "cmawm:optimizer:0", "sepcma:optimizer:0")}
    for _ in range(5):
        held = lease(study, worker_id)
        assert held.trial_id is not None
        with study.database.transaction() as connection:
            for key, value in planted.items():
                optuna_rows.set_system_attribute(connection, held.trial_id, key, value)
        finish(study, held)
    lease(study, worker_id)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["cma-es-optuna", "tpe", "random"])
def test_optunas_samplers_see_all_that_is_finished(
    name: str, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = drawing._draw

    def noted(optuna_study: optuna.Study, *rest: Any) -> Any:
        trials = optuna_study._get_trials(deepcopy=False, use_cache=True)
        seen.append(sum(trial.state.is_finished() for trial in trials))
        return original(optuna_study, *rest)

    monkeypatch.setattr(drawing, "_draw", noted)
    study = make_study(target=20, sampler=name)
    worker_id = add_worker(study)
    for _ in range(12):
        finish(study, lease(study, worker_id))
    assert seen == list(range(12))
    if name == "cma-es-optuna":
        assert "cma:generation" in study.trial(11).system_attrs


@pytest.mark.parametrize("name", OTHERS)
def test_each_other_sampler_draws_for_workers_with_one_seed(
    make_study: MakeStudy, name: str
) -> None:
    if name == "gp":
        pytest.importorskip("torch")
    first = make_study(target=20, sampler=name, startup=2)
    held = [lease(open_study(first.database, "s"), add_worker(first)) for _ in range(8)]
    assert len({tuple(each.params.values()) for each in held}) == 8
    for each in held:
        finish(first, each)
    for number in (8, 9):
        assert lease(first, add_worker(first)).trial_number == number


def test_a_warm_start_begins_where_the_older_study_was_good(make_study: MakeStudy) -> None:
    old = make_study(target=MIN_TRIALS + 10, name="old")
    for params in search(old, MIN_TRIALS + 10):
        assert params
    given = Given(objective="sphere", popsize=4, warm_start="old")
    warm, created = launch_study(old.database, given, name="warm", target=10)
    assert created and warm.spec.warm_start == "old" and warm.spec.prior
    best = old.best()
    assert best
    drawn = [lease(warm, add_worker(warm)).params for _ in range(10)]
    distances = [abs(params["x0"] - best.params["x0"]) for params in drawn]
    assert sum(distances) / 10 < 2.5
    resumed = launch_study(old.database, given, name="warm", target=12)[0]
    assert resumed.spec == warm.spec == open_study(old.database, "warm").spec
    with pytest.raises(SpecDiffers, match="warm_start"):
        launch_study(old.database, Given(warm_start="other"), name="warm", target=12)


def test_what_cannot_be_started_from_is_a_clear_error(make_study: MakeStudy) -> None:
    old = make_study(target=20, name="old")
    finish(old, lease(old, add_worker(old)))
    optuna.create_study(
        study_name="two", storage=old.database.optuna, directions=["minimize", "maximize"]
    )

    def launch(**given: Any) -> None:
        given = {"objective": "sphere", **given}
        launch_study(old.database, Given(**given), name="warm", target=1)

    with pytest.raises(TooFewSourceTrials, match=f"'old' has 1 complete.*needs {MIN_TRIALS}"):
        launch(warm_start="old")
    with pytest.raises(UnfitSource, match="did not search gamma, learning_rate"):
        launch(warm_start="old", space="sac")
    with pytest.raises(UnfitSource, match="more than one value"):
        launch(warm_start="two")
    with pytest.raises(NoSuchStudy, match="'none'"):
        launch(warm_start="none")
    with pytest.raises(InvalidValue, match="left out with --sampler tpe"):
        launch(warm_start="old", sampler="tpe")
    assert [s.study_name for s in old.database.optuna.get_all_studies()] == ["old", "two"]


def test_a_trial_that_somebody_finished_first_is_told_in_the_place_of_being_seen(
    make_study: MakeStudy,
) -> None:
    study = make_study(target=20)
    worker_id = add_worker(study)
    first, second = lease(study, worker_id), lease(study, worker_id)
    theirs = optuna.load_study(study_name="s", storage=study.database.optuna)
    assert first.trial_number is not None
    theirs.tell(first.trial_number, 5.0)
    finish(study, first)
    lease(study, worker_id)
    finish(study, second)
    assert study.trial(0).value == 5.0
    assert history(study) == [0, 1]
