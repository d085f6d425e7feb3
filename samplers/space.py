"""A search space: encoded parameters that CMA-ES can search, and what they decode to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpsearch.base import Hyperparams, Params, SearchSpace
from hpsearch.exceptions import CategoricalSpace, InvalidRange, NotASearchSpace

Decoder = Callable[[Params], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Space:
    """A search space built from distributions and a function.

    Attributes:
      name: what `--space` takes.
      distributions: the encoded parameters that are searched.
      decoder: from all encoded parameters, searched or constant, to hyper-parameters.
      fixed: hyper-parameters that no parameter decides; they win over the decoder's.
      constants: encoded parameters that are not searched any more, with their values.
      algo: whose hyper-parameters they are.
    """

    name: str
    distributions: Mapping[str, BaseDistribution]
    decoder: Decoder
    fixed: Hyperparams = field(default_factory=dict)
    constants: Params = field(default_factory=dict)
    algo: str = "sac"

    def decode(self, params: Params) -> dict[str, Any]:
        """Returns the hyper-parameters for `params`, plain JSON values.

        Args:
          params: a value for each name in `distributions`.
        """
        return {**self.decoder({**self.constants, **params}), **self.fixed}


def trial_attributes(hyperparams: Hyperparams, num_envs: int) -> dict[str, Any]:
    """Returns what a trial shows beside its encoded parameters, plain JSON values.

    Args:
      hyperparams: decoded values.
      num_envs: environments stepped at once.

    Returns:
      `hyperparams` and, where they decide it, `replay_ratio`: gradient steps per environment
      step, `gradient_steps / (num_envs * train_freq)`.

    Source: the post, section "Replay Ratio".
    """
    attributes = dict(hyperparams)
    if "gradient_steps" in hyperparams and "train_freq" in hyperparams:
        steps = hyperparams.get("num_envs", num_envs) * hyperparams["train_freq"]
        attributes["replay_ratio"] = hyperparams["gradient_steps"] / steps
    return attributes


def check_searchable(space: Any) -> None:
    """Checks that CMA-ES can search `space`, which may come from a user's own module.

    Raises:
      CategoricalSpace: a parameter is categorical.
      NotASearchSpace: it has no distributions or no decode, or nothing to search.
    """
    name = getattr(space, "name", None) or getattr(space, "__name__", type(space).__name__)

    def refuse(problem: str) -> NotASearchSpace:
        return NotASearchSpace(name=name, problem=problem)

    if isinstance(space, type):
        raise refuse("it is a class, not an object; name an instance of it")
    distributions = getattr(space, "distributions", None)
    if not isinstance(distributions, Mapping):
        raise refuse("its distributions are not a mapping of names to Optuna distributions")
    if not callable(getattr(space, "decode", None)):
        raise refuse("it has no method decode(params)")
    if not distributions:
        raise refuse("it has no parameter left to search")
    for parameter, distribution in distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            n_choices = len(distribution.choices)
            raise CategoricalSpace(name=parameter, n=n_choices, high=n_choices - 1)
        if not isinstance(distribution, FloatDistribution | IntDistribution):
            raise refuse(f"{parameter} is a {type(distribution).__name__}, not a distribution")


def modified(space: SearchSpace, fix: Mapping[str, str], ranges: Mapping[str, str]) -> Space:
    """Returns `space` with some values fixed and some ranges replaced, as typed.

    A fixed encoded parameter (`gamma`, `batch_size_pow`) is not searched any more and keeps its
    value, which may lie outside its range. A hyper-parameter that no parameter decides
    (`buffer_size`) is overridden. A new range keeps the parameter's kind and, unless `:log` or
    `:linear` follows, its scale.

    Args:
      space: built-in or a user's own.
      fix: name -> value, of `--fix NAME=VALUE`.
      ranges: name -> `LOW:HIGH[:log]`, of `--range NAME=LOW:HIGH[:log]`.

    Raises:
      InvalidRange: an unknown name, a value that cannot be read, or a point that cannot be
        decoded.
    """
    result = space if isinstance(space, Space) else _adopted(space)
    for name, text in ranges.items():
        distribution = result.distributions.get(name)
        if distribution is None or name in fix:
            problem = "it is fixed too" if name in fix else f"{name} is not searched"
            raise _error(space, f"{name}={text}", problem)
        try:
            new: BaseDistribution = _ranged(distribution, text)
        except ValueError as error:
            raise _error(space, f"{name}={text}", str(error)) from error
        result = replace(result, distributions={**result.distributions, name: new})
    for name, text in fix.items():
        try:
            result = _fixed(result, name, text)
        except ValueError as error:
            raise _error(space, f"{name}={text}", str(error)) from error
    if fix or ranges:
        _check_decodes(space, result, {**ranges, **fix})
    return result


def _error(space: SearchSpace, text: str, problem: str) -> InvalidRange:
    names = [*space.distributions, *getattr(space, "fixed", {})]
    return InvalidRange(text=text, problem=problem, known=", ".join(names))


def _adopted(space: SearchSpace) -> Space:
    name = getattr(space, "name", type(space).__name__)
    algo = getattr(space, "algo", "sac")
    return Space(
        name=name, distributions=dict(space.distributions), decoder=space.decode, algo=algo
    )


def _number(distribution: BaseDistribution, text: str) -> int | float:
    """Returns `text` as a number of the distribution's kind."""
    if isinstance(distribution, IntDistribution):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def _ranged(distribution: BaseDistribution, text: str) -> FloatDistribution | IntDistribution:
    low_text, *rest = text.split(":")
    if len(rest) not in (1, 2) or rest[1:] not in ([], ["log"], ["linear"]):
        raise ValueError("a range is LOW:HIGH, LOW:HIGH:log or LOW:HIGH:linear")
    low, high = _number(distribution, low_text), _number(distribution, rest[0])
    if low >= high:
        raise ValueError(f"{low} is not below {high}; use --fix for a single value")
    log = rest[1] == "log" if len(rest) == 2 else bool(getattr(distribution, "log", False))
    if log and low <= 0:
        raise ValueError(f"a log range must begin above 0, not at {low}; append :linear")
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _fixed(space: Space, name: str, text: str) -> Space:
    if name in space.distributions:
        value = _number(space.distributions[name], text)
        left = {key: value for key, value in space.distributions.items() if key != name}
        return replace(space, distributions=left, constants={**space.constants, name: value})
    if name in space.fixed:
        return replace(space, fixed={**space.fixed, name: _like(space.fixed[name], text)})
    known = [*space.distributions, *space.constants]
    if f"{name}_pow" in known:
        raise ValueError(f"{name} is 2 ** {name}_pow; fix {name}_pow instead")
    if f"{name}_init" in known:
        raise ValueError(f"{name} is made from {name}_init; fix {name}_init instead")
    if name in space.decode(corner(space, "low")):
        raise ValueError(f"{name} is decided by searched parameters; fix one of those")
    raise ValueError(f"there is no {name}")


