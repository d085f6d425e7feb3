"""The example's other trainer, the PPO of rsl_rl: keeps the contract, learns, wraps any task."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from hpsearch import plugins
from hpsearch.base import Budget, Measurement, Setup, TrialResult
from hpsearch.exceptions import Diverged, OtherDevice, UnknownHyperparam
from hpsearch.objectives.ledger import Ledger
from hpsearch.testing import ObjectiveContract, SearchSpaceContract
from tests.integration.test_off_policy import Groups
from tests.integration.test_tensor_env import Points, TensorPoints

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_task"

pytestmark = [
    pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the example is in the source tree only"),
    pytest.mark.skipif(
        importlib.util.find_spec("rsl_rl") is None, reason="rsl-rl-lib is not installed"
    ),
]

SMALL: dict[str, Any] = {
    "num_steps_per_env": 16, "num_learning_epochs": 4, "num_mini_batches": 2,
    "hidden_dims": [32, 32],
}  # fmt: skip
POINT_PUSH = "bdx_example.tasks:PointPush"
POINTS = "tests.integration.test_tensor_env:PointsTask"


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as if it were installed; one thread, for other tests run beside these."""
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    # As the objective does, for the tests that import the parts alone.
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def objective(task: str = POINT_PUSH, device_kind: str | None = None, **settings: str) -> Any:
    setup = Setup(
        task=task, settings=settings, algo="rsl-rl-ppo", num_envs=8, action_limits=None,
        device_kind=device_kind,
    )  # fmt: skip
    return plugins.load("objective", "bdx_example.rsl_rl:RslRlPpo")(setup)


def run(trained: Any, max_timesteps: int, **changed: Any) -> tuple[TrialResult, list[Measurement]]:
    measurements: list[Measurement] = []
    budget = Budget(train_seconds=60.0, max_timesteps=max_timesteps, n_eval_episodes=32)
    try:
        result = trained({**SMALL, **changed}, seed=1, budget=budget, report=measurements.append)
    finally:
        trained.close()
    return result, measurements


class TestSpace(SearchSpaceContract):
    @pytest.fixture(autouse=True)
    def load(self, package: None) -> None:
        self.space = plugins.load("space", "bdx_example.spaces:RSL_RL")

    def test_the_objective_takes_what_is_decoded(self) -> None:
        middle = {name: each.low for name, each in self.space.distributions.items()}  # type: ignore[attr-defined]
        objective().check(self.space.decode(middle))


class TestOnPointPush(ObjectiveContract):
    # A short iteration: by one the budget may be passed.
    hyperparams = {**SMALL, "num_learning_epochs": 1}  # noqa: RUF012
    budget = Budget(train_seconds=2.0, n_eval_episodes=16)

    def make_objective(self) -> Any:
        return objective()

    def check_result(self, result: TrialResult) -> None:
        super().check_result(result)
        n_iterations = result.num_timesteps / (8 * 16)
        assert result.n_updates == 2 * n_iterations
        assert {"distance", "standing_return"} <= result.metrics.keys()
        spent = result.ledger["env"] + result.ledger["update"]
        assert spent == pytest.approx(result.train_seconds, abs=0.1)
        assert result.ledger["update"] > 0 and result.conditions["device_kind"]


def test_it_learns() -> None:
    untrained, _ = run(objective(), 0)
    trained, measurements = run(objective(), 4000)
    assert untrained.num_timesteps == untrained.n_updates == 0
    assert trained.mean_reward > untrained.mean_reward / 4
    assert trained.metrics["distance"] < untrained.metrics["distance"] / 2
    assert measurements[-1].mean_return is not None
    assert measurements[-1].losses.keys() == {"value", "surrogate", "entropy"}


def test_normalised_observations_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = objective()
    monkeypatch.setattr(trained._task, "normalize_observations", True)
    assert run(trained, 2000)[0].mean_reward > -5.0


def test_tensors_and_numpy_learn_the_same() -> None:
    (numpy, _), (tensors, _) = (run(objective(POINTS, kind=k), 800) for k in ("numpy", "tensors"))
    assert tensors.num_timesteps == numpy.num_timesteps
    assert tensors.mean_reward == pytest.approx(numpy.mean_reward, rel=1e-3)


@pytest.mark.parametrize("kind", [Points, TensorPoints])
def test_only_an_episode_that_was_cut_is_a_time_out(kind: type[Points]) -> None:
    from bdx_example.rsl_rl_env import RslRlVecEnv

    points = kind(4)
    points.seed(1)
    env = RslRlVecEnv(points, "cpu")
    steps = [env.step(torch.full((4, 2), 9.0)) for _ in range(40)]
    dones = torch.stack([done for _, _, done, _ in steps])
    time_outs = torch.stack([extras["time_outs"] for *_, extras in steps])
    assert (dones & time_outs).any() and (dones & ~time_outs).any()
    assert not (time_outs & ~dones).any()
    assert env.num_timesteps == 160 and len(env.returns) == dones.sum()
    rewards = torch.stack([reward for _, reward, _, _ in steps])
    n_first = int(dones[:, 3].nonzero()[0]) + 1
    assert float(rewards[:n_first, 3].sum()) == pytest.approx(env.returns[0])
    # What was shown before is not written again, and actions are clipped to their limits.
    assert not torch.equal(steps[0][0]["policy"], steps[1][0]["policy"])
    moved = steps[1][0]["policy"][0] - steps[0][0]["policy"][0]
    assert moved.tolist() == pytest.approx([0.1, 0.1])


def test_a_figure_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(Diverged, match="an observation or a reward"):
        run(objective(POINTS, kind="poisoned"), 800)


def test_a_weight_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(Diverged, match="a weight is not finite"):
        run(objective(), 800, learning_rate=1e30, schedule="fixed")


def test_the_critic_sees_its_own_group_and_the_actor_does_not() -> None:
    from bdx_example.rsl_rl import DEFAULTS
    from bdx_example.rsl_rl_env import RslRlVecEnv
    from bdx_example.rsl_rl_ppo import build_runner

    env = RslRlVecEnv(DummyVecEnv([Groups] * 4), "cpu")
    runner = build_runner(env, {**DEFAULTS, **SMALL}, Ledger(), normalize=True)
    runner.learn(1)
    assert "critic" in runner.alg.critic.obs_groups
    assert "critic" not in runner.alg.actor.obs_groups
    actions = env.actions_of(runner.get_inference_policy(), env.sb3_env.reset())
    assert actions.dtype == np.float32 and actions.shape[0] == 4


def test_hyperparams_of_another_algorithm_are_refused_at_launch() -> None:
    with pytest.raises(UnknownHyperparam, match="rsl_rl does not take the hyper-parameter 'tau'"):
        objective().check({"tau": 0.1})


def test_another_device_than_the_studys_is_declined() -> None:
    with pytest.raises(OtherDevice, match="come from a toaster"):
        run(objective(device_kind="a toaster"), 0)
