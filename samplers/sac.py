"""Search spaces for SAC: the published one and its relatives; the published sets of values.

`_pow` is the base-2 logarithm of what it stands for. The source is the post, section "SAC
Hyperparameters Sampler"; one thing differs: `batch_size_pow` is an exponent already, and a log
scale on top of it would almost never draw the largest batch, so it is uniform here.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from hpsearch.base import Params
from hpsearch.samplers.space import Decoder, Space

Networks = Mapping[int, tuple[str, Any]]
"""`net_arch_complexity` -> (policy, net_arch)."""

NETWORKS: Networks = {
    0: ("MlpPolicy", [256, 256]),
    1: ("MlpPolicy", [128, 128, 128]),
    2: ("SimbaPolicy", {"pi": [128, 128], "qf": [256, 256]}),
    3: ("MlpPolicy", [512, 256, 128]),
    # Not searched by default; `--range net_arch_complexity=0:4` includes it.
    4: ("MlpPolicy", [512, 512, 256]),
}

SMALL_NETWORKS: Networks = {
    0: ("MlpPolicy", [64, 64]),
    1: ("MlpPolicy", [128, 128]),
    2: ("MlpPolicy", [256, 128]),
    3: ("MlpPolicy", [256, 256]),
}


def sac_decoder(networks: Networks) -> Decoder:
    """Returns the decoder of the SAC encoding.

    Args:
      networks: what each `net_arch_complexity` stands for.
    """

    def decode(params: Params) -> dict[str, Any]:
        policy, net_arch = networks[int(params["net_arch_complexity"])]
        return {
            "policy": policy,
            "net_arch": deepcopy(net_arch),
            "batch_size": 2 ** int(params["batch_size_pow"]),
            "gradient_steps": 2 ** int(params["gradient_steps_pow"]),
            "policy_delay": 2 ** int(params["policy_delay_pow"]),
            "train_freq": 2 ** int(params["train_freq_pow"]),
            # Learned from this initial value on.
            "ent_coef": f"auto_{params['ent_coef_init']}",
            "gamma": params["gamma"],
            "learning_rate": params["learning_rate"],
            "tau": params["tau"],
        }

    return decode


def _with(*names: str) -> Decoder:
    """Returns the published decoder with parameters added; `num_envs_pow` gives `num_envs`."""
    published = sac_decoder(NETWORKS)

    def decode(params: Params) -> dict[str, Any]:
        added = {
            name.removesuffix("_pow"): 2 ** int(params[name]) if name.endswith("_pow")
            else int(params[name])
            for name in names
        }  # fmt: skip
        return {**published(params), **added}

    return decode


SAC = Space(
    name="sac",
    distributions={
        "gamma": FloatDistribution(0.975, 0.995),
        "learning_rate": FloatDistribution(1e-4, 2e-3, log=True),
        "ent_coef_init": FloatDistribution(1e-3, 2e-2, log=True),
        "batch_size_pow": IntDistribution(7, 12),
        "net_arch_complexity": IntDistribution(0, 3),
        "train_freq_pow": IntDistribution(0, 3),
        "gradient_steps_pow": IntDistribution(0, 10),
        "policy_delay_pow": IntDistribution(0, 5),
        "tau": FloatDistribution(1e-3, 5e-2, log=True),
    },
    decoder=sac_decoder(NETWORKS),
    fixed={
        # What the published search ran with. The published tuned set says 2_000_000, which a run
        # of 5 minutes hardly fills and which costs 2.5 times the memory.
        "buffer_size": 800_000,
        "learning_starts": 2000,
        "activation_fn": "elu",
        "optimizer_class": "adamw",
        "layer_norm": True,
    },
)
"""The published space, for 1024 environments on a GPU."""

SAC_SMALL = Space(
    name="sac-small",
    distributions={
        "gamma": FloatDistribution(0.96, 0.995),
        "learning_rate": FloatDistribution(2e-4, 4e-3, log=True),
        "ent_coef_init": FloatDistribution(1e-3, 2e-2, log=True),
        "batch_size_pow": IntDistribution(6, 9),
        "net_arch_complexity": IntDistribution(0, 3),
        "train_freq_pow": IntDistribution(0, 1),
        "gradient_steps_pow": IntDistribution(1, 5),
        "policy_delay_pow": IntDistribution(0, 2),
        "tau": FloatDistribution(2e-3, 5e-2, log=True),
    },
    decoder=sac_decoder(SMALL_NETWORKS),
    fixed={**SAC.fixed, "buffer_size": 400_000},
)
"""The same parameters for tens of environments on a CPU: smaller networks, batches, bursts.

A CPU makes a hundredth of a GPU's steps in a minute, so the ranges ask for more learning from
each step: higher learning rates and at least two updates per burst.
"""

SAC_ROUGH = Space(
    name="sac-rough",
    distributions={
        **SAC.distributions,
        "n_steps": IntDistribution(1, 5),
        "sde_sample_freq": IntDistribution(1, 16),
    },
    decoder=_with("n_steps", "sde_sample_freq"),
    fixed={**SAC.fixed, "use_sde": True},
)
"""With what the post wishes to search for rough terrain: rewards of some steps, noise that stays.
"""

SAC_ENVS = Space(
    name="sac-envs",
    distributions={**SAC.distributions, "num_envs_pow": IntDistribution(8, 13)},
    decoder=_with("num_envs_pow"),
    fixed=SAC.fixed,
)
"""With the number of environments, which decides how fast experience comes by the clock."""

TUNED: Mapping[str, Any] = {
    "policy": "MlpPolicy",
    "net_arch": [512, 256, 128],
    "activation_fn": "elu",
    "optimizer_class": "adamw",
    "layer_norm": True,
    "batch_size": 512,
    "buffer_size": 2_000_000,
    "ent_coef": "auto_0.009471776840423638",
    "gamma": 0.983100250213744,
    "gradient_steps": 32,
    "learning_rate": 0.00044689099625712413,
    "learning_starts": 2000,
    "policy_delay": 8,
    "tau": 0.0023055560568780655,
    "train_freq": 1,
}
"""The set that the post found, for flat terrain and 1024 environments."""

ROUGH: Mapping[str, Any] = {
    **TUNED,
    "train_freq": 10,
    "gradient_steps": 320,
    "use_sde": True,
    "n_steps": 3,
}
"""The same for rough terrain, as the post trained it."""
