"""Hyper-parameters are checked before anything heavy is imported."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.exceptions import InvalidValue, UnknownHyperparam, UnsupportedTask
from hpsearch.objectives.hyperparams import OffPolicyHyperparams, of_algo
from hpsearch.objectives.spaces import check_groups, check_spaces
from hpsearch.samplers.ppo import PPO
from hpsearch.samplers.sac import ROUGH, SAC_ENVS, TUNED
from hpsearch.spec import Given, resolve
from hpsearch.testing import random_params

DICT_TASK = """
from gymnasium import spaces
from tests.unit.test_hyperparams import SPACES
from hpsearch.objectives.tasks.quadruped_walk import QuadrupedWalk


class {name}(QuadrupedWalk):
    def spaces(self):
        return SPACES["{name}"]
"""


@pytest.mark.parametrize("values", [TUNED, ROUGH])
def test_the_published_sets_are_hyperparams_of_sac(values: dict[str, Any]) -> None:
    assert isinstance(of_algo("sac", values), OffPolicyHyperparams)


def test_the_number_of_environments_is_of_the_run_and_not_of_the_agent() -> None:
    decoded = SAC_ENVS.decode(random_params(SAC_ENVS, 0))
    assert 256 <= decoded["num_envs"] <= 8192
    of_algo("sac", decoded)


@pytest.mark.parametrize(
    ("algo", "given", "problem"),
    [
        ("sac", {"n_quantiles": 5}, "sac does not take the hyper-parameter"),
        ("ppo", {"tau": 0.1}, "ppo does not take the hyper-parameter"),
        ("sac", {"ent_coef": "auto_0"}, "auto_ and a number above 0"),
        ("sac", {"ent_coef": "automatic"}, "auto_ and a number above 0"),
        ("sac", {"ent_coef": "0.1"}, "auto_ and a number above 0"),
        ("sac", {"policy": "SimbaPolicy", "net_arch": [64, 32]}, "layers of one size"),
        ("tqc", {"learning_rate_schedule": "cosine"}, "one of constant, linear"),
        ("sac", {"batch_size": 0}, "a whole number above 0"),
        ("tqc", {"n_quantiles": 5, "top_quantiles_to_drop_per_net": 5}, "0 to 4"),
    ],
)
def test_what_cannot_be_is_named(algo: str, given: dict[str, Any], problem: str) -> None:
    with pytest.raises((InvalidValue, UnknownHyperparam), match=problem):
        of_algo(algo, given)


def _spaces() -> dict[str, Any]:
    from gymnasium import spaces

    actions = spaces.Box(-1, 1, (12,))
    vector, image = spaces.Box(-1, 1, (3,)), spaces.Box(0, 1, (8, 8, 3))
    groups = spaces.Dict({"policy": vector, "critic": vector})
    several = spaces.Dict({"policy": vector, "history": vector})
    return {"Groups": (groups, actions), "Several": (several, actions), "Image": (image, actions),
            "Discrete": (vector, spaces.Discrete(3)),
            "Free": (vector, spaces.Box(-float("inf"), float("inf"), (2,)))}  # fmt: skip


SPACES = _spaces()


@pytest.fixture
def tasks(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(DICT_TASK.format(name=name) for name in SPACES)
    (tmp_path / "shown_tasks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    ("given", "error", "problem"),
    [
        ({"task": "shown_tasks:Image"}, UnsupportedTask, "like an image"),
        ({"task": "shown_tasks:Discrete"}, UnsupportedTask, "not continuous"),
        (
            {"task": "shown_tasks:Free", "bounds": "none"},
            UnsupportedTask,
            "its actions have no bounds",
        ),
        ({"task": "shown_tasks:Groups", "space": "sac-rough"}, InvalidValue, "n_steps is 5"),
        ({"task": "shown_tasks:Several", "algo": "ppo"}, UnsupportedTask, "in groups, for PPO"),
        (
            {"space": "tqc", "algo": "sac"},
            UnknownHyperparam,
            "sac does not take the hyper-parameter",
        ),
    ],
)
def test_a_study_that_no_run_could_succeed_in_is_refused_at_launch(
    given: dict[str, str], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        resolve(Given(**given))  # type: ignore[arg-type]


@pytest.mark.usefixtures("tasks")
def test_groups_with_rewards_of_one_step_are_accepted() -> None:
    resolve(Given(task="shown_tasks:Groups"))
    check_spaces("t", *SPACES["Groups"])
    check_groups("t", "tqc", {"n_steps": 1}, SPACES["Groups"][0])


@pytest.mark.usefixtures("tasks")
def test_ppo_learns_from_the_one_group_that_is_not_the_critics() -> None:
    resolve(Given(task="shown_tasks:Groups", algo="ppo"))


@pytest.mark.parametrize(
    ("given", "algo", "space"),
    [
        ({}, "sac", "sac-small"),
        ({"algo": "tqc"}, "tqc", "tqc-small"),
        ({"algo": "ppo"}, "ppo", "ppo"),
        ({"space": "tqc"}, "tqc", "tqc"),
        ({"space": "ppo"}, "ppo", "ppo"),
        ({"space": "sac-rough"}, "sac", "sac-rough"),
    ],
)
def test_algorithm_and_space_pick_each_other(given: dict[str, str], algo: str, space: str) -> None:
    spec = resolve(Given(**given))  # type: ignore[arg-type]
    assert (spec.algo, spec.space) == (algo, space)


def test_minibatches_of_ppo_fit_any_number_of_environments() -> None:
    made = PPO.decode(random_params(PPO, 3))
    assert made["n_minibatches"] >= 2 and "batch_size" not in made
