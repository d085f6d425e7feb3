"""The replay buffer: one table of transitions, written and sampled where it lies.

On a device both happen inside compiled programs, so that a step sends its new transitions there
and nothing else travels. A table that does not fit stays in the host's memory; then the batches
travel. Both are read by the same function, once over JAX's arrays and once over NumPy's.

Letters of shapes: `N` environments, `R` rows of each, `O` figures of an observation, `A` actions,
`W = 2 * O + A + 3` columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from hpsearch.objectives.update import Batch


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How transitions lie in the table `[R * N, W]`: row r of environment e at r * N + e.

    Attributes:
      num_envs: `N`.
      rows: `R`.
      observation_dim: `O`.
      action_dim: `A`.
      n_steps: rewards that are summed for one transition of a batch.
    """

    num_envs: int
    rows: int
    observation_dim: int
    action_dim: int
    n_steps: int

    @property
    def width(self) -> int:
        """`W`: observation, action, next observation, reward, done, truncated."""
        return 2 * self.observation_dim + self.action_dim + 3

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return 4 * self.width * self.rows * self.num_envs


class Filling(NamedTuple):
    """How far the table is written.

    Attributes:
      n_rows: rows that hold transitions.
      newest: the row written last.
    """

    n_rows: Any
    newest: Any


class Statistics(NamedTuple):
    """Running statistics of the observations; 0, 1 and infinity where none are used.

    Attributes:
      mean: `[O]`.
      scale: `[O]`, 1 / standard deviation.
      clip: scalar, largest size of a normalised figure.
    """

    mean: Any
    scale: Any
    clip: Any


def normalised(observations: Any, statistics: Statistics, xp: Any = jnp) -> Any:
    """Returns `[..., O]` by mean and standard deviation, clipped."""
    scaled = (observations - statistics.mean) * statistics.scale
    return xp.clip(scaled, -statistics.clip, statistics.clip)


def insert(table: jax.Array, transitions: jax.Array, row: jax.Array) -> jax.Array:
    """Returns the table with `transitions` `[N, W]` as its row `row`; the old table is gone."""
    first = row * transitions.shape[0]
    return jax.lax.dynamic_update_slice(table, transitions, (first, jnp.int32(0)))


def draw(
    table: jax.Array, layout: Layout, filling: Filling, statistics: Statistics, gamma: Any,
    key: jax.Array, batch_size: int,
) -> Batch:  # fmt: skip
    """Returns `batch_size` transitions, uniformly drawn with replacement."""
    row_key, env_key = jax.random.split(key)
    rows = jax.random.randint(row_key, (batch_size,), 0, filling.n_rows)
    envs = jax.random.randint(env_key, (batch_size,), 0, layout.num_envs)
    return read(table, layout, filling, statistics, gamma, rows, envs, jnp)


def read(
    table: Any, layout: Layout, filling: Filling, statistics: Statistics, gamma: Any, rows: Any,
    envs: Any, xp: Any,
) -> Batch:  # fmt: skip
    """Returns the transitions that begin at `rows` `[B]` of the environments `envs` `[B]`.

    With `n_steps` above 1 each sums the rewards up to the end of its episode, of the steps, or
    of what is written, whichever comes first.

    Args:
      table: `[R * N, W]`.
      layout: of the table.
      filling: of the table.
      statistics: of the observations.
      gamma: discount of a step.
      rows: int.
      envs: int.
      xp: `jax.numpy` or `numpy`.
    """
    o, a = layout.observation_dim, layout.action_dim
    first = table[rows * layout.num_envs + envs]
    if layout.n_steps == 1:
        last = first
        rewards, discounts = first[:, -3], xp.full(rows.shape, gamma, xp.float32)
        terminals = first[:, -2] * (1 - first[:, -1])
    else:
        steps = xp.arange(layout.n_steps)
        each = (rows[:, None] + steps) % layout.rows
        places = each * layout.num_envs + envs[:, None]
        reward, done, truncated = (table[places, layout.width - 3 + i] for i in range(3))
        # What follows the newest row is of another time.
        ends = (done > 0) | (each == filling.newest)
        last_step = xp.where(ends.any(axis=1), ends.argmax(axis=1), layout.n_steps - 1)
        counted = steps <= last_step[:, None]
        powers = xp.asarray(gamma, xp.float32) ** steps.astype(xp.float32)
        rewards = (reward * powers * counted).sum(axis=1)
        discounts = xp.asarray(gamma, xp.float32) ** (last_step + 1).astype(xp.float32)
        at_last = steps == last_step[:, None]
        terminals = (done * (1 - truncated) * at_last).sum(axis=1)
        last_row = (rows + last_step) % layout.rows
        last = table[last_row * layout.num_envs + envs]
    return Batch(
        observations=normalised(first[:, :o], statistics, xp),
        actions=first[:, o : o + a],
        next_observations=normalised(last[:, o + a : 2 * o + a], statistics, xp),
        rewards=rewards,
        terminals=terminals,
        discounts=discounts,
    )


class HostTable:
    """A table in the host's memory, for one that does not fit the device."""

    def __init__(self, layout: Layout, seed: int) -> None:
        """Makes an empty table.

        Args:
          layout: of the table.
          seed: of what is drawn.
        """
        self._layout = layout
        shape = (layout.rows * layout.num_envs, layout.width)
        self._table: npt.NDArray[np.float32] = np.zeros(shape, np.float32)
        self._rng = np.random.default_rng(seed)

    def insert(self, transitions: npt.NDArray[np.float32], row: int) -> None:
        """Writes `[N, W]` as row `row`."""
        n = self._layout.num_envs
        self._table[row * n : (row + 1) * n] = transitions

    def draw(
        self, filling: Filling, statistics: Statistics, gamma: float, n: int, length: int
    ) -> Batch:
        """Returns `n` transitions, uniformly drawn with replacement, as NumPy arrays.

        The first of the table fills them up to `length`, the one that programs are compiled for.
        """
        rows, envs = np.zeros((2, length), np.int64)
        rows[:n] = self._rng.integers(0, int(filling.n_rows), n)
        envs[:n] = self._rng.integers(0, self._layout.num_envs, n)
        batch = read(self._table, self._layout, filling, statistics, gamma, rows, envs, np)
        return Batch(*(np.asarray(each, np.float32) for each in batch))
