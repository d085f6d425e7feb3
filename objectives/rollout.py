"""A rollout of PPO that stops giving minibatches when the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from stable_baselines3.common.buffers import RolloutBuffer


class PacedBuffer(RolloutBuffer):  # type: ignore[misc]
    """A rollout whose minibatches are all of one size, with a look at the clock between them.

    Attributes:
      look: says whether to go on.
      n_yielded: minibatches given since somebody set it to 0.
      stopped: whether `look` said no.
      left: whether the latest minibatch was the last that was wanted, as with `target_kl`.
    """

    look: Callable[[], bool] = staticmethod(lambda: True)
    n_yielded = 0
    stopped = False
    left = False

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
            self.left = True
            yield batch
            self.left = False
            self.stopped = self.stopped or not self.look()
