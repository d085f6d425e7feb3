"""Another trainer as an objective: the PPO of rsl_rl, within hpsearch's budget.

What an objective owes is written at `hpsearch.base.Objective`. What is rsl_rl's own is in
`rsl_rl_env.py` and `rsl_rl_ppo.py`; they and torch are imported when a run begins, because the
parent process, which may lack them, imports this file.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack, nullcontext
from typing import Any

from hpsearch.base import Budget, Hyperparams, Measurement, Report, Setup, TrialResult, seed_of
from hpsearch.exceptions import OtherDevice, UnknownHyperparam
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.device import cpu_in_words, cpu_seconds, of_kind
from hpsearch.objectives.ledger import Ledger
from hpsearch.plugins import load_task

REPORT_SECONDS = 1.0

DEFAULTS: Hyperparams = {
    "num_steps_per_env": 24, "hidden_dims": [128, 128, 128], "activation": "elu", "init_std": 1.0,
    "learning_rate": 1e-3, "schedule": "adaptive", "desired_kl": 0.01, "gamma": 0.99, "lam": 0.95,
    "entropy_coef": 0.005, "clip_param": 0.2, "value_loss_coef": 1.0, "max_grad_norm": 1.0,
    "num_learning_epochs": 5, "num_mini_batches": 4,
}  # fmt: skip
"""What may be searched, by rsl_rl's own names, with what Isaac Lab gives robots on flat ground."""


class RslRlPpo:
    """Trains an iteration at a time and looks at the clock between them.

    So a run passes its budget by up to one iteration: a rollout and the updates after it.
    """

    def __init__(self, setup: Setup) -> None:
        """Loads the task, without opening it."""
        self._setup = setup
        self._task = load_task(setup.task or "", dict(setup.settings))
        self._opened = ExitStack()

    def check(self, hyperparams: Hyperparams) -> None:
        """Refuses, at launch, hyper-parameters of another algorithm.

        Raises:
          UnknownHyperparam: one of them is not in `DEFAULTS`.
        """
        for name in hyperparams:
            if name not in DEFAULTS:
                raise UnknownHyperparam(name=name, algo="rsl_rl", known=", ".join(DEFAULTS))

    def close(self) -> None:
        """Closes the simulator; called once the result is stored."""
        self._opened.close()

    def __call__(
        self, hyperparams: Hyperparams, *, seed: int, budget: Budget, report: Report
    ) -> TrialResult:
        """Trains for the budget's seconds, then evaluates what was learned, without noise.

        Raises:
          Diverged: an observation, a reward or a weight is not finite.
          OtherDevice: it would train on another kind of device than the setup says.
        """
        self.check(hyperparams)
        ledger, cpu_seconds_before = Ledger(), cpu_seconds()
        with ledger.phase("start"):
            # rsl_rl imports GitPython, which refuses machines without git.
            os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
            import torch

            from bdx_example.rsl_rl_env import RslRlVecEnv
            from bdx_example.rsl_rl_ppo import build_runner

            device, device_kind = self._device()
            sb3_env = self._open(seed_of(seed, "environment"))
            comparable_kind = self._checked(device_kind, sb3_env)
        with ledger.phase("build"):
            torch.manual_seed(seed_of(seed, "agent"))
            env = RslRlVecEnv(sb3_env, device)
            normalize = self._task.normalize_observations
            runner = build_runner(env, {**DEFAULTS, **hyperparams}, ledger, normalize=normalize)
        clock = BudgetClock(budget.train_seconds)
        reported_at = 0.0

        def measure(*, last: bool = False) -> None:
            nonlocal reported_at
            reported_at = clock.spent
            with ledger.phase("save"):
                report(
                    Measurement(
                        train_seconds=reported_at,
                        num_timesteps=env.num_timesteps,
                        n_updates=runner.alg.n_updates,
                        mean_return=sum(env.returns) / len(env.returns) if env.returns else None,
                        metrics=self._task.metrics(sb3_env),
                        losses=runner.alg.losses,
                        last=last,
                    )
                )

        measure()
        while not clock.exhausted and env.num_timesteps < budget.max_timesteps:
            clock.start()
            with ledger.phase("env"):
                runner.learn(1)
            clock.pause()
            if clock.spent - reported_at >= REPORT_SECONDS:
                measure()
        measure(last=True)
        with ledger.phase("evaluate"):
            actor = runner.get_inference_policy()
            n_episodes, evaluation_seed = budget.n_eval_episodes, seed_of(seed, "evaluation")
            returns, metrics = self._evaluate(env, actor, n_episodes, evaluation_seed)
        return TrialResult(
            mean_reward=float(returns.mean()),
            std_reward=float(returns.std()),
            num_timesteps=env.num_timesteps,
            n_updates=runner.alg.n_updates,
            train_seconds=clock.spent,
            overshoot_seconds=clock.overshoot,
            cpu_seconds=cpu_seconds() - cpu_seconds_before,
            metrics=metrics,
            ledger=ledger.totals(),
            device=device_kind if device == "cpu" else f"{device_kind}; {cpu_in_words()}",
            conditions={"device_kind": comparable_kind},
        )

    def _device(self) -> tuple[str, str]:
        """Returns where to train, for torch and in words."""
        import torch

        device, kind = "cpu", cpu_in_words()
        if torch.cuda.is_available():
            device, kind = "cuda:0", torch.cuda.get_device_name()
        return device, kind

    def _checked(self, kind: str, env: Any) -> str:
        """Returns the kind of device and, where the task tells it, what simulates."""
        backend = getattr(self._task, "backend", None)
        here = kind if backend is None else f"{kind}; {backend(env)}"
        wanted = self._setup.device_kind
        if wanted is not None and not of_kind(here, wanted):
            raise OtherDevice(kind=wanted, here=here)
        return here

    def _open(self, seed: int) -> Any:
        from hpsearch.objectives.environment import wrapped
        from hpsearch.objectives.limits import check_limits
        from hpsearch.objectives.spaces import check_spaces

        self.close()
        limits = self._setup.action_limits
        env = self._opened.enter_context(
            self._task.make(
                self._setup.num_envs,
                seed,
                action_low=limits and limits.low,
                action_high=limits and limits.high,
            )
        )
        check_spaces(self._setup.task or "", env.observation_space, env.action_space)
        if limits is not None and limits.joints:
            check_limits(limits, self._task.action_names)
        return wrapped(env, normalize=False)

    def _evaluate(self, env: Any, actor: Any, n_episodes: int, seed: int) -> Any:
        """Returns `[n_episodes]` returns, and the task's figures averaged over the steps."""
        from hpsearch.objectives.evaluation import evaluate, standing_return

        figures: dict[str, list[float]] = {}

        def policy(observations: Any) -> Any:
            return env.actions_of(actor, observations)

        def stepped() -> None:
            for name, value in self._task.metrics(env.sb3_env).items():
                figures.setdefault(name, []).append(value)

        # A task with a curriculum keeps it as training left it.
        with getattr(self._task, "evaluating", nullcontext)(env.sb3_env):
            returns = evaluate(env.sb3_env, policy, n_episodes, seed=seed, stepped=stepped)
            standing = standing_return(env.sb3_env, seed=seed)
        means = {name: math.fsum(values) / len(values) for name, values in figures.items()}
        return returns, {**means, "standing_return": standing}
