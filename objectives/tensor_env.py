"""The path without NumPy for environments that live where the updates are computed.

A task's VecEnv takes it by two methods beside its own, both of torch tensors on one device, whose
type (`cpu`, `cuda`) its `tensor_device` names:

    reset_tensors() -> observations [N, O] float32
    step_tensors(actions [N, A] float32, in its units) ->
        observations [N, O] float32, after the resets of ended episodes
        rewards [N] float32
        terminated [N] bool
        truncated [N] bool
        last_observations [N, O] float32, before these resets

Where observations come in groups these stand side by side, in the order of the space, with the
critics' own last. Tensors become JAX's arrays and back by DLPack, without a copy through the
host. A tensor may be written again at the next call. Evaluation steps the same environment by its
usual methods. A wrapper around such an environment hides the methods unless it has them itself.

Letters of shapes: `N` environments, `O` figures of an observation, `A` actions, `W` columns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.exceptions import Diverged
from hpsearch.objectives.environment import CLIP_OBSERVATIONS, N_RECENT_EPISODES, unwatched
from hpsearch.objectives.observations import EPSILON
from hpsearch.objectives.replay_buffer import Layout, Statistics


class Watch(NamedTuple):
    """What is kept beside the table, on the device.

    Attributes:
      count: scalar, observations so far, as Stable-Baselines3 counts them.
      mean: `[O]`.
      variance: `[O]`.
      earned: `[N]`, of the episodes that go on.
      steps: `[N]`, of the same.
      returns: `[100]`, of the latest episodes that ended.
      lengths: `[100]`, of the same.
      n_episodes: int32, that ended.
      finite: whether all figures so far were.
    """

    count: Any
    mean: Any
    variance: Any
    earned: Any
    steps: Any
    returns: Any
    lengths: Any
    n_episodes: Any
    finite: Any


def offers_tensors(env: VecEnv) -> bool:
    """Returns whether an environment offers tensors where JAX computes.

    A simulator on a GPU beside a JAX that knows the CPU only, or the other way round, is stepped
    through NumPy.

    Args:
      env: as the task made it, or watched.
    """
    below = unwatched(env)
    # Of the class: a wrapper passes on what it lacks, past what it does.
    if not all(hasattr(type(below), name) for name in ("step_tensors", "reset_tensors")):
        return False
    platform = {"cuda": "gpu"}.get(below.tensor_device, below.tensor_device)
    return bool(jax.devices()[0].platform == platform)


class TensorCollector:
    """Steps an environment by its tensors; see `Collector`."""

    def __init__(self, env: VecEnv, layout: Layout, *, normalize: bool) -> None:
        """Compiles what is done with a step.

        Args:
          env: `N` environments that offer tensors, watched.
          layout: of the table.
          normalize: whether statistics of the observations are kept.
        """
        import torch

        self._torch = torch
        self._env, self._layout, self._normalize = unwatched(env), layout, normalize
        self._first, self._record = _compiled(layout)
        space = env.action_space
        self._low, self._high = (
            np.asarray(each, np.float32).reshape(-1) for each in (space.low, space.high)
        )
        n, o = layout.num_envs, layout.observation_dim
        each, ring = np.zeros(n, np.float32), np.zeros(N_RECENT_EPISODES, np.float32)
        self._watch = Watch(
            count=np.float32(1e-4), mean=np.zeros(o, np.float32), variance=np.ones(o, np.float32),
            earned=each, steps=each, returns=ring, lengths=ring,
            n_episodes=np.int32(0), finite=np.bool_(True),
        )  # fmt: skip
        self._now = Statistics(np.zeros(o, np.float32), np.ones(o, np.float32), np.float32(np.inf))

    @property
    def statistics(self) -> Statistics:
        """See `Collector`."""
        return self._now

    @property
    def returns(self) -> Sequence[float]:
        """See `Collector`."""
        return self._recent(self._watch.returns)

    @property
    def lengths(self) -> Sequence[float]:
        """See `Collector`."""
        return self._recent(self._watch.lengths)

    def _recent(self, ring: Any) -> list[float]:
        n = min(int(self._watch.n_episodes), N_RECENT_EPISODES)
        return [float(value) for value in np.asarray(ring)[:n]]

    def reset(self) -> jax.Array:
        """See `Collector`."""
        shown = jnp.from_dlpack(self._env.reset_tensors())
        observations, self._watch, now = self._first(shown, self._watch)
        return self._checked(observations, now)

    def step(self, observations: Any, actions: Any) -> tuple[jax.Array, jax.Array]:
        """See `Collector`."""
        # Random actions come from the host.
        actions = jax.device_put(actions)
        tensor = self._torch.from_dlpack(actions)
        low, high = (
            self._torch.as_tensor(each, device=tensor.device) for each in (self._low, self._high)
        )
        step = self._env.step_tensors(low + 0.5 * (tensor + 1.0) * (high - low))
        arrays = [jnp.from_dlpack(each.contiguous()) for each in step]
        transitions, following, self._watch, now = self._record(
            observations, actions, *arrays, self._watch
        )
        return transitions, self._checked(following, now)

    def _checked(self, observations: jax.Array, now: Statistics) -> jax.Array:
        # Waits, too: the environment may write its tensors again from now on.
        if not bool(self._watch.finite):
            raise Diverged(detail="an action, an observation or a reward is not finite")
        if self._normalize:
            self._now = now
        return observations


@functools.lru_cache(maxsize=8)
def _compiled(layout: Layout) -> tuple[Any, Any]:
    """Returns the programs for the first observations and for a step."""

    def array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    n, o, a = layout.num_envs, layout.observation_dim, layout.action_dim
    observations, each = array(np.float32, n, o), array(np.float32, n)
    ended = array(np.bool_, n)
    ring = array(np.float32, N_RECENT_EPISODES)
    watch = Watch(
        count=array(np.float32), mean=array(np.float32, o), variance=array(np.float32, o),
        earned=each, steps=each, returns=ring, lengths=ring,
        n_episodes=array(np.int32), finite=array(np.bool_),
    )  # fmt: skip
    first = jax.jit(_first).lower(observations, watch).compile()
    record = jax.jit(_record).lower(
        observations, array(np.float32, n, a), observations, each, ended, ended, observations,
        watch,
    )  # fmt: skip
    return first, record.compile()


def _first(shown: Any, watch: Watch) -> tuple[Any, Watch, Statistics]:
    nothing = jnp.zeros_like(watch.earned)
    watch = _seen(shown, watch._replace(earned=nothing, steps=nothing))
    return jnp.copy(shown), watch, _statistics(watch)


def _record(
    observations: Any, actions: Any, shown: Any, rewards: Any, terminated: Any, truncated: Any,
    last: Any, watch: Watch,
) -> tuple[Any, Any, Watch, Statistics]:  # fmt: skip
    """Returns transitions `[N, W]`, a copy of what follows, and what is kept."""
    done = terminated | truncated
    columns = [rewards, done, truncated & ~terminated]
    figures = jnp.stack([column.astype(jnp.float32) for column in columns], axis=1)
    following = jnp.where(done[:, None], last, shown)
    transitions = jnp.concatenate([observations, actions, following, figures], axis=1)
    earned, steps = watch.earned + rewards, watch.steps + 1
    # The k-th episode goes to place k of the ring; what goes on, to none.
    places = (watch.n_episodes + jnp.cumsum(done) - 1) % N_RECENT_EPISODES
    places = jnp.where(done, places, N_RECENT_EPISODES)
    watch = watch._replace(
        earned=jnp.where(done, 0.0, earned),
        steps=jnp.where(done, 0.0, steps),
        returns=watch.returns.at[places].set(earned, mode="drop"),
        lengths=watch.lengths.at[places].set(steps, mode="drop"),
        n_episodes=(watch.n_episodes + done.sum()).astype(jnp.int32),
        finite=watch.finite & jnp.isfinite(transitions).all(),
    )
    watch = _seen(shown, watch)
    return transitions, jnp.copy(shown), watch, _statistics(watch)


def _seen(shown: Any, watch: Watch) -> Watch:
    """Counts `[N, O]`, by the parallel variance of Chan et al., as Stable-Baselines3 does."""
    n = shown.shape[0]
    delta = shown.mean(axis=0) - watch.mean
    total = watch.count + n
    squares = watch.variance * watch.count + shown.var(axis=0) * n
    squares = squares + jnp.square(delta) * watch.count * n / total
    return watch._replace(
        count=total,
        mean=watch.mean + delta * n / total,
        variance=squares / total,
        finite=watch.finite & jnp.isfinite(shown).all(),
    )


def _statistics(watch: Watch) -> Statistics:
    scale = jax.lax.rsqrt(watch.variance + EPSILON)
    return Statistics(watch.mean, scale, jnp.float32(CLIP_OBSERVATIONS))
