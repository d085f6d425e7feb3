"""The types that every other part speaks: frozen, standard library only, nothing of ours.

The child process loads this file in the simulator's own interpreter, so it must import on
any Python from 3.11 on without a third-party package.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from stable_baselines3.common.vec_env import VecEnv

Hyperparams = Mapping[str, Any]
"""Decoded values as the algorithm receives them; plain JSON values, e.g. `batch_size=512`."""

Params = Mapping[str, int | float]
"""Encoded values as Optuna stores them, e.g. `batch_size_pow=9`."""


class Purpose(enum.StrEnum):
    """Why a run is made."""

    SEARCH = "search"
    REPLAY = "replay"
    TRAIN = "train"
    BOUNDS = "bounds"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one run may spend, and how it is judged.

    Attributes:
      train_seconds: wall seconds of training; start, compilation, evaluation are outside it.
      max_timesteps: environment steps, summed over environments, after which training ends.
      n_eval_episodes: episodes of the deterministic evaluation.
    """

    train_seconds: float = 300.0
    max_timesteps: int = 50_000_000
    n_eval_episodes: int = 512


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One point of a learning curve.

    Attributes:
      train_seconds: seconds of the budget spent so far.
      num_timesteps: environment steps so far, summed over environments.
      n_updates: gradient steps of the critic so far.
      mean_return: mean undiscounted return of the last 100 episodes; None before the first.
      metrics: what the task measures beside the reward, e.g. a terrain level.
      losses: of the latest update, by name, for the user's tools; not stored.
      last: training has ended; evaluation follows.
    """

    train_seconds: float
    num_timesteps: int
    n_updates: int
    mean_return: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    last: bool = False


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What one run gave.

    Attributes:
      mean_reward: mean undiscounted return of the evaluation's episodes.
      std_reward: their standard deviation.
      num_timesteps: environment steps of training, summed over environments.
      n_updates: gradient steps of the critic.
      train_seconds: wall seconds of training.
      overshoot_seconds: how far training ran past its budget.
      cpu_seconds: CPU seconds that the child process spent on the run.
      metrics: the task's own figures, and `standing_return`, the return of the zero action.
      ledger: seconds by phase; they sum to the child's part of the attempt's wall time.
      device: what the run trained on, in words.
      conditions: under which it trained, plain JSON values. Those that are looked at:
        `device_kind`, which results that are compared share, with what simulates after a
        semicolon where the task tells it; `contended`, a list of reasons why the machine was not
        the run's own; `calibration_seconds`, how long a fixed piece of work took before.
    """

    mean_reward: float
    std_reward: float
    num_timesteps: int
    n_updates: int
    train_seconds: float
    overshoot_seconds: float
    cpu_seconds: float
    metrics: Mapping[str, float]
    ledger: Mapping[str, float]
    device: str
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ActionLimits:
    """Per-joint limits of the action space, in the environment's units.

    Attributes:
      name: where they come from: a built-in set, a file, a number.
      low: `[action_dim]`.
      high: `[action_dim]`; each above its `low`.
      joints: `[action_dim]` names that they were measured on; empty if not known.
    """

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    joints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What an objective is built with: everything of a study but the point of the space.

    Attributes:
      task: name or `package.module:object` of the task; None for an objective without one.
      settings: the task's (or such an objective's) own settings, `KEY=VALUE` as typed.
      algo: the algorithm, e.g. `sac`.
      num_envs: environments stepped at once.
      action_limits: limits of the action space; None leaves the task's own.
      device_kind: what it must train on, or else raise `OtherDevice`; None for any.
    """

    task: str | None
    settings: Mapping[str, str]
    algo: str
    num_envs: int
    action_limits: ActionLimits | None
    device_kind: str | None = None


Report = Callable[[Measurement], None]


class Objective(Protocol):
    """What one run does.

    Given by name, entry point (group `hpsearch.objectives`) or `package.module:object`. A class
    is built with a `Setup` once per child process; anything else is called as it is. A method
    `check(hyperparams)` is called at launch with two corners of the space, to refuse a study that
    no run of could succeed. An attribute
    `max_runs_per_process` above 1 lets one process make several runs; an attribute `announce` is
    set to a function that takes in a word what the run does before it trains, for the deadline's
    message; a method `close` is called once the last result is stored; `uses_gpu` False says that
    no GPU need be kept for it. A class may also bring `default_task` (None: it has no task),
    `default_space`, `default_budget` and `default_num_envs`.
    """

    def __call__(
        self, hyperparams: Hyperparams, *, seed: int, budget: Budget, report: Report
    ) -> TrialResult:
        """Trains once and returns the result.

        Calls `report` when training begins (at `train_seconds` 0), then at least every 2 s, and
        with `last=True` when it has ended: the parent keeps its deadlines by these.

        Raises:
          Diverged: the hyper-parameters are at fault; the run is not tried again.
        """
        ...


class SearchSpace(Protocol):
    """What is searched (entry points: group `hpsearch.spaces`)."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """The encoded parameters; floats and integers only, so that CMA-ES can search them."""
        ...

    def decode(self, params: Params) -> dict[str, Any]:
        """Returns the hyper-parameters for `params`, plain JSON values."""
        ...


class Task(Protocol):
    """What is simulated (entry points: group `hpsearch.tasks`).

    A class (or any callable that returns a task) is called with the study's settings as keyword
    arguments, all text; an object is used as it is and takes no settings. Importing a task's
    module must be cheap: the parent process reads the defaults below without a simulator. A task
    whose spaces are known before `make` may tell them at launch by a method `spaces()`, which
    returns those of observations and actions, or None. A task whose episodes change while an
    agent trains (a curriculum) may bring `evaluating(env)`, a context manager in which they do
    not; `default_metric` names what a study optimises instead of `mean_reward`. A task that
    several engines can simulate may tell by a method `backend(env)` which one does: results of
    others do not stand beside it.
    """

    default_space: str
    default_budget: Budget
    default_num_envs: int
    default_limits: str
    """Name of a built-in set of action limits; `none` where the task is bounded already, empty
    where the user has to choose."""
    action_names: Sequence[str]
    """Names of the joints in the order of the action vector; empty if not known before `make`."""
    normalize_observations: bool
    reusable: bool
    """Whether `make` may be called again in one process; taken as False where it is missing."""
    metric_names: Sequence[str]
    """Names of what `metrics` returns, each of which a study may optimise; `reward/*` stands for
    any name that begins so."""

    def make(
        self,
        num_envs: int,
        seed: int,
        *,
        action_low: Sequence[float] | None,
        action_high: Sequence[float] | None,
    ) -> AbstractContextManager[VecEnv]:
        """Opens a Stable-Baselines3 VecEnv; the context's end closes the simulator.

        Args:
          num_envs: environments stepped at once.
          seed: of the first reset; `VecEnv.seed` followed by `reset` sets another one.
          action_low: `[action_dim]`, or None for the task's own bounds.
          action_high: `[action_dim]`, or None.
        """
        ...

    def metrics(self, env: VecEnv) -> Mapping[str, float]:
        """Returns the task's own figures at this moment, possibly none."""
        ...


def seed_of(study_seed: int, *words: str | int) -> int:
    """Returns the seed of one stream: a hash of the study's seed and the stream's words.

    The search run of trial 7 is `seed_of(seed, "search", 7)`; the k-th replay of any trial is
    `seed_of(seed, "replay", k)`. 31 bits, so that every library takes it.
    """
    text = "/".join(str(word) for word in (study_seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
