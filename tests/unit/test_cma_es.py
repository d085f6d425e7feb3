"""CMA-ES rebuilt from the history: Optuna's contract, and what must hold for any history."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import TrialState, create_trial

from hpsearch.samplers.cma_es import CmaEsSampler
from hpsearch.samplers.distribution import Distribution
from hpsearch.samplers.encoding import Encoding
from hpsearch.samplers.history import DRAWN, PLACES, TOLD_INDEX, History, point_of
from hpsearch.samplers.memory import Memory
from hpsearch.samplers.point import Point

POPSIZE = 4
SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-2.0, 5.0),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "n": IntDistribution(0, 3),
    "even": IntDistribution(2, 12, step=2),
    "wide": IntDistribution(1, 1000, log=True),
    "tenths": FloatDistribution(0.1, 0.9, step=0.2),
}
ELSEWHERE = {"x": 5.0, "rate": 1e-4, "n": 3, "even": 12, "wide": 1000, "tenths": 0.9}


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestOptunasContract(
    BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: CmaEsSampler(popsize=POPSIZE, seed=0)

    @pytest.mark.skip("CMA-ES searches numbers; a categorical space is refused at launch")
    def test_sample_relative_categorical(self, sampler: Callable[[], BaseSampler]) -> None: ...

    @pytest.mark.skip("CMA-ES searches numbers; a categorical space is refused at launch")
    def test_sample_relative_mixed(
        self, sampler: Callable[[], BaseSampler], x_distribution: BaseDistribution
    ) -> None: ...


class Recorded(Distribution):
    """Remembers the points that it is told."""

    told: list[Point]

    def tell(self, points: Sequence[Point]) -> None:
        self.told = [*getattr(self, "told", []), *points]
        super().tell(points)


class Recording(Memory):
    def _start(self) -> Distribution:
        return Recorded(self.encoding.steps, self._popsize, self._prior)


def new_sampler(seed: int = 0, **more: Any) -> CmaEsSampler:
    sampler = CmaEsSampler(popsize=POPSIZE, seed=seed, space=SPACE, **more)
    sampler.memory_type = Recording
    return sampler


def points_told(sampler: CmaEsSampler) -> list[Point]:
    assert sampler._last
    distribution = sampler._last[1]._distribution
    assert isinstance(distribution, Recorded)
    return getattr(distribution, "told", [])


@dataclass(frozen=True)
class Event:
    """What becomes of a trial.

    Attributes:
      end: how it ends.
      value: its result, if it is complete.
      wait: how many later trials are asked for before its end.
      enqueued: what somebody asked for.
    """

    end: str
    value: float
    wait: int
    enqueued: tuple[str, ...]


EVENTS = st.lists(
    st.builds(
        Event,
        end=st.sampled_from(["complete"] * 4 + ["failed", "lost", "open", "elsewhere"]),
        value=st.one_of(
            st.floats(allow_nan=False), st.sampled_from([0.0, 1.0, math.inf, -math.inf])
        ),
        wait=st.integers(0, 5),
        enqueued=st.sampled_from([(), (), (), ("n",), ("x", "wide"), tuple(ELSEWHERE)]),
    ),
    max_size=24,
)


def play(
    events: Sequence[Event], sampler_of: Callable[[int], BaseSampler], *, seed: int = 0
) -> optuna.Study:
    """Returns a study in which the events happened; `sampler_of` says who asks for the k-th."""
    study = optuna.create_study(direction="maximize")
    ends: dict[int, list[tuple[optuna.Trial, Event]]] = {}
    told = 0
    for k in range(len(events) + 6):
        if k < len(events):
            event = events[k]
            if event.end == "elsewhere":
                study.add_trial(
                    create_trial(params=ELSEWHERE, distributions=SPACE, value=event.value)
                )
            else:
                if event.enqueued:
                    study.enqueue_trial({name: ELSEWHERE[name] for name in event.enqueued})
                study.sampler = sampler_of(k)
                ends.setdefault(k + event.wait, []).append((study.ask(SPACE), event))
        for trial, event in ends.pop(k, []):
            if event.end in ("complete", "failed"):
                trial.set_user_attr(TOLD_INDEX, told)
                told += 1
            if event.end == "complete":
                study.tell(trial, event.value)
            elif event.end != "open":
                study.tell(trial, state=TrialState.FAIL)
    return study


def params(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


def rounded(params: dict[str, Any]) -> list[float]:
    return [float(f"{value:.9g}") for value in params.values()]


def drawn_by(sampler: BaseSampler, study: optuna.Study) -> Any:
    """Returns the vectors that a sampler draws for trial 1000 of a study."""
    trial = create_trial(state=TrialState.RUNNING)
    trial.number, trial._trial_id = 1000, study._storage.create_new_trial(study._study_id)
    sampler.sample_relative(study, trial, SPACE)
    return study._storage.get_trial(trial._trial_id).system_attrs[DRAWN]


COMMON = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


class TestAnyHistory:
    @COMMON
    @given(EVENTS)
    def test_each_finished_trial_is_told_exactly_once_at_the_point_that_was_run(
        self, events: list[Event]
    ) -> None:
        sampler = new_sampler()
        study = play(events, lambda _: sampler)
        study.sampler = sampler
        study.ask(SPACE)
        expected = sum(event.end in ("complete", "failed", "elsewhere") for event in events)
        finished = History().read(study)
        assert len(finished) == len({trial.number for trial in finished}) == expected
        encoding = Encoding(SPACE)
        told = points_told(sampler)
        assert len(told) == expected // POPSIZE * POPSIZE
        for start in range(0, len(told), POPSIZE):
            group = slice(start, start + POPSIZE)
            decoded = [encoding.decode(point.encoded) for point in told[group]]
            # A float from elsewhere is encoded and decoded once more.
            assert sorted(map(rounded, decoded)) == sorted(
                rounded(trial.params) for trial in finished[group]
            )

    @COMMON
    @given(EVENTS)
    def test_it_does_not_matter_who_asks(self, events: list[Event]) -> None:
        one, others = new_sampler(), [new_sampler() for _ in range(3)]
        alone = play(events, lambda _: one)
        assert params(alone) == params(play(events, lambda k: others[k % 3]))

    @COMMON
    @given(EVENTS)
    def test_a_restart_changes_no_bit_of_the_next_candidate(self, events: list[Event]) -> None:
        old = new_sampler()
        study = play(events, lambda _: old)
        assert drawn_by(old, study) == drawn_by(new_sampler(), study)

    @COMMON
    @given(EVENTS)
    def test_candidates_lie_in_the_space_and_are_what_was_drawn(self, events: list[Event]) -> None:
        sampler = new_sampler()
        study = play(events, lambda _: sampler)
        encoding = Encoding(SPACE)
        for trial in study.trials:
            assert encoding.holds(trial.params)
            if DRAWN in trial.system_attrs and "fixed_params" not in trial.system_attrs:
                point = point_of(trial, encoding)
                assert encoding.decode(point.encoded) == trial.params
                assert point.drawn.tolist() == trial.system_attrs[DRAWN]["drawn"]


class TestDistribution:
    def tell_random(self, distribution: Distribution, seed: int) -> list[Point]:
        points = distribution.draw(seed, POPSIZE)
        distribution.tell(points)
        return points

    def test_a_drawn_vector_stands_for_the_steps_that_are_run(self) -> None:
        distribution = Distribution(Encoding(SPACE).steps, POPSIZE, None)
        for seed in range(20):
            for point in distribution.draw(seed, 5):
                assert distribution.seen(point).tolist() == point.drawn.tolist()
            self.tell_random(distribution, seed)

    def test_an_old_vector_is_moved_no_further_than_into_the_cell_that_was_run(self) -> None:
        distribution = Distribution(Encoding(SPACE).steps, POPSIZE, None)
        old = [point for seed in range(20) for point in self.tell_random(distribution, seed)]
        moved = [distribution.seen(point) for point in old]
        assert any((new != point.drawn).any() for new, point in zip(moved, old, strict=True))
        optimizer, grid = distribution._optimizer, Encoding(SPACE).steps > 0
        mean, scale = optimizer.mean[grid], optimizer._A[grid]
        for new, point in zip(moved, old, strict=True):
            middle = (point.encoded[grid] - mean) / scale + mean
            # A moved vector lies on the border of its cell.
            inside = new[grid] + 1e-6 * (middle - new[grid])
            shown = optimizer._encode_discrete_params(inside)
            assert shown == pytest.approx(point.encoded[grid])
            assert (new[~grid] == point.drawn[~grid]).all()

    def test_a_search_that_has_converged_starts_again(self) -> None:
        distribution = Distribution(np.zeros(2), POPSIZE, None)
        spreads = []
        for seed in range(400):
            points = distribution.draw(seed, POPSIZE)
            points.sort(key=lambda point: float(((point.encoded - 0.3) ** 2).sum()))
            spreads.append(float(np.ptp([point.encoded for point in points], axis=0).max()))
            distribution.tell(points)
        assert min(spreads) < 1e-9 < 1e-2 < max(spreads[200:])


def test_drawing_waits_for_no_scipy_and_leaves_it_usable() -> None:
    code = """