def _like(old: Any, text: str) -> Any:
    """Returns `text` as a value of the type of `old`; lists and booleans as in JSON."""
    if isinstance(old, str):
        return text
    try:
        new = json.loads(text.replace("_", "") if isinstance(old, int | float) else text)
    except ValueError:
        raise ValueError(f"{text!r} cannot be read like {json.dumps(old)}") from None
    if isinstance(old, float) and type(new) is int:
        new = float(new)
    if type(new) is not type(old):
        raise ValueError(f"{text!r} cannot be read like {json.dumps(old)}")
    return new


def corner(space: SearchSpace, side: str) -> dict[str, Any]:
    """Returns the point where every parameter is at its `low` or its `high` end."""
    return {name: getattr(each, side) for name, each in space.distributions.items()}


def middle(space: SearchSpace) -> dict[str, Any]:
    """Returns the point where every parameter is in the middle of its scale."""
    return {name: _middle(each) for name, each in space.distributions.items()}


def _middle(distribution: Any) -> int | float:
    low, high = distribution.low, distribution.high
    if isinstance(low, int):
        return int(low + (high - low) // (2 * distribution.step) * distribution.step)
    return math.sqrt(low * high) if distribution.log else (low + high) / 2


def _check_decodes(original: SearchSpace, space: Space, typed: Mapping[str, str]) -> None:
    for side in ("low", "high"):
        try:
            space.decode(corner(space, side))
        except Exception as error:
            text = ", ".join(f"{name}={value}" for name, value in typed.items())
            problem = f"a point cannot be decoded ({type(error).__name__}: {error})"
            raise _error(original, text, problem) from error
