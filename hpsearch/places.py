"""The order of telling, for trials that were added from elsewhere.

A trial of ours gets its `told_index` when its result is accepted. A trial that somebody added or
finished with Optuna's own tools gets the next index when it is first seen. A finished trial's
attributes may be cached by any process, so the index is kept at the study.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpsearch.database.tables import specs
from hpsearch.samplers.history import PLACES, TOLD_INDEX
from hpsearch.study import Study

# Reading all trials to find that they are ours would cost more than the rest of a claim. A run has
# an index only if it was we who finished its trial.
_FOREIGN = sa.text("""
    SELECT (SELECT count(*) FROM trials WHERE study_id = :study AND state = 'COMPLETE')
        <> (SELECT count(told_index) FROM hpsearch.runs
            WHERE study_id = :study AND state = 'finished')
""")


def has_foreign_trials(connection: sa.Connection, study: Study) -> bool:
    """Returns whether trials of the study were added or finished elsewhere."""
    return bool(connection.scalar(_FOREIGN, {"study": study.id}))


def place_foreign_trials(connection: sa.Connection, storage: BaseStorage, study: Study) -> None:
    """Gives each complete trial that has none the next place in the order of telling.

    The caller holds the study's lock, so every worker sees the same order.

    Args:
      connection: in a transaction.
      storage: Optuna's, inside that transaction.
      study: whose trials.
    """
    complete = storage.get_all_trials(study.id, deepcopy=False, states=(TrialState.COMPLETE,))
    foreign = [trial for trial in complete if TOLD_INDEX not in trial.user_attrs]
    places = dict(storage.get_study_system_attrs(study.id).get(PLACES, {}))
    new = [trial for trial in foreign if str(trial.number) not in places]
    if not new:
        return
    new.sort(key=lambda trial: (trial.datetime_complete or datetime.min, trial.number))
    told: int = connection.scalars(
        specs.update()
        .where(specs.c.study_id == study.id)
        .values(told=specs.c.told + len(new))
        .returning(specs.c.told)
    ).one()
    places |= {str(t.number): place for place, t in enumerate(new, told - len(new))}
    storage.set_study_system_attr(study.id, PLACES, places)
