"""Claim, accept, fail, release and expire against a real Postgres."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Callable

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from hpsearch import ending, reaping
from hpsearch.base import Measurement, Purpose, TrialResult, seed_of
from hpsearch.database.engine import normalise_url
from hpsearch.database.tables import attempts, runs, specs
from hpsearch.database.transaction import Database
from hpsearch.ending import End, accept, fail, release, supersede
from hpsearch.progress import read_progress
from hpsearch.queue import Lease, Nothing, Standing, claim, enqueue_replays, renew
from hpsearch.reaping import reap
from hpsearch.settings import settings
from hpsearch.study import Study, open_study
from tests.integration.conftest import MakeStudy, add_worker, scalar

RESULT = TrialResult(
    mean_reward=1.5,
    std_reward=0.5,
    num_timesteps=100,
    n_updates=10,
    train_seconds=2.0,
    overshoot_seconds=0.0,
    cpu_seconds=1.0,
    metrics={"standing_return": 0.25},
    ledger={"env": 2.0},
    device="a machine",
)


def lease(study: Study, worker_id: uuid.UUID, only: Purpose | None = None) -> Lease:
    found = claim(study, worker_id, uuid.uuid4(), only=only)
    assert isinstance(found, Lease)
    return found


def point(train_seconds: float, mean_return: float | None = 1.0) -> Measurement:
    return Measurement(
        train_seconds=train_seconds, num_timesteps=1, n_updates=1, mean_return=mean_return
    )


def age(study: Study, held: Lease, seconds: float) -> None:
    """Makes a lease look as if its worker had been silent."""
    with study.database.transaction() as connection:
        connection.execute(
            attempts.update()
            .where(attempts.c.id == held.attempt_id)
            .values(expires_at=sa.text(f"clock_timestamp() - interval '{seconds} seconds'"))
        )


def test_a_claim_makes_a_trial_with_its_own_seed_and_decoded_values(
    study: Study, worker_id: uuid.UUID
) -> None:
    first, second = lease(study, worker_id), lease(study, worker_id)
    assert (first.trial_number, second.trial_number) == (0, 1)
    assert first.seed == seed_of(0, "search", 0)
    trial = study.trial(0)
    assert trial.state == TrialState.RUNNING
    assert first.params == trial.params
    assert trial.user_attrs["n"] == first.hyperparams["n"]


def test_a_claim_whose_acknowledgement_was_lost_finds_its_own_lease(
    study: Study, worker_id: uuid.UUID
) -> None:
    attempt_id = uuid.uuid4()
    assert claim(study, worker_id, attempt_id) == claim(study, worker_id, attempt_id)
    assert len(study.trials()) == 1


def test_a_rolled_back_claim_leaves_nothing_of_ours_nor_of_optunas(
    study: Study, worker_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_late(*_: object) -> None:
        raise RuntimeError("late")

    with monkeypatch.context() as patch:
        patch.setattr("hpsearch.queue._lease", fail_late)
        with pytest.raises(RuntimeError, match="late"):
            claim(study, worker_id, uuid.uuid4())
    assert scalar(study, "SELECT count(*) FROM trials") == 0
    assert scalar(study, "SELECT count(*) FROM hpsearch.runs") == 0
    assert lease(study, worker_id).trial_number == 0


def test_no_more_trials_are_made_than_asked_for(study: Study, worker_id: uuid.UUID) -> None:
    held = [lease(study, worker_id) for _ in range(4)]
    assert claim(study, worker_id, uuid.uuid4()) is Nothing.WAIT
    for each in held:
        assert accept(study, each.attempt_id, RESULT, 1.5, [])
    assert claim(study, worker_id, uuid.uuid4()) is Nothing.DONE


def test_accepting_tells_optuna_in_the_order_of_arrival(
    study: Study, worker_id: uuid.UUID
) -> None:
    first, second = lease(study, worker_id), lease(study, worker_id)
    assert accept(study, second.attempt_id, RESULT, 2.0, [])
    assert accept(study, first.attempt_id, RESULT, 1.0, [point(0.0, None), point(1.2), point(2.9)])
    trials = study.trials()
    assert [trial.value for trial in trials] == [1.0, 2.0]
    assert [trial.user_attrs["told_index"] for trial in trials] == [1, 0]
    assert trials[0].user_attrs["num_timesteps"] == 100
    assert trials[0].user_attrs["standing_return"] == 0.25
    assert trials[0].intermediate_values == {1: 1.0, 2: 1.0}


def test_a_long_curve_reaches_optuna_in_at_most_50_points_and_ours_whole(
    study: Study, worker_id: uuid.UUID
) -> None:
    held = lease(study, worker_id)
    accept(study, held.attempt_id, RESULT, 1.0, [point(float(second)) for second in range(301)])
    steps = list(study.trial(0).intermediate_values)
    assert len(steps) <= 50 and max(steps) == 300
    assert scalar(study, "SELECT count(*) FROM hpsearch.measurements") == 301


def test_accepting_twice_counts_once(study: Study, worker_id: uuid.UUID) -> None:
    held = lease(study, worker_id)
    assert accept(study, held.attempt_id, RESULT, 1.0, [point(1.0)])
    assert accept(study, held.attempt_id, RESULT, 1.0, [point(1.0)])
    assert scalar(study, "SELECT told FROM hpsearch.specs") == 1


def test_a_run_that_failed_by_its_parameters_is_finished_and_never_best(
    study: Study, worker_id: uuid.UUID
) -> None:
    held = lease(study, worker_id)
    assert fail(study, held.attempt_id, "diverged", "NaN at step 3")
    trial = study.trial(0)
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["failure"] == "diverged"
    assert trial.user_attrs["told_index"] == 0
    assert study.best() is None
    for _ in range(3):
        lease(study, worker_id)
    assert claim(study, worker_id, uuid.uuid4()) is Nothing.WAIT


@pytest.fixture
def long_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the server seem to have been up for long: it may have been started just now."""
    text = reaping._DEAD.text.replace("pg_postmaster_start_time()", "timestamptz '-infinity'")
    monkeypatch.setattr(reaping, "_DEAD", sa.text(text))


