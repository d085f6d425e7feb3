"""Search spaces for TQC: those of SAC, and how many of the highest quantiles are dropped."""

from __future__ import annotations

from typing import Any

from optuna.distributions import IntDistribution

from hpsearch.base import Params
from hpsearch.samplers.sac import NETWORKS, SAC, SAC_SMALL, SMALL_NETWORKS, Networks, sac_decoder
from hpsearch.samplers.space import Decoder, Space


def tqc_decoder(networks: Networks) -> Decoder:
    """Returns the decoder of the TQC encoding; the same names as for SAC, and one more."""
    sac = sac_decoder(networks)

    def decode(params: Params) -> dict[str, Any]:
        drop = int(params["top_quantiles_to_drop_per_net"])
        return {**sac(params), "top_quantiles_to_drop_per_net": drop}

    return decode


DROPPED = {"top_quantiles_to_drop_per_net": IntDistribution(0, 5)}

TQC = Space(
    name="tqc",
    distributions={**SAC.distributions, **DROPPED},
    decoder=tqc_decoder(NETWORKS),
    fixed={**SAC.fixed, "n_quantiles": 25},
    algo="tqc",
)
"""For 1024 environments on a GPU."""

TQC_SMALL = Space(
    name="tqc-small",
    distributions={**SAC_SMALL.distributions, **DROPPED},
    decoder=tqc_decoder(SMALL_NETWORKS),
    fixed={**SAC_SMALL.fixed, "n_quantiles": 25},
    algo="tqc",
)
"""For some ten environments on a CPU."""
