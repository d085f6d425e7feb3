"""Opens an environment of Isaac Lab 3 for Stable-Baselines3. Imported inside a run only.

Letters of shapes: `N` environments, `A` actions.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from hpsearch.exceptions import InvalidLimits, UnsupportedTask
from hpsearch.objectives.spaces import CRITIC_GROUP
from hpsearch.objectives.tasks.isaaclab_configuration import configuration
from hpsearch.objectives.tasks.isaaclab_groups import InGroups, declares_critic, in_one_row
from hpsearch.objectives.tasks.isaaclab_robots import registered_id

RAW_BOUND = 100.0
"""Where neither limits nor the task bound an action: an agent that squashes its own needs some."""


@contextmanager
def open_isaaclab(
    task_id: str,
    *,
    package: str | None,
    overrides: Sequence[str],
    num_envs: int,
    seed: int,
    action_names: Sequence[str],
    action_low: Sequence[float] | None,
    action_high: Sequence[float] | None,
    critic: bool,
) -> Iterator[VecEnv]:
    """Opens a simulation of `num_envs` environments; see `IsaacLab.make`.

    With `critic` the observations come in the groups `policy` and `critic`, where the task has
    both as vectors; else the group `policy` is shown as it is.
    """
    import isaaclab_tasks  # noqa: F401  registers Isaac Lab's own tasks
    from isaaclab.app import launch_simulation
    from isaaclab_rl.sb3 import Sb3VecEnvWrapper

    if package is not None:
        importlib.import_module(package)
    registered = registered_id(task_id, gymnasium.registry)
    if registered is None:
        raise UnsupportedTask(name=task_id, problem="Isaac Lab has no such task registered")
    cfg = _prepared(registered, overrides, num_envs, seed)
    _order_joints(cfg, action_names)
    with ExitStack() as opened:
        try:
            opened.enter_context(launch_simulation(cfg, {"headless": True}))
            raw = gymnasium.make(registered, cfg=cfg)
        except SystemExit as error:
            problem = "Isaac Lab does not start it here; the run's log says why"
            raise UnsupportedTask(name=task_id, problem=problem) from error
        opened.callback(raw.close)
        own = getattr(raw.unwrapped, "single_action_space", None)
        if not isinstance(own, spaces.Box):
            problem = "its actions are not one vector of continuous figures"
            raise UnsupportedTask(name=task_id, problem=problem)
        joints = _joints(raw.unwrapped)
        if action_names and joints != list(action_names):
            has = ", ".join(joints) or "joints that it does not name"
            problem = f"the robot has {has}, not {', '.join(action_names)}"
            raise InvalidLimits(name="the task's", problem=problem, known="none")
        groups = critic and _shows_critic(raw)

        class GroupsVecEnv(InGroups, Sb3VecEnvWrapper):  # type: ignore[misc]
            """Shows both groups."""

        wrapped = (GroupsVecEnv if groups else Sb3VecEnvWrapper)(raw)
        in_rows = groups or isinstance(wrapped.observation_space, spaces.Box)
        kind = TensorVecEnv if in_rows else LimitedVecEnv
        bounded = own.is_bounded("both")
        env = kind(
            wrapped,
            (own.low if bounded else [-RAW_BOUND]) if action_low is None else action_low,
            (own.high if bounded else [RAW_BOUND]) if action_high is None else action_high,
            joints,
        )
        # The first reset of a simulation shows the joints at rest, whatever they were given.
        env.seed(seed)
        env.reset()
        env.seed(seed)
        yield env


def _prepared(task_id: str, overrides: Sequence[str], num_envs: int, seed: int) -> Any:
    """Returns the configuration of a registered task, as our trainers need it."""
    device = None
    if not any(each.startswith("env.sim.device=") for each in overrides):
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    cfg = configuration(task_id, overrides, device=device, num_envs=num_envs)
    print(f"{task_id}: {type(cfg.sim.physics).__name__} on {cfg.sim.device}", flush=True)
    cfg.seed = seed
    # Without it a time-out would be bootstrapped from the first observation after the reset.
    cfg.compute_final_obs = True
    _take_off_cosmetics(cfg.scene)
    return cfg


def _take_off_cosmetics(scene: Any) -> None:
    """Spares the downloads of a sky and of a floor's look, which no robot sees."""
    spawn: Any = getattr(getattr(scene, "sky_light", None), "spawn", None)
    if getattr(spawn, "texture_file", None) is not None:
        spawn.texture_file = None
    if getattr(getattr(scene, "terrain", None), "visual_material", None) is not None:
        scene.terrain.visual_material = None


def _order_joints(cfg: Any, action_names: Sequence[str]) -> None:
    """Makes the action vector follow `action_names`: PhysX and Newton order joints differently."""
    action: Any = getattr(getattr(cfg, "actions", None), "joint_pos", None)
    if action_names and list(getattr(action, "joint_names", ())) == [".*"]:
        action.joint_names = list(action_names)
        action.preserve_order = True


def _joints(env: Any) -> list[str]:
    """Returns the joints in the order of the action vector; empty where they are not told.

    An action that moves no joint, or several joints at once, has no names for all its figures.
    """
    actions = getattr(env, "action_manager", None)
    terms = [] if actions is None else [actions.get_term(name) for name in actions.active_terms]
    named = [joint for term in terms for joint in getattr(term, "_joint_names", ())]
    return named if (len(named),) == env.single_action_space.shape else []


