"""What is known of Isaac Lab's tasks without the simulator."""

from __future__ import annotations

import pytest

from hpsearch.exceptions import NoDefaultLimits, WrongSettings
from hpsearch.metric import parse_metric
from hpsearch.objectives.limits import A1_JOINTS, BUILT_IN
from hpsearch.objectives.tasks.isaaclab_robots import ROBOTS, registered_id, velocity_ids
from hpsearch.plugins import load_task
from hpsearch.spec import Given, resolve

OLD = "Isaac-Velocity-Flat-Unitree-A1-v0"
NEW = "IsaacContrib-Velocity-Flat-UnitreeA1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, NEW),
        ("Isaac-Velocity-Rough-Unitree-Go1-v0", "IsaacContrib-Velocity-Rough-UnitreeGo1"),
        ("Isaac-Velocity-Flat-Unitree-Go2-v0", "Isaac-Velocity-Flat-UnitreeGo2"),
        ("Isaac-Velocity-Flat-Anymal-B-v0", "IsaacContrib-Velocity-Flat-AnymalB"),
        ("Isaac-Velocity-Rough-Anymal-C-v0", "IsaacContrib-Velocity-Rough-AnymalC"),
        ("Isaac-Velocity-Flat-Anymal-D-v0", "Isaac-Velocity-Flat-AnymalD"),
        ("Isaac-Velocity-Flat-H1-v0", "Isaac-Velocity-Flat-H1"),
    ],
)
def test_old_and_new_spellings_are_one_task(old: str, new: str) -> None:
    assert registered_id(old, velocity_ids()) == registered_id(new, velocity_ids()) == new
    first, second = load_task(old, {}), load_task(new, {})
    assert first.default_limits == second.default_limits
    assert list(first.action_names) == list(second.action_names)


def test_other_ids_are_taken_as_they_are_registered() -> None:
    registered = ["Isaac-Cartpole", "Isaac-Cartpole-Direct", "Isaac-Ant"]
    assert registered_id("Isaac-Cartpole-v0", registered) == "Isaac-Cartpole"
    assert registered_id("Isaac-Cartpole-Direct-v0", registered) == "Isaac-Cartpole-Direct"
    assert registered_id("Isaac-Lift-v0", registered) is None


def test_every_robots_limits_are_built_in_and_of_its_joints() -> None:
    for robot in ROBOTS.values():
        for name in filter(None, (robot.limits, robot.rough_limits)):
            assert list(BUILT_IN[name].joints) == list(robot.joints)


def test_flat_ground_is_searched_as_published() -> None:
    spec = resolve(Given(task=OLD))
    assert (spec.space, spec.metric, spec.num_envs) == ("sac", "mean_reward", 1024)
    assert spec.budget.train_seconds == 300
    assert spec.action_limits is not None and spec.action_limits.name == "a1"
    assert load_task(OLD, {}).normalize_observations
    assert list(load_task(OLD, {}).action_names) == list(A1_JOINTS)


def test_rough_terrain_is_judged_by_its_level_on_plain_observations() -> None:
    task = "Isaac-Velocity-Rough-Unitree-A1-v0"
    spec = resolve(Given(task=task))
    assert (spec.space, spec.metric) == ("sac-rough", "terrain_level")
    assert spec.action_limits is not None and spec.action_limits.name == "a1-rough"
    assert not load_task(task, {}).normalize_observations
    assert load_task(task, {"normalize": "true"}).normalize_observations


def test_overrides_of_the_configuration_belong_to_the_spec() -> None:
    plain, fine = (
        resolve(Given(task=OLD)),
        resolve(Given(task=OLD, settings={"env.sim.dt": "0.004"})),
    )
    assert fine.settings == {"env.sim.dt": "0.004"}
    assert plain.fingerprint != fine.fingerprint


@pytest.mark.parametrize("name", ["commands", "env.scene.num_envs", "env.seed"])
def test_a_setting_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(WrongSettings, match=name):
        load_task(OLD, {name: "1"})


def test_a_robot_without_limits_asks_for_some() -> None:
    with pytest.raises(NoDefaultLimits, match="--bounds auto"):
        resolve(Given(task="Isaac-Velocity-Flat-H1-v0"))
    assert resolve(Given(task="Isaac-Velocity-Flat-H1-v0", bounds="1")).action_limits is not None


def test_a_study_without_limits_is_known_to_be_unbounded() -> None:
    assert resolve(Given(task=OLD, bounds="none")).unbounded
    assert not resolve(Given(task=OLD)).unbounded
    assert not resolve(Given(task="Pendulum-v1")).unbounded


def test_any_reward_term_can_be_optimised() -> None:
    names = load_task("Isaac-Ant-v0", {}).metric_names
    assert parse_metric("reward/progress", names).name == "reward/progress"
