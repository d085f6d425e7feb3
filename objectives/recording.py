"""The objective `recording`: trains PPO, then records the actions that it takes.

Source: seed post, "Defining Proper Action Bound - Extracting the Limits with PPO".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpsearch.base import Budget, Hyperparams, Report, TrialResult, seed_of
from hpsearch.objectives.training import Training

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hpsearch.objectives.agents import Agent

N_ACTIONS = 64_000
N_BINS = 40


class Recording(Training):
    """Trains as `Training` does; the result's conditions hold what the policy's actions are.

    Beside the agent's own, the hyper-parameters hold `percentile`: the share of actions that is
    cut from each side, in percent.
    """

    def __call__(
        self, hyperparams: Hyperparams, *, seed: int, budget: Budget, report: Report
    ) -> TrialResult:
        """Trains and records; `conditions["actions"]` is what `describe` returns."""
        self._percentile = float(hyperparams["percentile"])
        self._seed = seed_of(seed, "recording")
        of_agent = {k: v for k, v in hyperparams.items() if k != "percentile"}
        return super().__call__(of_agent, seed=seed, budget=budget, report=report)

    def _look_closer(self, agent: Agent) -> dict[str, Any]:
        actions = record(agent, N_ACTIONS, seed=self._seed)
        names = list(self._task.action_names) or [str(k) for k in range(actions.shape[1])]
        return {"actions": describe(actions, names, percentile=self._percentile)}


def record(agent: Agent, n_actions: int, *, seed: int) -> npt.NDArray[np.float32]:
    """Returns `[>= n_actions, action_dim]` actions that the agent takes without noise.

    Args:
      agent: trained; its environments are reset and left in the middle of episodes.
      n_actions: at least so many.
      seed: of the environments.
    """
    import numpy as np

    from hpsearch.objectives.environment import statistics_frozen

    env, recorded = agent.env, []
    with statistics_frozen(env):
        env.seed(seed)
        observations = env.reset()
        for _ in range(math.ceil(n_actions / env.num_envs)):
            actions = agent.predict(observations)
            recorded.append(np.array(actions))
            observations, _, _, _ = env.step(actions)
    return np.concatenate(recorded)


def action_bounds(
    actions: npt.NDArray[np.floating[Any]], *, percentile: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns per-joint limits that hold the middle share of recorded actions.

    Args:
      actions: `[N, action_dim]`, of a trained PPO policy, in the environment's units.
      percentile: share cut from each side, in percent; 0 <= percentile < 50.

    Returns:
      `(low, high)`, each `[action_dim]`.
    """
    import numpy as np

    low, high = np.percentile(actions, (percentile, 100.0 - percentile), axis=0)
    return low, high


def describe(
    actions: npt.NDArray[np.floating[Any]], names: Sequence[str], *, percentile: float
) -> dict[str, Any]:
    """Returns limits, share outside and histogram of each joint, as plain JSON values.

    Args:
      actions: `[N, action_dim]`.
      names: `[action_dim]` joints.
      percentile: see `action_bounds`.
    """
    import numpy as np

    lows, highs = action_bounds(actions, percentile=percentile)
    joints = []
    for name, low, high, taken in zip(names, lows, highs, actions.T, strict=True):
        counts, edges = np.histogram(taken, bins=N_BINS)
        joints.append(
            {
                "name": name,
                "low": round(float(low), 4),
                "high": round(float(high), 4),
                "outside": float(np.mean((taken < low) | (taken > high))),
                "edges": [round(float(edge), 4) for edge in edges],
                "counts": counts.tolist(),
            }
        )
    return {"percentile": percentile, "n_actions": len(actions), "joints": joints}
