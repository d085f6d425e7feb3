"""What an operator does: backup and restore, and roles that may do less."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from hpsearch.database.engine import normalise_url
from tests.acceptance.conftest import SPHERE, Command


@pytest.fixture
def other_url(postgres_url: sa.URL) -> Iterator[str]:
    """The URL of an empty database beside that of the test."""
    admin = sa.create_engine(
        postgres_url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE restored")
    yield postgres_url.set(database="restored").render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE restored WITH (FORCE)")


def test_a_study_goes_on_from_a_restored_backup(hpsearch: Command, other_url: str) -> None:
    launch = ("launch", "--study", "s", *SPHERE, "seconds=0.05")
    hpsearch(*launch, "--trials", "5")
    backup = hpsearch.folder / "hpsearch.dump"
    hpsearch("db", "backup", str(backup))
    assert backup.stat().st_mode & 0o077 == 0
    trials = hpsearch.json("trials")

    refused = hpsearch("db", "restore", str(backup), status=2)
    assert "holds tables already" in refused
    hpsearch.environment["HPSEARCH_STORAGE"] = other_url
    hpsearch("db", "restore", str(backup))
    assert hpsearch.json("trials") == trials
    hpsearch(*launch, "--trials", "7")
    after = hpsearch.json("trials")
    assert [trial["number"] for trial in after] == list(range(7))
    assert after[:5] == trials


def test_what_is_no_backup_changes_nothing(hpsearch: Command, other_url: str) -> None:
    hpsearch.environment["HPSEARCH_STORAGE"] = other_url
    text = hpsearch.folder / "notes.txt"
    text.write_text("no backup")
    assert "pg_restore failed" in hpsearch("db", "restore", str(text), status=1)
    assert "pg_restore failed" in hpsearch("db", "restore", "/nowhere/x.dump", status=1)
    assert "/nowhere/x.dump cannot be written" in hpsearch(
        "db", "backup", "/nowhere/x.dump", status=1
    )


def test_a_worker_role_works_and_a_viewer_role_only_looks(
    hpsearch: Command, tables_url: str
) -> None:
    names = ("ops_worker", "ops_viewer")
    owner = sa.create_engine(normalise_url(tables_url), isolation_level="AUTOCOMMIT")
    study = ("--study", "s")
    hpsearch("launch", *study, *SPHERE, "--trials", "2", "seconds=0.05")
    try:
        hpsearch("db", "roles", "--apply", "--worker-role", names[0], "--viewer-role", names[1])
        urls = {}
        with owner.connect() as connection:
            for name in names:
                connection.exec_driver_sql(f"ALTER ROLE {name} PASSWORD 'secret'")
                url = normalise_url(tables_url).set(username=name, password="secret")
                urls[name] = url.render_as_string(hide_password=False)
        hpsearch.environment["HPSEARCH_STORAGE"] = urls["ops_worker"]
        hpsearch("launch", *study, "--trials", "4")
        hpsearch("replay", *study, "--trial", "best", "--seeds", "2")
        assert len(hpsearch.json("trials")) == 4
        assert "permission denied" in hpsearch("delete", "s", "--yes", status=1)

        hpsearch.environment["HPSEARCH_STORAGE"] = urls["ops_viewer"]
        for words in ("status", "studies", "trials", "show 0", "logs 0"):
            hpsearch(*words.split())
        for words in ("launch --study s --trials 5", "worker --study s", "stop --study s"):
            refused = hpsearch(*words.split(), status=1)
            assert refused.count("error:") == 1
            assert "permission denied" in refused
        assert len(hpsearch.json("trials")) == 4
    finally:
        with owner.connect() as connection:
            for name in names:
                connection.exec_driver_sql(f"DROP OWNED BY {name}")
                connection.exec_driver_sql(f"DROP ROLE {name}")
        owner.dispose()