import sys
import hpsearch.samplers.cma_es
assert "scipy.stats" not in sys.modules
import scipy.stats
assert scipy.stats.norm.cdf(0.0) == 0.5
from cmaes import _cmawm, _stats
assert _cmawm.norm_cdf is _stats.norm_cdf
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class TestHistory:
    def test_what_failed_by_its_parameters_is_told_last(self) -> None:
        events = [Event("failed", 0.0, 0, ())] + [Event("complete", -math.inf, 0, ())] * 3
        sampler = new_sampler()
        study = play(events, lambda _: sampler)
        study.sampler = sampler
        study.ask(SPACE)
        last = points_told(sampler)[-1].encoded
        assert Encoding(SPACE).decode(last) == study.trials[0].params

    def test_a_trial_from_elsewhere_keeps_the_place_that_it_was_given(self) -> None:
        study = optuna.create_study()
        for value in (1.0, 2.0, 3.0):
            study.add_trial(create_trial(params=ELSEWHERE, distributions=SPACE, value=value))
        study.add_trial(
            create_trial(
                params=ELSEWHERE, distributions=SPACE, value=4.0, user_attrs={TOLD_INDEX: 1}
            )
        )
        study._storage.set_study_system_attr(study._study_id, PLACES, {"1": 2, "0": 0})
        assert [trial.value for trial in History().read(study)] == [1.0, 4.0, 2.0, 3.0]

    @COMMON
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([TrialState.COMPLETE, TrialState.FAIL]),
                st.one_of(st.none(), st.integers(0, 6)),
                st.integers(0, 3),
                st.one_of(st.none(), st.integers(0, 6)),
            ),
            max_size=12,
        )
    )
    def test_what_was_read_before_changes_no_order(
        self, events: list[tuple[TrialState, int | None, int, int | None]]
    ) -> None:
        study, history, places = optuna.create_study(), History(), {}
        for number, (state, own, day, given_later) in enumerate(events):
            trial = create_trial(
                state=state,
                params=ELSEWHERE,
                distributions=SPACE,
                value=0.0 if state == TrialState.COMPLETE else None,
                user_attrs={} if own is None else {TOLD_INDEX: own},
            )
            trial.datetime_complete = datetime(2026, 1, 1 + day)
            study.add_trial(trial)
            if given_later is not None:
                places[str(number // 2)] = given_later
                study._storage.set_study_system_attr(study._study_id, PLACES, places)
            read = [trial.number for trial in history.read(study)]
            assert read == [trial.number for trial in History().read(study)]

    def test_a_history_that_changed_is_told_anew(self) -> None:
        sampler = new_sampler()
        study = play([Event("complete", float(k % 3), 0, ()) for k in range(9)], lambda _: sampler)
        study.add_trial(
            create_trial(
                params=ELSEWHERE, distributions=SPACE, value=9.0, user_attrs={TOLD_INDEX: 0}
            )
        )
        study.sampler = sampler
        changed = study.ask(SPACE)
        drawn = study._storage.get_trial(changed._trial_id).system_attrs[DRAWN]
        assert drawn_by(sampler, study) == drawn_by(new_sampler(), study) != drawn

    @pytest.mark.parametrize(
        "stored",
        [
            "words",
            {"encoded": "x", "drawn": [0.5] * 6},
            {"encoded": [0.5] * 5, "drawn": [0.5] * 5},
            {"encoded": [0.5] * 6, "drawn": [1e300] * 6},
            {"encoded": [math.nan] * 6, "drawn": [0.5] * 6},
            {"encoded": [2.0] * 6, "drawn": [0.5] * 6},
            {"encoded": [True] * 6, "drawn": [0.5] * 6},
        ],
    )
    def test_stored_vectors_that_are_no_numbers_in_range_are_ignored(self, stored: Any) -> None:
        trial = create_trial(
            params=ELSEWHERE, distributions=SPACE, value=0.0, system_attrs={DRAWN: stored}
        )
        encoding = Encoding(SPACE)
        assert (point_of(trial, encoding).drawn == encoding.encode(ELSEWHERE)).all()

    def test_a_planted_pickle_is_never_loaded(self, tmp_path: Path) -> None:
        marker = tmp_path / "executed"

        class Payload:
            def __reduce__(self) -> tuple[Any, tuple[Path]]:
                return Path.touch, (marker,)

        code = pickle.dumps(Payload())
        keys = ("cma:optimizer", "cma:optimizer:0", "cmawm:optimizer:0", DRAWN)
        planted = create_trial(
            params=ELSEWHERE,
            distributions=SPACE,
            value=0.0,
            system_attrs={key: code.hex() for key in keys},
        )
        study = optuna.create_study(sampler=new_sampler())
        study.add_trials([planted] * 2 * POPSIZE)
        study.ask(SPACE)
        assert not marker.exists()
        pickle.loads(code)
        assert marker.exists()


class TestFirstTrials:
    def test_they_come_from_the_distribution_unless_startup_says_otherwise(self) -> None:
        for startup, expected in ((0, 3), (2, 1)):
            study = optuna.create_study(sampler=new_sampler(startup=startup))
            for _ in range(3):
                study.ask(SPACE)
            assert sum(DRAWN in trial.system_attrs for trial in study.trials) == expected

    def test_no_two_are_equal_with_one_seed_in_many_workers(self) -> None:
        study = optuna.create_study()
        for _ in range(16):
            study.sampler = new_sampler(seed=7)
            study.ask(SPACE)
        assert len({tuple(each.values()) for each in params(study)}) == 16

    def test_another_seed_draws_others(self) -> None:
        drawn = []
        for seed in (1, 2):
            study = optuna.create_study(sampler=new_sampler(seed))
            drawn.append(study.ask(SPACE).params)
        assert drawn[0] != drawn[1]


def test_it_finds_a_better_place_than_chance() -> None:
    def loss(trial: optuna.Trial) -> float:
        return float(((Encoding(SPACE).encode(trial.params) - 0.2) ** 2).sum())

    best = []
    for sampler in (new_sampler(), optuna.samplers.RandomSampler(seed=0)):
        study = optuna.create_study(sampler=sampler)
        for _ in range(60):
            trial = study.ask(SPACE)
            study.tell(trial, loss(trial))
        best.append(study.best_value)
    assert best[0] < 0.5 * best[1]
