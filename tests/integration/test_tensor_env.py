"""An environment of tensors learns what the same environment learns through NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from hpsearch.base import Budget
from hpsearch.exceptions import Diverged
from hpsearch.objectives.training import Training
from tests.integration.test_off_policy import kept
from tests.integration.test_training import TINY, run, setup

pytestmark = [pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")]

BUDGET = Budget(train_seconds=60.0, max_timesteps=400, n_eval_episodes=4)


class Points(VecEnv):  # type: ignore[misc]
    """Points on a plane that are pushed to the origin; all of a step in torch."""

    def __init__(self, num_envs: int) -> None:
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        super().__init__(num_envs, box, spaces.Box(-0.5, 1.0, (2,), np.float32))
        self.generator = torch.Generator()
        self.places = torch.zeros(num_envs, 2)
        self.ages = torch.zeros(num_envs)
        self.shown = torch.zeros(num_envs, 2)
        self.poison = False

    def _begin(self, which: Any) -> None:
        new = torch.rand(self.num_envs, 2, generator=self.generator)
        self.places[which], self.ages[which] = new[which], 0

    def _advance(self, actions: Any) -> Any:
        self.places += 0.1 * actions
        self.ages += torch.arange(1, self.num_envs + 1)
        rewards = -self.places.square().sum(dim=1)
        terminated, truncated = self.places.abs().amax(dim=1) > 2, self.ages > 20
        last = self.places.clone()
        self._begin(terminated | truncated)
        return rewards, terminated, truncated, last

    def reset(self) -> Any:
        if self._seeds[0] is not None:
            self.generator.manual_seed(self._seeds[0])
        self._begin(torch.ones(self.num_envs, dtype=torch.bool))
        return self.places.numpy().copy()

    def step_async(self, actions: Any) -> None:
        self.actions = torch.as_tensor(actions)

    def step_wait(self) -> Any:
        rewards, terminated, truncated, last = self._advance(self.actions)
        dones = (terminated | truncated).numpy()
        infos: list[dict[str, Any]] = [{} for _ in dones]
        for index in np.flatnonzero(dones):
            cut = bool(truncated[index] & ~terminated[index])
            infos[index] = {"terminal_observation": last[index].numpy()}
            infos[index]["TimeLimit.truncated"] = cut
        return self.places.numpy().copy(), rewards.numpy(), dones, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class TensorPoints(Points):
    """The same with tensors; what it shows is written again at each step."""

    n_tensor_steps = 0
    tensor_device = "cpu"

    def reset_tensors(self) -> Any:
        self.shown[:] = torch.as_tensor(self.reset())
        return self.shown

    def step_tensors(self, actions: Any) -> Any:
        self.n_tensor_steps += 1
        rewards, terminated, truncated, last = self._advance(actions)
        self.shown[:] = self.places
        if self.poison and self.n_tensor_steps > 40:
            self.shown[1, 1] = torch.nan
        return self.shown, rewards, terminated, truncated, last


class PointsTask:
    default_space, default_budget, default_num_envs = "sac-small", BUDGET, 4
    default_limits, action_names, metric_names = "none", (), ()
    normalize_observations, reusable = True, True

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.opened: list[Any] = []

    @contextmanager
    def make(self, num_envs: int, seed: int, **_: Any) -> Iterator[VecEnv]:
        env = (Points if self.kind == "numpy" else TensorPoints)(num_envs)
        env.seed(seed)
        env.poison = self.kind == "poisoned"
        if self.kind == "elsewhere":
            env.tensor_device = "cuda"
        self.opened.append(env)
        yield HalfTheReward(env) if self.kind == "wrapped" else env

    def metrics(self, env: VecEnv) -> dict[str, float]:
        return {}


def test_tensors_and_numpy_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    built = kept(monkeypatch)
    curves = [
        run(Training(setup(f"{__name__}:PointsTask", kind=kind)), TINY, BUDGET)
        for kind in ("numpy", "tensors")
    ]
    numpy_end, tensors_end = (curve[-1] for curve in curves)
    assert tensors_end.n_updates == numpy_end.n_updates > 0
    assert tensors_end.num_timesteps == 400
    assert built[1].env.unwrapped.n_tensor_steps == 100
    assert tensors_end.mean_return == pytest.approx(numpy_end.mean_return, rel=1e-2)
    import jax

    pairs = zip(*(jax.tree.leaves(agent.parameters) for agent in built), strict=True)
    for theirs, ours in pairs:
        np.testing.assert_allclose(ours, theirs, atol=5e-3)


class HalfTheReward(VecEnvWrapper):  # type: ignore[misc]
    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        shown, rewards, dones, infos = self.venv.step_wait()
        return shown, 0.5 * rewards, dones, infos


def test_a_tasks_own_wrapper_is_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    built = kept(monkeypatch)
    ends = [
        run(Training(setup(f"{__name__}:PointsTask", kind=kind)), TINY, BUDGET)[-1]
        for kind in ("numpy", "wrapped")
    ]
    assert built[1].env.unwrapped.n_tensor_steps == 0 < built[1].n_updates
    whole, half = (end.mean_return for end in ends)
    assert whole is not None and half == pytest.approx(0.5 * whole, rel=0.5)


def test_lengths_of_episodes_are_the_same_by_both_paths() -> None:
    curves = [
        run(Training(setup(f"{__name__}:PointsTask", kind=kind)), TINY, BUDGET)
        for kind in ("numpy", "tensors")
    ]
    lengths = [curve[-1].metrics["ep_len_mean"] for curve in curves]
    # The k-th environment's clock runs k times as fast, and cuts its episode past 20.
    assert lengths[0] == lengths[1] and 5 < lengths[0] < 21


def test_tensors_elsewhere_than_the_updates_go_through_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = kept(monkeypatch)
    run(Training(setup(f"{__name__}:PointsTask", kind="elsewhere")), TINY, BUDGET)
    assert built[0].env.unwrapped.n_tensor_steps == 0 < built[0].n_updates


@pytest.mark.parametrize("n_steps", [1, 3])
def test_a_table_on_the_host_compiles_nothing_in_the_budget(
    n_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpsearch.objectives import off_policy

    monkeypatch.setattr(off_policy, "fits_device", lambda _: False)
    training = Training(setup(f"{__name__}:PointsTask", kind="tensors"))
    # Shapes of its own: nothing that an earlier test compiled serves here.
    hyperparams = {**TINY, "n_steps": n_steps, "batch_size": 29 + n_steps}
    result = training(hyperparams, seed=1, budget=BUDGET, report=lambda _: None)
    training.close()
    assert result.n_updates > 0
    assert (result.conditions["replay"], result.conditions["compilations"]) == ("host", 0)


def test_a_tensor_that_is_not_finite_ends_the_run() -> None:
    training = Training(setup(f"{__name__}:PointsTask", kind="poisoned"))
    with pytest.raises(Diverged, match="is not finite"):
        run(training, TINY, BUDGET)