def test_a_run_is_seen_to_start_to_train_and_to_be_evaluated(
    study: Study, worker_id: uuid.UUID
) -> None:
    def phase() -> str:
        (running,) = read_progress(study).running
        return running.phase

    held = lease(study, worker_id)
    assert phase() == "starting"
    renew(study, held, [point(0.0)])
    assert phase() == "training"
    renew(study, held, [point(held.budget.train_seconds)])
    assert phase() == "evaluating"


@pytest.mark.usefixtures("long_up")
def test_a_silent_lease_is_taken_back_only_after_the_sweep(
    study: Study, worker_id: uuid.UUID
) -> None:
    held = lease(study, worker_id)
    age(study, held, settings().sweep_seconds - 5)
    reap(study)
    assert renew(study, held, []) is Standing.HELD
    age(study, held, settings().sweep_seconds + 1)
    reap(study)
    again = lease(study, add_worker(study))
    assert renew(study, held, []) is Standing.LOST
    assert (again.run_id, again.number, again.seed) == (held.run_id, 2, held.seed)


@pytest.mark.usefixtures("long_up")
def test_a_lease_that_was_taken_back_is_given_again_while_nobody_has_the_run(
    study: Study, worker_id: uuid.UUID
) -> None:
    held = lease(study, worker_id)
    age(study, held, settings().sweep_seconds + 1)
    reap(study)
    assert scalar(study, "SELECT state FROM hpsearch.runs") == "waiting"
    assert renew(study, held, []) is Standing.HELD
    assert scalar(study, "SELECT state FROM hpsearch.runs") == "leased"
    assert accept(study, held.attempt_id, RESULT, 1.0, [])
    assert scalar(study, "SELECT count(*) FROM hpsearch.attempts") == 1


