"""The command line: parse, call, print; one file a command."""

from __future__ import annotations

import os
import sys

# The sampler's matrices are small: more threads cost more than they save, and round differently.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sqlalchemy as sa
import typer
from optuna.exceptions import StorageInternalError

import hpsearch
from hpsearch.cli import (
    bounds,
    check,
    dashboard,
    db,
    delete,
    doctor,
    launch,
    logs,
    replay,
    show,
    spaces,
    status,
    stop,
    studies,
    tasks,
    train,
    trials,
    watch,
    worker,
)
from hpsearch.cli.options import err
from hpsearch.database.engine import cause, is_transient
from hpsearch.exceptions import HpsearchError

app = typer.Typer(
    name="hpsearch",
    help="Finds the hyper-parameters with which SAC learns fastest by the clock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = {
    "launch": launch,
    "watch": watch,
    "stop": stop,
    "status": status,
    "studies": studies,
    "trials": trials,
    "show": show,
    "logs": logs,
    "replay": replay,
    "train": train,
    "dashboard": dashboard,
    "tasks": tasks,
    "spaces": spaces,
    "check": check,
    "doctor": doctor,
    "worker": worker,
    "delete": delete,
}
for _name, _module in _COMMANDS.items():
    app.command(_name)(_module.command)
app.add_typer(bounds.app, name="bounds")
app.add_typer(db.app, name="db")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hpsearch {hpsearch.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Finds the hyper-parameters with which SAC learns fastest by the clock."""


def main() -> None:
    """Runs the command line; every error becomes one line and an exit code."""
    try:
        app()
    except HpsearchError as error:
        _fail(str(error), error.exit_code)
    except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
        away = is_transient(error)
        advice = "Try again" if away else "Another role may be allowed to: see `hpsearch db roles`"
        _fail(f"The database refused: {cause(error)}. {advice}.", 69 if away else 1)
    except OSError as error:
        _fail(f"The system refused: {error}.", 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, status: int) -> None:
    err.print(f"error: {message}", style=None, markup=False)
    sys.exit(status)
