"""Two tasks: one that Isaac Lab registers in another package, one that needs no simulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hpsearch.base import Budget
from hpsearch.objectives.tasks.isaaclab import IsaacLab


class BdxFlat(IsaacLab):
    """The Disney BD-X on flat ground.

    `bdx_rl.tasks` stands for the package whose import registers the task with Gymnasium, and
    `Disney-BDX-Velocity-Flat-v0` for the id that it registers. The robot has no published limits,
    so `--bounds auto` extracts some.
    """

    def __init__(self, **settings: str) -> None:
        """Takes overrides of the task's configuration, e.g. `env.sim.dt=0.005`."""
        super().__init__("Disney-BDX-Velocity-Flat-v0", package="bdx_rl.tasks", **settings)


class PointPush:
    """A point on a line that is to be pushed to the origin."""

    default_space = "sac-small"
    default_budget = Budget(train_seconds=20.0, n_eval_episodes=16)
    default_num_envs = 8
    default_limits = "none"
    action_names: Sequence[str] = ("push",)
    normalize_observations = False
    metric_names: Sequence[str] = ("distance",)
    reusable = True

    @contextmanager
    def make(
        self,
        num_envs: int,
        seed: int,
        *,
        action_low: Sequence[float] | None = None,
        action_high: Sequence[float] | None = None,
    ) -> Iterator[Any]:
        """Opens the points."""
        # Imported here: the parent process reads the attributes above without it.
        from bdx_example.point_env import PointEnv

        env = PointEnv(num_envs, seed, action_low or [-1.0], action_high or [1.0])
        yield env
        env.close()

    def metrics(self, env: Any) -> Mapping[str, float]:
        """Returns the mean distance from the origin."""
        return {"distance": float(abs(env.unwrapped.places).mean())}
