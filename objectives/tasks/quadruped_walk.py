"""The task `quadruped-walk`: the embedded robot learns to walk straight ahead within a minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpsearch.base import Budget

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from hpsearch.objectives.tasks.quadruped import Robots

SPEED = 0.8
"""Commanded speed ahead, m/s."""
REWARDED_SPEED = 1.0
"""Speed ahead, m/s, above which no more is rewarded, nor punished below its opposite."""

JOINT_NAMES = tuple(
    f"{leg}_{joint}" for joint in ("hip", "thigh", "calf") for leg in ("FL", "FR", "RL", "RR")
)


class Walk:
    """Walk ahead at 0.8 m/s for 5 s."""

    episode_seconds = 5.0

    def start(self, robots: Robots, which: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        """Commands 0.8 m/s ahead, straight on."""
        robots.commands[which] = (SPEED, 0.0, 0.0)

    def follow(self, robots: Robots, rng: np.random.Generator) -> None:
        """Leaves the commands as they are."""

    def rewards(self, robots: Robots, seconds: float) -> npt.NDArray[np.float64]:
        """Returns `[N]`: at most 5 a second, 25 an episode; standing still earns about 4.7."""
        yaw_error = robots.rotation[:, 2] - robots.commands[:, 2]
        rewards: npt.NDArray[np.float64] = seconds * (
            4.0 * np.clip(robots.velocity[:, 0], -REWARDED_SPEED, REWARDED_SPEED)
            + 0.5
            + 0.5 * np.exp(-np.square(yaw_error) / 0.25)
            - 1.0 * np.square(robots.gravity[:, :2]).sum(axis=1)
            - 0.5 * np.square(robots.velocity[:, 2])
            - 0.05 * np.square(robots.rotation[:, :2]).sum(axis=1)
            - 2e-4 * np.square(robots.torques).sum(axis=1)
            - 2e-3 * np.square(robots.actions - robots.last_actions).sum(axis=1)
        )
        return rewards

    def metrics(self, robots: Robots) -> dict[str, float]:
        """Returns the mean speed ahead, m/s."""
        return {"forward_speed": float(robots.velocity[:, 0].mean())}


class QuadrupedWalk:
    """Walk ahead at 0.8 m/s on a flat floor; 5 s an episode."""

    default_space = "sac-small"
    default_budget = Budget(train_seconds=60.0, n_eval_episodes=128)
    default_num_envs = 64
    default_limits = "a1"
    action_names: Sequence[str] = JOINT_NAMES
    normalize_observations = True
    reusable = True
    metric_names: Sequence[str] = ("forward_speed",)

    def make(
        self,
        num_envs: int,
        seed: int,
        *,
        action_low: Sequence[float] | None = None,
        action_high: Sequence[float] | None = None,
    ) -> AbstractContextManager[VecEnv]:
        """Opens the robots; actions are joint offsets in units of 0.25 rad."""
        from hpsearch.objectives.tasks.quadruped import open_quadruped

        return open_quadruped(
            num_envs, seed, Walk(), action_low=action_low, action_high=action_high
        )

    def metrics(self, env: VecEnv) -> Mapping[str, float]:
        """Returns `forward_speed`, the robots' mean speed ahead at this moment, m/s."""
        simulator = env.unwrapped
        return dict(simulator.motion.metrics(simulator.robots))
