"""A study in a database: create, open, compare, list, stop, delete."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial

import optuna
import sqlalchemy as sa
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpsearch.code_version import check_code, code_version
from hpsearch.database.tables import runs, specs
from hpsearch.database.transaction import Database
from hpsearch.exceptions import (
    ForeignStudy,
    NoStudies,
    NoSuchStudy,
    NoSuchTrial,
    StudyExists,
    UnfitSource,
)
from hpsearch.samplers.by_name import make_sampler
from hpsearch.samplers.prior import Prior
from hpsearch.samplers.warm_start import prior_from
from hpsearch.spec import Given, Spec, check_same, resolve
from hpsearch.told import ToldStudy


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that is open in a database."""

    database: Database
    id: int
    name: str
    spec: Spec
    code: dict[str, str]

    @cached_property
    def sampler(self) -> BaseSampler:
        """Who draws the candidates; it remembers what it was told while this object lives."""
        return make_sampler(
            self.spec.sampler,
            popsize=self.spec.popsize,
            seed=self.spec.seed,
            space=self.spec.search_space().distributions,
            startup=self.spec.startup,
            prior=self.spec.prior,
        )

    def optuna_study(self, storage: BaseStorage) -> ToldStudy:
        """Returns Optuna's study on `storage`, inside a transaction of ours or not."""
        known = self._optuna_studies.get(storage)
        if known is None:
            known = ToldStudy(self.name, storage, sampler=self.sampler)
            self._optuna_studies.clear()
            self._optuna_studies[storage] = known
        return known

    @cached_property
    def _optuna_studies(self) -> dict[BaseStorage, ToldStudy]:
        return {}

    def trials(self) -> list[FrozenTrial]:
        """Returns all trials in the order of their numbers."""
        read = partial(self.database.optuna.get_all_trials, self.id, deepcopy=False)
        return self.database.retrying(read)

    def trial(self, number: int) -> FrozenTrial:
        """Returns one trial.

        Raises:
          NoSuchTrial: no trial has this number.
        """
        found = self.trials()
        if not 0 <= number < len(found):
            known = f"0 to {len(found) - 1}" if found else "none yet"
            raise NoSuchTrial(number=number, study=self.name, known=known)
        return found[number]

    def best(self) -> FrozenTrial | None:
        """Returns the complete trial with the best value; the earliest of equals."""
        complete = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        sign = -1.0 if self.spec.direction == "maximize" else 1.0
        return min(complete, key=lambda t: (sign * (t.value or 0.0), t.number), default=None)


def launch_study(
    database: Database,
    given: Given,
    *,
    name: str | None,
    target: int | None,
    new: bool = False,
    allow_code_change: bool = False,
) -> tuple[Study, bool]:
    """Opens the study of this name, or creates it; sets how many trials it shall have.

    Args:
      database: where.
      given: what the user gave explicitly.
      name: of the study; None for `<task>-<space>`.
      target: finished trials in all; None keeps what it is (100 for a new study); 0 for a study
        that only holds runs without a trial.
      new: refuse a study that exists.
      allow_code_change: go on with other code than the study's results come from.

    Returns:
      The study, and whether it is new.

    Raises:
      SpecDiffers: the study exists with another spec.
      CodeDiffers: its results come from other code.
      StudyExists: it exists and `new` was asked for.
      ForeignStudy: Optuna has a study of this name that is not ours.
      NoSuchStudy: there is no study to start from.
      UnfitSource: that study searched something else.
      TooFewSourceTrials: too few of its trials can be used.
    """
    name = name or resolve(given).default_name
    try:
        study = open_study(database, name)
    except NoSuchStudy:
        spec = resolve(given)
        if spec.warm_start is not None:
            spec = replace(spec, prior=_warm_prior(database, spec.warm_start, spec))
        created = _create(database, name, spec, 100 if target is None else target)
        if created:
            return created, True
        study = open_study(database, name)
    if new:
        raise StudyExists(name=name)
    check_same(name, study.spec, given)
    if not allow_code_change:
        check_code(name, study.code, code_version(study.spec))
    with database.transaction() as connection:
        changes = {"stop": None, "lost_in_row": 0, "used_at": sa.func.clock_timestamp()}
        if target is not None:
            changes["target"] = target
        connection.execute(specs.update().where(specs.c.study_id == study.id).values(changes))
    return study, False


