"""Contract tests: what every search space, objective and task must do, yours too.

Subclass one in a test module, give it the thing to test, and let pytest collect it:

    from hpsearch.testing import SearchSpaceContract

    class TestMySpace(SearchSpaceContract):
        space = MySpace()
"""

from __future__ import annotations

import fnmatch
import json
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from hpsearch.base import Budget, Measurement, Objective, SearchSpace, Task, TrialResult

N_POINTS = 50
"""Random points that a search space is tried on."""

OVERHEAD_SECONDS = 0.5
"""What a budget may be overrun by, and a ledger may miss: a slow test machine must pass."""


def random_params(space: SearchSpace, seed: int) -> dict[str, Any]:
    """Returns a random point of `space`, uniform on each parameter's own scale."""
    numbers = random.Random(seed)
    params: dict[str, Any] = {}
    for name, distribution in space.distributions.items():
        each: Any = distribution
        if isinstance(each.low, int):
            params[name] = numbers.randrange(each.low, each.high + 1, each.step)
        elif each.log:
            drawn = math.exp(numbers.uniform(math.log(each.low), math.log(each.high)))
            params[name] = min(max(drawn, each.low), each.high)
        else:
            params[name] = numbers.uniform(each.low, each.high)
    return params


class SearchSpaceContract:
    """What a search space must do; give `space`."""

    space: SearchSpace

    def test_it_can_be_searched(self) -> None:
        """Every distribution is numeric and there is at least one."""
        from hpsearch.samplers.space import check_searchable

        check_searchable(self.space)

    def test_every_point_decodes_to_plain_json_values(self) -> None:
        """What is decoded survives JSON unchanged: it is stored and sent to other processes."""
        for seed in range(N_POINTS):
            decoded = self.space.decode(random_params(self.space, seed))
            assert json.loads(json.dumps(decoded, allow_nan=False)) == decoded

    def test_decoding_is_deterministic_and_leaves_the_point_alone(self) -> None:
        """A replay must train the very same hyper-parameters."""
        for seed in range(N_POINTS):
            params = random_params(self.space, seed)
            before = dict(params)
            assert self.space.decode(params) == self.space.decode(params)
            assert params == before

    def test_corners_decode(self) -> None:
        """The lowest and the highest value of every parameter can be decoded."""
        for side in ("low", "high"):
            corner = {k: getattr(d, side) for k, d in self.space.distributions.items()}
            assert isinstance(self.space.decode(corner), dict)

    def test_every_parameter_matters(self) -> None:
        """Each parameter changes what is decoded; one that does not is searched in vain."""
        low = {name: getattr(d, "low") for name, d in self.space.distributions.items()}  # noqa: B009
        for name, distribution in self.space.distributions.items():
            other = {**low, name: getattr(distribution, "high")}  # noqa: B009
            assert self.space.decode(other) != self.space.decode(low), name


class ObjectiveContract:
    """What an objective must do; give `make_objective`, `hyperparams` and `budget`."""

    hyperparams: Mapping[str, Any]
    budget: Budget
    seed = 7

    def make_objective(self) -> Objective:
        """Returns a new objective, built with its setup."""
        raise NotImplementedError

    def run(self) -> tuple[TrialResult, list[Measurement], float]:
        """Returns the result of one run, its measurements, and its wall seconds."""
        objective = self.make_objective()
        measurements: list[Measurement] = []
        started = time.monotonic()
        try:
            result = objective(
                self.hyperparams, seed=self.seed, budget=self.budget, report=measurements.append
            )
            return result, measurements, time.monotonic() - started
        finally:
            close: Callable[[], None] = getattr(objective, "close", lambda: None)
            close()

    def test_a_run_keeps_the_contract(self) -> None:
        """One run, because a run is expensive: result, budget, ledger and curve."""
        result, measurements, wall_seconds = self.run()
        self.check_result(result)
        self.check_budget(result)
        self.check_ledger(result, wall_seconds)
        self.check_measurements(measurements, result)

    def check_result(self, result: TrialResult) -> None:
        """All figures are finite and possible."""
        for name in ("mean_reward", "std_reward", "train_seconds", "overshoot_seconds"):
            assert math.isfinite(getattr(result, name)), name
        assert all(math.isfinite(value) for value in result.metrics.values())
        assert result.std_reward >= 0
        assert result.cpu_seconds > 0
        assert result.num_timesteps > 0
        assert result.n_updates >= 0
        assert result.device
        json.dumps({"metrics": dict(result.metrics), "ledger": dict(result.ledger)})

    def check_budget(self, result: TrialResult) -> None:
        """Training stops at its budget, and what it ran over is told."""
        allowed = max(0.01 * self.budget.train_seconds, OVERHEAD_SECONDS)
        assert 0 <= result.overshoot_seconds <= allowed
        assert result.train_seconds <= self.budget.train_seconds + allowed
        over = result.train_seconds - self.budget.train_seconds
        assert abs(result.overshoot_seconds - max(0.0, over)) < 1e-6

    def check_ledger(self, result: TrialResult, wall_seconds: float) -> None:
        """The phases are known and sum to the wall time."""
        from hpsearch.objectives.ledger import PHASES

        assert set(result.ledger) <= set(PHASES)
        assert all(seconds >= 0 for seconds in result.ledger.values())
        gap = abs(sum(result.ledger.values()) - wall_seconds)
        assert gap <= max(0.02 * wall_seconds, OVERHEAD_SECONDS)

    def check_measurements(self, measurements: list[Measurement], result: TrialResult) -> None:
        """The curve begins at 0 s, goes forward, and ends once, where training ended."""
        assert measurements[0].train_seconds == 0
        assert [m.last for m in measurements] == [False] * (len(measurements) - 1) + [True]
        for name in ("train_seconds", "num_timesteps", "n_updates"):
            values = [getattr(measurement, name) for measurement in measurements]
            assert values == sorted(values), name
        assert abs(measurements[-1].train_seconds - result.train_seconds) < OVERHEAD_SECONDS
        assert measurements[-1].num_timesteps == result.num_timesteps