def _shows_critic(env: Any) -> bool:
    """Returns whether a task shows its critics more than its policy."""
    if not declares_critic(env.unwrapped):
        return False
    # Some declare it and keep it out of their observations.
    with curriculum_frozen(env):
        observations, _ = env.reset()
    return CRITIC_GROUP in observations


class LimitedVecEnv(VecEnvWrapper):  # type: ignore[misc]
    """Clips actions to limits of each joint; Isaac Lab's own wrapper knows one pair for all.

    Attributes:
      joints: in the order of the action vector; empty where they are not told.
    """

    def __init__(
        self,
        venv: VecEnv,
        low: Sequence[float],
        high: Sequence[float],
        joints: Sequence[str],
    ) -> None:
        """Narrows the action space.

        Args:
          venv: to wrap.
          low: `[A]`, or `[1]` for every action.
          high: the same.
          joints: `[A]` names, or empty.

        Raises:
          InvalidLimits: they are of another length.
        """
        self.joints = joints
        shape = venv.action_space.shape
        if len(low) not in (1, shape[0]):
            named = f" ({', '.join(joints)})" if joints else ""
            problem = f"{len(low)} pairs for {shape[0]} actions{named}"
            raise InvalidLimits(name="given", problem=problem, known="a number or a file")
        super().__init__(
            venv,
            action_space=spaces.Box(
                np.broadcast_to(np.asarray(low, np.float32), shape),
                np.broadcast_to(np.asarray(high, np.float32), shape),
                dtype=np.float32,
            ),
        )

    def reset(self) -> Any:
        """Resets all environments; nobody walked to here, so no curriculum moves a robot."""
        with curriculum_frozen(self):
            return self.venv.reset()

    def step_async(self, actions: Any) -> None:
        """Sends the actions `[N, A]`, clipped."""
        self.venv.step_async(np.clip(actions, self.action_space.low, self.action_space.high))

    def step_wait(self) -> Any:
        """Returns the step's results."""
        observations, rewards, dones, infos = self.venv.step_wait()
        # On the CPU these are the simulator's own memory, which the next step writes.
        return observations, rewards.copy(), dones, infos


class TensorVecEnv(LimitedVecEnv):
    """Also steps without NumPy, so that what is simulated on a GPU stays there.

    The methods beside those of a VecEnv are those of `objectives/tensor_env.py`.
    """

    @property
    def tensor_device(self) -> str:
        """Type of the device that simulates."""
        return str(torch.device(_simulation(self).device).type)

    def reset_tensors(self) -> torch.Tensor:
        """Resets all environments; returns the observations `[N, O]`."""
        with curriculum_frozen(self):
            observations, _ = _simulation(self).reset()
        return self._rows(observations)

    def step_tensors(self, actions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Steps by actions `[N, A]`, which are within the limits.

        Returns:
          Observations after resets `[N, O]`, rewards `[N]`, terminated `[N]`, truncated `[N]`, and
          the observations before resets `[N, O]`.
        """
        simulation = _simulation(self)
        actions = actions.to(simulation.device)
        observations, rewards, terminated, truncated, extras = simulation.step(actions)
        shown = self._rows(observations)
        last = shown
        if bool((terminated | truncated).any()) and "final_obs" in extras:
            last = self._rows(extras["final_obs"])
        return shown, rewards.float(), terminated.bool(), truncated.bool(), last

    def _rows(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return in_one_row(observations, groups=isinstance(self.observation_space, spaces.Dict))


def _simulation(env: Any) -> Any:
    while isinstance(env, VecEnvWrapper):
        env = env.venv
    return env.unwrapped


@contextmanager
def curriculum_frozen(env: Any) -> Iterator[None]:
    """Keeps terrain levels as they are in the block; a reset would move robots to others.

    Args:
      env: a VecEnv, or Isaac Lab's own environment.
    """
    curriculum = getattr(_simulation(env), "curriculum_manager", None)
    if curriculum is None:
        yield
        return
    around = vars(curriculum).get("compute")
    curriculum.compute = lambda env_ids=None: None
    try:
        yield
    finally:
        if around is None:
            del curriculum.compute
        else:
            curriculum.compute = around


def backend(env: VecEnv) -> str:
    """Returns what simulates: the name of its configuration's class, such as `NewtonCfg`."""
    return type(_simulation(env).sim.cfg.physics).__name__


def read_metrics(env: VecEnv) -> Mapping[str, float]:
    """Returns the mean terrain level and the mean of each weighted reward term, a second."""
    simulation = _simulation(env)
    found: dict[str, float] = {}
    terrain = getattr(getattr(simulation, "scene", None), "terrain", None)
    levels = getattr(terrain, "terrain_levels", None)
    if levels is not None:
        found["terrain_level"] = float(levels.float().mean())
    rewards = getattr(simulation, "reward_manager", None)
    if rewards is not None:
        # Release 3 tells these one environment at a time only, or as sums of whole episodes.
        means = rewards._step_reward.mean(dim=0).tolist()
        found |= {f"reward/{n}": v for n, v in zip(rewards.active_terms, means, strict=True)}
    return found
