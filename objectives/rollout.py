"""A rollout of PPO that stops giving minibatches when the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from stable_baselines3.common.buffers import RolloutBuffer


class PacedBuffer(RolloutBuffer):  # type: ignore[misc]
    """A rollout whose minibatches are all of one size, with a look at the clock between them."""

    look: Callable[[], bool] = staticmethod(lambda: True)
    n_yielded = 0
    stopped = False

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yields minibatches; a smaller rest is left out, for it would have to be compiled.

        The first of all is never held back: both kinds of PPO need one.
        """
        for batch in super().get(batch_size):
            if len(batch.observations) != batch_size:
                return
            if self.stopped and self.n_yielded:
                return
            self.n_yielded += 1
            yield batch
            self.stopped = self.stopped or not self.look()
