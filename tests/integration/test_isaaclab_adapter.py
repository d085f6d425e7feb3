"""The adapter to Isaac Lab with a stand-in for the simulator: groups, joints, physics."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from hpsearch.base import ActionLimits, Budget, Setup
from hpsearch.exceptions import InvalidLimits, OtherDevice, UnsupportedTask
from hpsearch.objectives import training
from hpsearch.objectives.tasks.isaaclab import IsaacLab
from hpsearch.objectives.tasks.isaaclab_configuration import why_not
from hpsearch.objectives.tasks.isaaclab_env import backend
from tests.integration.isaaclab_standin import (
    OF_OTHERS,
    TASK,
    NewtonCfg,
    PhysxCfg,
    Simulation,
    install,
    isaaclab,  # noqa: F401  the modules of each test
    parse_env_cfg,
)
from tests.integration.test_off_policy import kept
from tests.integration.test_training import TINY, run

pytestmark = [pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")]


def test_critics_are_shown_their_own_group_by_both_paths() -> None:
    from hpsearch.objectives.observations import Observations
    from hpsearch.objectives.tensor_env import offers_tensors

    with IsaacLab(TASK).make(2, 1) as env:
        assert {name: box.shape for name, box in env.observation_space.spaces.items()} == {
            "policy": (3,), "critic": (5,),
        }  # fmt: skip
        shown = env.reset()
        assert shown["policy"].shape == (2, 3) and shown["critic"][0, 0] == 100
        env.step(np.zeros((2, 2), np.float32))
        shown, _, dones, infos = env.step(np.zeros((2, 2), np.float32))
        assert dones.tolist() == [True, False] and shown["critic"][0, 0] == 100
        last = infos[0]["terminal_observation"]
        assert last["policy"].tolist() == [2, 3, 4] and last["critic"][0] == 102

        flat = Observations(env.observation_space)
        assert (flat.dim, flat.actor_dim) == (8, 3) and offers_tensors(env)
        np.testing.assert_array_equal(env.reset_tensors().numpy(), flat.flat(env.reset()))
        env.step_tensors(torch.zeros(2, 2))
        rows, _, _, truncated, before = env.step_tensors(torch.zeros(2, 2))
        assert rows.dtype == torch.float32 and truncated.tolist() == [True, False]
        np.testing.assert_array_equal(rows.numpy(), flat.flat(shown))
        np.testing.assert_array_equal(before[0].numpy(), flat.flat(last))


@pytest.mark.parametrize("why", ["setting", "not declared", "not shown"])
def test_without_a_critics_group_the_policys_is_shown(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Simulation, "critic_declared", why != "not declared")
    monkeypatch.setattr(Simulation, "critic_shown", why != "not shown")
    settings = {"critic": "false"} if why == "setting" else {}
    with IsaacLab(TASK, **settings).make(2, 1) as env:
        assert env.observation_space.shape == (3,)
        assert env.reset().shape == (2, 3) and env.reset_tensors().shape == (2, 3)


def test_joints_are_told_only_where_each_action_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    task = IsaacLab(TASK)
    with task.make(2, 1) as env:
        assert list(task.action_names) == list(env.joints) == ["hip", "knee"]
    monkeypatch.setattr(Simulation, "joints", ("hip", "knee", "ankle"))
    task = IsaacLab(TASK)
    with task.make(2, 1) as env:
        assert list(task.action_names) == list(env.joints) == []


SHORT = Budget(train_seconds=60.0, max_timesteps=40, n_eval_episodes=2)


def trainer(joints: tuple[str, ...] = (), kind: str | None = None) -> training.Training:
    limits = ActionLimits(name="l", low=(-1.0, -1.0), high=(1.0, 1.0), joints=joints)
    return training.Training(
        Setup(
            task=TASK, settings={}, algo="sac", num_envs=2, action_limits=limits, device_kind=kind
        )
    )


def test_limits_are_checked_against_the_joints_of_the_open_simulator() -> None:
    with pytest.raises(InvalidLimits, match="joint 0 is knee_joint there and hip in the task"):
        run(trainer(("knee_joint", "hip_joint")), TINY, SHORT)


def test_what_simulates_is_part_of_the_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    built = kept(monkeypatch)
    made = trainer(("hip_joint", "knee_joint"))
    result = made(TINY, seed=1, budget=SHORT, report=lambda _: None)
    assert backend(built[0].env) == result.conditions["backend"] == "NewtonCfg"
    made.close()
    kind = result.conditions["device_kind"]
    device, _, engine = kind.rpartition("; ")
    assert engine == "NewtonCfg"

    for wanted in (kind, device):
        run(trainer(kind=wanted), TINY, SHORT)
    monkeypatch.setattr(Simulation, "default_physics", PhysxCfg())
    install(monkeypatch, "isaacsim")
    with pytest.raises(OtherDevice, match=r"NewtonCfg, and here is .*PhysxCfg"):
        run(trainer(kind=kind), TINY, SHORT)
    opened: list[None] = []
    monkeypatch.setattr(training.Training, "_open", lambda *_: opened.append(None))
    with pytest.raises(OtherDevice, match="come from a toaster"):
        run(trainer(kind="a toaster; NewtonCfg"), TINY, SHORT)
    assert not opened


@pytest.mark.parametrize(
    "settings", [{}, {"env.sim.physics_material.friction": "0.8"}, {"env.sim.solver": "quick"}]
)
def test_newton_simulates_where_the_physics_of_the_task_is_not_installed(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cfg = parse_env_cfg

    def with_material(task: str, **given: Any) -> Any:
        physics = [each for each in given["overrides"] if each.startswith("physics=")]
        cfg = make_cfg(task, **{**given, "overrides": physics})
        cfg.sim.physics_material = SimpleNamespace(friction=1.0)
        if isinstance(cfg.sim.physics, NewtonCfg):
            cfg.sim.solver = "thorough"
        return cfg

    monkeypatch.setattr(sys.modules["isaaclab_tasks.utils"], "parse_env_cfg", with_material)
    monkeypatch.setattr(Simulation, "default_physics", PhysxCfg())
    with IsaacLab(TASK, **settings).make(2, 1) as env:
        assert backend(env) == "NewtonCfg"


def test_the_physics_of_the_task_stays_where_it_is_installed_or_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Simulation, "default_physics", PhysxCfg())
    with IsaacLab(TASK, **{"env.sim.physics": "ours"}).make(2, 1) as env:
        assert backend(env) == "str"
    install(monkeypatch, "isaacsim")
    with IsaacLab(TASK).make(2, 1) as env:
        assert backend(env) == "PhysxCfg"


def test_a_simulator_that_leaves_at_its_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Simulation, "starts", False)
    with pytest.raises(UnsupportedTask, match="does not start it here"):
        run(trainer(), TINY, SHORT)


def test_isaac_sim_simulates_where_only_its_physx_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "isaacsim")
    with IsaacLab("Isaac-AnyPhysx").make(2, 1) as env:
        assert backend(env) == "PhysxCfg"
    install(monkeypatch, "ovphysx")
    with IsaacLab("Isaac-AnyPhysx").make(2, 1) as env:
        assert backend(env) == "OvPhysxCfg"


def test_why_a_task_cannot_be_trained_on_is_told_without_opening_it() -> None:
    found = {name: problem for name, problem in why_not().items() if name in (TASK, *OF_OTHERS)}
    assert found == {
        TASK: "",
        "Isaac-Handover": "it has several agents",
        "Isaac-Demonstrations": "it declares no rewards",
        "Isaac-Choices": "its actions are Discrete(3), not continuous ones",
        "Isaac-Figures": "",
        "Isaac-Images": "its observation has shape (8, 8, 3), like an image",
        "Isaac-OutOfOrder": "RuntimeError: who moved my robot",
        "Isaac-Physx": "needs Isaac Sim, for PhysX",
        "Isaac-AnyPhysx": "needs ovphysx",
        "Isaac-Broken": "its module cannot be imported: No module named 'omni'",
    }
    for name, problem in found.items():
        if problem and name != "Isaac-OutOfOrder":
            with pytest.raises(UnsupportedTask) as refused, IsaacLab(name).make(2, 1):
                pass
            assert refused.value.fields["problem"] == problem


def test_a_physics_that_was_asked_for_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"physics": "isaacsim_physx"}
    with (
        pytest.raises(UnsupportedTask, match="needs Isaac Sim, for PhysX"),
        IsaacLab("Isaac-AnyPhysx", **asked).make(2, 1),
    ):
        pass
    install(monkeypatch, "isaacsim")
    with IsaacLab("Isaac-AnyPhysx", **asked).make(2, 1) as env:
        assert backend(env) == "PhysxCfg"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [({"env.sim.dtt": "1"}, r"no env\.sim\.dtt; it has dt"),
     ({"env.simm.dt": "1"}, "simm"),
     ({"env.sim.dt": "1", "env.rewards.speed.wait": "2"}, r"speed\.wait; it has weight")],
)  # fmt: skip
def test_a_setting_that_the_configuration_does_not_have_is_refused(
    settings: dict[str, str], problem: str
) -> None:
    with pytest.raises(UnsupportedTask, match=problem), IsaacLab(TASK, **settings).make(2, 1):
        pass
    with IsaacLab(TASK, **{"env.rewards.speed.weight": "2"}).make(2, 1):
        pass


@pytest.mark.parametrize("space", [spaces.Discrete(3), None])
def test_actions_that_are_not_one_continuous_vector_are_refused(
    space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Simulation, "action_space_of_one", space)
    with pytest.raises(UnsupportedTask, match="not one vector"), IsaacLab(TASK).make(2, 1):
        pass


def test_without_limits_the_tasks_own_bounds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with IsaacLab(TASK).make(2, 1) as env:
        assert env.action_space.high.tolist() == [100, 100]
    own = spaces.Box(np.array([-1.0, -2.0], np.float32), np.array([3.0, 4.0], np.float32))
    monkeypatch.setattr(Simulation, "action_space_of_one", own)
    with IsaacLab(TASK).make(2, 1) as env:
        assert env.action_space.low.tolist() == [-1, -2]
        assert env.action_space.high.tolist() == [3, 4]


def test_each_action_is_clipped_to_its_own_limits() -> None:
    limits = {"action_low": [-1.0, -2.0], "action_high": [0.5, 0.25]}
    with IsaacLab(TASK).make(2, 1, **limits) as env:
        env.reset()
        # What the stand-in earns is the sum of its actions.
        for actions, earned in (([9, 9], 0.75), ([-9, -9], -3.0), ([0.1, 0.1], 0.2)):
            rewards = env.step(np.tile(np.array(actions, np.float32), (2, 1)))[1]
            assert rewards.tolist() == pytest.approx([earned, earned])


def test_the_curriculum_moves_robots_only_at_the_ends_of_episodes_in_training() -> None:
    task = IsaacLab(TASK)
    with task.make(2, 1) as env:
        curriculum = env.venv.unwrapped.curriculum_manager

        def run_on(n_steps: int) -> int:
            before = curriculum.n_moves
            env.reset()
            env.reset_tensors()
            for _ in range(n_steps):
                env.step(np.zeros((2, 2), np.float32))
            return int(curriculum.n_moves - before)

        assert curriculum.n_moves == run_on(1) == 0
        with task.evaluating(env):
            assert run_on(4) == 0
        assert run_on(4) > 0


def test_an_evaluation_moves_no_robot_to_another_level(monkeypatch: pytest.MonkeyPatch) -> None:
    built = kept(monkeypatch)
    short = Budget(train_seconds=60.0, max_timesteps=2, n_eval_episodes=20)
    made = trainer(("hip_joint", "knee_joint"))
    made({**TINY, "learning_starts": 100}, seed=1, budget=short, report=lambda _: None)
    # One step of training, in which no episode ends.
    assert built[0].env.unwrapped.curriculum_manager.n_moves == 0
    made.close()
