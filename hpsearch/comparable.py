"""Whether a result may stand beside a study's others: same kind of device, as fast, its own.

Kind and speed that count are those of the study's first accepted result; the kind may be fixed
before by `--device-kind`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from hpsearch.base import TrialResult
from hpsearch.exceptions import OtherDevice
from hpsearch.objectives.device import of_kind
from hpsearch.study import Study

SLOWER = 1.5
"""Times that the fixed piece of work may take of what it took at the first result."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a study's results are compared with.

    Attributes:
      device_kind: that all results come from; None while it is open.
      calibration_seconds: of the first result; None before it.
    """

    device_kind: str | None
    calibration_seconds: float | None


def reference(connection: sa.Connection, study: Study) -> Reference:
    """Returns what the results of a study are compared with."""
    first = connection.execute(_FIRST, {"study": study.id}).one_or_none()
    fixed = study.spec.device_kind
    if first is None:
        return Reference(device_kind=fixed, calibration_seconds=None)
    # The first result may also say what simulated.
    kind = first.kind if fixed is None or of_kind(first.kind, fixed) else fixed
    return Reference(device_kind=kind, calibration_seconds=first.seconds)


_FIRST = sa.text("""
    SELECT result #>> '{conditions,device_kind}' AS kind,
           CAST(result #>> '{conditions,calibration_seconds}' AS float) AS seconds
    FROM hpsearch.runs
    WHERE study_id = :study AND state = 'finished'
      AND result #>> '{conditions,device_kind}' IS NOT NULL
    ORDER BY told_index, ended_at LIMIT 1
""")


def check_device(connection: sa.Connection, study: Study, result: TrialResult) -> None:
    """Refuses a result from another kind of device than the study's.

    Raises:
      OtherDevice: names both.
    """
    here = result.conditions.get("device_kind")
    if here is None:
        return
    kind = reference(connection, study).device_kind
    if kind is not None and not of_kind(here, kind):
        raise OtherDevice(kind=kind, here=here)


def contended(result: TrialResult) -> Sequence[str]:
    """Returns why the machine was not the run's own; nothing if it was."""
    found = result.conditions.get("contended")
    return [str(reason) for reason in found] if isinstance(found, list) else []


def marked(result: TrialResult, against: Reference) -> TrialResult:
    """Returns the result, marked if its device was slower than the study's first."""
    seconds = result.conditions.get("calibration_seconds")
    usual = against.calibration_seconds
    if not (isinstance(seconds, int | float) and usual and seconds > SLOWER * usual):
        return result
    reason = f"the device was {seconds / usual:.1f} times slower than for the first result"
    conditions = {**result.conditions, "contended": [*contended(result), reason]}
    return dataclasses.replace(result, conditions=conditions)
