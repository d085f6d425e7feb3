import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpsearch.base import Budget, Measurement, Setup, TrialResult, seed_of
from hpsearch.exceptions import (
    BrokenTask,
    Diverged,
    InvalidValue,
    UnknownChoice,
    UnknownHyperparam,
)
from hpsearch.objectives.limits import load_limits
from hpsearch.objectives.training import Training
from hpsearch.plugins import load_task
from hpsearch.testing import ObjectiveContract

pytestmark = [
    # What sbx imports still uses names that jax has deprecated.
    pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning"),
]

TINY = {
    "policy": "MlpPolicy", "net_arch": [16], "batch_size": 32, "gradient_steps": 1,
    "policy_delay": 2, "train_freq": 1, "ent_coef": "auto_0.01", "gamma": 0.98,
    "learning_rate": 1e-3, "tau": 0.01, "buffer_size": 5000, "learning_starts": 64,
    "activation_fn": "elu", "optimizer_class": "adamw", "layer_norm": True,
}  # fmt: skip

FAULTY_TASK = """
import numpy as np
from stable_baselines3.common.vec_env import VecEnvWrapper
from contextlib import contextmanager
from hpsearch.objectives.tasks.gymnasium import Gymnasium


class Faulty(VecEnvWrapper):
    def __init__(self, env, good_steps):
        super().__init__(env)
        self.left = good_steps

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        observations, rewards, dones, infos = self.venv.step_wait()
        self.left -= 1
        if self.left < 0:
            observations = observations * np.nan
        return observations, rewards, dones, infos


class Task(Gymnasium):
    closed = 0

    def __init__(self, good_steps):
        super().__init__("Pendulum-v1")
        self.good_steps = int(good_steps)

    @contextmanager
    def make(self, *args, **kwargs):
        with super().make(*args, **kwargs) as env:
            yield Faulty(env, self.good_steps)
        Task.closed += 1
"""


def setup(task: str, num_envs: int = 4, algo: str = "sac", **settings: str) -> Setup:
    known = load_task(task, settings)
    limits = load_limits(None, known.action_names, default=known.default_limits)
    return Setup(task=task, settings=settings, algo=algo, num_envs=num_envs, action_limits=limits)


def run(training: Training, hyperparams: dict[str, Any], budget: Budget) -> list[Measurement]:
    measurements: list[Measurement] = []
    try:
        training(hyperparams, seed=1, budget=budget, report=measurements.append)
    finally:
        training.close()
    return measurements


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "faulty_task.py").write_text(FAULTY_TASK)
    monkeypatch.syspath_prepend(tmp_path)
    yield "faulty_task:Task"
    sys.modules.pop("faulty_task", None)


class TestPendulum(ObjectiveContract):
    hyperparams = TINY
    budget = Budget(train_seconds=3.0, n_eval_episodes=6)

    def make_objective(self) -> Training:
        return Training(setup("Pendulum-v1"))


class TestPpoOnPendulum(ObjectiveContract):
    # 32 steps make a minibatch of 6, and one of 2 is left over, which would be compiled anew.
    hyperparams = {"n_steps": 8, "n_minibatches": 5, "n_epochs": 2, "net_arch": [16],  # noqa: RUF012
                   "learning_rate_schedule": "linear"}  # fmt: skip
    budget = Budget(train_seconds=3.0, n_eval_episodes=6)

    def make_objective(self) -> Training:
        return Training(setup("Pendulum-v1", algo="ppo"))

    def check_result(self, result: TrialResult) -> None:
        super().check_result(result)
        assert result.conditions["compilations"] == 0
        assert result.n_updates > 0 and result.ledger["update"] > 0


class TestQuadrupedWalk(ObjectiveContract):
    # Four places of a burst of 1 within the delay: stock sbx compiles four programs.
    hyperparams = {**TINY, "net_arch": [32, 32], "policy_delay": 4}  # noqa: RUF012
    budget = Budget(train_seconds=4.0, n_eval_episodes=16)

    def make_objective(self) -> Training:
        return Training(setup("quadruped-walk", num_envs=16))

    def test_a_run_keeps_the_contract(self) -> None:
        reported_at: list[float] = []
        objective = self.make_objective()

        def report(measurement: Measurement) -> None:
            reported_at.append(time.monotonic())
            measurements.append(measurement)

        measurements: list[Measurement] = []
        started = time.monotonic()
        try:
            result = objective(self.hyperparams, seed=1, budget=self.budget, report=report)
            wall_seconds = time.monotonic() - started
        finally:
            objective.close()
        self.check_result(result)
        self.check_budget(result)
        self.check_ledger(result, wall_seconds)
        self.check_measurements(measurements, result)
        assert result.conditions["compilations"] == 0
        assert {"standing_return", "forward_speed"} <= result.metrics.keys()
        gaps = [b - a for a, b in itertools.pairwise(reported_at)]
        assert max(gaps) < 2.0
        assert result.ledger["env"] + result.ledger["update"] == pytest.approx(
            result.train_seconds, abs=0.3
        )


