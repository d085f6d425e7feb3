from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from hpsearch.samplers.encoding import Encoding
from hpsearch.samplers.sac import SAC

SPACE: dict[str, BaseDistribution] = {
    "float": FloatDistribution(-3.0, 5.0),
    "log": FloatDistribution(1e-5, 1.0, log=True),
    "int": IntDistribution(-2, 9),
    "steps": IntDistribution(0, 12, step=3),
    "log_int": IntDistribution(1, 500, log=True),
    "tenths": FloatDistribution(0.0, 1.0, step=0.1),
}

UNIT = st.lists(st.floats(0.0, 1.0), min_size=len(SPACE), max_size=len(SPACE))


@settings(deadline=None, derandomize=True)
@given(UNIT)
def test_every_point_of_the_cube_decodes_into_the_space(unit: list[float]) -> None:
    encoding = Encoding(SPACE)
    params = encoding.decode(np.array(unit))
    assert encoding.holds(params)
    kinds = {name: type(value) for name, value in params.items()}
    integers = {"int", "steps", "log_int"}
    assert kinds == {name: int if name in integers else float for name in SPACE}


@settings(deadline=None, derandomize=True)
@given(UNIT)
def test_steps_survive_encoding_exactly_and_floats_to_the_last_digits(unit: list[float]) -> None:
    encoding = Encoding(SPACE)
    params = encoding.decode(np.array(unit))
    vector = encoding.encode(params)
    again = encoding.decode(vector)
    assert again == pytest.approx(params, rel=1e-9, abs=1e-9)
    for name in ("int", "steps", "log_int", "tenths"):
        assert again[name] == params[name]
    assert ((vector >= 0) & (vector <= 1)).all()


def test_the_corners_of_the_cube_are_the_ends_of_the_ranges() -> None:
    encoding = Encoding(SAC.distributions)
    for side, unit in (("low", 0.0), ("high", 1.0)):
        corner = {name: getattr(each, side) for name, each in SAC.distributions.items()}
        assert encoding.decode(np.full(encoding.dim, unit)) == pytest.approx(corner)


def test_each_integer_on_a_log_scale_has_a_cell_of_its_own() -> None:
    encoding = Encoding({"n": IntDistribution(1, 4, log=True)})
    decoded = [encoding.decode(np.array([x]))["n"] for x in np.linspace(0, 1, 101)]
    assert sorted(set(decoded)) == [1, 2, 3, 4]
    assert decoded.count(1) > decoded.count(4) > 5


@pytest.mark.parametrize("value", [6.0, float("nan"), "1", None, True])
def test_what_is_no_value_of_a_parameter_is_outside_the_space(value: Any) -> None:
    assert not Encoding({"x": FloatDistribution(0.0, 5.0)}).holds({"x": value})
    assert not Encoding({"x": FloatDistribution(0.0, 5.0)}).holds({})
