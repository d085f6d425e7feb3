"""Tasks of Isaac Lab 3, by their ids: `Isaac-Velocity-Flat-Unitree-A1-v0` and its family.

The simulator is imported when it is opened, not before; the parent process never has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hpsearch.base import Budget
from hpsearch.objectives.tasks.isaaclab_robots import VELOCITY_REWARDS, Robot, velocity_task

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

SELECTORS = ("physics", "renderer", "presets")
"""Settings that choose among the alternatives that a task declares."""

OURS = {
    "env.scene.num_envs": "--num-envs",
    "env.seed": "--seed",
    "env.compute_final_obs": "nothing; it is always on",
}
"""What a setting may not say, and what says it instead."""


class IsaacLab:
    """A registered task of Isaac Lab, on its Newton or PhysX backend.

    Settings are those of Isaac Lab's own command line: `env.sim.dt=0.005`,
    `physics=newton_mjwarp`; beside them `normalize=true|false` for the observations, and
    `critic=false` to leave out what only critics may see.
    """

    default_budget = Budget(train_seconds=300.0, n_eval_episodes=512)
    default_num_envs = 1024
    # A process holds one simulation, and it cannot be opened a second time.
    reusable = False

    def __init__(self, task_id: str, *, package: str | None = None, **settings: str) -> None:
        """Reads what is known without the simulator.

        Args:
          task_id: in the spelling of any release.
          package: is imported before, to register the task; None for Isaac Lab's own.
          **settings: overrides of the task's configuration.

        Raises:
          ValueError: a setting is none of the task's configuration.
        """
        self.task_id = task_id
        self._package = package
        velocity = velocity_task(task_id)
        robot, rough = velocity or (Robot(), False)
        self.action_names: Sequence[str] = robot.joints
        self.default_limits = robot.rough_limits if rough else robot.limits
        self.default_space = "sac-rough" if rough else "sac"
        self.default_metric = "terrain_level" if rough else "mean_reward"
        # A curriculum moves what is observed; statistics of the first minutes would mislead.
        self.normalize_observations = _truth("normalize", settings, default=not rough)
        self._critic = _truth("critic", settings, default=True)
        known = [f"reward/{term}" for term in VELOCITY_REWARDS] if robot.joints else []
        self.metric_names: Sequence[str] = (
            *(["terrain_level"] if rough else []), *known, "reward/*"
        )  # fmt: skip
        for name in settings:
            if name in OURS:
                raise ValueError(f"{name} is not a setting here; use {OURS[name]}")
            if name not in SELECTORS and not name.startswith("env."):
                raise ValueError(f"{name} is neither env.SOMETHING nor {', '.join(SELECTORS)}")
        self._overrides = [f"{name}={value}" for name, value in settings.items()]

    @contextmanager
    def make(
        self,
        num_envs: int,
        seed: int,
        *,
        action_low: Sequence[float] | None = None,
        action_high: Sequence[float] | None = None,
    ) -> Iterator[VecEnv]:
        """Opens the simulator; see `Task.make`.

        Limits of length 1 stand for every action; without limits those of the task count, or
        -100 and 100 where it has none.

        Raises:
          UnsupportedTask: no such task is registered, or it needs Isaac Sim, which is not here.
          InvalidLimits: limits of another length, or the robot has other joints.
        """
        from hpsearch.objectives.tasks.isaaclab_env import open_isaaclab

        with open_isaaclab(
            self.task_id,
            package=self._package,
            overrides=self._overrides,
            num_envs=num_envs,
            seed=seed,
            action_names=self.action_names,
            action_low=action_low,
            action_high=action_high,
            critic=self._critic,
        ) as env:
            # Those of other robots are known from here on.
            self.action_names = self.action_names or env.joints
            yield env

    def backend(self, env: VecEnv) -> str:
        """Returns what simulates, such as `NewtonCfg`: results of others are not comparable."""
        from hpsearch.objectives.tasks.isaaclab_env import backend

        return backend(env)

    @contextmanager
    def evaluating(self, env: VecEnv) -> Iterator[None]:
        """Keeps the curriculum as training left it, so that an evaluation moves no robot."""
        from hpsearch.objectives.tasks.isaaclab_env import curriculum_frozen

        with curriculum_frozen(env):
            yield

    def metrics(self, env: VecEnv) -> Mapping[str, float]:
        """Returns `terrain_level`, where terrain has levels, and each reward term a second."""
        from hpsearch.objectives.tasks.isaaclab_env import read_metrics

        return read_metrics(env)


def _truth(name: str, settings: dict[str, str], *, default: bool) -> bool:
    """Takes a setting out of `settings`."""
    text = settings.pop(name, str(default))
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name} is {text!r}, but must be true or false")
    return text.lower() == "true"
