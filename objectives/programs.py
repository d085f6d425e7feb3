"""Compiled programs, one set for each key of shapes, kept for the runs that follow in a process.

A key holds what decides a shape or an operation and no number that training changes. All is
compiled ahead of time; a compiled program cannot compile again, it can only refuse.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hpsearch.objectives.networks import NetworkKey, Networks
from hpsearch.objectives.replay_buffer import (
    Filling,
    Layout,
    Statistics,
    draw,
    insert,
    normalised,
)
from hpsearch.objectives.update import Batch, Learner, Numbers, new_learner, update

MAX_PROGRAMS = 8
"""Sets kept in one process; the persistent cache keeps all of them on disk."""

HOST_CHUNK_BYTES = 32 << 20
"""Most that travels at once from a table that stays on the host, unless one batch is more."""


def host_chunk(layout: Layout, batch_size: int, gradient_steps: int) -> int:
    """Returns for how many updates, of a burst of `gradient_steps`, batches travel at once."""
    batch_bytes = 4 * batch_size * layout.width
    return max(1, min(gradient_steps, HOST_CHUNK_BYTES // batch_bytes))


@dataclass(frozen=True, kw_only=True)
class ProgramKey:
    """What a set of programs is compiled for.

    Attributes:
      networks: their key.
      layout: of the table.
      batch_size: transitions of one update.
      host_chunk: updates whose batches travel at once from a table on the host; 0 for a table on
        the device.
    """

    networks: NetworkKey
    layout: Layout
    batch_size: int
    host_chunk: int


class Programs:
    """The compiled programs of one key.

    Attributes:
      key: what they are compiled for.
      networks: the modules in them.
      new_learner: from `(key, first_ent_coef)`.
      explore: from `(actor, observations [N, D], statistics, key, draw)` to actions `[N, A]`.
      act: the same without noise: `(actor, observations, statistics)`.
      new_table: an empty table on the device.
      insert: `(table, transitions [N, W], row)` to the table; takes the old one away.
      update: from `(learner, table or batches, filling, statistics, numbers, key, n)` to the
        learner after `n` updates; takes the old one away.
    """

    def __init__(self, key: ProgramKey) -> None:
        """Compiles all of them."""
        self.key = key
        self.networks = networks = Networks(key.networks)
        layout = key.layout
        scalar, integer = _array(np.float32), _array(np.int32)
        random_key = jax.eval_shape(lambda: jax.random.PRNGKey(0))
        o = layout.observation_dim
        statistics = Statistics(_array(np.float32, o), _array(np.float32, o), scalar)
        observations = _array(np.float32, layout.num_envs, o)

        begin = functools.partial(new_learner, networks)
        self.new_learner = _compiled(begin, random_key, scalar, runs_once=True)
        learner: Learner = jax.eval_shape(begin, random_key, scalar)
        self.explore = _compiled(self._explore, learner.actor, observations, statistics,
                                 random_key, integer)  # fmt: skip
        self.act = _compiled(self._act, learner.actor, observations, statistics)

        filling = Filling(integer, integer)
        numbers = Numbers(
            scalar, scalar, scalar, scalar, scalar, scalar,
            policy_delay=integer, n_target_quantiles=integer,
        )  # fmt: skip
        if key.host_chunk:
            rows = key.host_chunk * key.batch_size
            batch = Batch(
                _array(np.float32, rows, o), _array(np.float32, rows, layout.action_dim),
                _array(np.float32, rows, o), *[_array(np.float32, rows)] * 3,
            )  # fmt: skip
            source: Any = batch
        else:
            source = _array(np.float32, layout.rows * layout.num_envs, layout.width)
            self.new_table = _compiled(lambda: jnp.zeros(source.shape, jnp.float32))
            transitions = _array(np.float32, layout.num_envs, layout.width)
            self.insert = _compiled(insert, source, transitions, integer, donate=0)
        self.update = _compiled(self._update, learner, source, filling, statistics, numbers,
                                random_key, integer, donate=0)  # fmt: skip

    def _policy(self, actor: Any, observations: Any, statistics: Statistics) -> Any:
        seen = normalised(observations, statistics)[:, : self.key.networks.actor_dim]
        return self.networks.actor.apply(actor, seen)

    def _explore(
        self, actor: Any, observations: Any, statistics: Statistics, key: Any, n: Any
    ) -> Any:
        policy = self._policy(actor, observations, statistics)
        return jnp.clip(policy.sample(seed=jax.random.fold_in(key, n)), -1, 1)

    def _act(self, actor: Any, observations: Any, statistics: Statistics) -> Any:
        return jnp.clip(self._policy(actor, observations, statistics).mode(), -1, 1)

    def _update(
        self, learner: Learner, source: Any, filling: Filling, statistics: Statistics,
        numbers: Numbers, key: Any, n: Any,
    ) -> Learner:  # fmt: skip
        size = self.key.batch_size

        def one(i: Any, learner: Learner) -> Learner:
            if self.key.host_chunk:
                parts = (jax.lax.dynamic_slice_in_dim(each, i * size, size) for each in source)
                batch = Batch(*parts)
            else:
                draw_key = jax.random.fold_in(key, learner.n_updates)
                batch = draw(source, self.key.layout, filling, statistics, numbers.gamma,
                             draw_key, size)  # fmt: skip
            return update(self.networks, learner, batch, numbers)

        learned: Learner = jax.lax.fori_loop(0, n, one, learner)
        return learned


@functools.lru_cache(maxsize=MAX_PROGRAMS)
def programs(key: ProgramKey) -> Programs:
    """Returns the programs of a key, compiled now or by an earlier run of this process."""
    return Programs(key)


def _array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _compiled(
    function: Any, *arguments: Any, donate: int | None = None, runs_once: bool = False
) -> Any:
    donated = () if donate is None else (donate,)
    # What runs once is not worth the seconds that a CPU's compiler takes to make it fast.
    quick = runs_once and jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 0} if quick else None
    lowered = jax.jit(function, donate_argnums=donated).lower(*arguments)
    return lowered.compile(compiler_options=options)
