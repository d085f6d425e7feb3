"""What a run gave, on its way into the database, which may stay away for longer than we live."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from hpsearch.base import Measurement, TrialResult
from hpsearch.comparable import check_device
from hpsearch.ending import accept, fail, supersede
from hpsearch.settings import settings
from hpsearch.study import Study


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How an attempt finished its run: with a result, or by its parameters' own fault.

    Attributes:
      attempt_id: the lease under which it was made.
      result: what it gave; None for a failure.
      value: the study's metric of it; None for a failure.
      reason: of a failure.
      detail: of a failure, at length.
      curve: all that was measured.
      log_tail: end of the attempt's log.
    """

    attempt_id: uuid.UUID
    result: TrialResult | None
    value: float | None
    reason: str
    detail: str
    curve: Sequence[Measurement]
    log_tail: str


def deliver(study: Study, delivery: Delivery, *, mixed_devices: bool = False) -> bool:
    """Writes a delivery into the database; may be repeated.

    Args:
      study: of the run.
      delivery: to be written.
      mixed_devices: accept a result from another kind of device than the study's.

    Returns:
      Whether it counts; False if the run went on without this attempt, which is then recorded.

    Raises:
      OtherDevice: the result comes from another kind of device.
    """
    attempt_id, log_tail = delivery.attempt_id, delivery.log_tail
    if delivery.result is not None and delivery.value is not None:
        result, value = delivery.result, delivery.value

        def check(connection: sa.Connection) -> None:
            if not mixed_devices:
                check_device(connection, study, result)

        counts = accept(
            study, attempt_id, result, value, delivery.curve, log_tail=log_tail, check=check
        )
    else:
        counts = fail(study, attempt_id, delivery.reason, delivery.detail, log_tail=log_tail)
    if not counts:
        supersede(study, attempt_id)
    return counts


def keep(study: Study, delivery: Delivery) -> Path:
    """Writes a delivery to disk, whole or not at all, and returns its file."""
    folder = _folder(study)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{delivery.attempt_id}.json"
    draft = path.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(delivery), file, default=str)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def kept(study: Study) -> Iterator[tuple[Path, Delivery | str]]:
    """Yields what earlier workers on this machine could not deliver.

    In place of a delivery that cannot be read stands why; its file is out of the way then.
    """
    for path in sorted(_folder(study).glob("*.json")):
        try:
            yield path, _read(path)
        except FileNotFoundError:
            continue  # another worker was faster
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            yield path, f"{put_aside(path)}: {type(error).__name__}: {error}"


def put_aside(path: Path) -> Path:
    """Renames a file that no worker can deliver, so that none tries again; returns its name."""
    aside = path.with_suffix(".bad")
    with contextlib.suppress(OSError):
        path.replace(aside)
    return aside


def _read(path: Path) -> Delivery:
    plain = json.loads(path.read_text(encoding="utf-8"))
    plain["attempt_id"] = uuid.UUID(plain["attempt_id"])
    plain["result"] = plain["result"] and TrialResult(**plain["result"])
    plain["curve"] = [Measurement(**point) for point in plain["curve"]]
    return Delivery(**plain)


def _folder(study: Study) -> Path:
    # Studies of other databases have the same small numbers, but not the same spec.
    return settings().data_dir / "spool" / f"study-{study.id}-{study.spec.fingerprint}"
