"""What a sampler may learn from: the finished trials of a study, in the order of their telling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpsearch.samplers.encoding import Encoding
from hpsearch.samplers.point import Point

TOLD_INDEX = "told_index"
"""User attribute of a trial: its place in the order of telling."""

PLACES = "hpsearch:places"
"""System attribute of a study: places of trials that were added from elsewhere, by number."""

DRAWN = "hpsearch:drawn"
"""System attribute of a trial: the vectors that were drawn for it, plain numbers."""

MAX_DRAWN = 1000.0
"""What a number of a drawn vector may be at most; the space is the unit cube."""


class History:
    """The finished trials of one study in the order of their telling.

    What was read before is not looked at again, which counts when there are thousands.
    """

    def __init__(self) -> None:
        """Knows no trial yet."""
        self._start()

    def _start(self) -> None:
        self._trials: list[FrozenTrial] = []
        self._seen: dict[int, FrozenTrial] = {}
        self._all_ours = True
        self._places: Mapping[int, int] = {}
        self._last: tuple[Any, ...] = ()

    def read(self, study: optuna.Study) -> Sequence[FrozenTrial]:
        """Returns the trials that have a result, each once.

        These are the complete ones, and those with a place that failed: by their parameters' own
        fault, for what fails otherwise gets none. The order is by place; where a trial has none,
        as in a study of Optuna's own, by completion after all that have one.
        """
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        new = [trial for trial in trials if id(trial) not in self._seen]
        if len(self._seen) + len(new) != len(trials) or not self._add(study, new):
            self._start()
            self._add(study, trials)
        return self._trials

    def _add(self, study: optuna.Study, new: Sequence[FrozenTrial]) -> bool:
        """Adds trials, if they come after all that are here; returns whether they do."""
        following: list[tuple[Any, ...]] = []
        unplaced = []
        for trial in new:
            place = trial.user_attrs.get(TOLD_INDEX)
            if _is_place(place):
                following.append((0, place, trial.number, trial))
            elif trial.state == TrialState.COMPLETE:
                unplaced.append(trial)
        all_ours = self._all_ours and not unplaced
        places = {} if all_ours else _places(study)
        for trial in unplaced:
            place, ended = places.get(trial.number), trial.datetime_complete or datetime.min
            key = (1, ended) if place is None else (0, place)
            following.append((*key, trial.number, trial))
        following.sort()
        if self._trials and (places != self._places or (following and following[0] < self._last)):
            return False
        self._all_ours, self._places = all_ours, places
        self._seen |= {id(trial): trial for trial in new}
        self._trials = [*self._trials, *(trial for *_, trial in following)]
        self._last = following[-1][:-1] if following else self._last
        return True


def _is_place(value: Any) -> bool:
    return type(value) is int and value >= 0


def _places(study: optuna.Study) -> dict[int, int]:
    stored = study._storage.get_study_system_attrs(study._study_id).get(PLACES)
    pairs = stored.items() if isinstance(stored, dict) else ()
    return {int(n): place for n, place in pairs if n.isdecimal() and _is_place(place)}


def losses(trials: Sequence[FrozenTrial], direction: StudyDirection) -> np.ndarray:
    """Returns what the best of `trials` has least of, `[N]`; what failed has infinity."""
    sign = 1.0 if direction == StudyDirection.MINIMIZE else -1.0
    return np.array([math.inf if t.value is None else sign * t.value for t in trials])


def ranked(trials: Sequence[FrozenTrial], direction: StudyDirection) -> list[int]:
    """Returns the indices of `trials`, the best first, what failed last; of equals the earlier."""
    loss = losses(trials, direction).tolist()
    return sorted(range(len(trials)), key=lambda index: (trials[index].value is None, loss[index]))


def stored_vectors(point: Point, n_updates: int) -> dict[str, Any]:
    """Returns a point as plain numbers, which `point_of` reads.

    Args:
      point: the candidate.
      n_updates: of the distribution that it was drawn from, for who wants to look.
    """
    encoded, drawn = point.encoded.tolist(), point.drawn.tolist()
    return {"encoded": encoded, "drawn": drawn, "updates": n_updates}


def point_of(trial: FrozenTrial, encoding: Encoding) -> Point:
    """Returns the point that a trial was really run at.

    Where a parameter is what was drawn for it, the drawn number stands; where somebody asked for
    another value, or nothing was drawn, or what is stored is no such number, the value's own.
    """
    encoded = encoding.encode(trial.params)
    stored = trial.system_attrs.get(DRAWN)
    vectors = stored if isinstance(stored, Mapping) else {}
    was_encoded = _vector(vectors.get("encoded"), encoding.dim, 0.0, 1.0)
    was_drawn = _vector(vectors.get("drawn"), encoding.dim, -MAX_DRAWN, MAX_DRAWN)
    if was_encoded is None or was_drawn is None:
        return Point(encoded=encoded, drawn=encoded)
    params = encoding.decode(was_encoded)
    same = np.array([params[name] == trial.params[name] for name in encoding.names])
    # Between steps a parameter is drawn as it is run.
    same &= (encoding.steps > 0) | (was_encoded == was_drawn)
    return Point(
        encoded=np.where(same, was_encoded, encoded), drawn=np.where(same, was_drawn, encoded)
    )


def _vector(stored: Any, dim: int, low: float, high: float) -> np.ndarray | None:
    """Returns `[dim]` numbers within the limits; None if `stored` is anything else."""
    if not (isinstance(stored, list) and len(stored) == dim):
        return None
    if not all(type(x) in (int, float) and low <= x <= high for x in stored):
        return None
    return np.array(stored, dtype=float)