class TaskContract:
    """What a task must do; give `make_task` and, where needed, limits inside its bounds."""

    num_envs = 3
    max_steps = 1100
    """Steps within which some episode of random actions ends."""

    def make_task(self) -> Task:
        """Returns a new task."""
        raise NotImplementedError

    def limits(self, action_dim: int) -> tuple[list[float], list[float]]:
        """Returns `(low, high)`, each `[action_dim]`, inside the task's own bounds."""
        return [-0.5] * action_dim, [0.25] * action_dim

    def open(self, seed: int = 1, **limits: Any) -> Any:
        """Opens the task with `num_envs` environments."""
        limits = {"action_low": None, "action_high": None, **limits}
        return self.make_task().make(self.num_envs, seed, **limits)

    def test_its_defaults_are_known_before_it_is_opened(self) -> None:
        """The parent process reads them without a simulator."""
        task = self.make_task()
        assert isinstance(task.default_space, str)
        assert isinstance(task.default_budget, Budget)
        assert task.default_num_envs >= 1
        assert isinstance(task.default_limits, str)
        assert isinstance(task.normalize_observations, bool)

    def test_shapes_are_those_of_its_spaces(self) -> None:
        """Observations, rewards and dones have one row for each environment."""
        import numpy as np

        with self.open() as env:
            names = list(self.make_task().action_names)
            assert not names or len(names) == env.action_space.shape[0]
            observations = env.reset()
            assert observations.shape == (self.num_envs, *env.observation_space.shape)
            actions = np.stack([env.action_space.sample() for _ in range(self.num_envs)])
            observations, rewards, dones, infos = env.step(actions)
            assert observations.shape == (self.num_envs, *env.observation_space.shape)
            assert rewards.shape == dones.shape == (self.num_envs,)
            assert len(infos) == self.num_envs
            assert np.isfinite(observations).all() and np.isfinite(rewards).all()

    def test_a_seed_decides_the_first_observations(self) -> None:
        """The same seed gives the same start, also by `VecEnv.seed`; another one another."""
        import numpy as np

        with self.open(seed=1) as env:
            first = np.array(env.reset())
            env.seed(2)
            second = np.array(env.reset())
            env.seed(1)
            again = np.array(env.reset())
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, second)

    def test_action_limits_become_the_action_space(self) -> None:
        """The agent sees the limits as the bounds of its actions."""
        import numpy as np

        with self.open() as env:
            action_dim = env.action_space.shape[0]
        low, high = self.limits(action_dim)
        with self.open(action_low=low, action_high=high) as env:
            np.testing.assert_allclose(env.action_space.low, low, rtol=1e-6)
            np.testing.assert_allclose(env.action_space.high, high, rtol=1e-6)
            env.reset()
            middle = (env.action_space.low + env.action_space.high) / 2
            env.step(np.repeat(middle[None], self.num_envs, axis=0))

    def test_the_end_of_an_episode_carries_its_true_last_observation(self) -> None:
        """Bootstrapping at a time-out needs the observation before the reset."""
        import numpy as np

        with self.open() as env:
            env.action_space.seed(0)
            env.reset()
            for _ in range(self.max_steps):
                actions = np.stack([env.action_space.sample() for _ in range(self.num_envs)])
                observations, _, dones, infos = env.step(actions)
                if dones.any():
                    break
            assert dones.any(), f"no episode ended within {self.max_steps} steps"
            for index in np.flatnonzero(dones):
                last = np.asarray(infos[index]["terminal_observation"])
                assert last.shape == env.observation_space.shape
                assert not np.array_equal(last, observations[index])
                assert "TimeLimit.truncated" in infos[index]

    def test_its_metrics_are_the_named_ones_and_finite(self) -> None:
        """They are stored with every measurement, and a study may optimise one."""
        task = self.make_task()
        with task.make(self.num_envs, 1, action_low=None, action_high=None) as env:
            env.reset()
            metrics = task.metrics(env)
        named = {name for name in task.metric_names if "*" not in name}
        assert named <= set(metrics)
        for name in metrics:
            assert any(fnmatch.fnmatchcase(name, each) for each in task.metric_names), name
        assert all(math.isfinite(value) for value in metrics.values())
