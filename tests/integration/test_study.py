"""Create, open, compare, list and delete studies; the tables and their versions."""

from __future__ import annotations

import threading

import optuna
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hpsearch.database.engine import normalise_url
from hpsearch.database.tables import SCHEMA, VERSION_TABLE, metadata
from hpsearch.database.transaction import Database, upgrade_tables
from hpsearch.exceptions import (
    ForeignStudy,
    NewDatabase,
    NoStudies,
    NoSuchStudy,
    NoSuchTrial,
    OldDatabase,
    SpecDiffers,
    StudyExists,
)
from hpsearch.spec import Given
from hpsearch.study import (
    Study,
    delete_study,
    launch_study,
    list_studies,
    open_study,
    request_stop,
)
from tests.integration.conftest import MakeStudy, scalar

GIVEN = Given(objective="sphere", popsize=4)


def test_a_study_is_created_once_and_then_resumed(database: Database) -> None:
    first, created = launch_study(database, GIVEN, name=None, target=None)
    assert created and first.name == "sphere-sphere"
    again, created = launch_study(database, Given(objective="sphere"), name=None, target=50)
    assert not created and again.id == first.id and again.spec == first.spec
    assert scalar(again, "SELECT target FROM hpsearch.specs") == 50


def test_launching_again_undoes_a_stop(study: Study) -> None:
    request_stop(study, now=True)
    launch_study(study.database, GIVEN, name="s", target=None)
    assert scalar(study, "SELECT stop FROM hpsearch.specs") is None


def test_another_spec_is_refused_and_changes_nothing(study: Study) -> None:
    with pytest.raises(SpecDiffers, match="popsize is 4, not 9"):
        launch_study(study.database, Given(popsize=9), name="s", target=99)
    assert scalar(study, "SELECT target FROM hpsearch.specs") == 4


def test_a_new_study_must_not_exist(study: Study) -> None:
    with pytest.raises(StudyExists, match="'s'"):
        launch_study(study.database, GIVEN, name="s", target=None, new=True)


def test_a_study_of_optunas_own_is_told_apart(database: Database) -> None:
    optuna.create_study(study_name="theirs", storage=database.optuna)
    with pytest.raises(ForeignStudy, match="theirs"):
        launch_study(database, GIVEN, name="theirs", target=None)


def test_without_a_name_the_last_used_study_opens(make_study: MakeStudy) -> None:
    first = make_study(name="first")
    make_study(name="second")
    assert open_study(first.database, None).name == "second"
    open_study(first.database, "first")
    assert open_study(first.database, None).name == "first"
    assert [summary.name for summary in list_studies(first.database)] == ["first", "second"]


def test_an_unknown_study_or_trial_is_named_with_the_known_ones(study: Study) -> None:
    with pytest.raises(NoSuchStudy, match=r"'t'\. Known: s"):
        open_study(study.database, "t")
    with pytest.raises(NoSuchTrial, match="none yet"):
        study.trial(0)


def test_an_empty_database_says_what_to_do(database: Database) -> None:
    with pytest.raises(NoStudies, match="hpsearch launch"):
        open_study(database, None)


def test_a_deleted_study_is_gone_everywhere(study: Study) -> None:
    delete_study(study)
    assert list_studies(study.database) == []
    assert study.database.optuna.get_all_studies() == []


def test_two_first_launches_at_once_make_one_study(database_url: str) -> None:
    made: list[bool] = []

    def launch() -> None:
        database = Database(normalise_url(database_url))
        made.append(launch_study(database, GIVEN, name="s", target=None)[1])
        database.close()

    threads = [threading.Thread(target=launch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, True]


def test_the_migrations_make_the_tables_that_the_code_uses(tables_url: str) -> None:
    def ours(thing: object, name: str | None, kind: str, *_: object) -> bool:
        return getattr(thing, "schema", None) == SCHEMA if kind == "table" else True

    # For a role with our schema's name the schema would be the default one, and go unnamed.
    path = {"options": "-csearch_path=public"}
    engine = sa.create_engine(normalise_url(tables_url), connect_args=path)
    with engine.connect() as connection:
        options = {
            "include_schemas": True,
            "include_object": ours,
            "version_table": VERSION_TABLE,
            "version_table_schema": SCHEMA,
            "compare_type": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    engine.dispose()
    # The reference to Optuna's own table is not part of our metadata.
    assert [d for d in differences if d[0] != "remove_fk"] == []


@pytest.mark.parametrize(("version", "error"), [("9999", NewDatabase), ("0000", NewDatabase)])
def test_tables_of_an_unknown_version_are_refused(
    database: Database, tables_url: str, version: str, error: type[Exception]
) -> None:
    with database.transaction() as connection:
        connection.execute(
            sa.text(f"UPDATE {SCHEMA}.{VERSION_TABLE} SET version_num = :v"), {"v": version}
        )
    with pytest.raises(error, match=version):
        Database(normalise_url(tables_url))


def test_older_tables_are_refused_with_the_way_out(
    database: Database, tables_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.database.transaction.known_versions", lambda: ["0003", "0002"])
    with pytest.raises(OldDatabase, match="hpsearch db migrate"):
        Database(normalise_url(tables_url))


def test_upgrading_an_empty_database_makes_the_tables(database_url: str) -> None:
    engine = sa.create_engine(normalise_url(database_url))
    before, after = upgrade_tables(engine)
    assert before is None and after
    engine.dispose()
    Database(normalise_url(database_url)).close()


def test_a_role_named_like_our_schema_is_no_trap(database_url: str, postgres_url: sa.URL) -> None:
    assert postgres_url.username == SCHEMA
    database = Database(normalise_url(database_url))
    launch_study(database, GIVEN, name="s", target=None)
    plain = normalise_url(database_url).render_as_string(hide_password=False)
    assert optuna.get_all_study_names(storage=plain) == ["s"]
    database.close()
