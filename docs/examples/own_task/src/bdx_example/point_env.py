"""Points on a line, as a vectorised environment of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

STEPS = 50


class PointEnv(VecEnv):
    """`num_envs` points; an action moves each by a tenth of it, for 50 steps."""

    render_mode = None

    def __init__(
        self, num_envs: int, seed: int, low: Sequence[float], high: Sequence[float]
    ) -> None:
        """Makes the points; `reset` places them."""
        actions = spaces.Box(np.float32(low), np.float32(high), (1,), np.float32)
        super().__init__(num_envs, spaces.Box(-np.inf, np.inf, (1,), np.float32), actions)
        self._rng = np.random.default_rng(seed)
        self.places = np.zeros(num_envs, np.float32)
        self._steps = np.zeros(num_envs, int)

    @property
    def unwrapped(self) -> PointEnv:
        """This environment."""
        return self

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Sets the seed of what follows."""
        self._rng = np.random.default_rng(seed)
        return [seed] * self.num_envs

    def _place(self, which: Any) -> None:
        n = int(np.sum(which))
        self.places[which] = self._rng.uniform(-1.0, 1.0, n)
        self._steps[which] = 0

    def reset(self) -> Any:
        """Places every point anew."""
        self._place(np.ones(self.num_envs, bool))
        return self.places[:, None].copy()

    def step_async(self, actions: Any) -> None:
        """Takes the actions `[num_envs, 1]`."""
        self._actions = np.clip(actions, self.action_space.low, self.action_space.high)

    def step_wait(self) -> Any:
        """Moves the points; ends those that had their 50 steps."""
        self.places += 0.1 * self._actions[:, 0]
        self._steps += 1
        rewards = -np.abs(self.places)
        dones = self._steps >= STEPS
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(dones):
            infos[index]["terminal_observation"] = self.places[index : index + 1].copy()
            infos[index]["TimeLimit.truncated"] = True
        self._place(dones)
        return self.places[:, None].copy(), rewards, dones, infos

    def close(self) -> None:
        """Has nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns an attribute once for each point."""
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Sets an attribute of all."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Calls a method once for each point."""
        return [getattr(self, method_name)(*args, **kwargs) for _ in range(self.num_envs)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Is wrapped by nothing."""
        return [False] * self.num_envs
