import json
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpsearch.base import Params
from hpsearch.exceptions import (
    CategoricalSpace,
    InvalidRange,
    MissingExtra,
    NotASearchSpace,
    UnknownName,
)
from hpsearch.samplers.by_name import SAMPLERS, make_sampler
from hpsearch.samplers.ppo import PPO
from hpsearch.samplers.sac import ROUGH, SAC, SAC_ENVS, SAC_ROUGH, SAC_SMALL, TUNED
from hpsearch.samplers.space import Space, check_searchable, modified, trial_attributes
from hpsearch.samplers.sphere import SPHERE
from hpsearch.samplers.tqc import TQC, TQC_SMALL
from hpsearch.testing import SearchSpaceContract

PUBLISHED: dict[str, int | float] = {
    "batch_size_pow": 9,
    "ent_coef_init": 0.009471776840423638,
    "gamma": 0.983100250213744,
    "gradient_steps_pow": 5,
    "learning_rate": 0.00044689099625712413,
    "net_arch_complexity": 3,
    "policy_delay_pow": 3,
    "tau": 0.0023055560568780655,
    "train_freq_pow": 0,
}


class UsersSpace:
    name = "users"
    distributions: Mapping[str, BaseDistribution] = {"n_pow": IntDistribution(1, 4)}

    def decode(self, params: Params) -> dict[str, Any]:
        return {"n": 2 ** int(params["n_pow"])}


class TestSac(SearchSpaceContract):
    space = SAC


class TestSacSmall(SearchSpaceContract):
    space = SAC_SMALL


class TestSacRough(SearchSpaceContract):
    space = SAC_ROUGH


class TestSacEnvs(SearchSpaceContract):
    space = SAC_ENVS


class TestTqc(SearchSpaceContract):
    space = TQC


class TestTqcSmall(SearchSpaceContract):
    space = TQC_SMALL


class TestPpo(SearchSpaceContract):
    space = PPO


class TestSphere(SearchSpaceContract):
    space = SPHERE


class TestUsersSpace(SearchSpaceContract):
    space = UsersSpace()


class TestModifiedSpace(SearchSpaceContract):
    space = modified(SAC, {"gamma": "0.98"}, {"tau": "0.01:0.02"})


def test_the_published_optimum_decodes_to_the_published_tuned_set() -> None:
    assert modified(SAC, {"buffer_size": "2_000_000"}, {}).decode(PUBLISHED) == {
        "policy": "MlpPolicy",
        "batch_size": 512,
        "buffer_size": 2_000_000,
        "ent_coef": "auto_0.009471776840423638",
        "gamma": 0.983100250213744,
        "gradient_steps": 32,
        "learning_rate": 0.00044689099625712413,
        "learning_starts": 2000,
        "policy_delay": 8,
        "net_arch": [512, 256, 128],
        "activation_fn": "elu",
        "optimizer_class": "adamw",
        "layer_norm": True,
        "tau": 0.0023055560568780655,
        "train_freq": 1,
    }


def test_the_published_tuned_set_can_be_imported() -> None:
    assert modified(SAC, {"buffer_size": "2_000_000"}, {}).decode(PUBLISHED) == TUNED
    rough = {"train_freq": 10, "gradient_steps": 320, "use_sde": True, "n_steps": 3}
    assert {**TUNED, **rough} == ROUGH


def test_the_searched_number_of_environments_decides_the_replay_ratio() -> None:
    hyperparams = SAC_ENVS.decode({**PUBLISHED, "num_envs_pow": 9})
    assert trial_attributes(hyperparams, 64)["replay_ratio"] == 32 / 512


def test_the_search_itself_uses_the_smaller_buffer() -> None:
    assert SAC.decode(PUBLISHED)["buffer_size"] == 800_000


def test_both_sac_spaces_encode_the_same_names() -> None:
    assert list(SAC.distributions) == list(SAC_SMALL.distributions)


def test_no_exponent_is_drawn_on_a_log_scale() -> None:
    for name, distribution in (SAC.distributions | SAC_SMALL.distributions).items():  # type: ignore[operator]
        assert not (name.endswith("_pow") and distribution.log)


def test_the_known_good_setting_lies_well_inside_the_small_space() -> None:
    good = {"gamma": 0.98, "learning_rate": 1e-3, "tau": 0.01, "batch_size_pow": 8}
    good |= {"gradient_steps_pow": 3, "policy_delay_pow": 1, "net_arch_complexity": 1}
    for name, value in good.items():
        distribution: Any = SAC_SMALL.distributions[name]
        assert distribution.low < value < distribution.high
    decoded = SAC_SMALL.decode({"ent_coef_init": 0.01, "train_freq_pow": 0, **good})
    assert (decoded["batch_size"], decoded["gradient_steps"]) == (256, 8)
    assert (decoded["policy_delay"], decoded["net_arch"]) == (2, [128, 128])


def test_trial_attributes_add_the_replay_ratio() -> None:
    attributes = trial_attributes(SAC.decode(PUBLISHED), 1024)
    assert attributes["replay_ratio"] == 32 / 1024
    assert attributes["batch_size"] == 512
    json.dumps(attributes)


def test_trial_attributes_of_another_objective_have_no_replay_ratio() -> None:
    assert trial_attributes({"x": 1.0}, 4) == {"x": 1.0}


