"""What makes a study that study: everything that its trials must share to be comparable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import distribution_to_json

from hpsearch import plugins
from hpsearch.base import ActionLimits, Budget, SearchSpace, Setup, Task
from hpsearch.duration import parse_duration
from hpsearch.exceptions import InvalidValue, NoDefaultLimits, NoDefaultSpace, SpecDiffers
from hpsearch.metric import parse_metric
from hpsearch.objectives.limits import BUILT_IN, check_limits, load_limits
from hpsearch.objectives.tasks.isaaclab_robots import same_task
from hpsearch.samplers.by_name import OURS, SAMPLERS, VERSION
from hpsearch.samplers.prior import Prior
from hpsearch.samplers.space import check_searchable, corner, modified

CMA_ES_MIN_POPSIZE = 4
MIN_EVAL_EPISODES = 16
"""However few the environments are: the mean of fewer episodes says little."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The identity of a study; fixed when it is created.

    Attributes:
      task: name or `package.module:object`; None for an objective that has no task.
      settings: the task's settings as typed.
      algo: the algorithm.
      objective: name or `package.module:object` of what a run does.
      space: name or `package.module:object` of the search space.
      fix: parameters taken out of the space, as typed.
      ranges: parameters whose range was changed, as typed.
      distributions: what is searched, in Optuna's JSON form.
      metric: what is optimised.
      direction: `maximize` or `minimize`.
      budget: of each search run.
      popsize: candidates per generation.
      seed: where every other seed comes from.
      num_envs: environments stepped at once.
      action_limits: limits of the action space; None leaves the task's own.
      sampler: its name.
      sampler_version: of the rule by which candidates follow from results.
      startup: trials drawn uniformly at first; None for the sampler's own number.
      warm_start: the older study that the search begins from.
      prior: where that makes the search begin.
      device_kind: that all results come from; None for that of the first one.
    """

    task: str | None
    settings: Mapping[str, str]
    algo: str
    objective: str
    space: str
    fix: Mapping[str, str]
    ranges: Mapping[str, str]
    distributions: Mapping[str, Any]
    metric: str
    direction: str
    budget: Budget
    popsize: int
    seed: int
    num_envs: int
    action_limits: ActionLimits | None
    sampler: str
    sampler_version: int
    startup: int | None
    warm_start: str | None
    prior: Prior | None
    device_kind: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the spec as plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def as_attributes(self) -> dict[str, Any]:
        """Returns the spec as other Optuna tools show it: one plain value a name."""
        values = self.as_json()
        del values["distributions"], values["prior"]
        values |= values.pop("budget")
        values["action_limits"] = self.action_limits.name if self.action_limits else "none"
        return {name: value for name, value in values.items() if value not in (None, {})}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Spec:
        """Returns the spec that `as_json` wrote, of this release or an earlier one."""
        plain = {"startup": None, "warm_start": None, "prior": None, **plain}
        limits = plain["action_limits"]
        if limits:
            sides = {key: tuple(limits.get(key, ())) for key in ("low", "high", "joints")}
            limits = ActionLimits(name=limits["name"], **sides)
        prior = plain["prior"]
        if prior:
            covariance = tuple(tuple(row) for row in prior["covariance"])
            mean, sigma = tuple(prior["mean"]), prior["sigma"]
            prior = Prior(mean=mean, sigma=sigma, covariance=covariance)
        budget = Budget(**plain["budget"])
        return cls(**{**plain, "budget": budget, "action_limits": limits, "prior": prior})

    @property
    def fingerprint(self) -> str:
        """A short hash of everything in the spec that tells studies apart."""
        text = json.dumps(_telling(self.as_json()), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def setup(self) -> Setup:
        """What the objective is built with."""
        return Setup(
            task=self.task,
            settings=self.settings,
            algo=self.algo,
            num_envs=self.num_envs,
            action_limits=self.action_limits,
            device_kind=self.device_kind,
        )

    @property
    def default_name(self) -> str:
        """The name of a study with this spec where none is given."""
        return f"{self.task or self.objective}-{self.space}"

    @property
    def unbounded(self) -> bool:
        """Whether the agent's actions are limited by nobody: neither the study nor the task."""
        if self.task is None or self.action_limits is not None:
            return False
        task: Task = plugins.load_task(self.task, dict(self.settings))
        return task.default_limits != "none"

    def task_metrics(self) -> Sequence[str]:
        """Returns the names of the metrics that the task adds."""
        if self.task is None:
            return ()
        task: Task = plugins.load_task(self.task, dict(self.settings))
        return getattr(task, "metric_names", ())

    def search_space(self) -> SearchSpace:
        """Returns the space with `fix` and `ranges` applied."""
        return _space(self.space, self.fix, self.ranges)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a user gave explicitly; None where the default, or the study's own value, counts.

    `stored_limits` are those that the user named, where they came out of a database;
    `default_task` is what stands for a task that was not given.
    """

    task: str | None = None
    settings: Mapping[str, str] | None = None
    algo: str | None = None
    objective: str | None = None
    space: str | None = None
    fix: Mapping[str, str] | None = None
    ranges: Mapping[str, str] | None = None
    metric: str | None = None
    direction: str | None = None
    budget: str | None = None
    max_timesteps: int | None = None
    n_eval_episodes: int | None = None
    popsize: int | None = None
    seed: int | None = None
    num_envs: int | None = None
    bounds: str | None = None
    stored_limits: ActionLimits | None = None
    default_task: str = "quadruped-walk"
    sampler: str | None = None
    startup: int | None = None
    warm_start: str | None = None
    device_kind: str | None = None


def resolve(given: Given, base: Spec | None = None) -> Spec:
    """Returns the spec that `given` means.

    Args:
      given: what the user typed.
      base: the spec of an existing study, whose values stand where nothing was given; without
        it the task's and the product's defaults do.

    Raises:
      UsageError: something given is unknown, malformed or does not fit together.
    """
    if base and base.task and given.task and same_task(given.task, base.task):
        # In the study's own spelling.
        given = dataclasses.replace(given, task=base.task)
    objective_name, task_name = objective_and_task(given, base)
    objective = plugins.load("objective", objective_name)
    of_base = base is not None and given.task in (None, base.task)
    settings = _first(given.settings, base.settings if base and of_base else None, {})
    task: Task | None = plugins.load_task(task_name, dict(settings)) if task_name else None
    defaults = task or objective

    default_num_envs = getattr(defaults, "default_num_envs", 1)
    num_envs = _first(given.num_envs, base and base.num_envs, default_num_envs)
    _check("--num-envs", num_envs, num_envs >= 1, "1 or more")
    default_budget = _for_envs(
        getattr(defaults, "default_budget", Budget()), default_num_envs, num_envs
    )
    budget = _budget(given, base.budget if base else default_budget)
    default_space = getattr(defaults, "default_space", None)
    if default_space is not None and given.algo is not None:
        default_space = _space_of(given.algo, default_space)
    space_name = _first(given.space, base and base.space, default_space)
    if space_name is None:
        known = ", ".join(plugins.names("space"))
        raise NoDefaultSpace(objective=objective_name, known=known)
    fix = _first(given.fix, base and base.fix, {})
    ranges = _first(given.ranges, base and base.ranges, {})
    space = _space(space_name, fix, ranges)
    default_metric = getattr(task, "default_metric", "mean_reward")
    metric_text = _first(given.metric, base and base.metric, default_metric)
    metric = parse_metric(metric_text, getattr(task, "metric_names", ()))
    keep_direction = base.direction if base and given.metric is None else None
    direction = _first(given.direction, keep_direction, metric.direction)
    sampler = _first(given.sampler, base and base.sampler, "cma-es")
    _check("--direction", direction, direction in ("maximize", "minimize"), "maximize or minimize")
    _check("--sampler", sampler, sampler in SAMPLERS, " or ".join(SAMPLERS))
    startup = _first(given.startup, base and base.startup)
    _check("--startup", startup, startup is None or startup >= 0, "0 or more")
    warm_start = _first(given.warm_start, base and base.warm_start)
    fits = warm_start is None or sampler == OURS
    _check("--warm-start", warm_start, fits, f"left out with --sampler {sampler}")
    popsize = _first(given.popsize, base and base.popsize, 10)
    _check("--popsize", popsize, popsize >= CMA_ES_MIN_POPSIZE, f"{CMA_ES_MIN_POPSIZE} or more")
    seed = _first(given.seed, base and base.seed, 0)
    _check("--seed", seed, seed >= 0, "0 or more")
    check_has_limits(given, task_name)
    limits = base.action_limits if base else None
    if task and given.stored_limits is not None:
        limits = given.stored_limits
        check_limits(limits, task.action_names)
    elif task and (given.bounds is not None or base is None):
        if given.bounds is None and not task.default_limits:
            raise NoDefaultLimits(task=task_name, known=", ".join(BUILT_IN))
        limits = load_limits(given.bounds, task.action_names, default=task.default_limits)
    spec = Spec(
        task=task_name,
        settings=settings,
        algo=_first(given.algo, base and base.algo, getattr(space, "algo", "sac")),
        objective=objective_name,
        space=space_name,
        fix=fix,
        ranges=ranges,
        distributions={
            name: json.loads(distribution_to_json(distribution))
            for name, distribution in space.distributions.items()
        },
        metric=metric_text,
        direction=direction,
        budget=budget,
        popsize=popsize,
        seed=seed,
        num_envs=num_envs,
        action_limits=limits,
        sampler=sampler,
        sampler_version=base.sampler_version if base else VERSION,
        startup=startup,
        warm_start=warm_start,
        prior=base.prior if base else None,
        device_kind=_first(given.device_kind, base and base.device_kind),
    )
    if isinstance(objective, type):
        # Its own complaints about algorithm, settings and space come now, not in the first trial.
        check = getattr(objective(spec.setup), "check", lambda _: None)
        for side in ("low", "high"):
            check(space.decode(corner(space, side)))
    return spec


def check_same(study_name: str, ours: Spec, given: Given) -> None:
    """Refuses what was given where it differs from the study's spec.

    Raises:
      SpecDiffers: names each difference.
    """
    both = (ours, resolve(given, ours))
    mine, theirs = (_flat(_telling(spec.as_json())) for spec in both)
    differences = [
        f"{name} is {_short(mine.get(name))}, not {_short(theirs.get(name))}"
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    ]
    if differences:
        raise SpecDiffers(study=study_name, differences="; ".join(differences))


def _telling(plain: dict[str, Any]) -> dict[str, Any]:
    """Returns a spec's values without the joints' names, which only explain the limits."""
    if plain["action_limits"]:
        del plain["action_limits"]["joints"]
    return plain


def objective_and_task(given: Given, base: Spec | None = None) -> tuple[str, str | None]:
    """Returns the names of the objective and of its task; None for one that has no task.

    Args:
      given: what the user typed.
      base: the spec of an existing study.
    """
    name: str = _first(given.objective, base and base.objective, "training")
    objective = plugins.load("objective", name)
    # An objective that is no class gets no setup.
    default = given.default_task if isinstance(objective, type) else None
    default = getattr(objective, "default_task", default)
    return name, _first(given.task, base and base.task, default)


def check_has_limits(given: Given, task: str | None) -> None:
    """Refuses action limits where nothing acts.

    Raises:
      InvalidValue: there is no task, and limits were given.
    """
    allowed = "left out with an objective that has no task"
    _check("--bounds", given.bounds, task is not None or given.bounds is None, allowed)


def _space_of(algo: str, default: str) -> str:
    """Returns the space of an algorithm where the task's default is one for SAC."""
    known = plugins.names("space")
    family = algo.partition("-")[0]
    fitting = (default.replace("sac", family, 1), family)
    return next((name for name in fitting if name in known), default)


