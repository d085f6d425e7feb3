import numpy as np
import pytest

from hpsearch.exceptions import InvalidLimits, NotLoadable, UnsupportedTask
from hpsearch.objectives.tasks.gymnasium import Gymnasium
from hpsearch.plugins import load_task
from hpsearch.testing import TaskContract


class TestPendulum(TaskContract):
    def make_task(self) -> Gymnasium:
        task = load_task("Pendulum-v1", {})
        assert isinstance(task, Gymnasium)
        return task


def test_one_pair_of_limits_stands_for_every_action() -> None:
    task = load_task("Pendulum-v1", {"g": "9.0"})
    assert task.settings == {"g": 9.0}
    with task.make(2, 1, action_low=[-0.5], action_high=[0.5]) as env:
        assert (env.action_space.low.item(), env.action_space.high.item()) == (-0.5, 0.5)


def test_an_action_outside_the_limits_acts_like_the_limit() -> None:
    rewards = []
    for torque in (0.5, 2.0):
        with Gymnasium("Pendulum-v1").make(1, 1, action_low=[-0.5], action_high=[0.5]) as env:
            env.reset()
            rewards.append(env.step(np.array([[torque]], np.float32))[1].item())
    assert rewards[0] == rewards[1]


@pytest.mark.parametrize(("low", "high"), [([-3.0], [1.0]), ([-1.0, -1.0], [1.0, 1.0])])
def test_limits_that_do_not_fit_are_refused(low: list[float], high: list[float]) -> None:
    task = Gymnasium("Pendulum-v1")
    with pytest.raises(InvalidLimits), task.make(1, 1, action_low=low, action_high=high):
        pass


def test_discrete_actions_are_refused() -> None:
    with pytest.raises(UnsupportedTask, match="continuous"), Gymnasium("CartPole-v1").make(1, 1):
        pass


def test_an_unknown_id_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(NotLoadable, match="Pendulm"):
        load_task("Pendulm-v1", {})


def test_an_id_of_a_package_that_is_missing_is_refused() -> None:
    with pytest.raises(NotLoadable, match="no_such_package"):
        load_task("no_such_package:Walk-v0", {})
