"""A stand-in for Isaac Lab: its modules, a simulation, and the configurations of some tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

TASK = "Isaac-Standin-v0"
SIZES = {"policy": 3, "critic": 5}


class NewtonCfg:
    """Physics by the name of its class."""


class PhysxCfg:
    """Another one, which needs Isaac Sim."""


class OvPhysxCfg:
    """One that needs a package of its own."""


class Curriculum:
    """Counts how often it moved robots."""

    n_moves = 0

    def compute(self, env_ids: Any = None) -> None:
        self.n_moves += 1


class Simulation(gymnasium.Env):  # type: ignore[misc]
    """Two counters as robots: what they show is their age, in the policy's and critics' figures.

    The k-th robot's episode ends after k + 2 steps, all that it shows is its age, and tensors are
    written again at each step, as a simulator does.
    """

    critic_declared = critic_shown = True
    joints = ("hip", "knee")
    action_space_of_one: Any = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    default_physics: Any = NewtonCfg()
    starts = True
    device = "cpu"
    render_mode = None
    metadata = {"render_modes": [None]}  # noqa: RUF012

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg
        self.num_envs = cfg.num_envs
        groups = {name: n for name, n in SIZES.items() if name == "policy" or self.critic_declared}
        self.single_observation_space = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, (n,), np.float32) for name, n in groups.items()}
        )
        self.single_action_space = self.action_space_of_one
        term = SimpleNamespace(_joint_names=list(self.joints))
        self.action_manager = SimpleNamespace(active_terms=["joint_pos"], get_term=lambda _: term)
        self.sim = SimpleNamespace(cfg=cfg.sim)
        self.curriculum_manager = Curriculum()
        self.ages = torch.zeros(self.num_envs)

    def seed(self, seed: int) -> int:
        return seed

    def _shown(self) -> dict[str, Any]:
        shown = {"policy": self.ages[:, None] + torch.arange(3)}
        if self.critic_shown:
            shown["critic"] = 100 + self.ages[:, None] + torch.arange(5)
        return shown

    def reset(self, **_: Any) -> Any:
        self.curriculum_manager.compute()
        self.ages[:] = 0
        return self._shown(), {}

    def step(self, actions: Any) -> Any:
        self.ages += 1
        ended = self.ages >= torch.arange(self.num_envs) + 2
        extras = {"final_obs": self._shown()} if ended.any() else {}
        if ended.any():
            self.curriculum_manager.compute()
        self.ages[ended] = 0
        cut = torch.zeros_like(ended)
        return self._shown(), actions.sum(dim=1), cut, ended, extras


class Wrapper(VecEnv):  # type: ignore[misc]
    """What Isaac Lab's own wrapper for Stable-Baselines3 does, as far as it is asked here."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.num_envs = self.unwrapped.num_envs
        self._process_spaces()

    @property
    def unwrapped(self) -> Any:
        return self.env.unwrapped

    def _process_spaces(self) -> None:
        own = self.unwrapped
        space = own.single_observation_space["policy"]
        super().__init__(self.num_envs, space, spaces.Box(-1.0, 1.0, (2,), np.float32))

    def _process_obs(self, obs_dict: Any) -> Any:
        return obs_dict["policy"].detach().cpu().numpy()

    def seed(self, seed: int | None = None) -> Any:
        return [self.unwrapped.seed(seed)] * self.num_envs

    def reset(self) -> Any:
        return self._process_obs(self.env.reset()[0])

    def step_async(self, actions: Any) -> None:
        self.actions = torch.as_tensor(actions)

    def step_wait(self) -> Any:
        shown, rewards, terminated, truncated, extras = self.env.step(self.actions)
        shown = self._process_obs(shown)
        dones = (terminated | truncated).numpy()
        infos: list[dict[str, Any]] = [{} for _ in dones]
        last: Any = self._process_obs(extras["final_obs"]) if dones.any() else None
        for index in np.flatnonzero(dones):
            in_groups = isinstance(last, dict)
            own = {k: v[index] for k, v in last.items()} if in_groups else last[index]
            infos[index] = {"terminal_observation": own, "TimeLimit.truncated": True}
        return shown, rewards.numpy(), dones, infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def parse_env_cfg(
    task: str, *, device: Any = None, num_envs: int | None = 1, overrides: list[str]
) -> Any:
    """Sets what the overrides say, as Isaac Lab does whether it is there or not."""
    sim = SimpleNamespace(physics=Simulation.default_physics, device="cpu", dt=0.005)
    terms = {"speed": SimpleNamespace(weight=1.0)}
    cfg = SimpleNamespace(num_envs=num_envs, sim=sim, scene=SimpleNamespace(), rewards=terms)
    offered = {"newton_mjwarp": NewtonCfg(), **OF_OTHERS.get(task, lambda _: {})(cfg)}
    for override in overrides:
        path, _, value = override.partition("=")
        if path == "physics":
            if offered.get(value) is None:
                raise ValueError(f"no physics {value}")
            sim.physics = offered[value]
            continue
        found: Any = cfg
        *above, leaf = path.split(".")[1:]
        for name in above:
            found = found[name] if isinstance(found, dict) else getattr(found, name)
        setattr(found, leaf, value)
    return cfg


