"""Observations of Isaac Lab in two groups: what the robot knows, and what only critics may see.

Isaac Lab's own wrapper for Stable-Baselines3 keeps the group `policy` alone. Imported inside a run
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces

from hpsearch.objectives.spaces import CRITIC_GROUP

GROUPS = ("policy", CRITIC_GROUP)


class InGroups:
    """Makes Isaac Lab's wrapper show both groups, also as terminal observations.

    To be put before `Sb3VecEnvWrapper`, which asks these two methods what it shows.
    """

    observation_space: spaces.Space[Any]
    unwrapped: Any

    def _process_spaces(self) -> None:
        super()._process_spaces()  # type: ignore[misc]
        space = self.unwrapped.single_observation_space
        self.observation_space = spaces.Dict({name: space[name] for name in GROUPS})

    def _process_obs(self, obs_dict: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        return {name: obs_dict[name].detach().cpu().numpy() for name in GROUPS}


def declares_critic(simulation: Any) -> bool:
    """Returns whether both groups are declared, each as one vector."""
    space = simulation.single_observation_space
    found = [space.spaces.get(name) for name in GROUPS]
    return all(isinstance(each, spaces.Box) and len(each.shape) == 1 for each in found)


def in_one_row(observations: Mapping[str, torch.Tensor], *, groups: bool) -> torch.Tensor:
    """Returns `[N, O]` float32: the group `policy` or, with `groups`, the critics' beside it."""
    parts = [observations[name].float() for name in (GROUPS if groups else GROUPS[:1])]
    return torch.cat(parts, dim=-1) if groups else parts[0]