@pytest.mark.parametrize("normalize", [True, False])
def test_what_the_post_used_on_rough_terrain_trains(
    normalize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(setup("Pendulum-v1"))
    monkeypatch.setattr(training._task, "normalize_observations", normalize)
    rough = {"policy": "SimbaPolicy", "net_arch": {"pi": [16], "qf": [32]}, "train_freq": 10}
    rough |= {"gradient_steps": 20, "use_sde": True, "n_steps": 3}
    budget = Budget(train_seconds=60.0, max_timesteps=400, n_eval_episodes=2)
    assert run(training, {**TINY, **rough}, budget)[-1].n_updates == 8 * 20


def test_training_has_a_stream_of_seeds_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv

    seeds: list[int | None] = []
    original = DummyVecEnv.seed

    def noted(self: DummyVecEnv, seed: int | None = None) -> Any:
        seeds.append(seed)
        return original(self, seed)

    monkeypatch.setattr(DummyVecEnv, "seed", noted)
    budget = Budget(train_seconds=60.0, max_timesteps=100, n_eval_episodes=4)
    run(Training(setup("Pendulum-v1")), TINY, budget)
    evaluation, environment = (seed_of(1, name) for name in ("evaluation", "environment"))
    assert seeds[-3:] == [evaluation, environment, evaluation]


def test_steps_end_a_run_before_its_seconds() -> None:
    training = Training(setup("Pendulum-v1"))
    budget = Budget(train_seconds=60.0, max_timesteps=200, n_eval_episodes=2)
    measurements = run(training, TINY, budget)
    assert measurements[-1].num_timesteps == 200
    assert measurements[-1].train_seconds < 30.0


def test_an_observation_that_turns_nan_ends_the_run_and_the_task_is_closed(faulty: str) -> None:
    training = Training(setup(faulty, good_steps="260"))
    with pytest.raises(Diverged, match="an observation is not finite"):
        run(training, TINY, Budget(train_seconds=60.0, n_eval_episodes=2))
    assert sys.modules["faulty_task"].Task.closed == 1


def test_a_task_that_is_broken_from_the_start_is_not_blamed_on_the_parameters(faulty: str) -> None:
    training = Training(setup(faulty, good_steps="10"))
    with pytest.raises(BrokenTask, match="before any training"):
        run(training, TINY, Budget(train_seconds=60.0, n_eval_episodes=2))


def test_a_loss_that_is_not_finite_ends_the_run_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = Training(setup("Pendulum-v1"))
    measurements: list[Measurement] = []
    started = time.monotonic()

    def report(measurement: Measurement) -> None:
        nonlocal started
        started = time.monotonic()
        measurements.append(measurement)

    try:
        with pytest.raises(Diverged, match=r"(loss|coefficient|action)"):
            training(
                {**TINY, "learning_rate": 1e30, "gradient_steps": 4},
                seed=1,
                budget=Budget(train_seconds=60.0, n_eval_episodes=2),
                report=report,
            )
    finally:
        training.close()
    assert time.monotonic() - started < 3.0


@pytest.mark.parametrize(
    ("changed", "error", "problem"),
    [
        ({"batch": 3}, UnknownHyperparam, "sac does not take the hyper-parameter 'batch'"),
        ({"activation_fn": "gelu"}, InvalidValue, "one of elu, relu, tanh"),
        ({"optimizer_class": "sgd"}, InvalidValue, "one of adam, adamw"),
        ({"policy": "CnnPolicy"}, InvalidValue, "SimbaPolicy"),
    ],
)
def test_hyperparams_that_sac_does_not_take_are_named(
    changed: dict[str, Any], error: type[Exception], problem: str
) -> None:
    training = Training(setup("Pendulum-v1", num_envs=1))
    with pytest.raises(error, match=problem):
        run(training, {**TINY, **changed}, Budget(train_seconds=1.0, n_eval_episodes=1))


def test_an_unknown_algorithm_lists_the_known_ones() -> None:
    with pytest.raises(UnknownChoice, match="Known: sac, tqc, ppo, ppo-torch"):
        Training(setup("Pendulum-v1", algo="dqn"))