def _create(database: Database, name: str, spec: Spec, target: int) -> Study | None:
    """Creates the study; returns None if somebody else was faster."""
    try:
        with database.joint_transaction() as (connection, storage):
            direction = StudyDirection[spec.direction.upper()]
            study_id = storage.create_new_study([direction], name)
            for key, value in spec.as_attributes().items():
                storage.set_study_user_attr(study_id, key, value)
            connection.execute(
                specs.insert().values(
                    study_id=study_id,
                    spec=spec.as_json(),
                    fingerprint=spec.fingerprint,
                    code=code_version(spec),
                    target=target,
                )
            )
    except optuna.exceptions.DuplicatedStudyError:
        return None
    return Study(database=database, id=study_id, name=name, spec=spec, code=code_version(spec))


def _warm_prior(database: Database, source: str, spec: Spec) -> Prior:
    """Returns where a search begins that follows the study `source`, ours or Optuna's own.

    Raises:
      NoSuchStudy: no study has this name.
      UnfitSource: it optimised more than one value, or other parameters.
      TooFewSourceTrials: too few of its trials lie in the search space.
    """
    storage = database.optuna
    studies = {each.study_name: each for each in storage.get_all_studies()}
    if source not in studies:
        raise NoSuchStudy(name=source, known=", ".join(studies) or "none yet")
    if len(studies[source].directions) > 1:
        raise UnfitSource(source=source, problem="it optimised more than one value")
    trials = storage.get_all_trials(studies[source]._study_id, deepcopy=False)
    direction = studies[source].directions[0]
    return prior_from(source, trials, direction, spec.search_space().distributions)


def open_study(database: Database, name: str | None) -> Study:
    """Opens a study by name; None opens the one used last.

    Raises:
      NoSuchStudy: no study has this name; the message lists the known ones.
      NoStudies: there is none at all.
      ForeignStudy: Optuna has a study of this name that is not ours.
    """
    names = {s._study_id: s.study_name for s in database.optuna.get_all_studies()}
    with database.transaction() as connection:
        rows = connection.execute(sa.select(specs).order_by(specs.c.used_at.desc())).all()
        ours = [(names[row.study_id], row) for row in rows if row.study_id in names]
        for known, row in ours:
            if name in (None, known):
                if database.may_write:
                    connection.execute(
                        specs.update()
                        .where(specs.c.study_id == row.study_id)
                        .values(used_at=sa.func.clock_timestamp())
                    )
                spec = Spec.from_json(row.spec)
                return Study(
                    database=database, id=row.study_id, name=known, spec=spec, code=row.code
                )
    if name is None:
        raise NoStudies()
    if name in names.values():
        raise ForeignStudy(name=name)
    known_names = ", ".join(known for known, _ in ours) or "none yet"
    raise NoSuchStudy(name=name, known=known_names)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One line of the list of studies."""

    name: str
    task: str
    target: int
    finished: int
    running: int
    stop: str | None
    used_at: datetime


def list_studies(database: Database) -> list[Summary]:
    """Returns all our studies, the last used one first."""
    names = {s._study_id: s.study_name for s in database.optuna.get_all_studies()}
    search = runs.c.purpose == "search"
    counts = sa.select(
        runs.c.study_id,
        sa.func.count().filter(search & runs.c.state.in_(("finished", "failed"))),
        sa.func.count().filter(runs.c.state == "leased"),
    ).group_by(runs.c.study_id)
    with database.transaction() as connection:
        n = {row[0]: (row[1], row[2]) for row in connection.execute(counts)}
        rows = connection.execute(sa.select(specs).order_by(specs.c.used_at.desc())).all()
    return [
        Summary(
            name=names[row.study_id],
            task=row.spec["task"] or row.spec["objective"],
            target=row.target,
            finished=n.get(row.study_id, (0, 0))[0],
            running=n.get(row.study_id, (0, 0))[1],
            stop=row.stop,
            used_at=row.used_at,
        )
        for row in rows
        if row.study_id in names
    ]


def request_stop(study: Study, *, now: bool) -> None:
    """Asks the study's workers to leave, after their run or at once; a launch undoes it."""
    with study.database.transaction() as connection:
        connection.execute(
            specs.update()
            .where(specs.c.study_id == study.id)
            .values(stop="now" if now else "after_trial")
        )


def delete_study(study: Study) -> None:
    """Deletes the study with its trials, runs, attempts and measurements."""
    with study.database.joint_transaction() as (_, storage):
        storage.delete_study(study.id)
