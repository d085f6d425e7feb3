"""Replay: one trial's parameters trained again on fresh seeds, to see whether it was luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.trial import TrialState

from hpsearch.base import Purpose
from hpsearch.database.tables import runs, specs
from hpsearch.exceptions import TrialNotFinished
from hpsearch.queue import enqueue_replays
from hpsearch.statistics import bootstrap_interval, interquartile_mean
from hpsearch.study import Study


@dataclass(frozen=True, kw_only=True)
class ReplayRun:
    """One seed of a replay; `value` is None until it finished."""

    seed: int
    state: str
    value: float | None
    num_timesteps: int | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a trial gave on fresh seeds.

    Attributes:
      trial_number: the trial.
      search_value: what it gave in the search, with one seed.
      runs: one a seed, in the order of the seeds.
    """

    trial_number: int
    search_value: float
    runs: Sequence[ReplayRun]

    @property
    def values(self) -> list[float]:
        """The values of the finished seeds."""
        return [run.value for run in self.runs if run.value is not None]

    @property
    def open(self) -> int:
        """How many seeds have no result yet."""
        return sum(run.state in ("waiting", "leased") for run in self.runs)

    @property
    def mean(self) -> float:
        """Mean of the finished seeds."""
        return sum(self.values) / len(self.values)

    @property
    def iqm(self) -> float:
        """Interquartile mean of the finished seeds."""
        return interquartile_mean(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the interquartile mean."""
        return bootstrap_interval(self.values)


def request_replay(study: Study, trial_number: int, n_seeds: int) -> list[int]:
    """Makes the runs of a replay wait for a worker; finished ones are kept.

    Returns:
      The ids of the runs.

    Raises:
      NoSuchTrial: the study has no such trial.
      TrialNotFinished: the trial has no value.
    """
    trial = study.trial(trial_number)
    if trial.state != TrialState.COMPLETE:
        state = f"it is {trial.state.name.lower()}"
        raise TrialNotFinished(number=trial_number, study=study.name, state=state)
    with study.database.transaction() as connection:
        # Stopping at once meant the search; it must not end the replay's runs as well.
        connection.execute(
            specs.update()
            .where(specs.c.study_id == study.id, specs.c.stop == "now")
            .values(stop="after_trial")
        )
    return enqueue_replays(study, trial, n_seeds)


def read_replay(study: Study, trial_number: int) -> Replay | None:
    """Returns all replays made of a trial; None if there is none."""
    with study.database.transaction() as connection:
        rows = connection.execute(
            sa.select(runs)
            .where(
                runs.c.study_id == study.id,
                runs.c.trial_number == trial_number,
                runs.c.purpose == Purpose.REPLAY,
            )
            .order_by(runs.c.id)
        ).all()
    if not rows:
        return None
    value = study.trial(trial_number).value
    assert value is not None
    return Replay(
        trial_number=trial_number,
        search_value=value,
        runs=[
            ReplayRun(
                seed=row.seed,
                state=row.state,
                value=row.value,
                num_timesteps=row.result and row.result["num_timesteps"],
                reason=row.reason,
            )
            for row in rows
        ],
    )
