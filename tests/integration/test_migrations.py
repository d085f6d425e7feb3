"""Tables of an older release become this one's, with their rows."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from hpsearch.base import Purpose
from hpsearch.database import migrations
from hpsearch.database.engine import normalise_url
from hpsearch.database.migrations import current_version, known_versions, migrate
from hpsearch.database.transaction import Database
from hpsearch.queue import enqueue_runs
from hpsearch.spec import Given
from hpsearch.study import launch_study


def test_the_versions_are_those_that_alembic_finds(tables_url: str) -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert known_versions() == [script.revision for script in scripts.walk_revisions()]
    engine = sa.create_engine(normalise_url(tables_url), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        assert current_version(connection) == scripts.get_current_head()
        connection.exec_driver_sql("DROP TABLE hpsearch.tables_version")
        assert current_version(connection) is None


def test_runs_may_belong_to_no_trial_from_version_2_on(tables_url: str) -> None:
    url = normalise_url(tables_url)
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        # Back to what release 1 of the tables looked like.
        connection.exec_driver_sql("DROP TABLE hpsearch.limits")
        for column in ("trial_number", "trial_id"):
            sql = f"ALTER TABLE hpsearch.runs ALTER COLUMN {column} SET NOT NULL"
            connection.exec_driver_sql(sql)
        connection.exec_driver_sql("UPDATE hpsearch.tables_version SET version_num = '0001'")
    migrate(engine)
    assert known_versions()[0] == "0002"
    database = Database(url)
    study, _ = launch_study(database, Given(objective="sphere"), name="s", target=0)
    assert enqueue_runs(study, Purpose.TRAIN, {"x0": 1.0}, 1)
    database.close()
    engine.dispose()
