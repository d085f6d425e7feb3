"""The objective `training`: trains an agent on a task for one budget, then evaluates it.

Nothing heavy is imported before a run begins, and jax only after its settings are made.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from hpsearch.base import Budget, Hyperparams, Measurement, Report, Setup, TrialResult, seed_of
from hpsearch.exceptions import (
    BrokenTask,
    Diverged,
    HpsearchError,
    OtherDevice,
    SimulatorFailed,
    UnknownChoice,
    UnknownName,
)
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.compilations import Compilations
from hpsearch.objectives.conditions import Conditions
from hpsearch.objectives.device import cpu_seconds, device_in_words, of_kind, prepare_jax
from hpsearch.objectives.hyperparams import ALGOS, of_algo
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.limits import check_limits
from hpsearch.objectives.spaces import check_bounds, check_groups, check_spaces
from hpsearch.plugins import load_task

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from hpsearch.objectives.agents import Agent

REPORT_SECONDS = 1.0
"""Training seconds between measurements, so that with one burst between they stay under 2 s."""

MAX_RUNS_PER_PROCESS = 20
"""Of a task that can be opened again; what leaks in one process ends with it."""


class Training:
    """Trains on a task; the simulator stays open until `close`.

    A result must not be lost to a simulator that hangs at its end, so the caller stores it first
    and calls `close` then.
    """

    default_space: str | None = None
    default_budget: Budget | None = None
    default_num_envs: int | None = None
    announce: Callable[[str], None] = staticmethod(lambda _: None)

    def __init__(self, setup: Setup) -> None:
        """Loads the task, without opening it.

        Args:
          setup: task, its settings, algorithm, environments, action limits.

        Raises:
          UnknownChoice: no such algorithm.
            UnknownName: no such task.
          NotLoadable: the task rejects its settings.
        """
        if setup.algo not in ALGOS:
            raise UnknownChoice(kind="algorithm", name=setup.algo, known=", ".join(ALGOS))
        if setup.task is None:
            raise UnknownName(kind="task", name="", known="see `hpsearch tasks`")
        self._setup = setup
        self._name = setup.task
        # A task's own module may import jax.
        prepare_jax()
        self._task = load_task(setup.task, dict(setup.settings))
        reusable = getattr(self._task, "reusable", False)
        self.max_runs_per_process = MAX_RUNS_PER_PROCESS if reusable else 1
        self._opened = ExitStack()

    def __call__(
        self, hyperparams: Hyperparams, *, seed: int, budget: Budget, report: Report
    ) -> TrialResult:
        """Trains for the budget's wall seconds of training and evaluates what was learned.

        Opening, compiling, the standing evaluation, reports and the evaluation are outside the
        budget. The clock is looked at after each environment step and between chunks of gradient
        steps; what training ran over is in the result.

        Args:
          hyperparams: decoded, plain values.
          seed: of everything; environments, agent and evaluation get streams of their own.
          budget: seconds, steps, evaluation episodes.
          report: gets a measurement at 0 s, about every second, and at the end.

        Raises:
          Diverged: an action, observation, reward or loss was not finite.
          BrokenTask: that happened before any training.
          SimulatorFailed: the task could not be opened.
          OtherDevice: it would train on another kind of device than the setup says.
          UsageError: the hyper-parameters or limits do not fit the agent or the task.
        """
        ledger = Ledger()
        with ledger.phase("start"):
            from hpsearch.objectives.agents import build_agent
            from hpsearch.objectives.environment import wrapped
            from hpsearch.objectives.evaluation import standing_return

            conditions = Conditions()
            device = conditions.found["device_kind"]
            self._check_device(device)
            environment_seed = seed_of(seed, "environment")
            env = self._open(hyperparams, environment_seed)
            conditions.found |= self._check_backend(device, env)
        evaluation_seed = seed_of(seed, "evaluation")
        with ledger.phase("evaluate"):
            try:
                with self._evaluating(env):
                    watched = wrapped(env, normalize=False)
                    standing = standing_return(watched, seed=evaluation_seed)
            except Diverged as error:
                detail = error.fields["detail"]
                raise BrokenTask(name=self._name, detail=detail) from error
        with ledger.phase("build"):
            agent = build_agent(
                self._setup.algo,
                hyperparams,
                env,
                task=self._name,
                seed=seed_of(seed, "agent"),
                normalize=self._task.normalize_observations,
                ledger=ledger,
            )
            # Standing still was seeded as an evaluation, and PPO seeds with its own.
            env.seed(environment_seed)
        with ledger.phase("compile"):
            agent.compile()
            conditions.calibrate()
        clock = BudgetClock(budget.train_seconds)
        compilations = Compilations(clock)
        with ledger.phase("env"), conditions.watched():
            self._learn(agent, clock, ledger, budget.max_timesteps, report)
        with ledger.phase("evaluate"), self._evaluating(env):
            returns, metrics = self._evaluate(agent, budget.n_eval_episodes, evaluation_seed)
            more = self._look_closer(agent)
        result = TrialResult(
            mean_reward=float(returns.mean()),
            std_reward=float(returns.std()),
            num_timesteps=agent.num_timesteps,
            n_updates=agent.n_updates,
            train_seconds=clock.spent,
            overshoot_seconds=clock.overshoot,
            cpu_seconds=cpu_seconds() - conditions.cpu_seconds_before,
            metrics={**metrics, "standing_return": standing},
            device=device_in_words(),
            ledger={},
            conditions={
                **conditions.found,
                "compilations": compilations.n,
                "replay": "host" if agent.replay_on_host else "device",
                **more,
            },
        )
        with ledger.phase("save"):
            # Its table may be large, and to free it takes time.
            del agent
        return dataclasses.replace(result, ledger=ledger.totals())

    def check(self, hyperparams: Hyperparams) -> None:
        """Refuses hyper-parameters that no run of this study can use; before any run.

        Raises:
          UsageError: the algorithm does not take them, or not with this task's observations.
        """
        of_algo(self._setup.algo, hyperparams)
        told = getattr(self._task, "spaces", lambda: None)()
        if told is not None:
            check_spaces(self._name, *told)
            if self._setup.action_limits is None:
                check_bounds(self._name, self._setup.algo, told[1])
            check_groups(self._name, self._setup.algo, hyperparams, told[0])

    def close(self) -> None:
        """Closes the simulator, if it is open."""
        self._opened.close()

    def _check_device(self, here: str) -> None:
        """Refuses another device, as far as it is known before the simulator is open."""
        kind = self._setup.device_kind
        more_is_told = hasattr(self._task, "backend") and kind is not None and of_kind(kind, here)
        if kind is not None and not (of_kind(here, kind) or more_is_told):
            raise OtherDevice(kind=kind, here=here)

    def _check_backend(self, device: str, env: VecEnv) -> dict[str, str]:
        """Returns the conditions that the task adds: what simulates, as part of the device."""
        if not hasattr(self._task, "backend"):
            return {}
        backend = str(self._task.backend(env))
        here = f"{device}; {backend}"
        kind = self._setup.device_kind
        if kind is not None and not of_kind(here, kind):
            raise OtherDevice(kind=kind, here=here)
        return {"device_kind": here, "backend": backend}

    def _open(self, hyperparams: Hyperparams, seed: int) -> VecEnv:
        self.close()
        limits = self._setup.action_limits
        self.announce("simulator")
        try:
            env: VecEnv = self._opened.enter_context(
                self._task.make(
                    hyperparams.get("num_envs", self._setup.num_envs),
                    seed,
                    action_low=limits and limits.low,
                    action_high=limits and limits.high,
                )
            )
        except (HpsearchError, MemoryError):
            raise
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            raise SimulatorFailed(name=self._name, detail=detail) from error
        if limits is not None and limits.joints:
            # Some simulators tell their joints when they are open, not before.
            check_limits(limits, self._task.action_names)
        self.announce("start")
        return env

    def _evaluating(self, env: VecEnv) -> AbstractContextManager[None]:
        evaluating = getattr(self._task, "evaluating", None)
        return nullcontext() if evaluating is None else evaluating(env)

    def _look_closer(self, agent: Agent) -> dict[str, Any]:
        """Returns what else is to be known of a trained agent, for the result's conditions."""
        return {}

    def _metrics(self, env: VecEnv) -> dict[str, float]:
        # A figure may be undefined at this moment; it must not cost the run.
        figures = {name: float(value) for name, value in self._task.metrics(env).items()}
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def _evaluate(self, agent: Agent, n_episodes: int, seed: int) -> tuple[Any, dict[str, float]]:
        """Returns `[n_episodes]` returns and the task's figures, averaged over the steps.

        The moment after the last step would not do: many environments have just been reset.
        """
        from hpsearch.objectives.evaluation import evaluate

        figures: dict[str, list[float]] = {}

        def stepped() -> None:
            for name, value in self._metrics(agent.env).items():
                figures.setdefault(name, []).append(value)

        returns = evaluate(agent.env, agent.predict, n_episodes, seed=seed, stepped=stepped)
        return returns, {name: math.fsum(each) / len(each) for name, each in figures.items()}

    def _learn(
        self, agent: Agent, clock: BudgetClock, ledger: Ledger, max_timesteps: int, report: Report
    ) -> None:
        """Trains until the clock or the steps are used up; the clock is paused afterwards."""
        reported_at = 0.0

        def measure(*, last: bool = False) -> None:
            nonlocal reported_at
            with clock.paused(), ledger.phase("save"):
                reported_at = clock.spent
                returns, lengths, metrics = agent.returns, agent.lengths, self._metrics(agent.env)
                if lengths:
                    metrics["ep_len_mean"] = sum(lengths) / len(lengths)
                report(
                    Measurement(
                        train_seconds=reported_at,
                        num_timesteps=agent.num_timesteps,
                        n_updates=agent.n_updates,
                        mean_return=sum(returns) / len(returns) if returns else None,
                        metrics=metrics,
                        losses=agent.losses,
                        last=last,
                    )
                )

        def look() -> bool:
            if clock.spent - reported_at >= REPORT_SECONDS and not clock.exhausted:
                measure()
            return not clock.exhausted

        measure()
        clock.start()
        agent.learn(clock, max_timesteps, look)
        clock.pause()
        measure(last=True)
