"""Any registered Gymnasium environment as a task, by its id: `Pendulum-v1`, `package:Id-v0`.

Gymnasium and Stable-Baselines3 are imported when they are needed, not before.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hpsearch.base import Budget
from hpsearch.exceptions import InvalidLimits, NotLoadable
from hpsearch.objectives.spaces import check_spaces

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


class Gymnasium:
    """An environment of Gymnasium, copied `num_envs` times and stepped in this process.

    Its settings are keyword arguments of the environment, read as JSON where they are JSON.
    """

    default_space = "sac-small"
    default_budget = Budget(train_seconds=60.0, n_eval_episodes=32)
    default_num_envs = 8
    default_limits = "none"
    action_names: Sequence[str] = ()
    normalize_observations = True
    reusable = True
    metric_names: Sequence[str] = ()

    def __init__(self, env_id: str, **settings: str) -> None:
        """Looks the id up, where this interpreter has Gymnasium.

        Args:
          env_id: as `gymnasium.make` takes it.
          **settings: for the environment.

        Raises:
          NotLoadable: Gymnasium does not know the id, or cannot import its package.
        """
        self.env_id = env_id
        self.settings = {name: _value(text) for name, text in settings.items()}
        # The parent process may lack it and leave the id to the child's interpreter.
        if importlib.util.find_spec("gymnasium") is not None:
            import gymnasium

            try:
                gymnasium.spec(env_id)
            except (gymnasium.error.Error, ImportError) as error:
                raise NotLoadable(kind="task", name=env_id, problem=str(error)) from error

    @contextmanager
    def make(
        self,
        num_envs: int,
        seed: int,
        *,
        action_low: Sequence[float] | None = None,
        action_high: Sequence[float] | None = None,
    ) -> Iterator[VecEnv]:
        """Opens the environments; see `Task.make`.

        Limits of length 1 stand for every action.

        Raises:
          UnsupportedTask: images, or actions that are not continuous.
          InvalidLimits: limits of another length, or outside the environment's own.
        """
        import gymnasium
        from stable_baselines3.common.vec_env import DummyVecEnv

        def make_one() -> Any:
            env = gymnasium.make(self.env_id, **self.settings)
            if action_low is None or action_high is None:
                return env
            return _limited(env, action_low, action_high)

        told = self.spaces()
        assert told is not None
        check_spaces(self.env_id, *told)
        env = DummyVecEnv([make_one] * num_envs)
        try:
            env.seed(seed)
            yield env
        finally:
            env.close()

    def spaces(self) -> tuple[Any, Any] | None:
        """Returns the spaces of observations and actions; None where Gymnasium is missing."""
        if importlib.util.find_spec("gymnasium") is None:
            return None
        import gymnasium

        env = gymnasium.make(self.env_id, **self.settings)
        try:
            return env.observation_space, env.action_space
        finally:
            env.close()

    def metrics(self, env: VecEnv) -> Mapping[str, float]:
        """Returns nothing: Gymnasium knows no figures beside the reward."""
        return {}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _limited(env: Any, low: Sequence[float], high: Sequence[float]) -> Any:
    """Returns `env` with an action space of `[low, high]`; actions are clipped to it."""
    import numpy as np
    from gymnasium import spaces
    from gymnasium.wrappers import TransformAction

    own = env.action_space
    name = f"{list(low)} to {list(high)}"
    if len(low) not in (1, own.shape[0]):
        problem = f"{len(low)} pairs for {own.shape[0]} actions"
        raise InvalidLimits(name=name, problem=problem, known="a number or a file")
    narrow = spaces.Box(
        np.broadcast_to(np.asarray(low, own.dtype), own.shape),
        np.broadcast_to(np.asarray(high, own.dtype), own.shape),
        dtype=own.dtype.type,
    )
    if (narrow.low < own.low).any() or (narrow.high > own.high).any():
        problem = f"the environment's own are {own.low} to {own.high}"
        raise InvalidLimits(name=name, problem=problem, known="a number or a file")
    return TransformAction(env, lambda a: np.clip(a, narrow.low, narrow.high), narrow)