class TestModified:
    def test_a_fixed_encoded_parameter_is_not_searched_any_more(self) -> None:
        space = modified(SAC, {"gamma": "0.9", "batch_size_pow": "7"}, {})
        assert not {"gamma", "batch_size_pow"} & space.distributions.keys()
        params = {name: PUBLISHED[name] for name in space.distributions}
        decoded = space.decode(params)
        assert (decoded["gamma"], decoded["batch_size"]) == (0.9, 128)

    def test_the_original_space_stays_as_it_was(self) -> None:
        modified(SAC, {"gamma": "0.9", "buffer_size": "10"}, {"tau": "0.1:0.2"})
        assert "gamma" in SAC.distributions
        assert SAC.fixed["buffer_size"] == 800_000

    def test_a_range_keeps_kind_and_scale(self) -> None:
        ranges = {"learning_rate": "1e-5:1e-3", "batch_size_pow": "5:6", "gamma": "0.9:0.99:log"}
        space = modified(SAC, {}, ranges)
        assert space.distributions["learning_rate"] == FloatDistribution(1e-5, 1e-3, log=True)
        assert space.distributions["batch_size_pow"] == IntDistribution(5, 6)
        assert space.distributions["gamma"] == FloatDistribution(0.9, 0.99, log=True)

    def test_a_scale_can_be_made_linear(self) -> None:
        space = modified(SAC, {}, {"tau": "0:0.1:linear"})
        assert space.distributions["tau"] == FloatDistribution(0.0, 0.1)

    def test_fixed_hyperparams_keep_their_type(self) -> None:
        fix = {"layer_norm": "false", "activation_fn": "relu", "learning_starts": "500"}
        fixed = modified(SAC, fix, {}).fixed
        assert (fixed["layer_norm"], fixed["activation_fn"]) == (False, "relu")
        assert fixed["learning_starts"] == 500

    def test_a_users_own_space_can_be_modified(self) -> None:
        space = modified(UsersSpace(), {}, {"n_pow": "2:3"})
        assert space.decode({"n_pow": 3}) == {"n": 8}
        assert space.name == "users"

    @pytest.mark.parametrize(
        ("fix", "problem"),
        [
            ({"batch_size": "256"}, "fix batch_size_pow instead"),
            ({"ent_coef": "0.1"}, "fix ent_coef_init instead"),
            ({"net_arch": "[64]"}, "decided by searched parameters"),
            ({"gama": "0.9"}, "there is no gama"),
            ({"gamma": "high"}, "'high' is not a number"),
            ({"gamma": "nan"}, "not finite"),
            ({"batch_size_pow": "8.5"}, "not a whole number"),
            ({"net_arch_complexity": "9"}, "cannot be decoded"),
            ({"buffer_size": "many"}, "cannot be read like 800000"),
            ({"buffer_size": "1.5"}, "cannot be read like 800000"),
            ({"layer_norm": "1"}, "cannot be read like true"),
        ],
    )
    def test_a_bad_fix_is_refused(self, fix: dict[str, str], problem: str) -> None:
        with pytest.raises(InvalidRange, match=problem):
            modified(SAC, fix, {})

    @pytest.mark.parametrize(
        ("ranges", "problem"),
        [
            ({"gama": "0:1"}, "gama is not searched"),
            ({"buffer_size": "1:2"}, "buffer_size is not searched"),
            ({"gamma": "0.9"}, "a range is LOW:HIGH"),
            ({"gamma": "0.9:0.99:cubic"}, "a range is LOW:HIGH"),
            ({"gamma": "0.99:0.9"}, "not below"),
            ({"gamma": "0.9:0.9"}, "use --fix"),
            ({"tau": "0:0.1"}, "begin above 0"),
            ({"batch_size_pow": "1.5:3"}, "not a whole number"),
            ({"net_arch_complexity": "0:9"}, "cannot be decoded"),
        ],
    )
    def test_a_bad_range_is_refused(self, ranges: dict[str, str], problem: str) -> None:
        with pytest.raises(InvalidRange, match=problem):
            modified(SAC, {}, ranges)

    def test_a_name_cannot_be_fixed_and_ranged(self) -> None:
        with pytest.raises(InvalidRange, match="it is fixed too"):
            modified(SAC, {"gamma": "0.9"}, {"gamma": "0.8:0.9"})


class TestCheckSearchable:
    def test_a_categorical_is_refused_with_the_integer_encoding(self) -> None:
        space = Space(
            name="mine",
            distributions={"net": CategoricalDistribution(("small", "big", "huge"))},
            decoder=dict,
        )
        with pytest.raises(CategoricalSpace, match="3 choices as an integer from 0 to 2"):
            check_searchable(space)

    def test_an_empty_space_is_refused(self) -> None:
        with pytest.raises(NotASearchSpace, match="no parameter left"):
            check_searchable(modified(UsersSpace(), {"n_pow": "2"}, {}))

    @pytest.mark.parametrize("wrong", [UsersSpace, {"x": 1}, "sac", None])
    def test_what_is_no_space_is_refused(self, wrong: object) -> None:
        with pytest.raises(NotASearchSpace):
            check_searchable(wrong)

    def test_what_is_no_distribution_is_refused(self) -> None:
        space = Space(name="mine", distributions={"x": (0, 1)}, decoder=dict)  # type: ignore[dict-item]
        with pytest.raises(NotASearchSpace, match="x is a tuple"):
            check_searchable(space)


class TestMakeSampler:
    @pytest.mark.parametrize("name", SAMPLERS)
    def test_each_sampler_searches_each_space(self, name: str) -> None:
        if name == "gp":
            pytest.importorskip("torch")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for space in (SAC, SPHERE):
            study = optuna.create_study(sampler=make_sampler(name, popsize=4, seed=1))
            for _ in range(10):
                trial = study.ask(dict(space.distributions))
                space.decode(trial.params)
                study.tell(trial, float(trial.number))
            assert len(study.trials) == 10

    def test_a_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(MissingExtra, match=r"The sampler gp.*hpsearch\[gp\]"):
            make_sampler("gp", popsize=4, seed=1)

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(UnknownName, match="cma-es, cma-es-optuna, "):
            make_sampler("cma", popsize=4, seed=1)