def of_many_agents(cfg: Any) -> dict[str, Any]:
    cfg.possible_agents = ["hand", "other hand"]
    return {}


def of_demonstrations(cfg: Any) -> dict[str, Any]:
    cfg.rewards = None
    return {}


def of_choices(cfg: Any) -> dict[str, Any]:
    cfg.observation_space, cfg.action_space = spaces.Box(-1, 1, (3,)), spaces.Discrete(3)
    return {}


def of_figures(cfg: Any) -> dict[str, Any]:
    cfg.observation_space, cfg.action_space = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,))
    return {}


def of_images(cfg: Any) -> dict[str, Any]:
    cfg.observation_space, cfg.action_space = spaces.Box(0, 1, (8, 8, 3)), spaces.Box(-1, 1, (2,))
    return {}


def out_of_order(cfg: Any) -> dict[str, Any]:
    raise RuntimeError("who moved my robot")


def on_physx_alone(cfg: Any) -> dict[str, Any]:
    cfg.sim.physics = PhysxCfg()
    return {"newton_mjwarp": None}


def on_any_physx(cfg: Any) -> dict[str, Any]:
    cfg.sim.physics = OvPhysxCfg()
    return {"isaacsim_physx": PhysxCfg(), "newton_mjwarp": None}


def broken(cfg: Any) -> dict[str, Any]:
    raise ModuleNotFoundError("No module named 'omni'")


OF_OTHERS = {
    "Isaac-Handover": of_many_agents,
    "Isaac-Demonstrations": of_demonstrations,
    "Isaac-Choices": of_choices,
    "Isaac-Figures": of_figures,
    "Isaac-Images": of_images,
    "Isaac-OutOfOrder": out_of_order,
    "Isaac-Physx": on_physx_alone,
    "Isaac-AnyPhysx": on_any_physx,
    "Isaac-Broken": broken,
}
"""What other tasks change in their configuration; each returns the physics it offers."""


def validate_launch(cfg: Any, args: Any) -> Any:
    physics = cfg.sim.physics
    scan = SimpleNamespace(has_ovphysx_physics=isinstance(physics, OvPhysxCfg), has_ovrtx=False)
    return scan, ("PhysX",) if isinstance(physics, PhysxCfg) else ()


@contextmanager
def launch_simulation(cfg: Any, args: Any) -> Iterator[None]:
    if not Simulation.starts:
        raise SystemExit(1)
    yield


def install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes a package look installed."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(autouse=True)
def isaaclab(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Isaac Lab's modules, with one task registered."""
    contents: dict[str, dict[str, Any]] = {
        "isaaclab": {},
        "isaaclab.app": {
            "launch_simulation": launch_simulation,
            "validate_launch": validate_launch,
        },
        "isaaclab.envs": {},
        "isaaclab.envs.utils": {},
        "isaaclab.envs.utils.spaces": {"spec_to_gym_space": lambda spec: spec},
        "isaaclab_tasks": {},
        "isaaclab_tasks.utils": {"parse_env_cfg": parse_env_cfg},
        "isaaclab_rl": {},
        "isaaclab_rl.sb3": {"Sb3VecEnvWrapper": Wrapper},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in (TASK, *OF_OTHERS):
        gymnasium.register(name, entry_point=Simulation, disable_env_checker=True)
    yield
    for name in (TASK, *OF_OTHERS):
        gymnasium.registry.pop(name)
