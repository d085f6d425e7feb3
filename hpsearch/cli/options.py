"""What the commands share: options, each with its variable; the way to a database and study."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from hpsearch.database.engine import storage_url
from hpsearch.database.transaction import Database
from hpsearch.exceptions import InvalidValue
from hpsearch.reaping import reap
from hpsearch.study import Study, open_study
from hpsearch.worker import OnContention

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
# A table is as wide as what it holds, also in a pipe.
tables = Console(highlight=False, soft_wrap=True, width=1000)


def option(name: str, *more: str, help: str, variable: bool = True, **rest: Any) -> Any:
    """Returns a command-line option that the variable HPSEARCH_<NAME> sets as well.

    Args:
      name: `--name`.
      *more: other spellings.
      help: a sentence; `[default: ...]` stands as it is.
      variable: False for what must be typed each time.
      **rest: for typer.
    """
    words = name.lstrip("-").upper().replace("-", "_")
    envvar = f"HPSEARCH_{words}" if variable else None
    return typer.Option(name, *more, help=help.replace("[", "\\["), envvar=envvar, **rest)


StorageOption = Annotated[
    str | None,
    option("--storage", help="URL of a Postgres database; default: the embedded one."),
]
InsecureOption = Annotated[
    bool,
    option("--insecure-storage", help="Allow a database on another host without verified TLS."),
]
StudyOption = Annotated[
    str | None, option("--study", help="Name of the study; default: the one used last.")
]
AllowCodeChangeOption = Annotated[
    bool,
    option("--allow-code-change", help="Go on with other code than the study's results are of."),
]
AllowMixedDevicesOption = Annotated[
    bool,
    option(
        "--allow-mixed-devices",
        help="Go on with another kind of device than the study's results come from.",
    ),
]
OnContentionOption = Annotated[
    OnContention,
    option(
        "--on-contention",
        help="A run on a busy or slower machine: accept and mark it, retry it, or refuse it.",
    ),
]
LogOption = Annotated[
    str | None,
    option("--log", help="Write curves to tensorboard, wandb or both, comma between."),
]
JsonOption = Annotated[bool, option("--json", help="Print JSON.")]


def connect(storage: str | None, insecure: bool) -> Database:
    """Opens the database, saying once on stderr why it does not answer."""
    said: set[str] = set()

    def say(problem: str) -> None:
        if problem not in said:
            said.add(problem)
            err.print(f"waiting for the database: {problem}", markup=False)

    return Database(storage_url(storage, insecure=insecure), on_wait=say)


def connect_study(storage: str | None, insecure: bool, name: str | None) -> Study:
    """Opens a study, and takes back the leases of its dead workers.

    Which study was meant is said on stderr where none was named.
    """
    database = connect(storage, insecure)
    study = database.retrying(lambda: open_study(database, name))
    if name is None:
        err.print(f"study {study.name}", style="dim", markup=False)
    if database.may_write:
        database.retrying(lambda: reap(study))
    return study


def pairs(values: list[str] | None, flag: str) -> dict[str, str] | None:
    """Returns `NAME=VALUE` words as a mapping; None for none.

    Raises:
      InvalidValue: a word has no `=`.
    """
    found = {}
    for word in values or []:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise InvalidValue(name=flag, value=word, allowed="NAME=VALUE")
        found[name] = value
    return found or None
