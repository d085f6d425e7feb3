"""Studies of the synthetic objective in a fresh database."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from hpsearch.database.engine import normalise_url
from hpsearch.database.tables import workers
from hpsearch.database.transaction import Database
from hpsearch.spec import Given
from hpsearch.study import Study, launch_study

MakeStudy = Callable[..., Study]


@pytest.fixture
def database(tables_url: str) -> Iterator[Database]:
    opened = Database(normalise_url(tables_url))
    yield opened
    opened.close()


@pytest.fixture
def make_study(database: Database) -> MakeStudy:
    def make(target: int = 4, name: str = "s", **given: object) -> Study:
        fields = {"objective": "sphere", "popsize": 4, **given}
        return launch_study(database, Given(**fields), name=name, target=target)[0]  # type: ignore[arg-type]

    return make


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    return make_study()


@pytest.fixture
def worker_id(study: Study) -> uuid.UUID:
    return add_worker(study)


def add_worker(study: Study) -> uuid.UUID:
    id_ = uuid.uuid4()
    with study.database.transaction() as connection:
        connection.execute(
            workers.insert().values(id=id_, study_id=study.id, host="h", pid=1, code={})
        )
    return id_


def scalar(study: Study, query: str) -> object:
    with study.database.transaction() as connection:
        return connection.scalar(sa.text(query))
