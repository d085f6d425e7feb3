"""`hpsearch db`: the embedded Postgres, and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli.options import InsecureOption, StorageOption, connect, option, out
from hpsearch.database import embedded
from hpsearch.database.backup import back_up, restore
from hpsearch.database.engine import make_engine, storage_url, wait_for, where
from hpsearch.database.roles import VIEWER, WORKER, apply_roles, role_statements
from hpsearch.database.transaction import upgrade_tables
from hpsearch.settings import settings

app = typer.Typer(
    help="The embedded Postgres: up, down, url; the data: backup, restore, migrate, roles.",
    no_args_is_help=True,
)


@app.command()
def up(
    listen: Annotated[
        str | None,
        option("--listen", help="Open it to other hosts: ADDRESS of this host, or ADDRESS/BITS."),
    ] = None,
    takeover: Annotated[
        bool,
        option("--takeover", help="Take the data over from a host that is gone for good."),
    ] = False,
) -> None:
    """Starts the embedded Postgres; with --listen it serves other hosts too."""
    file = embedded.up(listen, takeover=takeover)
    state = embedded.status()
    port = state.record.port if state.record else "?"
    out.print(f"running on port {port}, data in {state.folder}")
    if file:
        out.print(
            f"other hosts: copy {file} and the certificate (.crt) beside it there, if there is "
            "one, and set HPSEARCH_STORAGE_FILE to the copy"
        )


@app.command()
def down() -> None:
    """Stops the embedded Postgres; the data stays."""
    out.print("stopped; the data stays" if embedded.down() else "it was not running")


@app.command()
def url(
    show_password: Annotated[
        bool, option("--show-password", help="Print the password too.")
    ] = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Prints the database's URL, for Optuna's own tools; the password is hidden."""
    found = storage_url(storage, insecure=insecure_storage)
    out.print(found.render_as_string(hide_password=not show_password), markup=False)


@app.command()
def roles(
    apply: Annotated[bool, option("--apply", help="Carry them out instead of printing.")] = False,
    worker: Annotated[str, option("--worker-role", help="Reads and adds, deletes nothing.")] = (
        WORKER
    ),
    viewer: Annotated[str, option("--viewer-role", help="Reads.")] = VIEWER,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Prints the statements for a worker's and a viewer's role, or carries them out."""
    statements = role_statements(worker, viewer)
    if not apply:
        out.print(";\n".join(statements) + ";", markup=False)
        return
    apply_roles(connect(storage, insecure_storage).engine, statements)
    out.print(f"{worker} and {viewer} are there; ALTER ROLE ... PASSWORD gives each a password")


FileArgument = Annotated[Path, typer.Argument(help="The backup.", metavar="FILE")]


@app.command("backup")
def back_up_database(
    file: FileArgument, storage: StorageOption = None, insecure_storage: InsecureOption = False
) -> None:
    """Writes all studies into FILE, with pg_dump; workers may go on meanwhile."""
    back_up(storage_url(storage, insecure=insecure_storage), file)
    out.print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB", markup=False)


@app.command("restore")
def restore_database(
    file: FileArgument, storage: StorageOption = None, insecure_storage: InsecureOption = False
) -> None:
    """Fills an empty database from FILE, with pg_restore."""
    url = storage_url(storage, insecure=insecure_storage)
    restore(url, file)
    out.print(f"restored into {where(url)}; hpsearch studies lists them", markup=False)


@app.command("migrate")
def migrate_tables(
    storage: StorageOption = None, insecure_storage: InsecureOption = False
) -> None:
    """Brings the tables of an older release to this one's."""
    engine = make_engine(storage_url(storage, insecure=insecure_storage))
    wait_for(engine, settings().db_wait_seconds)
    before, after = upgrade_tables(engine)
    out.print(f"version {after}" + ("" if before == after else f", before {before or 'none'}"))
