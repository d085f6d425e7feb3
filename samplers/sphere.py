"""A small mixed space with a known optimum, for the synthetic objective `sphere`."""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

from hpsearch.samplers.space import Space

SPHERE = Space(
    name="sphere",
    distributions={
        "x0": FloatDistribution(-5.0, 5.0),
        "x1": FloatDistribution(-5.0, 5.0),
        "x2": FloatDistribution(-5.0, 5.0),
        "n": IntDistribution(0, 10),
    },
    decoder=dict,
)
"""Three floats and an integer, decoded as they are."""
