"""PPO, the baseline: how it begins, and that both of its kinds train."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from hpsearch.base import Budget, Measurement, Setup
from hpsearch.exceptions import Diverged
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.device import prepare_jax
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.recording import Recording
from hpsearch.objectives.training import Training
from hpsearch.plugins import load_task
from tests.integration.test_off_policy import kept

pytestmark = [pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")]

SMALL = {
    "net_arch": [32], "n_steps": 16, "n_minibatches": 2, "n_epochs": 2, "activation_fn": "elu",
}  # fmt: skip
BUDGET = Budget(train_seconds=2.0, n_eval_episodes=4)


def setup(algo: str) -> Setup:
    return Setup(task="Pendulum-v1", settings={}, algo=algo, num_envs=4, action_limits=None)


def compiled(algo: str, *, reward_factor: float = 1.0, **hyperparams: Any) -> Any:
    """Returns an agent of `algo` that has made no step yet."""
    prepare_jax()
    from hpsearch.objectives.agents import build_agent

    def pendulum() -> Any:
        env = gymnasium.make("Pendulum-v1")
        return gymnasium.wrappers.TransformReward(env, lambda reward: reward_factor * reward)

    env = DummyVecEnv([pendulum] * 4)
    env.seed(1)
    agent = build_agent(
        algo, {**SMALL, **hyperparams}, env, task="t", seed=1, normalize=False, ledger=Ledger()
    )
    agent.compile()
    return agent


def learn(agent: Any) -> None:
    """Trains for a budget of 100 s, of which each look takes one."""
    now = 0.0
    clock = BudgetClock(100.0, clock=lambda: now)

    def look() -> bool:
        nonlocal now
        now += 1.0
        return not clock.exhausted

    clock.start()
    agent.learn(clock, 10**6, look)


@pytest.mark.parametrize("algo", ["ppo", "ppo-torch"])
def test_the_first_actions_are_near_zero_with_a_deviation_near_one(algo: str) -> None:
    from hpsearch.objectives.agents import build_agent

    task = load_task("quadruped-walk", {})
    with task.make(64, 1, action_low=None, action_high=None) as env:
        agent = build_agent(
            algo, {**SMALL, "net_arch": [256, 128]}, env, task="quadruped-walk", seed=1,
            normalize=True, ledger=Ledger(),
        )  # fmt: skip
        observations = agent.env.reset()
        mean = agent.predict(observations)
        model = agent._model  # type: ignore[attr-defined]
        drawn = np.concatenate(
            [model.predict(observations, deterministic=False)[0] for _ in range(20)]
        )
    assert np.abs(mean).max() < 0.1
    assert drawn.mean() == pytest.approx(0.0, abs=0.05)
    assert drawn.std() == pytest.approx(1.0, abs=0.05)


def test_the_second_baseline_keeps_budget_and_ledger() -> None:
    training = Training(setup("ppo-torch"))
    points: list[Measurement] = []
    result = training(SMALL, seed=1, budget=BUDGET, report=points.append)
    training.close()
    assert result.train_seconds >= 2.0 and result.n_updates > 0
    assert result.overshoot_seconds < 0.3
    assert set(points[-1].losses) >= {"value_loss", "approx_kl"}
    assert result.ledger["update"] > 0


@pytest.mark.parametrize("n_minibatches", [1, 4])
def test_what_ppo_compiles_is_charged_to_compile(n_minibatches: int) -> None:
    training = Training(setup("ppo"))
    # Widths of its own: nothing that an earlier test compiled serves here.
    hyperparams = {**SMALL, "n_minibatches": n_minibatches, "net_arch": [32 + n_minibatches]}
    result = training(hyperparams, seed=1, budget=BUDGET, report=lambda _: None)
    training.close()
    assert result.conditions["compilations"] == 0 < result.n_updates
    trained = result.ledger["env"] + result.ledger["update"]
    assert trained == pytest.approx(result.train_seconds, abs=0.1)
    assert result.ledger["compile"] > 0.1


def test_a_rate_that_follows_the_divergence_begins_where_it_was_given() -> None:
    from hpsearch.objectives.agents import build_agent

    hyperparams = {**SMALL, "target_kl": 0.01, "learning_rate": 1e-3, "n_minibatches": 4}
    with load_task("Pendulum-v1", {}).make(4, 1) as env:
        agent = build_agent(
            "ppo", hyperparams, env, task="Pendulum-v1", seed=1, normalize=True, ledger=Ledger()
        )
        agent.compile()
        model = agent._model  # type: ignore[attr-defined]
    assert model.adaptive_lr.current_adaptive_lr == 1e-3
    rate = model.policy.actor_state.opt_state[1].hyperparams["learning_rate"]
    assert float(rate) == pytest.approx(1e-3)


def test_the_second_baseline_leaves_a_rollout_that_diverges_too_far() -> None:
    training = Training(setup("ppo-torch"))
    budget = Budget(train_seconds=60.0, max_timesteps=128, n_eval_episodes=4)
    hyperparams = {**SMALL, "n_epochs": 5, "target_kl": 1e-9}
    result = training(hyperparams, seed=1, budget=budget, report=lambda _: None)
    training.close()
    # Of each of two rollouts the first minibatch, and the second that showed it.
    assert result.n_updates == 4


@pytest.mark.parametrize("algo", ["ppo", "ppo-torch"])
def test_a_linear_rate_ends_with_the_steps_where_these_end_first(
    algo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = kept(monkeypatch)
    training = Training(setup(algo))
    budget = Budget(train_seconds=600.0, max_timesteps=256, n_eval_episodes=4)
    hyperparams = {**SMALL, "learning_rate_schedule": "linear"}
    training(hyperparams, seed=1, budget=budget, report=lambda _: None)
    training.close()
    assert built[0]._model._current_progress_remaining == pytest.approx(0.0)


@pytest.mark.parametrize("algo", ["ppo", "ppo-torch"])
def test_a_linear_schedule_follows_training(algo: str) -> None:
    agent = compiled(algo, learning_rate=1e-3, learning_rate_schedule="linear")
    learn(agent)
    policy = agent._model.policy
    if algo == "ppo":
        rate = float(policy.actor_state.opt_state[1].hyperparams["learning_rate"])
    else:
        rate = policy.optimizer.param_groups[0]["lr"]
    # A rollout and its minibatches look 20 times, so the last ones begin in the last fifth.
    assert 0 <= rate <= 0.21 * 1e-3


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
@pytest.mark.parametrize("algo", ["ppo", "ppo-torch"])
def test_a_loss_that_is_not_finite_is_named_though_all_that_led_to_it_was_finite(
    algo: str,
) -> None:
    # The squares of such returns are too large for float32.
    agent = compiled(algo, reward_factor=1e30)
    with pytest.raises(Diverged, match=r"(pg|policy_gradient|value)_loss is -?(inf|nan) after"):
        learn(agent)


def test_a_recording_holds_limits_within_which_the_policy_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpsearch.objectives.recording.N_ACTIONS", 1000)
    recording = Recording(setup("ppo"))
    hyperparams = {**SMALL, "percentile": 5.0}
    result = recording(hyperparams, seed=1, budget=BUDGET, report=lambda _: None)
    recording.close()
    actions = result.conditions["actions"]
    (joint,) = actions["joints"]
    assert actions["n_actions"] >= 1000 and actions["percentile"] == 5.0
    assert -2.0 <= joint["low"] < joint["high"] <= 2.0
    assert joint["outside"] <= 0.1 + 1e-6 and math.isfinite(result.mean_reward)
