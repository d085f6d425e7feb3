"""A Postgres for one benchmark, which is gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpsearch.database import embedded
from hpsearch.database.tables import workers
from hpsearch.database.transaction import Database
from hpsearch.study import Study


@contextmanager
def database() -> Iterator[Database]:
    """Yields an empty database on a server of its own."""
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-benchmark-", dir="/tmp"))
    # As root the server runs under another account, which has to get in.
    folder.chmod(0o711)
    try:
        opened = Database(embedded.ensure_running(folder / "data"))
        yield opened
        opened.close()
    finally:
        if (folder / "data").exists():
            embedded.down(folder / "data")
        shutil.rmtree(folder)


def add_worker(study: Study) -> uuid.UUID:
    """Returns the id of a new worker of the study."""
    id_ = uuid.uuid4()
    row = {"id": id_, "study_id": study.id, "host": "benchmark", "pid": 1, "code": {}}
    with study.database.transaction() as connection:
        connection.execute(workers.insert().values(row))
    return id_