def _space(name: str, fix: Mapping[str, str], ranges: Mapping[str, str]) -> SearchSpace:
    space = plugins.load("space", name)
    check_searchable(space)
    return modified(space, fix, ranges)


def _for_envs(budget: Budget, default_num_envs: int, num_envs: int) -> Budget:
    """Returns a task's budget for fewer environments, whose evaluation would take more rounds."""
    rounds = math.ceil(budget.n_eval_episodes / default_num_envs)
    episodes = max(MIN_EVAL_EPISODES, rounds * num_envs)
    return dataclasses.replace(budget, n_eval_episodes=min(budget.n_eval_episodes, episodes))


def _budget(given: Given, default: Budget) -> Budget:
    seconds = parse_duration(given.budget) if given.budget is not None else default.train_seconds
    timesteps = default.max_timesteps if given.max_timesteps is None else given.max_timesteps
    episodes = default.n_eval_episodes if given.n_eval_episodes is None else given.n_eval_episodes
    _check("--max-timesteps", timesteps, timesteps >= 1, "1 or more")
    _check("--eval-episodes", episodes, episodes >= 1, "1 or more")
    return Budget(train_seconds=seconds, max_timesteps=timesteps, n_eval_episodes=episodes)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise InvalidValue(name=name, value=value, allowed=allowed)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values by dotted names, so that a difference names just what differs."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 160 else text[:150] + "..."
