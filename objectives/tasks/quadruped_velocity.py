"""The task `quadruped-velocity`: the embedded robot follows commanded velocities.

Terms and weights are those of Isaac Lab's flat velocity task for the Unitree A1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpsearch.base import Budget
from hpsearch.objectives.tasks.quadruped_walk import JOINT_NAMES

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from hpsearch.objectives.tasks.quadruped import Robots

Array = npt.NDArray[np.float64]

RANGES = {
    "forward": ((0.5, 1.0), (0.0, 0.0)),
    "full": ((-1.0, 1.0), (-1.0, 1.0)),
}
"""Ranges of the commanded velocities along x and y, m/s, by the setting `commands`."""

RESAMPLE_SECONDS = 10.0
HEADING_STIFFNESS = 0.5
LARGEST_YAW_RATE = 1.0
STANDING_SHARE = 0.02
AIR_SECONDS = 0.5


class Follow:
    """Follow a velocity and a heading, both drawn anew every 10 s, for 20 s.

    Attributes:
      headings: `[N]`, where to look, rad; the yaw rate's command steers there.
      standing: `[N]`, whether the command is to stand still.
      air_seconds: `[N, 4]`, how long each foot has been in the air.
    """

    episode_seconds = 20.0

    def __init__(self, commands: str, num_envs: int, step_seconds: float = 0.02) -> None:
        self._ranges = RANGES[commands]
        self._step_seconds = step_seconds
        self._resample_steps = round(RESAMPLE_SECONDS / step_seconds)
        self.headings = np.zeros(num_envs)
        self.standing = np.zeros(num_envs, dtype=bool)
        self.air_seconds = np.zeros((num_envs, 4))

    def start(self, robots: Robots, which: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        """Draws new commands; the feet count as just landed."""
        self.air_seconds[which] = 0.0
        self._draw(robots, which, rng)
        self._steer(robots)

    def follow(self, robots: Robots, rng: np.random.Generator) -> None:
        """Draws new commands where their 10 s are over, and steers towards the headings."""
        self._draw(robots, np.flatnonzero(robots.steps % self._resample_steps == 0), rng)
        self._steer(robots)

    def _draw(self, robots: Robots, which: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        n = which.size
        if n == 0:
            return
        for axis, (low, high) in enumerate(self._ranges):
            robots.commands[which, axis] = rng.uniform(low, high, n)
        self.headings[which] = rng.uniform(-np.pi, np.pi, n)
        self.standing[which] = rng.random(n) < STANDING_SHARE

    def _steer(self, robots: Robots) -> None:
        error = (self.headings - robots.heading + np.pi) % (2 * np.pi) - np.pi
        robots.commands[:, 2] = np.clip(
            HEADING_STIFFNESS * error, -LARGEST_YAW_RATE, LARGEST_YAW_RATE
        )
        robots.commands[self.standing] = 0.0

    def rewards(self, robots: Robots, seconds: float) -> Array:
        """Returns `[N]`: at most about 2.25 a second and what long steps earn."""
        velocity_error = robots.commands[:, :2] - robots.velocity[:, :2]
        yaw_error = robots.commands[:, 2] - robots.rotation[:, 2]
        rewards: Array = seconds * (
            1.5 * np.exp(-np.square(velocity_error).sum(axis=1) / 0.25)
            + 0.75 * np.exp(-np.square(yaw_error) / 0.25)
            - 2.0 * np.square(robots.velocity[:, 2])
            - 0.05 * np.square(robots.rotation[:, :2]).sum(axis=1)
            - 2e-4 * np.square(robots.torques).sum(axis=1)
            - 2.5e-7 * np.square(robots.joint_accelerations).sum(axis=1)
            - 0.01 * np.square(robots.actions - robots.last_actions).sum(axis=1)
            + 0.25 * self._air_time(robots, seconds)
            - 2.5 * np.square(robots.gravity[:, :2]).sum(axis=1)
        )
        return rewards

    def _air_time(self, robots: Robots, seconds: float) -> Array:
        """Returns `[N]`: for each foot that lands, its time in the air beyond 0.5 s."""
        landed = robots.feet_down & (self.air_seconds > 0.0)
        beyond = np.where(landed, self.air_seconds + seconds - AIR_SECONDS, 0.0).sum(axis=1)
        self.air_seconds = np.where(robots.feet_down, 0.0, self.air_seconds + seconds)
        commanded = np.linalg.norm(robots.commands[:, :2], axis=1) > 0.1
        return np.where(commanded, beyond, 0.0)

    def metrics(self, robots: Robots) -> dict[str, float]:
        """Returns how far velocity (m/s) and yaw rate (rad/s) are from the commands."""
        velocity_error = robots.commands[:, :2] - robots.velocity[:, :2]
        yaw_error = robots.commands[:, 2] - robots.rotation[:, 2]
        return {
            "velocity_error": float(np.linalg.norm(velocity_error, axis=1).mean()),
            "yaw_rate_error": float(np.abs(yaw_error).mean()),
        }


class QuadrupedVelocity:
    """Follow commanded velocities on a flat floor; 20 s an episode.

    Args:
      commands: `forward` (0.5 to 1 m/s ahead) or `full` (up to 1 m/s in every direction).

    Raises:
      ValueError: `commands` is something else.
    """

    default_space = "sac-small"
    default_budget = Budget(train_seconds=240.0, n_eval_episodes=128)
    default_num_envs = 64
    default_limits = "a1"
    action_names: Sequence[str] = JOINT_NAMES
    normalize_observations = True
    reusable = True
    metric_names: Sequence[str] = ("velocity_error", "yaw_rate_error")

    def __init__(self, commands: str = "forward") -> None:
        if commands not in RANGES:
            raise ValueError(f"commands is {commands!r}, but must be forward or full")
        self._commands = commands

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

        motion = Follow(self._commands, num_envs)
        return open_quadruped(
            num_envs, seed, motion, action_low=action_low, action_high=action_high
        )

    def metrics(self, env: VecEnv) -> Mapping[str, float]:
        """Returns `velocity_error` (m/s) and `yaw_rate_error` (rad/s) at this moment."""
        simulator = env.unwrapped
        return dict(simulator.motion.metrics(simulator.robots))
