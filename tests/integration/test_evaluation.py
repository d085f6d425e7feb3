from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from hpsearch.exceptions import Diverged
from hpsearch.objectives.environment import statistics_frozen, wrapped
from hpsearch.objectives.evaluation import evaluate, standing_return
from hpsearch.objectives.tasks.gymnasium import Gymnasium


class Counting(VecEnv):  # type: ignore[misc]
    """Environment i earns 1 a step and ends after `lengths[i]` steps; 0 means never."""

    def __init__(self, *lengths: int) -> None:
        space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        super().__init__(len(lengths), space, spaces.Box(0.5, 1.0, (1,), np.float32))
        self.lengths = np.array(lengths)
        self.ages = np.zeros(len(lengths), dtype=int)
        self.actions: Any = None
        self.poison = 0.0

    def _observations(self) -> Any:
        return np.repeat(self.ages[:, None] + self.poison, 2, axis=1).astype(np.float32)

    def reset(self) -> Any:
        self.ages[:] = 0
        return self._observations()

    def step_async(self, actions: Any) -> None:
        self.actions = actions

    def step_wait(self) -> Any:
        self.ages += 1
        dones = self.ages == self.lengths
        infos: list[dict[str, Any]] = [{} for _ in dones]
        for index in np.flatnonzero(dones):
            infos[index]["terminal_observation"] = self._observations()[index]
        self.ages[dones] = 0
        return self._observations(), np.ones(len(dones), np.float32), dones, infos

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


def one(observations: Any) -> Any:
    return np.ones((len(observations), 1), np.float32)


@pytest.fixture
def pendulum() -> Iterator[VecEnv]:
    with Gymnasium("Pendulum-v1").make(2, 1) as env:
        yield wrapped(env, normalize=True)


def test_short_episodes_are_not_preferred() -> None:
    returns = evaluate(wrapped(Counting(2, 20), normalize=True), one, 6, seed=1)
    assert sorted(returns) == [2, 2, 2, 20, 20, 20]


def test_a_rest_of_episodes_goes_to_the_first_environments() -> None:
    returns = evaluate(wrapped(Counting(3, 5, 7), normalize=False), one, 4, seed=1)
    assert sorted(returns) == [3, 3, 5, 7]


def test_fewer_episodes_than_environments_are_enough() -> None:
    returns = evaluate(wrapped(Counting(3, 5, 7), normalize=False), one, 1, seed=1)
    assert list(returns) == [3]


def test_a_bound_on_steps_counts_what_unfinished_episodes_have_earned() -> None:
    env = wrapped(Counting(4, 0), normalize=False)
    assert sorted(evaluate(env, one, 2, seed=1, max_steps=6)) == [4, 6]


def test_standing_ends_where_episodes_never_do() -> None:
    assert standing_return(wrapped(Counting(0, 0), normalize=True), seed=1) == 1000


def test_standing_takes_the_allowed_action_nearest_to_zero() -> None:
    env = Counting(3)
    standing_return(wrapped(env, normalize=False), seed=1)
    assert env.actions.tolist() == [[0.5]]


def test_the_same_seed_gives_the_same_returns(pendulum: VecEnv) -> None:
    def still(observations: Any) -> Any:
        return np.zeros((len(observations), 1), np.float32)

    first, again = (evaluate(pendulum, still, 4, seed=5) for _ in range(2))
    other = evaluate(pendulum, still, 4, seed=6)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_statistics_are_frozen_in_evaluation_and_move_again_afterwards() -> None:
    env: VecNormalize = wrapped(Counting(5, 9), normalize=True)
    env.reset()
    env.step(one([0, 0]))
    count, mean = env.obs_rms.count, env.obs_rms.mean.copy()
    evaluate(env, one, 4, seed=1)
    assert env.obs_rms.count == count
    np.testing.assert_array_equal(env.obs_rms.mean, mean)
    assert env.training
    env.reset()
    env.step(one([0, 0]))
    assert env.obs_rms.count > count


def test_statistics_move_again_after_an_evaluation_that_failed() -> None:
    env: VecNormalize = wrapped(Counting(5), normalize=True)

    def failing(_: Any) -> Any:
        assert not env.training
        raise RuntimeError

    with pytest.raises(RuntimeError):
        evaluate(env, failing, 1, seed=1)
    assert env.training


def test_statistics_that_were_frozen_before_stay_frozen() -> None:
    env: VecNormalize = wrapped(Counting(5), normalize=True)
    env.training = False
    with statistics_frozen(env):
        pass
    assert not env.training


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_ends_the_run(poison: float) -> None:
    inner = Counting(5)
    env = wrapped(inner, normalize=True)
    env.reset()
    inner.poison = poison
    with pytest.raises(Diverged, match="an observation is not finite"):
        env.step(one([0]))


def test_an_action_that_is_not_finite_ends_the_run() -> None:
    env = wrapped(Counting(5), normalize=True)
    env.reset()
    with pytest.raises(Diverged, match="an action is not finite"):
        env.step(np.array([[np.nan]], np.float32))
