"""Action limits: built-in sets, a number, or a JSON file become per-joint low and high.

A plain number on a task whose joints are not known yet (`action_names` is empty) gives limits of
length 1: one pair that stands for every joint, and the task spreads it over its action space.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsearch.base import ActionLimits
from hpsearch.exceptions import InvalidLimits, InvalidValue

# Isaac's joint order: by kind of joint first, then by leg.
A1_JOINTS = tuple(
    f"{leg}_{joint}_joint"
    for joint in ("hip", "thigh", "calf")
    for leg in ("FL", "FR", "RL", "RR")
)
ANYMAL_JOINTS = tuple(
    f"{leg}_{joint}" for joint in ("HAA", "HFE", "KFE") for leg in ("LF", "LH", "RF", "RH")
)

# 2.5 and 97.5 percentiles of the actions of a trained PPO agent; the source is the post's section
# "Defining Proper Action Bound". Rough terrain and Anymal: the same, 1.25 times as wide. Those of
# the A1 were used for the Go1 and Go2 as well.
_A1_LOW = (-2.0, -0.4, -2.6, -1.3, -2.2, -1.9, -0.7, -0.4, -2.1, -2.4, -2.5, -1.7)
_A1_HIGH = (1.1, 2.6, 0.7, 1.9, 1.3, 2.6, 3.4, 3.8, 3.4, 3.4, 1.9, 2.1)
_ANYMAL_LOW = (-1.3, -1.4, -0.2, -0.2, -0.7, -1.7, -0.6, -1.6, -2.8, -1.1, -2.9, -1.0)
_ANYMAL_HIGH = (0.2, 0.6, 1.5, 1.3, 1.6, 0.6, 1.9, 0.7, 0.7, 2.4, 0.7, 2.3)


def _scaled(values: Sequence[float], factor: float) -> tuple[float, ...]:
    return tuple(round(factor * value, 6) for value in values)


BUILT_IN: dict[str, ActionLimits] = {
    limits.name: limits
    for limits in (
        ActionLimits(name="a1", low=_A1_LOW, high=_A1_HIGH, joints=A1_JOINTS),
        ActionLimits(
            name="a1-rough",
            low=_scaled(_A1_LOW, 1.25),
            high=_scaled(_A1_HIGH, 1.25),
            joints=A1_JOINTS,
        ),
        ActionLimits(name="go", low=_A1_LOW, high=_A1_HIGH, joints=A1_JOINTS),
        ActionLimits(
            name="go-rough",
            low=_scaled(_A1_LOW, 1.25),
            high=_scaled(_A1_HIGH, 1.25),
            joints=A1_JOINTS,
        ),
        ActionLimits(
            name="anymal-narrow", low=_ANYMAL_LOW, high=_ANYMAL_HIGH, joints=ANYMAL_JOINTS
        ),
        ActionLimits(
            name="anymal",
            low=_scaled(_ANYMAL_LOW, 1.25),
            high=_scaled(_ANYMAL_HIGH, 1.25),
            joints=ANYMAL_JOINTS,
        ),
    )
}
"""Built-in limits by name."""


def is_plain(name: str) -> bool:
    """Returns whether `--bounds name` needs no database: a built-in set, a number, a file."""
    is_file = Path(name).expanduser().is_file() or "/" in name or name.endswith(".json")
    return name in BUILT_IN or name == "none" or _number(name) is not None or is_file


def check_name(name: str) -> None:
    """Refuses a name of limits that `--bounds` would take for something else.

    Raises:
      InvalidValue: it is empty, `auto`, `none`, a number, a built-in set or a file's path.
    """
    if not name.strip() or not name.isprintable() or name == "auto" or is_plain(name):
        allowed = (
            "a name of its own: not empty, auto, none, a number, a built-in set or a file's path"
        )
        raise InvalidValue(name="the limits' name", value=name, allowed=allowed)


def _error(name: str, problem: str) -> InvalidLimits:
    return InvalidLimits(name=name, problem=problem, known=", ".join(BUILT_IN))


def load_limits(
    name: str | None, action_names: Sequence[str], *, default: str
) -> ActionLimits | None:
    """Returns the limits that `--bounds name` means, checked against the task's joints.

    Args:
      name: a built-in set, a number x for [-x, x], the path of a JSON file with `low`, `high`
        and possibly `joints`, or `none`; None for the task's default.
      action_names: `[action_dim]` joints in the order of the action vector; empty if unknown.
      default: the task's `default_limits`.

    Returns:
      Limits of length `action_dim`, or of length 1 for a number on a task with unknown joints;
      None for `none`.

    Raises:
      InvalidLimits: no such set or file, not as long as the action vector, other joints, a low
        that is not below its high, or a value that is not finite.
    """
    name = default if name is None else name
    if name == "none":
        return None
    if (value := _number(name)) is not None:
        if not (math.isfinite(value) and value > 0):
            raise _error(name, "a number must be finite and above 0")
        length = max(1, len(action_names))
        return ActionLimits(name=name, low=(-value,) * length, high=(value,) * length)
    limits = BUILT_IN[name] if name in BUILT_IN else read_limits(name)
    check_limits(limits, action_names)
    return limits


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read_limits(name: str) -> ActionLimits:
    """Returns the limits in a JSON file, with the joints that it names, if it does.

    Raises:
      InvalidLimits: it is not there, or does not hold such limits.
    """
    return limits_in(read_content(name), name)


def read_content(name: str) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
      InvalidLimits: it is not there, or holds no object.
    """
    try:
        content: Any = json.loads(Path(name).expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _error(name, "there is no such set and no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _error(name, f"the file cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise _error(name, 'the file must hold an object with "low" and "high"')
    return content


def limits_in(content: Mapping[str, Any], name: str) -> ActionLimits:
    """Returns the limits in what a file holds.

    Raises:
      InvalidLimits: `low` and `high` are no lists of as many numbers, or `joints` no list of as
        many names.
    """
    if not {"low", "high"} <= content.keys():
        raise _error(name, 'the file must hold an object with "low" and "high"')
    values = {}
    for side in ("low", "high"):
        numbers = content[side]
        if not isinstance(numbers, list) or not all(type(v) in (int, float) for v in numbers):
            raise _error(name, f'"{side}" must be a list of numbers')
        try:
            values[side] = tuple(float(value) for value in numbers)
        except OverflowError as error:
            raise _error(name, f'"{side}" holds a number that is too large') from error
    low, high = values["low"], values["high"]
    if len(low) != len(high) or not low:
        raise _error(name, f"{len(low)} low and {len(high)} high values")
    joints = content.get("joints", [])
    if not isinstance(joints, list) or not all(
        isinstance(joint, str) and joint.isprintable() for joint in joints
    ):
        raise _error(name, '"joints" must be a list of names')
    if joints and len(joints) != len(low):
        raise _error(name, f"{len(joints)} joints but {len(low)} low values")
    return ActionLimits(name=name, low=low, high=high, joints=tuple(joints))


def check_limits(limits: ActionLimits, action_names: Sequence[str]) -> None:
    """Checks limits against the joints of a task.

    Joints are compared without the `_joint` that some descriptions of a robot add.

    Args:
      limits: to check.
      action_names: of the task; empty if not known.

    Raises:
      InvalidLimits: names the joint that differs, or the joints if there are more, fewer or
        others.
    """
    name, low, high, joints = limits.name, limits.low, limits.high, limits.joints
    if len(low) != len(high) or not low:
        raise _error(name, f"{len(low)} low and {len(high)} high values")
    if action_names and len(low) != len(action_names):
        expected = ", ".join(action_names)
        raise _error(name, f"{len(low)} pairs for {len(action_names)} joints ({expected})")
    if joints and action_names:
        _check_joints(name, joints, action_names)
    labels = list(action_names) or list(joints) or [str(place) for place in range(len(low))]
    for label, lowest, highest in zip(labels, low, high, strict=True):
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise _error(name, f"joint {label} has a limit that is not finite")
        if lowest >= highest:
            raise _error(name, f"joint {label} has low {lowest} not below high {highest}")


def _check_joints(name: str, joints: Sequence[str], action_names: Sequence[str]) -> None:
    theirs, ours = ([joint.removesuffix("_joint") for joint in j] for j in (joints, action_names))
    if sorted(theirs) != sorted(ours):
        problem = (
            f"they are of the joints {', '.join(joints)}, and the task has "
            f'{", ".join(action_names)}; a file without "joints" is taken for any robot'
        )
        raise _error(name, problem)
    for place, (given, expected) in enumerate(zip(joints, action_names, strict=True)):
        if theirs[place] != ours[place]:
            raise _error(name, f"joint {place} is {given} there and {expected} in the task")
