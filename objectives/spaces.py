"""What an agent can see and do: checks of a task's spaces, at launch where the task tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpsearch.base import Hyperparams
from hpsearch.exceptions import InvalidValue, UnsupportedTask

CRITIC_GROUP = "critic"
"""Group of a Dict observation that only the critics see: what a robot would not know."""


def check_spaces(task: str, observations: Any, actions: Any) -> None:
    """Refuses spaces that no agent here can learn with.

    Args:
      task: its name.
      observations: a space of Gymnasium: a vector, or a Dict of vectors.
      actions: continuous.

    Raises:
      UnsupportedTask: something else.
    """
    from gymnasium import spaces

    def refuse(problem: str) -> UnsupportedTask:
        return UnsupportedTask(name=task, problem=problem)

    if not isinstance(actions, spaces.Box):
        raise refuse(f"its actions are {actions}, not continuous ones")
    groups: Mapping[str, Any] = {"": observations}
    if isinstance(observations, spaces.Dict):
        groups = observations.spaces
    if not set(groups) - {CRITIC_GROUP}:
        raise refuse("only its critics would see anything")
    for name, group in groups.items():
        which = f"observation {name!r}" if name else "observation"
        if not isinstance(group, spaces.Box):
            raise refuse(f"its {which} is a {type(group).__name__}, not a vector of numbers")
        if len(group.shape) != 1:
            raise refuse(f"its {which} has shape {group.shape}, like an image")


def check_bounds(task: str, algo: str, actions: Any) -> None:
    """Refuses actions without bounds to who explores all that is allowed.

    Args:
      task: its name.
      algo: the algorithm; PPO begins near zero and needs no bounds.
      actions: continuous.

    Raises:
      UnsupportedTask: an action is unbounded.
    """
    if not algo.startswith("ppo") and not actions.is_bounded():
        raise UnsupportedTask(
            name=task, problem=f"its actions have no bounds, which {algo} needs; see --bounds"
        )


def check_groups(task: str, algo: str, hyperparams: Hyperparams, observations: Any) -> None:
    """Refuses what cannot be learned from observations in several groups.

    Args:
      task: its name.
      algo: the algorithm.
      hyperparams: decoded.
      observations: a space of Gymnasium.

    Raises:
      UnsupportedTask: PPO learns from one vector only; the group `critic` is left out for it.
      InvalidValue: rewards of several steps are asked for.
    """
    from gymnasium import spaces

    if not isinstance(observations, spaces.Dict):
        return
    if algo.startswith("ppo"):
        if len(set(observations.spaces) - {CRITIC_GROUP}) > 1:
            raise UnsupportedTask(name=task, problem="its observations come in groups, for PPO")
        return
    n_steps = hyperparams.get("n_steps", 1)
    if n_steps > 1:
        allowed = f"1, because the observations of {task} come in groups"
        raise InvalidValue(name="n_steps", value=n_steps, allowed=allowed)