def test_nobody_is_taken_for_dead_right_after_the_server_started(
    study: Study, worker_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lease(study, worker_id)
    age(study, held, settings().sweep_seconds + 1)
    text = reaping._DEAD.text.replace("pg_postmaster_start_time()", "clock_timestamp()")
    monkeypatch.setattr(reaping, "_DEAD", sa.text(text))
    reap(study)
    assert renew(study, held, []) is Standing.HELD


def test_a_study_without_any_result_stops_after_failures_in_a_row(
    make_study: MakeStudy,
) -> None:
    study = make_study(target=100)
    worker_id = add_worker(study)
    for _ in range(ending.MAX_FAILED_IN_ROW):
        fail(study, lease(study, worker_id).attempt_id, "diverged", "")
    assert claim(study, worker_id, uuid.uuid4()) is Nothing.STOPPED
    assert "no result; the last one failed: diverged" in str(
        scalar(study, "SELECT stop FROM hpsearch.specs")
    )


def test_a_study_with_a_result_goes_on_over_failures(make_study: MakeStudy) -> None:
    study = make_study(target=100)
    worker_id = add_worker(study)
    accept(study, lease(study, worker_id).attempt_id, RESULT, 1.0, [])
    for _ in range(2 * ending.MAX_FAILED_IN_ROW):
        fail(study, lease(study, worker_id).attempt_id, "diverged", "")
    assert isinstance(claim(study, worker_id, uuid.uuid4()), Lease)


@pytest.mark.usefixtures("long_up")
def test_a_zombies_result_is_refused_once_the_run_went_on(
    study: Study, worker_id: uuid.UUID
) -> None:
    held = lease(study, worker_id)
    age(study, held, 60)
    again = lease(study, add_worker(study))
    assert not accept(study, held.attempt_id, RESULT, 9.0, [])
    supersede(study, held.attempt_id)
    assert accept(study, again.attempt_id, RESULT, 1.0, [])
    assert not accept(study, held.attempt_id, RESULT, 9.0, [])
    assert study.trial(0).value == 1.0
    states = "SELECT string_agg(state, ' ' ORDER BY number) FROM hpsearch.attempts"
    assert scalar(study, states) == "superseded accepted"


def test_a_late_result_still_counts_while_nobody_else_has_the_run(
    study: Study, worker_id: uuid.UUID
) -> None:
    held = lease(study, worker_id)
    age(study, held, 60)
    reap(study)
    assert accept(study, held.attempt_id, RESULT, 1.0, [])
    assert study.trial(0).value == 1.0


def test_a_run_is_given_up_after_three_crashes_and_another_trial_takes_its_place(
    study: Study, worker_id: uuid.UUID
) -> None:
    for _ in range(3):
        held = lease(study, worker_id)
        assert held.trial_number == 0
        release(study, held.attempt_id, End.CRASHED, "crashed:SIGSEGV", "stack")
    assert study.trial(0).state == TrialState.FAIL
    assert "told_index" not in study.trial(0).user_attrs
    numbers = [lease(study, worker_id).trial_number for _ in range(4)]
    assert numbers == [1, 2, 3, 4]


def test_preemption_is_not_counted(study: Study, worker_id: uuid.UUID) -> None:
    for _ in range(5):
        held = lease(study, worker_id)
        release(study, held.attempt_id, End.PREEMPTED, "SIGTERM")
    assert lease(study, worker_id).trial_number == 0


def test_five_runs_given_up_in_a_row_stop_the_study(
    make_study: MakeStudy,
) -> None:
    study = make_study(target=20)
    worker_id = add_worker(study)
    for _ in range(15):
        release(study, lease(study, worker_id).attempt_id, End.CRASHED, "crashed:ImportError")
    assert claim(study, worker_id, uuid.uuid4()) is Nothing.STOPPED
    assert "crashed:ImportError" in str(scalar(study, "SELECT stop FROM hpsearch.specs"))


def test_a_result_in_between_resets_the_breaker(make_study: MakeStudy) -> None:
    study = make_study(target=20)
    worker_id = add_worker(study)
    for _ in range(2):
        for _ in range(12):
            release(study, lease(study, worker_id).attempt_id, End.CRASHED, "crashed:x")
        accept(study, lease(study, worker_id).attempt_id, RESULT, 1.0, [])
    assert isinstance(claim(study, worker_id, uuid.uuid4()), Lease)


def test_a_stopped_study_leases_no_search_run_but_replays(
    study: Study, worker_id: uuid.UUID
) -> None:
    accept(study, lease(study, worker_id).attempt_id, RESULT, 1.0, [])
    with study.database.transaction() as connection:
        connection.execute(specs.update().values(stop="after_trial"))
    enqueue_replays(study, study.trial(0), 2)
    assert claim(study, worker_id, uuid.uuid4()) is Nothing.STOPPED
    held = lease(study, worker_id, only=Purpose.REPLAY)
    assert held.seed == seed_of(0, "replay", 0)
    assert lease(study, worker_id, only=Purpose.REPLAY).seed == seed_of(0, "replay", 1)
    assert claim(study, worker_id, uuid.uuid4(), only=Purpose.REPLAY) is Nothing.WAIT


def test_a_replay_changes_nothing_that_optuna_knows(study: Study, worker_id: uuid.UUID) -> None:
    accept(study, lease(study, worker_id).attempt_id, RESULT, 1.0, [])
    before = study.trial(0)
    (run_id,) = enqueue_replays(study, before, 1)
    held = lease(study, worker_id, only=Purpose.REPLAY)
    assert held.run_id == run_id
    assert accept(study, held.attempt_id, RESULT, -3.0, [point(1.0)])
    assert study.trial(0) == before
    assert enqueue_replays(study, before, 2)[0] == run_id


def _claim_ten(url: str, start: Callable[[], object]) -> None:
    study = open_study(Database(normalise_url(url)), "s")
    worker_id = add_worker(study)
    start()
    for _ in range(10):
        lease(study, worker_id)


def test_four_processes_get_contiguous_numbers_and_no_candidate_twice(
    make_study: MakeStudy, tables_url: str
) -> None:
    study = make_study(target=40)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    processes = [
        context.Process(target=_claim_ten, args=(tables_url, barrier.wait)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    trials = study.trials()
    assert [trial.number for trial in trials] == list(range(40))
    assert len({tuple(trial.params.values()) for trial in trials}) == 40
    with study.database.transaction() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(runs)) == 40


def test_the_study_is_readable_by_plain_optuna(
    study: Study, worker_id: uuid.UUID, tables_url: str
) -> None:
    accept(study, lease(study, worker_id).attempt_id, RESULT, 1.0, [point(1.0)])
    url = normalise_url(tables_url).render_as_string(hide_password=False)
    plain = optuna.load_study(study_name="s", storage=url)
    assert plain.best_value == 1.0
    assert plain.best_trial.user_attrs["num_timesteps"] == 100
    optuna.delete_study(study_name="s", storage=url)
    assert scalar(study, "SELECT count(*) FROM hpsearch.runs") == 0
