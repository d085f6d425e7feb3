"""SAC and TQC: collect, store, update, with every program compiled before the first step.

Letters of shapes: `N` environments, `O` figures of an observation, `A` actions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.exceptions import Diverged
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.collecting import ActionUnits, Collector, HostCollector
from hpsearch.objectives.hyperparams import OffPolicyHyperparams
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.memory import fits_device
from hpsearch.objectives.networks import network_key
from hpsearch.objectives.observations import Observations
from hpsearch.objectives.pace import Pace
from hpsearch.objectives.programs import ProgramKey, Programs, host_chunk, programs
from hpsearch.objectives.replay_buffer import Filling, HostTable, Layout, Statistics
from hpsearch.objectives.tensor_env import TensorCollector, offers_tensors
from hpsearch.objectives.update import LOSSES, Learner, Numbers

Look = Callable[[], bool]
"""Called between steps and between chunks of updates; False ends training."""


class OffPolicyAgent:
    """One agent of SAC or TQC, from its first step to its evaluation.

    Attributes:
      env: that it acts in; gives observations as they are.
      num_timesteps: environment steps so far, over all environments.
      n_updates: of the critics so far.
      replay_on_host: whether the transitions did not fit the device.
    """

    def __init__(
        self, algo: str, hyperparams: OffPolicyHyperparams, env: VecEnv, *, seed: int,
        normalize: bool, ledger: Ledger,
    ) -> None:  # fmt: skip
        """Prepares an agent; `compile` makes its programs and its parameters.

        Args:
          algo: `sac` or `tqc`.
          hyperparams: checked.
          env: `N` environments with continuous actions, watched, not normalised.
          seed: of parameters, exploration and replay.
          normalize: whether observations are normalised.
          ledger: is charged with `update` during bursts.
        """
        space = env.action_space
        self.env = env
        self.num_timesteps = 0
        self.n_updates = 0
        self._hp = hyperparams
        self._ledger = ledger
        self._observations = Observations(env.observation_space)
        self._normalize = normalize
        self._units = ActionUnits(space)
        layout = Layout(
            num_envs=env.num_envs,
            rows=max(hyperparams.n_steps, hyperparams.buffer_size // env.num_envs),
            observation_dim=self._observations.dim,
            action_dim=math.prod(space.shape),
            n_steps=hyperparams.n_steps,
        )
        self.replay_on_host = not fits_device(layout.nbytes)
        self._burst_steps = hyperparams.gradient_steps
        if self._burst_steps < 0:
            self._burst_steps = hyperparams.train_freq * env.num_envs
        networks = network_key(
            algo, hyperparams, actor_dim=self._observations.actor_dim,
            observation_dim=layout.observation_dim, action_dim=layout.action_dim,
        )  # fmt: skip
        self._key = ProgramKey(
            networks=networks, layout=layout, batch_size=hyperparams.batch_size,
            host_chunk=host_chunk(layout, hyperparams.batch_size, self._burst_steps)
            if self.replay_on_host else 0,
        )  # fmt: skip
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._row = 0
        self._n_rows = 0
        self._learning_rate = 0.0
        self._noise_draws = 0
        self._steps_with_noise = 0
        self._collector: Collector
        self._programs: Programs
        self._learner: Learner
        self._table: Any

    def compile(self) -> None:
        """Compiles all that training and evaluation call, and begins with new parameters."""
        self._programs = programs(self._key)
        layout = self._key.layout
        if offers_tensors(self.env):
            self._collector = TensorCollector(self.env, layout, normalize=self._normalize)
        else:
            self._collector = HostCollector(
                self.env, self._observations, layout, normalize=self._normalize
            )
        root = np.asarray(jax.random.PRNGKey(self._seed))
        # The first key is used as sbx uses it; the others are of their own streams.
        self._noise_key, self._draw_key = (
            np.asarray(jax.random.PRNGKey(int(self._rng.integers(2**31)))) for _ in range(2)
        )
        first = np.float32(self._hp.first_ent_coef)
        self._learner = self._programs.new_learner(root, first)
        if self.replay_on_host:
            self._table = HostTable(self._key.layout, int(self._rng.integers(2**31)))
        else:
            self._table = self._programs.new_table()
        jax.block_until_ready(self._learner)

    @property
    def losses(self) -> dict[str, float]:
        """Those of the latest update by name, and its learning rate; none before the first."""
        if not self.n_updates:
            return {}
        losses = map(float, np.asarray(self._learner.losses))
        return {**dict(zip(LOSSES, losses, strict=True)), "learning_rate": self._learning_rate}

    @property
    def parameters(self) -> Any:
        """A pytree of all that was learned."""
        learner = self._learner
        return learner.actor, learner.critics, learner.targets, learner.log_ent_coef

    @property
    def returns(self) -> Sequence[float]:
        """Undiscounted, of the latest 100 episodes."""
        return self._collector.returns

    @property
    def lengths(self) -> Sequence[float]:
        """Steps of these episodes."""
        return self._collector.lengths

    def predict(self, observations: Any) -> npt.NDArray[np.float32]:
        """Returns the actions `[N, A]` without noise; statistics stay as they are."""
        flat = self._observations.flat(observations)
        statistics = self._collector.statistics
        return self._units.of(self._programs.act(self._learner.actor, flat, statistics))

    def learn(self, clock: BudgetClock, max_timesteps: int, look: Look) -> None:
        """Trains until `look` says no or the steps are used up.

        Args:
          clock: of the budget; running.
          max_timesteps: over all environments.
          look: see `Look`.

        Raises:
          Diverged: an action, observation, reward or loss was not finite.
        """
        hp, pace = self._hp, Pace(clock.train_seconds)
        observations = self._collector.reset()
        while True:
            if hp.sde_sample_freq < 1:
                self._steps_with_noise = 0
            for _ in range(hp.train_freq):
                observations = self._step(observations)
                if not look() or self.num_timesteps >= max_timesteps:
                    return
            if self.num_timesteps <= hp.learning_starts:
                continue
            progress = clock.progress(self.num_timesteps / max_timesteps)
            if not self._burst(self._burst_steps, pace, self._numbers(progress), look):
                return

    def _step(self, observations: Any) -> Any:
        """Makes one step of all environments and stores it; returns what follows."""
        hp, layout = self._hp, self._key.layout
        actions: Any
        if self.num_timesteps < hp.learning_starts and not (hp.use_sde and hp.use_sde_at_warmup):
            shape = (layout.num_envs, layout.action_dim)
            actions = self._rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        else:
            actions = self._programs.explore(
                self._learner.actor, observations, self._collector.statistics, self._noise_key,
                self._next_noise(),
            )  # fmt: skip
        transitions, following = self._collector.step(observations, actions)
        self.num_timesteps += layout.num_envs
        if self.replay_on_host:
            self._table.insert(np.asarray(transitions), self._row)
        else:
            self._table = self._programs.insert(self._table, transitions, np.int32(self._row))
        self._n_rows = min(self._n_rows + 1, layout.rows)
        self._filling = Filling(np.int32(self._n_rows), np.int32(self._row))
        self._row = (self._row + 1) % layout.rows
        return following

    def _next_noise(self) -> np.int32:
        """Returns the number of the noise to act with; gSDE keeps one for some steps."""
        if self._hp.use_sde:
            every = self._hp.sde_sample_freq
            due = self._steps_with_noise % every == 0 if every > 0 else not self._steps_with_noise
            self._steps_with_noise += 1
        else:
            due = True
        self._noise_draws += due
        return np.int32(self._noise_draws)

    def _numbers(self, progress: float) -> Numbers:
        hp = self._hp
        left = 1.0 - progress if hp.learning_rate_schedule == "linear" else 1.0
        self._learning_rate = left * hp.learning_rate
        target = hp.target_entropy
        if target == "auto":
            target = -self._key.layout.action_dim
        kept = hp.n_quantiles - hp.top_quantiles_to_drop_per_net
        return Numbers(
            learning_rate=np.float32(self._learning_rate),
            # As in sbx: a rate of their own follows no schedule, nor does the coefficient's.
            qf_learning_rate=np.float32(hp.qf_learning_rate or self._learning_rate),
            ent_learning_rate=np.float32(
                hp.learning_rate if isinstance(hp.ent_coef, str) else 0.0
            ),
            tau=np.float32(hp.tau),
            gamma=np.float32(hp.gamma),
            target_entropy=np.float32(target),
            policy_delay=np.int32(hp.policy_delay),
            n_target_quantiles=np.int32(hp.n_critics * kept),
        )

    def _burst(self, n_steps: int, pace: Pace, numbers: Numbers, look: Look) -> bool:
        """Makes `n_steps` updates in chunks; returns whether to go on.

        Raises:
          Diverged: a loss is NaN or infinite.
        """
        statistics = self._collector.statistics
        if self.replay_on_host:
            # On the device they would drag each draw there, and compile for it.
            statistics = Statistics(*map(np.asarray, statistics))
        with self._ledger.phase("update"):
            while n_steps > 0:
                began = time.perf_counter()
                n = pace.chunk(n_steps)
                source = self._table
                if self.replay_on_host:
                    n = min(n, self._key.host_chunk)
                    source = self._table.draw(
                        self._filling, statistics, self._hp.gamma, n * self._hp.batch_size,
                        self._key.host_chunk * self._hp.batch_size,
                    )  # fmt: skip
                self._learner = self._programs.update(
                    self._learner, source, self._filling, statistics, numbers,
                    self._draw_key, np.int32(n),
                )  # fmt: skip
                # Waits for the chunk.
                finite = bool(self._learner.finite)
                pace.measured(n, time.perf_counter() - began)
                self.n_updates += n
                n_steps -= n
                if not finite:
                    raise Diverged(detail=f"{self._wrong()} after {self.n_updates} updates")
                if n_steps > 0 and not look():
                    return False
        return True

    def _wrong(self) -> str:
        for name, value in self.losses.items():
            if not math.isfinite(value):
                return f"{name} is {value}"
        return "a loss was not finite"
