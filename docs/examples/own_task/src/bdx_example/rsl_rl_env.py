"""A task's environments as rsl_rl wants them: tensors, in named groups of observations.

Letters of shapes: `N` environments, `O` figures of a group, `A` actions.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from hpsearch.exceptions import Diverged
from hpsearch.objectives.environment import N_RECENT_EPISODES, unwatched
from hpsearch.objectives.spaces import CRITIC_GROUP


class RslRlVecEnv(VecEnv):
    """A VecEnv of Stable-Baselines3; what simulates on the device is stepped there.

    It does not know how long episodes may be, so rsl_rl's `init_at_random_ep_len` is not for it.

    Attributes:
      sb3_env: the environments themselves, for the evaluation.
      num_timesteps: steps so far, summed over environments.
      returns: undiscounted, of the latest 100 episodes.
    """

    def __init__(self, sb3_env: Any, device: str) -> None:
        """Resets the environments: rsl_rl never does.

        Args:
          sb3_env: `N` environments. If they offer `step_tensors` and `reset_tensors`, as in
            `hpsearch/objectives/tensor_env.py`, they are stepped by these.
          device: where the agent learns.
        """
        space = sb3_env.action_space
        self.num_envs, self.num_actions = sb3_env.num_envs, space.shape[0]
        self.device, self.cfg = device, dict[str, Any]()
        self.sb3_env = sb3_env
        self.num_timesteps = 0
        self.returns: deque[float] = deque(maxlen=N_RECENT_EPISODES)
        self._earned = torch.zeros(self.num_envs, device=device)
        self._low, self._high = self._tensor(space.low), self._tensor(space.high)
        # Groups stand side by side in the rows of tensors, where rsl_rl wants them apart.
        in_groups = isinstance(sb3_env.observation_space, spaces.Dict)
        below = unwatched(sb3_env)
        # Of the class: a wrapper passes on what it lacks, past what it does.
        by_tensors = hasattr(type(below), "step_tensors") and not in_groups
        self._tensor_env = below if by_tensors else None
        self._shown = self._groups(below.reset_tensors() if by_tensors else sb3_env.reset())

    @property
    def obs_groups(self) -> dict[str, list[str]]:
        """Who sees which groups: the critic all, the actor all but the critic's own."""
        groups = sorted(map(str, self._shown.keys()))
        return {"actor": [name for name in groups if name != CRITIC_GROUP], "critic": groups}

    def get_observations(self) -> TensorDict:
        """Returns the groups `[N, O]` that the environments show."""
        return self._shown

    def step(
        self, actions: torch.Tensor
    ) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Steps by `[N, A]` in the environments' units, clipped to the limits.

        Returns:
          What they show after the resets, rewards `[N]`, dones `[N]`, and in a dict `time_outs`
          `[N]`: where rsl_rl adds what it expected of the rest of an episode that was cut.

        Raises:
          Diverged: an observation or a reward is not finite.
        """
        actions = actions.clamp(self._low, self._high)
        if self._tensor_env is not None:
            shown, rewards, terminated, cut, _ = self._tensor_env.step_tensors(actions)
            dones, time_outs = terminated | cut, cut & ~terminated
        else:
            shown, rewards, dones, infos = self.sb3_env.step(actions.cpu().numpy())
            time_outs = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        self._shown, rewards = self._groups(shown), self._tensor(rewards)
        dones, time_outs = self._tensor(dones).bool(), self._tensor(time_outs).bool()
        if not all(each.isfinite().all() for each in (*self._shown.values(), rewards)):
            raise Diverged(detail="an observation or a reward is not finite")
        self.num_timesteps += self.num_envs
        self._earned += rewards
        self.returns.extend(self._earned[dones].tolist())
        self._earned[dones] = 0.0
        return self._shown, rewards, dones, {"time_outs": time_outs}

    def actions_of(self, actor: Any, observations: Any) -> npt.NDArray[np.float32]:
        """Returns the actions `[N, A]` that a network takes without noise, clipped.

        Args:
          actor: a model of rsl_rl.
          observations: `[N, O]`, or a dict of such, as the environments show them.
        """
        with torch.inference_mode():
            actions = actor(self._groups(observations)).clamp(self._low, self._high)
        clipped: npt.NDArray[np.float32] = actions.cpu().numpy()
        return clipped

    def _groups(self, observations: Any) -> TensorDict:
        groups = observations if isinstance(observations, dict) else {"policy": observations}
        tensors = {name: self._tensor(group) for name, group in groups.items()}
        return TensorDict(tensors, batch_size=[self.num_envs], device=self.device)

    def _tensor(self, values: Any) -> torch.Tensor:
        # A copy: a simulator may write its own memory again at the next step.
        return torch.as_tensor(values, dtype=torch.float32, device=self.device).clone()
