"""The runner of rsl_rl with a PPO that is counted, charged and checked."""

from __future__ import annotations

from itertools import chain
from typing import Any

from rsl_rl.algorithms import PPO
from rsl_rl.runners import OnPolicyRunner

from bdx_example.rsl_rl_env import RslRlVecEnv
from hpsearch.base import Hyperparams
from hpsearch.exceptions import Diverged
from hpsearch.objectives.ledger import Ledger

OF_THE_NETWORKS = ("hidden_dims", "activation")
OF_THE_RUNNER = ("num_steps_per_env", "init_std", *OF_THE_NETWORKS)


class MeasuredPpo(PPO):
    """PPO as in rsl_rl.

    Attributes:
      ledger: is charged with `update`; set once it is built.
      n_updates: minibatches learned from so far.
      losses: of the latest rollout, by name.
    """

    ledger: Ledger

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what rsl_rl's takes."""
        super().__init__(*args, **kwargs)
        self.n_updates = 0
        self.losses: dict[str, float] = {}

    def update(self) -> dict[str, float]:
        """Learns from a rollout.

        Raises:
          Diverged: a weight is NaN or infinite.
        """
        with self.ledger.phase("update"):
            try:
                self.losses = super().update()
            finally:
                # rsl_rl may stumble over such a weight before it is done.
                weights = chain(self.actor.parameters(), self.critic.parameters())
                if not all(each.isfinite().all() for each in weights):
                    raise Diverged(detail="a weight is not finite")
            self.n_updates += self.num_learning_epochs * self.num_mini_batches
        return self.losses


def build_runner(
    env: RslRlVecEnv, hyperparams: Hyperparams, ledger: Ledger, *, normalize: bool
) -> OnPolicyRunner:
    """Returns a runner with a new agent; it writes no files.

    Args:
      env: where it learns, on the device where it learns.
      hyperparams: all that `bdx_example.rsl_rl.DEFAULTS` names.
      ledger: is charged with the updates.
      normalize: whether the networks normalise what they see, by statistics of all rollouts.
    """
    hp = hyperparams
    network = {"class_name": "MLPModel", "obs_normalization": normalize}
    network |= {name: hp[name] for name in OF_THE_NETWORKS}
    gaussian = {"class_name": "GaussianDistribution", "init_std": hp["init_std"]}
    algorithm = {name: value for name, value in hp.items() if name not in OF_THE_RUNNER}
    config = {
        "num_steps_per_env": hp["num_steps_per_env"],
        "obs_groups": env.obs_groups,
        "actor": {**network, "distribution_cfg": gaussian},
        "critic": network,
        "algorithm": {"class_name": MeasuredPpo, **algorithm},
        # The environment looks for infinity, too.
        "check_for_nan": False,
    }
    runner = OnPolicyRunner(env, config, device=env.device)
    runner.alg.ledger = ledger
    return runner
