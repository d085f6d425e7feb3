"""The finished trials of a study as our runs record them: each is read once, in one statement.

Optuna's storage reads a study's trials in six statements, and again those that are new since. A
drawing under the study's lock has no time for that.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.storages._rdb.models import TrialValueModel
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.samplers.history import DRAWN, TOLD_INDEX

_NEW = sa.text("""
    SELECT t.trial_id, t.number, t.state, r.told_index, r.params, v.value, v.value_type,
           s.value_json AS drawn
    FROM hpsearch.runs r
    JOIN trials t ON t.trial_id = r.trial_id
    LEFT JOIN trial_values v ON v.trial_id = r.trial_id AND v.objective = 0
    LEFT JOIN trial_system_attributes s ON s.trial_id = r.trial_id AND s.key = :drawn
    WHERE r.study_id = :study AND r.told_index >= :known
    ORDER BY r.told_index
""")

_FINISHED = {TrialState.COMPLETE, TrialState.FAIL}


class ToldStudy(optuna.Study):
    """An Optuna study that may know its finished trials without asking its storage."""

    _known: Sequence[FrozenTrial] = ()
    _asks_storage = True

    def read(
        self,
        connection: sa.Connection,
        distributions: Mapping[str, BaseDistribution],
        told: int | None = None,
    ) -> int:
        """Reads what was told since the last time.

        Args:
          connection: of the study's database.
          distributions: of its space.
          told: how many were told, if that is known: perhaps all were read before.

        Returns:
          How many are known now; fewer than were told if some trials are not ours.
        """
        if told != len(self._known):
            self._known = [*self._known, *self._new(connection, distributions)]
        return len(self._known)

    @contextmanager
    def known(self) -> Iterator[None]:
        """Has the finished trials at hand: those that were read."""
        self._asks_storage = False
        try:
            yield
        finally:
            self._asks_storage = True

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Returns what Optuna does; inside `known` the finished ones come from our runs."""
        finished = states is not None and all(
            (state in states) == (state in _FINISHED) for state in TrialState
        )
        if self._asks_storage or not finished or deepcopy:
            return super().get_trials(deepcopy=deepcopy, states=states)
        return list(self._known)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        """Returns what Optuna does without the cache that it empties with each of its own asks."""
        return super()._get_trials(deepcopy, states)

    def _new(
        self, connection: sa.Connection, distributions: Mapping[str, BaseDistribution]
    ) -> Iterator[FrozenTrial]:
        known = self._known[-1].user_attrs[TOLD_INDEX] + 1 if self._known else 0
        keys = {"study": self._study_id, "known": known, "drawn": DRAWN}
        for row in connection.execute(_NEW, keys):
            value = None
            if row.value_type is not None:
                kind = TrialValueModel.TrialValueType[row.value_type]
                value = TrialValueModel.stored_repr_to_value(row.value, kind)
            trial = create_trial(
                state=TrialState[row.state],
                value=value,
                params=row.params,
                distributions=dict(distributions),
                user_attrs={TOLD_INDEX: row.told_index},
                system_attrs={DRAWN: json.loads(row.drawn)} if row.drawn else {},
            )
            trial._trial_id, trial.number = row.trial_id, row.number
            yield trial
