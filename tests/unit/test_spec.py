from __future__ import annotations

import dataclasses
import json

import pytest

from hpsearch.base import seed_of
from hpsearch.exceptions import (
    InvalidBudget,
    InvalidLimits,
    InvalidRange,
    InvalidValue,
    NoDefaultSpace,
    NotLoadable,
    SpecDiffers,
    UnknownMetric,
    UnknownName,
    UsageError,
    WrongSettings,
)
from hpsearch.samplers.prior import Prior
from hpsearch.spec import Given, Spec, check_same, resolve


def test_the_defaults_are_the_tasks() -> None:
    spec = resolve(Given(task="quadruped-walk"))
    assert (spec.space, spec.num_envs, spec.budget.train_seconds) == ("sac-small", 64, 60.0)
    assert spec.action_limits and spec.action_limits.name == "a1"
    assert spec.default_name == "quadruped-walk-sac-small"


@pytest.mark.parametrize(
    ("task", "num_envs", "n_eval_episodes"),
    [
        ("Isaac-Velocity-Flat-Unitree-A1-v0", 4096, 512),
        ("Isaac-Velocity-Flat-Unitree-A1-v0", 100, 100),
        ("Isaac-Velocity-Flat-Unitree-A1-v0", 4, 16),
        ("quadruped-walk", 64, 128),
        ("quadruped-walk", 32, 64),
    ],
)
def test_an_evaluation_takes_no_more_rounds_with_fewer_environments(
    task: str, num_envs: int, n_eval_episodes: int
) -> None:
    spec = resolve(Given(task=task, num_envs=num_envs))
    assert spec.budget.n_eval_episodes == n_eval_episodes
    given = Given(task=task, num_envs=num_envs, n_eval_episodes=99)
    assert resolve(given).budget.n_eval_episodes == 99
    check_same("s", spec, Given(num_envs=num_envs))


def test_a_spec_survives_json() -> None:
    spec = resolve(Given(task="quadruped-walk", fix={"gamma": "0.98"}))
    prior = Prior(mean=(0.5, 0.25), sigma=0.1, covariance=((1.0, 0.5), (0.5, 1.0)))
    spec = dataclasses.replace(spec, warm_start="older", prior=prior)
    assert Spec.from_json(json.loads(json.dumps(spec.as_json()))) == spec
    assert "gamma" not in spec.distributions


def test_every_field_changes_the_fingerprint() -> None:
    spec = resolve(Given(task="quadruped-walk"))
    others = [
        Given(task="quadruped-velocity"),
        Given(seed=1),
        Given(budget="61s"),
        Given(popsize=12),
        Given(bounds="1.0"),
        Given(ranges={"gamma": "0.9:0.99"}),
        Given(metric="auc"),
        Given(direction="minimize"),
        Given(num_envs=32),
        Given(sampler="tpe"),
        Given(startup=5),
        Given(warm_start="older"),
    ]
    prints = {resolve(given).fingerprint for given in others} | {spec.fingerprint}
    assert len(prints) == len(others) + 1


def test_only_what_was_given_is_compared() -> None:
    spec = resolve(Given(task="quadruped-walk", budget="20s", popsize=4, seed=7))
    check_same("s", spec, Given())
    check_same("s", spec, Given(budget="20", popsize=4))


def test_a_difference_is_refused_and_shown() -> None:
    spec = resolve(Given(task="quadruped-walk", popsize=4))
    with pytest.raises(SpecDiffers, match=r"popsize is 4, not 8.*--new-study"):
        check_same("s", spec, Given(popsize=8))


def test_a_space_whose_code_changed_is_noticed() -> None:
    spec = resolve(Given(task="quadruped-walk"))
    older = dict(spec.distributions)
    older["gamma"] = {**older["gamma"], "attributes": {**older["gamma"]["attributes"], "low": 0.5}}
    with pytest.raises(SpecDiffers, match="distributions"):
        check_same("s", dataclasses.replace(spec, distributions=older), Given())


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (Given(task="walk"), UnknownName, "no task 'walk'.*quadruped-walk"),
        (Given(space="sax"), UnknownName, "no space 'sax'.*sac-small"),
        (Given(objective="nope"), UnknownName, "no objective 'nope'.*sphere"),
        (Given(metric="reward"), UnknownMetric, "no metric 'reward'.*mean_reward"),
        (Given(direction="up"), InvalidValue, "maximize or minimize"),
        (Given(popsize=3), InvalidValue, "--popsize is 3, but must be 4 or more"),
        (Given(num_envs=0), InvalidValue, "--num-envs is 0"),
        (Given(seed=-1), InvalidValue, "--seed is -1"),
        (Given(sampler="cma"), InvalidValue, "--sampler is 'cma'.*cma-es"),
        (Given(startup=-1), InvalidValue, "--startup is -1"),
        (Given(sampler="tpe", warm_start="s"), InvalidValue, "--warm-start is 's'.*tpe"),
        (Given(budget="0"), InvalidBudget, "'0' is not a duration"),
        (Given(budget="soon"), InvalidBudget, "'soon' is not a duration"),
        (Given(bounds="a2"), InvalidLimits, "'a2'.*a1"),
        (Given(objective="sphere", bounds="a1"), InvalidValue, "--bounds is 'a1'.*no task"),
        (Given(fix={"gama": "1"}), InvalidRange, "gama.*gamma"),
        (Given(ranges={"gamma": "1:0"}), InvalidRange, "gamma=1:0"),
        (Given(settings={"speed": "2"}), WrongSettings, "speed"),
        (Given(task="no.such.module:Task"), NotLoadable, "no.such.module"),
        (Given(objective="json:dumps"), NoDefaultSpace, "json:dumps.*--space"),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(
    given: Given, error: type[UsageError], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve(given)


def test_seeds_of_search_and_replay_never_meet_and_are_31_bits() -> None:
    search = {seed_of(0, "search", number) for number in range(1000)}
    replay = {seed_of(0, "replay", number) for number in range(1000)}
    assert len(search | replay) == 2000
    assert all(0 <= seed < 2**31 for seed in search | replay)
