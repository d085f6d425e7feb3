"""Stored action limits as a file: written on one machine, read on another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsearch.bounds import StoredLimits
from hpsearch.exceptions import InvalidFile, InvalidLimits
from hpsearch.objectives.limits import BUILT_IN, limits_in, read_content
from hpsearch.objectives.tasks.isaaclab_robots import same_task

_OF_JOINTS = ("outside", "edges", "counts")
"""What a joint may have beside its name and limits: a share, and a histogram."""


def write_stored(found: StoredLimits, file: Path) -> None:
    """Writes limits into a file that `--bounds` and `read_stored_file` take.

    Raises:
      InvalidFile: it cannot be written.
    """
    limits = found.limits
    content: dict[str, Any] = {
        "low": list(limits.low),
        "high": list(limits.high),
        "task": found.task,
        "settings": dict(found.settings),
        "percentile": found.percentile,
        "source": dict(found.source),
    }
    if limits.joints:
        content["joints"] = list(limits.joints)
    for key in _OF_JOINTS:
        values = [joint[key] for joint in found.joints if key in joint]
        if len(values) == len(found.joints):
            content[key] = values
    try:
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidFile(path=file, problem=str(error)) from error


def read_stored_file(file: Path, *, name: str, task: str) -> StoredLimits:
    """Returns the limits in a file.

    What `write_stored` told beside them is kept where the file is of the same task, so that
    `--bounds auto` finds them; else they are limits that somebody typed.

    Args:
      file: JSON.
      name: of the limits.
      task: that they are for.

    Raises:
      InvalidLimits: the file is not there or does not hold such limits.
    """
    content = read_content(str(file))
    limits = limits_in(content, str(file))
    names = limits.joints or tuple(str(place) for place in range(len(limits.low)))
    joints: list[dict[str, Any]] = [
        {"name": joint, "low": low, "high": high}
        for joint, low, high in zip(names, limits.low, limits.high, strict=True)
    ]
    found = StoredLimits(
        name=name, task=task, settings={}, percentile=None, joints=joints,
        source={"file": file.name},
    )  # fmt: skip
    theirs = content.get("task")
    if not (isinstance(theirs, str) and same_task(theirs, task)):
        return found
    _check_told(content, str(file), len(joints))
    for key in _OF_JOINTS:
        for joint, value in zip(joints, content.get(key, ()), strict=False):
            joint[key] = value
    return StoredLimits(
        name=name,
        task=task,
        settings=content.get("settings", {}),
        percentile=content.get("percentile"),
        joints=joints,
        source={**content.get("source", {}), "file": file.name},
    )


def _check_told(content: Mapping[str, Any], name: str, n_joints: int) -> None:
    """Refuses what a file says beside the limits, where that is not as `write_stored` says it."""
    percentile, settings = content.get("percentile"), content.get("settings", {})
    share, *histogram = (content.get(key, [[]] * n_joints) for key in _OF_JOINTS)
    good = {
        "percentile": percentile is None or (_is_number(percentile) and 0 <= percentile < 50),
        "settings": isinstance(settings, dict)
        and all(isinstance(value, str) for value in settings.values()),
        "source": isinstance(content.get("source", {}), dict),
        "outside": "outside" not in content or _are_numbers(share, n_joints),
        **{
            key: isinstance(each, list)
            and len(each) == n_joints
            and all(_are_numbers(values) for values in each)
            for key, each in zip(_OF_JOINTS[1:], histogram, strict=True)
        },
    }
    wrong = [key for key, fits in good.items() if not (fits and _storable(content.get(key)))]
    if wrong:
        problem = f'its "{wrong[0]}" is not what `hpsearch bounds export` writes'
        raise InvalidLimits(name=name, problem=problem, known=", ".join(BUILT_IN))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(values: object, n: int | None = None) -> bool:
    return isinstance(values, list) and n in (None, len(values)) and all(map(_is_number, values))


def _storable(value: object) -> bool:
    """Returns whether Postgres can store it: no NaN, no infinity, no zero byte."""
    try:
        return "\\u0000" not in json.dumps(value, allow_nan=False)
    except ValueError:
        return False
