"""What is known of Isaac Lab's tasks before a simulator is opened: spellings, robots, joints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hpsearch.objectives.limits import A1_JOINTS, ANYMAL_JOINTS

VELOCITY_REWARDS = (
    "track_lin_vel_xy_exp", "track_ang_vel_z_exp", "lin_vel_z_l2", "ang_vel_xy_l2",
    "dof_torques_l2", "dof_acc_l2", "action_rate_l2", "feet_air_time", "flat_orientation_l2",
)  # fmt: skip
"""Reward terms that the velocity tasks of the robots with known joints share."""


@dataclass(frozen=True, kw_only=True)
class Robot:
    """A robot of the velocity tasks.

    Attributes:
      contributed: whether its tasks are called `IsaacContrib-...`.
      joints: in the order of the published limits; empty if none are published.
      limits: built-in set for flat ground; empty if there is none.
      rough_limits: the same for rough terrain.
    """

    contributed: bool = False
    joints: Sequence[str] = ()
    limits: str = ""
    rough_limits: str = ""


def _unitree(*, contributed: bool, limits: str) -> Robot:
    return Robot(
        contributed=contributed, joints=A1_JOINTS, limits=limits, rough_limits=f"{limits}-rough"
    )


def _anymal(*, contributed: bool) -> Robot:
    return Robot(
        contributed=contributed, joints=ANYMAL_JOINTS, limits="anymal", rough_limits="anymal"
    )


ROBOTS: Mapping[str, Robot] = {
    "UnitreeA1": _unitree(contributed=True, limits="a1"),
    "UnitreeGo1": _unitree(contributed=True, limits="go"),
    "UnitreeGo2": _unitree(contributed=False, limits="go"),
    "AnymalB": _anymal(contributed=True),
    "AnymalC": _anymal(contributed=True),
    "AnymalD": _anymal(contributed=False),
    "Cassie": Robot(),
    "Digit": Robot(contributed=True),
    "G1": Robot(),
    "H1": Robot(),
    "Spot": Robot(contributed=True),
}
"""Robots of `Isaac-Velocity-Flat-*` and `Isaac-Velocity-Rough-*`, as release 3 spells them."""

ONLY_FLAT = ("Spot",)


def velocity_ids() -> list[str]:
    """Returns the ids of the velocity tasks, as release 3 spells them."""
    return [
        f"Isaac{'Contrib' if robot.contributed else ''}-Velocity-{ground}-{name}"
        for name, robot in ROBOTS.items()
        for ground in ("Flat", "Rough")
        if not (ground == "Rough" and name in ONLY_FLAT)
    ]


_ID = re.compile(r"Isaac(Contrib)?-")
_VERSION = re.compile(r"-v\d+$")


def spelling_key(task_id: str) -> str:
    """Returns what all spellings of an id have in common.

    `Isaac-Velocity-Flat-Unitree-A1-v0` of releases 1 and 2 and
    `IsaacContrib-Velocity-Flat-UnitreeA1` of release 3 are one task.
    """
    plain = _VERSION.sub("", task_id).replace("IsaacContrib-", "Isaac-", 1)
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def same_task(one: str, other: str) -> bool:
    """Returns whether two names mean one task: equal, or two spellings of an id of Isaac Lab."""
    if one == other:
        return True
    if not (_ID.match(one) and _ID.match(other)):
        return False
    versions = {found[0] for each in (one, other) for found in [_VERSION.search(each)] if found}
    return len(versions) < 2 and spelling_key(one) == spelling_key(other)


def registered_id(task_id: str, registered: Iterable[str]) -> str | None:
    """Returns the id among `registered` that `task_id` means; None if there is none, or several.

    Args:
      task_id: in any spelling.
      registered: ids that exist.
    """
    known = list(registered)
    if task_id in known:
        return task_id
    meant = [each for each in known if spelling_key(each) == spelling_key(task_id)]
    return meant[0] if len(meant) == 1 else None


_VELOCITY = {spelling_key(each): each for each in velocity_ids()}


def velocity_task(task_id: str) -> tuple[Robot, bool] | None:
    """Returns the robot of a velocity task and whether its ground is rough; None for others."""
    found = _VELOCITY.get(spelling_key(task_id))
    if found is None:
        return None
    _, _, ground, name = found.split("-")
    return ROBOTS[name], ground == "Rough"
