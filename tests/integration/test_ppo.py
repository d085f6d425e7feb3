"""PPO, the baseline: how it begins, and that both of its kinds train."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpsearch.base import Budget, Measurement, Setup
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.recording import Recording
from hpsearch.objectives.training import Training
from hpsearch.plugins import load_task

pytestmark = [pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")]

SMALL = {
    "net_arch": [32], "n_steps": 16, "n_minibatches": 2, "n_epochs": 2, "activation_fn": "elu",
}  # fmt: skip
BUDGET = Budget(train_seconds=2.0, n_eval_episodes=4)


def setup(algo: str) -> Setup:
    return Setup(task="Pendulum-v1", settings={}, algo=algo, num_envs=4, action_limits=None)


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
